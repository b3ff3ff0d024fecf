//! What is said of a fault is true of it and says what to do, and nothing of it is secret.

use futures_util::{StreamExt, stream};
use maxconf::config::Config;
use maxconf_simulators::{Fault, Matching, Times, World};

use super::{AT_A_TIME, Settings, a_healthy_world, examine, lines, run};
use crate::support::{Program, Secrets};

/// A fault, the check that tells of it, what that says to its end, and a part of what it says is to be done.
type Row = (fn(&World, &mut Settings), &'static str, &'static str, &'static str);

const ROWS: [Row; 8] = [
    (
        |world, _| at_pexip(world, Fault::Rubbish),
        "pexip/account",
        "Pexip gave an answer that cannot be read",
        "check PEXIP_MANAGEMENT_URL",
    ),
    (
        |world, _| at_pexip(world, Fault::Status(404)),
        "pexip/account",
        "something else than Pexip's management node answers (404)",
        "check PEXIP_MANAGEMENT_URL",
    ),
    (
        |world, _| world.pexip.set_password("another"),
        "pexip/account",
        "Pexip refuses our account (401)",
        "PEXIP_PASSWORD",
    ),
    (
        |world, _| at_storage(world, Fault::Status(404)),
        "storage/access",
        "the queue service answered 404",
        "check that PoolStorage names a queue service",
    ),
    (
        |world, _| at_storage(world, Fault::Status(403)),
        "storage/access",
        "the queue service refuses our credentials",
        "one of its present keys",
    ),
    (
        |world, settings| {
            let ended = world.queue.sas_connection_string();
            settings.insert("PoolStorage", ended);
            at_storage(world, Fault::Status(403));
        },
        "storage/access",
        "the queue service refuses our credentials",
        "put a new signature into PoolStorage",
    ),
    (
        |_, settings| drop(settings.insert("ROOM_NAME_PREFIX", "other-".to_owned())),
        "pool/stock",
        "most of them for no room of ours",
        "ROOM_NAME_PREFIX",
    ),
    (
        |_, settings| drop(settings.insert("ENTRA_TENANT_ID", "99999999-0000-4ccc-8111-dddd2222eeee".to_owned())),
        "entra/keys_v2",
        "Entra answered 400",
        "check ENTRA_TENANT_ID",
    ),
];

fn at_pexip(world: &World, fault: Fault) {
    world.pexip.traffic().inject(Matching::any(), Times::Always, fault);
}

fn at_storage(world: &World, fault: Fault) {
    world.queue.traffic().inject(Matching::any(), Times::Always, fault);
}

#[tokio::test]
async fn what_is_said_is_true_of_the_fault() {
    for (cause, check, says, to_do) in ROWS {
        let (world, mut settings) = a_healthy_world().await;
        cause(&world, &mut settings);
        let (report, _) = examine(&settings).await;
        let (said, advice) = lines(&report, check);
        assert!(said.ends_with(says) && advice.contains(to_do), "{check} says {said:?}, and advises {advice:?}");
    }
}

/// Not even where somebody has put it into the wrong setting.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_any_setting_is_not_shown() {
    const SECRET: &str = "Planted-in-a+setting/of*mine";
    let (_world, settings) = a_healthy_world().await;
    let settings = &settings;
    let named: Vec<_> = Config::settings().map(|setting| setting.name).collect();
    assert!(named.len() > 50, "the settings were found: {named:?}");
    stream::iter(named)
        .map(async |name| {
            let mut secrets = Secrets::default();
            secrets.plant(name, SECRET);
            for output in [&["doctor"][..], &["doctor", "--json"]] {
                let planted = settings.iter().map(|(one, value)| (*one, value.clone()));
                let planted = planted.filter(|(one, _)| *one != name).chain([(name, SECRET.to_owned())]);
                let ended = Program::run(output, planted).await;
                assert!(ended.stdout.len() > 10, "{name}: {ended:?}");
                secrets.assert_not_in(name, &[ended.stdout, ended.stderr].concat().join("\n"));
            }
        })
        .buffer_unordered(AT_A_TIME)
        .collect::<()>()
        .await;
}

#[tokio::test]
async fn programs_get_one_object_whose_names_stay() {
    let (world, settings) = a_healthy_world().await;
    world.pexip.set_min_pin_length(9);
    let ended = run(&settings, &["--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&ended.stdout.join("\n")).expect("JSON");
    let members: Vec<_> = report.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(members, ["could_not_tell", "findings", "fine", "not_fine", "warning"]);
    for finding in report["findings"].as_array().expect("findings") {
        let members: Vec<_> = finding.as_object().expect("an object").keys().map(String::as_str).collect();
        match finding["verdict"].as_str().expect("a word") {
            "fine" | "could_not_tell" => assert_eq!(members, ["check", "says", "system", "verdict"]),
            "not_fine" | "warning" => assert_eq!(members, ["check", "says", "system", "to_do", "verdict"]),
            other => panic!("{other}"),
        }
    }
}
