//! Output of the commands, of a failed start, and of a panic.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use maxconf::app;
use maxconf::config::{Environment, TelemetryConfig};
use maxconf::telemetry::{self, Format};
use maxconf_simulators::{Fault, Times};
use reqwest::header::HeaderMap;
use tracing::Level;
use tracing_subscriber::filter::Targets;

use super::{Credential, PASSWORD, PINS, known_secrets, put_ready_room_into_pool, tag, talkative_settings};
use crate::support::{Call, Program, Secrets, TestApp, World};

/// Each command, with the calls that it makes.
const COMMANDS: [(&str, &[Call]); 4] = [
    ("status", &[Call::PexipLookUp, Call::QueueCount]),
    ("fill", &[Call::PexipCreate, Call::QueuePut]),
    ("drain --yes", &[Call::QueueReceive, Call::QueueClaim, Call::PexipLookUp, Call::PexipRunning, Call::PexipDelete]),
    ("drain --dry-run --json", &[Call::QueueCount]),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_command_reveals_a_secret_whatever_fails() {
    let faults = [Fault::Slow(Duration::ZERO), Fault::HangUpAfter].into_iter();
    let faults: Vec<_> = faults.chain([200, 302, 400, 401, 404, 429, 500].map(Fault::Echo)).collect();
    let rows = COMMANDS.into_iter().flat_map(|(command, calls)| {
        let faults = faults.clone();
        calls.iter().flat_map(move |call| faults.clone().into_iter().map(move |fault| (command, *call, fault)))
    });
    stream::iter(rows)
        .map(|(command, call, fault)| check(command, call, fault))
        .buffer_unordered(super::CONCURRENT_RUNS)
        .collect::<()>()
        .await;
}

async fn check(command: &str, call: Call, fault: Fault) {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    world.pexip.set_password(PASSWORD);
    put_ready_room_into_pool(&world);
    let case = format!("pool {command}: {call:?} with {fault:?}");
    let settings = talkative_settings(&world, Credential::Signature, &folder, "trace");
    let mut secrets = known_secrets(&settings["PoolStorage"]);
    let app = TestApp::around(world, "http://127.0.0.1:1".parse().expect("a URL"));
    // Once if the command retries.
    let times = if matches!(fault, Fault::Echo(429 | 500)) { Times::Once } else { Times::Always };
    call.traffic(&app).inject(call.matching(), times, fault);

    let arguments: Vec<_> = ["pool"].into_iter().chain(command.split(' ')).collect();
    let ended = Program::run(&arguments, settings).await;

    assert!(call.traffic(&app).count(&call.matching()) > 0, "{case} is met: {ended:?}");
    for (number, room) in app.pexip.rooms().iter().enumerate() {
        secrets.plant(format!("PIN {number}"), &room.guest_pin);
    }
    secrets.assert_not_in(&case, &[ended.stdout, ended.stderr].concat().join("\n"));
}

#[tokio::test]
async fn invalid_settings_are_not_quoted() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let no_certificate = folder.path().join("ca.pem");
    std::fs::write(&no_certificate, format!("-----BEGIN PRIVATE KEY-----\n{PASSWORD}\n")).expect("a file");
    world.pexip.set_password(PASSWORD);
    let good = talkative_settings(&world, Credential::Key, &folder, "trace");
    let secrets = known_secrets(&good["PoolStorage"]);
    let key = good["PoolStorage"].split_once("AccountKey=").expect("a key").1.split(';').next().expect("its end");
    for (name, value) in [
        ("PoolStorage", format!("AccountKey={key}")),
        ("PoolStorage", format!("AccountName=x;AccountKey={key}")),
        ("PoolStorage", format!("AccountName=devstoreaccount1;AccountKey={key}*")),
        ("PoolStorage", format!("AccountName={key};AccountKey={key}")),
        ("PoolStorage", format!("QueueEndpoint=http://x.example.org?sig={key};SharedAccessSignature=sig={key}")),
        ("PoolStorage", format!("QueueEndpoint=https://user:{key}@x.example.org;AccountName=a;AccountKey={key}")),
        ("PoolStorage", format!("DefaultEndpointsProtocol={key};AccountName=stmaxconf;AccountKey={key}")),
        ("PoolStorage__queueServiceUri", format!("https://x.example.org/?sig={key}")),
        ("PEXIP_MANAGEMENT_URL", format!("https://maxconf:{}@pexip.example.org", PINS[0])),
        ("PEXIP_CA_FILE", no_certificate.display().to_string()),
        ("PEXIP_EVENT_USERNAME", String::new()),
        ("PEXIP_OAUTH_CLIENT_ID", PASSWORD.to_owned()),
        ("PEXIP_OAUTH_PRIVATE_KEY", format!("-----BEGIN PRIVATE KEY-----\n{PASSWORD}\n-----END PRIVATE KEY-----\n")),
        ("ROOM_HOST_PIN", format!("{}##", PINS[0])),
        ("ROOM_PIN_LENGTH", PINS[0].to_owned()),
        ("ROOM_TAG_URL", tag().repeat(4)),
        ("ROOM_TAG_HOSTS", tag()),
        ("ROOM_AUTOMATIC_PARTICIPANTS", format!("{}{}", PINS[0], PINS[1])),
        ("LOG_LEVEL", format!("{PASSWORD}={PASSWORD}")),
        ("CORS_ALLOWED_ORIGINS", format!("https://agent.example.org/{}", PINS[0])),
        ("MAXCONF_SLOT", PASSWORD.to_owned()),
        ("AUDIT_HASH_KEY", "@Microsoft.KeyVault(SecretUri=https://kv.vault.azure.net/secrets/x)".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("https://user:{key}@x.example.org")),
    ] {
        for command in [&["serve"][..], &["check-config"], &["pool", "status"], &["doctor"]] {
            let mut settings = good.clone();
            settings.insert(name, value.clone());

            let ended = Program::run(command, settings).await;

            assert_eq!(ended.code, Some(78), "{command:?} with {name}={value}: {ended:?}");
            secrets.assert_not_in(name, &[ended.stdout, ended.stderr].concat().join("\n"));
        }
    }
}

#[tokio::test]
async fn a_port_in_use_is_reported_without_secrets() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    world.pexip.set_password(PASSWORD);
    let mut settings = talkative_settings(&world, Credential::Key, &folder, "trace");
    settings.insert("FUNCTIONS_CUSTOMHANDLER_PORT", taken.local_addr().expect("an address").port().to_string());
    let secrets = known_secrets(&settings["PoolStorage"]);

    let ended = Program::run(&["serve"], settings).await;

    assert_eq!(ended.code, Some(1), "{ended:?}");
    secrets.assert_not_in("a taken port", &[ended.stdout, ended.stderr].concat().join("\n"));
}

/// The panic hook is global, so the test below runs in a process of its own.
#[test]
fn a_panic_is_logged_with_its_location_and_without_its_text() {
    let name = "leaks::commands::panics_like_the_program";
    let this = std::env::current_exe().expect("this program");
    let output = Command::new(this)
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .env("RUST_BACKTRACE", "full")
        .stdin(Stdio::null())
        .output()
        .expect("this program can be run");
    let output_text =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));

    let locations = output_text.matches("tests/api/leaks/commands.rs:").count();
    assert!(locations >= 2 && output_text.contains(r#""message":"panic""#), "each panic has its line: {output_text}");
    let mut secrets = Secrets::default();
    secrets.plant("the password", PASSWORD);
    secrets.plant("a PIN", PINS[0]);
    secrets.assert_not_in("a panic", &output_text);
}

#[test]
#[ignore = "the test above runs it, in a process of its own"]
fn panics_like_the_program() {
    let log_level = Targets::new().with_default(Level::TRACE);
    let config = TelemetryConfig {
        log_level,
        environment: Environment::Local,
        slot: "production".to_owned(),
        otlp_endpoint: None,
        otlp_headers: HeaderMap::new(),
        application_insights: None,
    };
    let (export, _log) = telemetry::start(&config, Format::Json, app::export_http);
    assert!(export.is_none(), "no telemetry is exported");
    for text in [PASSWORD, PINS[0]] {
        let panicked = std::thread::spawn(move || panic!("{text}")).join();
        assert!(panicked.is_err());
    }
}
