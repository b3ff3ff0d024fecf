//! The program as the Functions host and an operator meet it: its commands, exit codes and signals. Its log is the
//! subject of `program_log.rs`.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};

use maxconf::config::{Config, ConfigParts, WhenUnset};
use maxconf::telemetry::{COMMIT, VERSION};
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::support::{Answer, Ended, Program, TestApp, World, eventually, within};

/// `EX_CONFIG` of sysexits.h.
const FAULTY_CONFIG: i32 = 78;

/// The names of the settings that are reported.
fn reported(ended: &Ended) -> BTreeSet<&str> {
    let faults = ended.stderr.iter().filter_map(|line| line.strip_prefix("  "));
    faults.map(|fault| fault.split(' ').next().expect("a name")).collect()
}

#[tokio::test]
async fn the_help_explains_every_setting() {
    let help = Program::run(&["--help"], []).await;

    assert_eq!(help.code, Some(0), "{help:?}");
    // Lines are broken wherever the terminal ends.
    let text = help.stdout.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    for setting in Config::settings() {
        let entry = format!("{} [{}] {}", setting.name, setting.default, setting.meaning);
        assert!(text.contains(&entry), "{entry}\nis not in\n{text}");
    }
    for command in ["serve", "check-config", "openapi", "pool"] {
        assert!(text.contains(command), "{command} is not in {text}");
    }
}

/// The smoke test after a swap compares this text.
#[tokio::test]
async fn the_version_differs_between_two_commits() {
    let ended = Program::run(&["--version"], []).await;

    assert_eq!((ended.code, ended.stdout), (Some(0), vec![format!("maxconf {VERSION}")]));
    let cargo = env!("CARGO_PKG_VERSION");
    let known = COMMIT.get(..12).filter(|start| start.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let expected = known.map_or(cargo.to_owned(), |start| format!("{cargo}+{start}"));
    assert_eq!(VERSION, expected);
}

#[tokio::test]
async fn settings_that_can_be_used_are_said_to_be_complete() {
    let world = World::start().await;

    let ended = Program::run(&["check-config"], world.settings()).await;

    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.is_empty(), "{ended:?}");
}

#[tokio::test]
async fn a_variable_like_a_misspelt_setting_is_reported_and_the_service_starts() {
    let misspelt = [("POOL_TARGET_SIZ", "a-value"), ("PEXIP_VERIFY_TLS", "a-value"), ("PATH", "a-value")];
    let mut settings = World::start().await.settings();
    settings.extend(misspelt.map(|(name, value)| (name, value.to_owned())));

    let mut checked = Program::run(&["check-config"], settings.clone()).await;

    checked.stderr.sort();
    let expected = [
        "maxconf: PEXIP_VERIFY_TLS is no setting and has no effect",
        "maxconf: POOL_TARGET_SIZ is no setting and has no effect; is POOL_TARGET_SIZE meant?",
    ];
    assert_eq!((checked.code, &checked.stderr[..]), (Some(0), &expected.map(str::to_owned)[..]));

    let program = Program::start(&["serve"], settings);
    let unknown = || {
        let mut events = program.events();
        events.retain(|event| event["message"] == "no setting has the name of this variable");
        events.into_iter().map(|event| (event["variable"].clone(), event["setting"].clone())).collect::<HashMap<_, _>>()
    };
    eventually("both are in the log", async || unknown().len() == 2).await;
    assert_eq!(unknown()[&json!("POOL_TARGET_SIZ")], json!("POOL_TARGET_SIZE"));
    assert_eq!(unknown()[&json!("PEXIP_VERIFY_TLS")], Value::Null);
    assert!(!program.stdout().join("\n").contains("a-value"));
}

#[tokio::test]
async fn without_any_setting_every_required_one_is_named() {
    let required =
        Config::settings().filter(|setting| setting.default == WhenUnset::Required).map(|setting| setting.name);
    // Each is one of several settings for the same: where the queue is, and how to authenticate at Pexip.
    let expected: BTreeSet<_> = required.chain(["PoolStorage", "PEXIP_OAUTH_CLIENT_ID"]).collect();

    let ended = Program::run(&["check-config"], []).await;

    assert_eq!(ended.code, Some(FAULTY_CONFIG), "{ended:?}");
    assert_eq!(reported(&ended), expected);
}

#[tokio::test]
async fn all_faulty_settings_are_reported_together_and_none_of_their_values() {
    let faulty = HashMap::from([
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "leaked-port"),
        ("MAXCONF_ENVIRONMENT", "leaked-environment"),
        ("LOG_LEVEL", "leaked=level=twice"),
        ("PoolStorage", "AccountName=leakedstorage;AccountKey=leaked*key"),
        ("POOL_QUEUE_NAME", "leaked_queue"),
        ("POOL_TARGET_SIZE", "leaked-size"),
        ("POOL_TIMER_SCHEDULE", "leaked schedule"),
        ("ROOM_NAME_PREFIX", "LEAKED-"),
        ("ROOM_TAG_URL", "http://leaked.example.org/"),
        ("ROOM_TAG_HOSTS", "leaked.example.org"),
        ("UUI_DATA_FORMAT", "leaked-format"),
        ("ROOM_HOST_PIN", "leaked-pin"),
        ("CREATE_SHOWS_HOST_PIN", "leaked-choice"),
        ("PUBLIC_READ_PREFIXES", "leaked prefix"),
        ("PEXIP_MANAGEMENT_URL", "http://leaked.example.org"),
        ("PEXIP_PASSWORD", "@Microsoft.KeyVault(SecretUri=https://leaked.vault.azure.net/secrets/leaked/)"),
        ("PEXIP_CA_FILE", "/leaked/ca.pem"),
        ("PEXIP_EVENT_PASSWORD", "leaked-event-password"),
        ("ENTRA_TENANT_ID", "leaked-tenant"),
        ("ENTRA_AUTHORITY_URL", "https://leaked:leaked@login.example.org"),
        ("GENESYS_API_URL", "leaked-genesys"),
        ("CORS_ALLOWED_ORIGINS", "https://leaked.example.org/path"),
        ("AUDIT_HASH_KEY", "leaked-short"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://leaked.example.org"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=leaked,leaked header=leaked"),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", "InstrumentationKey=leaked;IngestionEndpoint=leaked.example.org"),
    ]);
    // What is at fault is that the account to this password is missing.
    let names = faulty.keys().map(|name| if *name == "PEXIP_EVENT_PASSWORD" { "PEXIP_EVENT_USERNAME" } else { *name });
    let expected: BTreeSet<_> = names.collect();
    let world = World::start().await;
    for command in ["check-config", "serve"] {
        let mut settings = world.settings();
        settings.extend(faulty.iter().map(|(name, value)| (*name, (*value).to_owned())));

        let ended = Program::run(&[command], settings).await;

        assert_eq!(ended.code, Some(FAULTY_CONFIG), "{command}: {ended:?}");
        assert_eq!(reported(&ended), expected, "{command}: {ended:?}");
        assert!(ended.stdout.is_empty(), "{command}: {ended:?}");
        let text = ended.stderr.join("\n");
        assert!(!text.to_ascii_lowercase().contains("leaked"), "{command}: {text}");
    }
}

#[tokio::test]
async fn no_faulty_setting_hides_another() {
    let mut settings = World::start().await.settings();
    settings.extend([
        ("MAXCONF_ENVIRONMENT", "production".to_owned()),
        ("GENESYS_OAUTH_CLIENT_IDS", String::new()),
        // One in each part of the settings.
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "none".to_owned()),
        ("PEXIP_MAX_IN_FLIGHT", "none".to_owned()),
        ("POOL_PREFETCH", "none".to_owned()),
        ("ROOM_PIN_LENGTH", "none".to_owned()),
        // And those that are at fault only beside others.
        ("POOL_ROOM_MAX_AGE_SECONDS", "150".to_owned()),
        ("POOL_READY_DELAY_SECONDS", "90".to_owned()),
        ("POOL_TARGET_SIZE", "1001".to_owned()),
        ("PEXIP_REQUEST_TIMEOUT_SECONDS", "25".to_owned()),
        ("ROOM_MAX_LIFETIME_SECONDS", "43201".to_owned()),
        ("SWEEP_MARGIN_SECONDS", "24".to_owned()),
    ]);
    let expected = BTreeSet::from([
        "ENTRA_ALLOWED_CLIENT_IDS",
        "FUNCTIONS_CUSTOMHANDLER_PORT",
        "GENESYS_OAUTH_CLIENT_IDS",
        "PEXIP_MAX_IN_FLIGHT",
        "PEXIP_REQUEST_TIMEOUT_SECONDS",
        "POOL_PREFETCH",
        "POOL_ROOM_MAX_AGE_SECONDS",
        "POOL_TARGET_SIZE",
        "ROOM_AUTOMATIC_PARTICIPANTS",
        "ROOM_HOST_PIN",
        "ROOM_MAX_LIFETIME_SECONDS",
        "ROOM_PIN_LENGTH",
        "SWEEP_MARGIN_SECONDS",
        "UUI_DATA_FORMAT",
    ]);

    let ended = Program::run(&["check-config"], settings).await;

    assert_eq!(reported(&ended), expected, "{ended:?}");
}

#[tokio::test]
async fn a_key_vault_reference_that_did_not_resolve_is_a_faulty_setting() {
    for name in ["PEXIP_PASSWORD", "PoolStorage", "AUDIT_HASH_KEY", "PEXIP_USERNAME"] {
        let mut settings = World::start().await.settings();
        settings.insert(name, "@Microsoft.KeyVault(SecretUri=https://kv.vault.azure.net/secrets/x/)".to_owned());

        let ended = Program::run(&["serve"], settings).await;

        assert_eq!(ended.code, Some(FAULTY_CONFIG), "{ended:?}");
        assert_eq!(reported(&ended), BTreeSet::from([name]));
        assert!(ended.stderr.iter().any(|line| line.contains("Key Vault reference")), "{ended:?}");
    }
}

#[tokio::test]
async fn outside_local_nothing_that_decides_on_access_or_calls_is_left_to_a_default() {
    let explicit = [
        "ENTRA_ALLOWED_CLIENT_IDS",
        "GENESYS_DIVISION_IDS",
        "GENESYS_OAUTH_CLIENT_IDS",
        "ROOM_AUTOMATIC_PARTICIPANTS",
        "ROOM_HOST_PIN",
        "UUI_DATA_FORMAT",
    ];
    for environment in ["test", "production"] {
        let mut settings = World::start().await.settings();
        settings.insert("MAXCONF_ENVIRONMENT", environment.to_owned());
        settings.remove("GENESYS_OAUTH_CLIENT_IDS");
        settings.remove("GENESYS_DIVISION_IDS");

        let ended = Program::run(&["check-config"], settings.clone()).await;
        assert_eq!((ended.code, reported(&ended)), (Some(FAULTY_CONFIG), BTreeSet::from(explicit)), "{environment}");

        settings.extend([
            ("ENTRA_ALLOWED_CLIENT_IDS", "*".to_owned()),
            ("GENESYS_OAUTH_CLIENT_IDS", "*".to_owned()),
            ("GENESYS_DIVISION_IDS", "*".to_owned()),
            ("ROOM_AUTOMATIC_PARTICIPANTS", "none".to_owned()),
            ("ROOM_HOST_PIN", "per-room".to_owned()),
            ("UUI_DATA_FORMAT", "bytes".to_owned()),
        ]);
        let ended = Program::run(&["check-config"], settings).await;
        assert_eq!(ended.code, Some(0), "{environment}: {ended:?}");
    }
}

/// `tests/model` shows what a shorter margin allows: the sweep deletes a room that a request is handing out.
#[test]
fn outside_local_the_sweep_waits_at_least_as_long_as_a_request_may_last() {
    let explicit = HashMap::from([
        ("ENTRA_ALLOWED_CLIENT_IDS", "*"),
        ("GENESYS_OAUTH_CLIENT_IDS", "*"),
        ("GENESYS_DIVISION_IDS", "*"),
        ("ROOM_AUTOMATIC_PARTICIPANTS", "none"),
        ("ROOM_HOST_PIN", "per-room"),
    ]);
    let is_faulty = |environment: &str, margin: &str| {
        let source = |name: &str| match name {
            "MAXCONF_ENVIRONMENT" => Some(environment.into()),
            "SWEEP_MARGIN_SECONDS" => Some(margin.into()),
            "REQUEST_DEADLINE_SECONDS" => Some("30".into()),
            _ => explicit.get(name).map(OsString::from),
        };
        let faults = ConfigParts::read(source).faults;
        faults.iter().any(|fault| fault.setting == "SWEEP_MARGIN_SECONDS")
    };

    for environment in ["test", "production"] {
        assert!(is_faulty(environment, "0") && is_faulty(environment, "29"), "{environment}");
        assert!(!is_faulty(environment, "30"), "{environment}");
    }
    assert!(!is_faulty("local", "0"));
}

/// The Functions host gives a program thirty seconds for this, and asks every 25 ms.
#[tokio::test]
async fn the_hosts_probe_is_answered_whatever_else_is_down() {
    // Takes connections and never answers: worse than one that refuses them.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = silent.local_addr().expect("an address");
    let account = "devstoreaccount1";
    for down in [format!("http://{address}"), "http://127.0.0.1:1".to_owned()] {
        let mut settings = World::start().await.settings();
        settings.extend([
            (
                "PoolStorage",
                format!(
                    "AccountName={account};AccountKey=a2V5;QueueEndpoint={down}/{account};BlobEndpoint={down}/{account}"
                ),
            ),
            ("PEXIP_MANAGEMENT_URL", down.clone()),
            ("ENTRA_AUTHORITY_URL", down.clone()),
            ("GENESYS_API_URL", down.clone()),
        ]);
        let program = Program::start(&["serve"], settings);
        let url = program.url().await;
        let client = Client::builder().no_proxy().build().expect("a client");

        let answer = Answer::read(within("an answer", client.get(url).send()).await.expect("an answer")).await;

        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn a_signal_ends_the_program_with_a_code_that_makes_the_host_start_it_again() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let (app, program) = TestApp::with().start_program().await;
        app.fill_pool().await;

        program.signal(signal);
        let ended = program.ended().await;

        assert_eq!(ended.code, Some(code), "{signal}: {ended:?}");
        assert!(ended.stderr.is_empty(), "{signal}: {ended:?}");
    }
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_a_signal_ends_the_program() {
    let (app, program) = TestApp::with().start_program().await;
    app.pexip.traffic().inject(Matching::method(Method::POST), Times::Once, Fault::Stall);
    let stopping = async {
        let at_pexip = async || app.pexip.traffic().count(&Matching::method(Method::POST)) > 0;
        eventually("the create has reached Pexip", at_pexip).await;
        program.signal("TERM");
        let refused = async || app.http.get(app.url.clone()).send().await.is_err();
        eventually("nothing is listened to any more", refused).await;
        app.pexip.traffic().heal();
    };

    let (answer, ()) = tokio::join!(app.create_room(), stopping);

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(program.ended().await.code, Some(143));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = taken.local_addr().expect("an address");
    let mut settings = World::start().await.settings();
    settings.insert("FUNCTIONS_CUSTOMHANDLER_PORT", address.port().to_string());

    let ended = Program::run(&["serve"], settings).await;

    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.iter().any(|line| line.contains(&address.to_string())), "{ended:?}");
}
