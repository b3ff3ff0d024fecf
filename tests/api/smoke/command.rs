//! Arguments of the command, and the files that it reads and writes.

use maxconf_simulators::Matching;

use super::{Smoke, USAGE, healthy_service};
use crate::support::Program;

#[tokio::test]
async fn invalid_arguments_are_reported_before_any_request() {
    let app = healthy_service().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.to_str().expect("a path").to_owned()
    };
    let of_another = Smoke::of(&app).at("https://maxconf.example.org/".parse().expect("a URL"));
    let whole = format!(r#"{{"url":"{}","checks":[{{"name":"tag","outcome":"passed"}}]}}"#, of_another.url);
    let (empty, no_result) = (file("empty", ""), file("none", "{}"));
    let (half, elsewhere) = (file("half", &whole[..whole.len() / 2]), file("elsewhere", &whole));
    let endless = Smoke { arguments: ["--wait", "18446744073709551615"].map(str::to_owned).into(), ..Smoke::of(&app) };
    let before = app.entra.traffic().count(&Matching::any());

    for (smoke, text_part) in [
        (Smoke::of(&app).with(&["--compare", &no_result]), "is not a result of `maxconf smoke --json`"),
        (Smoke::of(&app).with(&["--compare", &empty]), "is not a result of `maxconf smoke --json`"),
        (Smoke::of(&app).with(&["--compare", &half]), "is not a result of `maxconf smoke --json`"),
        (
            Smoke::of(&app).with(&["--compare", &elsewhere]),
            "is the result of another address, https://maxconf.example.org/",
        ),
        (Smoke::of(&app).with(&["--compare", "/there/is/no/such/file"]), "cannot be read"),
        (Smoke::of(&app).with(&["--junit", "/there/is/no/such/folder/x.xml"]), "cannot be written"),
        (Smoke::of(&app).with(&["--room-properties", "[]"]), "must be a JSON object"),
        (Smoke::of(&app).with(&["--no-such-option"]), "--no-such-option"),
        (endless, "is not in 0..=86400"),
        (Smoke::of(&app).at("http://maxconf.example.org/".parse().expect("a URL")), "must start with https://"),
        (Smoke::of(&app).without(&["SMOKE_ENTRA_SCOPE"]), "SMOKE_ENTRA_SCOPE is missing"),
        (Smoke::of(&app).set("SMOKE_ENTRA_TOKEN_URL", "http://entra.example.org/"), "SMOKE_ENTRA_TOKEN_URL"),
    ] {
        let ended = smoke.run().await;

        assert_eq!(ended.code, Some(USAGE), "{text_part}: {ended:#?}");
        assert!(ended.stderr.join("\n").contains(text_part), "{text_part:?} is not in {ended:#?}");
    }
    assert_eq!(app.entra.traffic().count(&Matching::any()), before);
}

#[tokio::test]
async fn the_help_explains_exit_codes_and_variables() {
    let help = Program::run(&["smoke", "--help"], []).await;

    assert_eq!(help.code, Some(0), "{help:?}");
    let help = help.stdout.join("\n");
    for text_part in ["3  a dependency is down", "SMOKE_ENTRA_CLIENT_SECRET", "SMOKE_GENESYS_TOKEN", "--compare"] {
        assert!(help.contains(text_part), "{text_part:?} is not in {help}");
    }
}
