//! `maxconf smoke` as a pipeline or an operator runs it: the real program against healthy and faulty services.

mod command;
mod comparison;
mod dependencies;
mod hanging;
mod independence;
mod instant;
mod leaks;
mod proxy;
mod stopped;
mod wrong_answers;

use std::collections::BTreeMap;

use maxconf::telemetry::VERSION;
use maxconf_simulators::GitHubSimulator;
use maxconf_simulators::entra::{APP_ID_URI, CLIENT_ID, CLIENT_SECRET};
use serde_json::Value;
use url::Url;

use self::proxy::{ProxiedAnswer, Proxy};
use crate::support::{Ended, Program, Secrets, TestApp, TestAppBuilder};

/// As long as a PIN may be.
const PIN: &str = "27182818284590452353";
const ORIGIN: &str = "https://agent.example.org";
const TAG_URL: &str = "https://id.gov.bc.ca/idcheck/";

/// The checks that need the Conferencing Nodes' account.
const POLICY_CHECKS: [&str; 4] =
    ["policy", "policy_of_deleted_room", "policy_of_foreign_alias", "policy_without_account"];

const HEALTHY: i32 = 0;
const BROKEN: i32 = 1;
const USAGE: i32 = 2;
const DEPENDENCY_DOWN: i32 = 3;
const COULD_NOT_TELL: i32 = 4;

/// A service whose host PIN can be searched for in output.
fn service() -> TestAppBuilder {
    TestApp::with().set("ROOM_HOST_PIN", PIN)
}

/// A service without faults, with a filled pool.
async fn healthy_service() -> TestApp {
    let app = service().start().await;
    app.warm_up().await;
    app
}

/// Arguments and environment of a smoke test.
#[derive(Clone)]
struct Smoke {
    url: Url,
    arguments: Vec<String>,
    environment: BTreeMap<&'static str, String>,
}

impl Smoke {
    /// With all credentials, JSON output and a short wait.
    fn of(app: &TestApp) -> Self {
        let environment = [
            ("SMOKE_ENTRA_TOKEN_URL", app.entra.token_url().to_string()),
            ("SMOKE_ENTRA_CLIENT_ID", CLIENT_ID.to_owned()),
            ("SMOKE_ENTRA_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
            ("SMOKE_ENTRA_SCOPE", format!("{APP_ID_URI}/.default")),
            ("SMOKE_GENESYS_TOKEN", app.genesys.issue_token()),
            ("SMOKE_ORIGIN", ORIGIN.to_owned()),
            // As an operator may set them to debug a pipeline.
            ("LOG_LEVEL", "trace".to_owned()),
            ("RUST_LOG", "trace".to_owned()),
        ];
        let arguments = ["--json", "--wait", "1", "--expect-version", VERSION];
        Self {
            url: app.url.clone(),
            arguments: arguments.map(str::to_owned).into(),
            environment: environment.into_iter().collect(),
        }
    }

    /// At another address.
    fn at(mut self, url: Url) -> Self {
        self.url = url;
        self
    }

    fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// With text output.
    fn readable(mut self) -> Self {
        self.arguments.retain(|argument| argument != "--json");
        self
    }

    fn set(mut self, name: &'static str, value: &str) -> Self {
        self.environment.insert(name, value.to_owned());
        self
    }

    fn without(mut self, names: &[&str]) -> Self {
        self.environment.retain(|name, _| !names.contains(name));
        self
    }

    /// As a GitHub job, without a secret.
    fn in_job(mut self, github: &GitHubSimulator) -> Self {
        self.environment.remove("SMOKE_ENTRA_CLIENT_SECRET");
        self.environment.extend(github.environment());
        self
    }

    fn start(&self) -> Program {
        let url = self.url.as_str();
        let arguments: Vec<_> =
            ["smoke", "--url", url].into_iter().chain(self.arguments.iter().map(String::as_str)).collect();
        Program::start(&arguments, self.environment.clone())
    }

    /// Runs the test, and checks that its output holds no secret.
    async fn run(&self) -> Ended {
        let ended = self.start().ended().await;
        self.assert_reveals_no_secret(&ended);
        ended
    }

    fn assert_reveals_no_secret(&self, ended: &Ended) {
        let all = [ended.stdout.as_slice(), &ended.stderr].concat().join("\n");
        self.secrets().assert_not_in("maxconf smoke", &all);
    }

    /// The secrets that are known before the test runs.
    fn secrets(&self) -> Secrets {
        let mut secrets = Secrets::default();
        secrets.plant("a PIN", PIN);
        // Start of every uuiData of a smoke test; its hexadecimal and base64url forms are planted too.
        secrets.plant("uuiData", "maxconf-smoke--");
        // Start of every Entra token.
        secrets.plant("an Entra token", "eyJ0eXAiOiJKV1Qi");
        for name in [
            "SMOKE_ENTRA_CLIENT_SECRET",
            "SMOKE_GENESYS_TOKEN",
            "SMOKE_SUBSCRIPTION_KEY",
            "SMOKE_POLICY_PASSWORD",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        ] {
            if let Some(secret) = self.environment.get(name) {
                secrets.plant(name, secret);
            }
        }
        secrets
    }
}

/// The JSON output.
#[track_caller]
fn result(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout.join("\n")).unwrap_or_else(|_| panic!("not JSON: {ended:?}"))
}

/// Outcome of each check by its name; for a fault: `ours`, `unclear` or the dependency.
#[track_caller]
fn outcomes(ended: &Ended) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let outcome = |check: &Value| {
        text(&check["dependency"]).or(text(&check["fault"])).or(text(&check["outcome"])).expect("an outcome")
    };
    let result = result(ended);
    let checks = result["checks"].as_array().expect("checks");
    checks.iter().map(|check| (text(&check["name"]).expect("a name"), outcome(check))).collect()
}

/// The checks with this outcome.
#[track_caller]
fn checks_with(ended: &Ended, outcome: &str) -> Vec<String> {
    outcomes(ended).into_iter().filter(|(_, actual)| actual == outcome).map(|(name, _)| name).collect()
}

/// Names of the rooms that have a tag.
fn handed_out(app: &TestApp) -> Vec<String> {
    app.pexip.rooms().into_iter().filter(|room| !room.tag.is_empty()).map(|room| room.name).collect()
}

#[tokio::test]
async fn a_healthy_service_passes_every_check_and_every_room_is_deleted() {
    let app = healthy_service().await;
    let folder = tempfile::tempdir().expect("a folder");
    let junit = folder.path().join("smoke.xml");
    let properties = r#"{"call_type": "video", "ivr_theme": null}"#;
    let report = junit.to_str().expect("a path");
    let arguments = ["--expect-pool", "--tag-url", TAG_URL, "--room-properties", properties, "--junit", report];

    let ended = Smoke::of(&app).with(&arguments).run().await;

    assert_eq!(ended.code, Some(HEALTHY), "{ended:#?}");
    let outcomes = outcomes(&ended);
    // A room from the pool is in Pexip's own database.
    assert_eq!(checks_with(&ended, "not_checked"), POLICY_CHECKS);
    assert_eq!(checks_with(&ended, "passed").len(), outcomes.len() - POLICY_CHECKS.len(), "{outcomes:#?}");
    assert!(outcomes.len() >= 30, "{outcomes:#?}");
    let result = result(&ended);
    assert_eq!((&result["verdict"], &result["exit_code"]), (&"healthy".into(), &0.into()));
    assert_eq!((&result["version"], &result["expected_version"]), (&VERSION.into(), &VERSION.into()));
    assert_eq!(handed_out(&app), Vec::<String>::new());
    let xml = std::fs::read_to_string(junit).expect("a report");
    assert_eq!(xml.matches("<testcase ").count(), outcomes.len(), "{xml}");
    assert!(xml.contains("failures=\"0\" errors=\"0\" skipped=\"4\""), "{xml}");
}

#[tokio::test]
async fn a_service_whose_cases_name_a_host_is_tested_with_one_that_it_lists() {
    let url = "https://{host}.gov.bc.ca/idcheck/";
    let service =
        service().set("UUI_DATA_FORMAT", "host-and-id").set("ROOM_TAG_URL", url).set("ROOM_TAG_HOSTS", "id,idtest");
    let app = service.start().await;
    app.warm_up().await;
    let arguments = ["--tag-url", url, "--tag-host"];

    for (host, code) in [("idtest", HEALTHY), ("iddev", BROKEN)] {
        let ended = Smoke::of(&app).with(&arguments).with(&[host]).run().await;

        assert_eq!(ended.code, Some(code), "{host}: {ended:#?}");
        let tag = &outcomes(&ended)["tag"];
        assert_eq!(tag == "passed", code == HEALTHY, "{tag}");
    }
    assert_eq!(handed_out(&app), Vec::<String>::new());
}

#[tokio::test]
async fn a_room_with_other_properties_than_expected_is_a_fault_that_names_the_field() {
    let app = service().set("ROOM_PROPERTIES", r#"{"call_type": "audio"}"#).start().await;
    app.warm_up().await;
    for (expected, code) in [(r#"{"call_type": "audio"}"#, HEALTHY), (r#"{"call_type": "video"}"#, BROKEN)] {
        let ended = Smoke::of(&app).with(&["--room-properties", expected]).run().await;

        assert_eq!(ended.code, Some(code), "{ended:#?}");
        let text = ended.stdout.join("\n");
        assert_eq!(text.contains("the room has other values in call_type"), code == BROKEN, "{text}");
    }
    assert_eq!(handed_out(&app), Vec::<String>::new());
}

#[tokio::test]
async fn a_service_whose_create_leaves_the_host_pin_out_is_healthy() {
    let app = service().set("CREATE_SHOWS_HOST_PIN", "false").start().await;
    app.warm_up().await;

    let ended = Smoke::of(&app).run().await;

    assert_eq!(ended.code, Some(HEALTHY), "{ended:#?}");
    assert_eq!(outcomes(&ended)["public_read"], "passed");
}

#[tokio::test]
async fn a_gateway_that_asks_for_a_subscription_key_gets_it_with_every_request() {
    const KEY: &str = "0123456789abcdef0123456789abcdef";
    let app = healthy_service().await;
    let proxy = Proxy::answering(&app, |request| {
        let keys: Vec<_> = request.headers.get_all("ocp-apim-subscription-key").iter().collect();
        (keys != [KEY]).then(|| ProxiedAnswer::bare(401))
    })
    .await;
    let smoke = Smoke::of(&app).at(proxy.url());

    let ended = smoke.clone().set("SMOKE_SUBSCRIPTION_KEY", KEY).run().await;
    assert_eq!(ended.code, Some(HEALTHY), "{ended:#?}");
    assert_eq!(handed_out(&app), Vec::<String>::new());

    let ended = smoke.run().await;
    assert_eq!(ended.code, Some(BROKEN), "{ended:#?}");
}

#[tokio::test]
async fn every_request_id_in_the_services_log_starts_with_smoke() {
    let (app, program) = service().start_program().await;

    let ended = Smoke::of(&app).run().await;

    assert_eq!(ended.code, Some(HEALTHY), "{ended:#?}");
    let events = program.events();
    let requests: Vec<_> = events.iter().filter(|event| event["message"] == "request").collect();
    assert!(requests.len() >= 20, "{requests:#?}");
    for request in requests {
        assert!(request["request_id"].as_str().is_some_and(|id| id.starts_with("smoke-")), "{request}");
    }
}

#[tokio::test]
async fn the_text_has_a_line_for_each_check() {
    let app = healthy_service().await;

    let ended = Smoke::of(&app).readable().without(&["SMOKE_GENESYS_TOKEN"]).run().await;

    assert_eq!(ended.code, Some(HEALTHY), "{ended:#?}");
    let text = ended.stdout.join("\n");
    for line in [
        "ok           create returns a room",
        "not checked  the public read returns the same room: SMOKE_GENESYS_TOKEN is not set",
        "The service is healthy: it passed every check that was made.",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
}

#[tokio::test]
async fn checks_that_were_not_reached_share_a_line() {
    let app = healthy_service().await;

    let ended = Smoke::of(&app).at("http://127.0.0.1:1/".parse().expect("a URL")).readable().run().await;

    assert_eq!(ended.code, Some(COULD_NOT_TELL), "{ended:#?}");
    let text = ended.stdout.join("\n");
    assert!(text.contains("\nnot checked  31 more: an earlier check did not pass\n"), "{text}");
}

#[tokio::test]
async fn checks_without_credentials_are_reported_as_not_checked() {
    let app = service().set("POOL_TARGET_SIZE", 0).start().await;

    let ended = Smoke::of(&app).without(&["SMOKE_GENESYS_TOKEN", "SMOKE_ORIGIN"]).run().await;

    assert_eq!(ended.code, Some(HEALTHY), "{ended:#?}");
    let expected = [&["allowed_origin"], &POLICY_CHECKS[..], &["pool", "public_read", "room_properties"]].concat();
    assert_eq!(checks_with(&ended, "not_checked"), expected);
    assert_eq!(handed_out(&app), Vec::<String>::new());
}

#[tokio::test]
async fn without_any_credentials_only_refusals_are_checked() {
    let app = healthy_service().await;
    let smoke = Smoke::of(&app);
    let names: Vec<_> = smoke.environment.keys().copied().collect();

    let ended = smoke.without(&names).run().await;

    assert_eq!(ended.code, Some(COULD_NOT_TELL), "{ended:#?}");
    let outcomes = outcomes(&ended);
    for (check, outcome) in [
        ("create_without_token", "passed"),
        ("foreign_origin", "passed"),
        ("entra_token", "unclear"),
        ("create", "not_checked"),
    ] {
        assert_eq!(outcomes[check], outcome, "{check}");
    }
}
