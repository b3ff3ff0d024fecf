//! `maxconf doctor` as an operator runs it: the real program in a world with one fault.

mod certificates;
mod endless_lists;
mod faults;
mod identity;
mod no_answer;
mod policy;
mod texts;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use maxconf_simulators::operator::POLICY_ACCOUNT;
use maxconf_simulators::pexip::{PASSWORD, SinkTimes};
use maxconf_simulators::queue::ACCOUNT_KEY;
use maxconf_simulators::world::RECORDS;
use maxconf_simulators::{Fault, Matching, StoredRoom, Times, Traffic};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::pool_command::assert_only_read;
use crate::support::{ALWAYS_OPEN, Ended, POOL_QUEUE, Program, Secrets, TAG, World, eventually, opening_in};

const EVENT_USERNAME: &str = "conferencing-nodes";
const EVENT_PASSWORD: &str = "password-of-the-conferencing-nodes";
const EVENTS_URL: &str = "http://127.0.0.1:1/public/event_sink";
const HOST_PIN: &str = "27182818";
const GUEST_PIN: &str = "31415926";
const DIAL_OUT: u64 = 7;
const CLAIM: &str = "claims/vbv-01jd5p3xk8qqqqqqqqqqqqqq09";

/// Programs that run concurrently.
const CONCURRENT_RUNS: usize = 4;

/// Every check, in order.
const CHECKS: [&str; 54] = [
    "settings/all",
    "settings/rate_limit",
    "pexip/hours",
    "pexip/name",
    "pexip/connection",
    "pexip/certificate",
    "pexip/clock",
    "pexip/account",
    "pexip/release",
    "pexip/pins",
    "pexip/shown_pins",
    "pexip/several_names",
    "pexip/automatic_participants",
    "pexip/room_properties",
    "pexip/ready_delay",
    "pexip/event_sink",
    "pexip/policy_server",
    "pexip/policy_switches",
    "pexip/policy_locations",
    "pexip/policy_answers",
    "pexip/writing",
    "storage/name",
    "storage/connection",
    "storage/certificate",
    "storage/clock",
    "storage/access",
    "storage/queue",
    "storage/other_queues",
    "storage/writing",
    "records/name",
    "records/connection",
    "records/certificate",
    "records/clock",
    "records/access",
    "records/container",
    "records/public_access",
    "records/lifecycle",
    "records/kept_copies",
    "records/writing",
    "entra/name",
    "entra/connection",
    "entra/certificate",
    "entra/clock",
    "entra/keys_v1",
    "entra/keys_v2",
    "entra/audience",
    "entra/roles",
    "genesys/name",
    "genesys/connection",
    "genesys/certificate",
    "genesys/clock",
    "genesys/api",
    "pool/stock",
    "pool/dialled_legs",
];

type Settings = HashMap<&'static str, String>;

/// A world without faults, and the settings of a service there.
async fn a_healthy_world() -> (World, Settings) {
    with_healthy_service(World::start().await)
}

fn with_healthy_service(world: World) -> (World, Settings) {
    let until = (OffsetDateTime::now_utc() + time::Duration::hours(1)).truncate_to_second();
    for number in 1..=4 {
        let name = format!("vbv-01jd5p3xk8qqqqqqqqqqqqqq{number:02}");
        let mark = format!("ready-until={}", until.format(&Rfc3339).expect("a time"));
        world.queue.put(POOL_QUEUE, &name);
        world.pexip.insert(StoredRoom::named(name).with_pins(HOST_PIN, GUEST_PIN).described(mark));
    }
    let citizens = StoredRoom::named("vbv-01jd5p3xk8qqqqqqqqqqqqqq09").with_pins(HOST_PIN, GUEST_PIN).tagged(TAG);
    world.pexip.insert(citizens.described(format!(
        "handed-out={}",
        OffsetDateTime::now_utc().truncate_to_second().format(&Rfc3339).expect("a time")
    )));
    world.blobs.put(RECORDS, CLAIM, "{}");
    world.pexip.add_automatic_participant(DIAL_OUT, "sip:queue@sbc.example.org");
    let sink = world.pexip.add_event_sink(EVENTS_URL.parse().expect("a URL"), EVENT_USERNAME, EVENT_PASSWORD);
    // No service runs that could receive events.
    sink.hold();

    let mut settings = world.settings();
    settings.extend([
        ("ROOM_HOST_PIN", HOST_PIN.to_owned()),
        ("ROOM_AUTOMATIC_PARTICIPANTS", DIAL_OUT.to_string()),
        ("POOL_READY_DELAY_SECONDS", "90".to_owned()),
        ("PEXIP_EVENT_USERNAME", EVENT_USERNAME.to_owned()),
        ("PEXIP_EVENT_PASSWORD", EVENT_PASSWORD.to_owned()),
    ]);
    (world, settings)
}

fn traffics(world: &World) -> [&Traffic; 5] {
    let storage = (world.queue.traffic(), world.blobs.traffic());
    [world.pexip.traffic(), storage.0, storage.1, world.entra.traffic(), world.genesys.traffic()]
}

/// Runs the doctor, and checks that its output holds no secret.
async fn run(settings: &Settings, arguments: &[&str]) -> Ended {
    let mut secrets = Secrets::default();
    for secret in [PASSWORD, ACCOUNT_KEY, EVENT_PASSWORD, POLICY_ACCOUNT.1, HOST_PIN, GUEST_PIN, TAG] {
        secrets.plant("a secret", secret);
    }
    if let Some((_, signature)) = settings.get("PoolStorage").and_then(|connection| connection.split_once("sig=")) {
        secrets.plant("a signature", signature.split('&').next().unwrap_or_default().trim_end_matches(';'));
    }
    let arguments = [&["doctor"], arguments].concat();
    let ended = Program::run(&arguments, settings.iter().map(|(name, value)| (*name, value.clone()))).await;
    secrets.assert_not_in("doctor", &[ended.stdout.as_slice(), &ended.stderr].concat().join("\n"));
    assert!(ended.stderr.is_empty(), "{ended:?}");
    ended
}

/// The JSON report, and the exit code.
async fn examine(settings: &Settings) -> (Value, Option<i32>) {
    let ended = run(settings, &["--json"]).await;
    let report = serde_json::from_str(&ended.stdout.join("\n")).unwrap_or_else(|_| panic!("not JSON: {ended:?}"));
    (report, ended.code)
}

/// The checks with this verdict.
fn checks(report: &Value, verdict: &str) -> BTreeSet<String> {
    let findings = report["findings"].as_array().expect("findings");
    let found = findings.iter().filter(|finding| finding["verdict"] == verdict);
    let checks: BTreeSet<_> = found.map(name).collect();
    assert_eq!(report[verdict], checks.len(), "{report:#}");
    checks
}

/// The text of one check, and its remedy.
#[track_caller]
fn texts<'a>(report: &'a Value, check: &str) -> (&'a str, &'a str) {
    let findings = report["findings"].as_array().expect("findings");
    let finding = findings.iter().find(|finding| name(finding) == check).unwrap_or_else(|| panic!("no {check}"));
    (finding["says"].as_str().expect("text"), finding["to_do"].as_str().unwrap_or_default())
}

fn name(finding: &Value) -> String {
    format!("{}/{}", finding["system"].as_str().expect("a system"), finding["check"].as_str().expect("a check"))
}

fn set(checks: &[&str]) -> BTreeSet<String> {
    checks.iter().map(|&check| check.to_owned()).collect()
}

/// Describes the report unless exactly these checks are not fine or warnings, each with a remedy, and the exit code
/// follows from them.
fn difference((report, code): &(Value, Option<i32>), not_fine: &[&str], warnings: &[&str]) -> Option<String> {
    let found = (checks(report, "not_fine"), checks(report, "warning"), *code);
    let expected = (set(not_fine), set(warnings), Some(i32::from(!not_fine.is_empty())));
    let findings = report["findings"].as_array().expect("findings");
    let is_complete = |finding: &Value| {
        let needs_remedy = finding["verdict"] == "not_fine" || finding["verdict"] == "warning";
        let is_text = |member: &str| finding[member].as_str().is_some_and(|text| !text.is_empty());
        is_text("says") && is_text("to_do") == needs_remedy
    };
    (found != expected || !findings.iter().all(is_complete)).then(|| format!("{found:?} in {report:#}"))
}

#[track_caller]
fn assert_found(what: &str, found: &(Value, Option<i32>), not_fine: &[&str], warnings: &[&str]) {
    let difference = difference(found, not_fine, warnings);
    assert!(difference.is_none(), "{what}: {}", difference.unwrap_or_default());
}

#[tokio::test]
async fn every_check_of_a_healthy_world_is_fine_and_nothing_changes() {
    let (world, settings) = a_healthy_world().await;
    let state = || (world.pexip.rooms(), world.queue.messages(POOL_QUEUE), world.blobs.blobs(RECORDS));
    let before = state();

    let found = examine(&settings).await;

    assert_found("no fault", &found, &[], &[]);
    let every_check: Vec<_> = found.0["findings"].as_array().expect("findings").iter().map(name).collect();
    assert_eq!(every_check, CHECKS);
    assert_eq!(checks(&found.0, "could_not_tell"), set(&["pexip/writing", "records/lifecycle"]));
    assert_eq!(state(), before);
    for traffic in traffics(&world) {
        assert!(!traffic.log().is_empty(), "each system is examined");
        assert_only_read(traffic);
    }
}

#[tokio::test]
async fn the_text_has_a_line_for_each_check_and_its_remedy_below() {
    let (world, settings) = a_healthy_world().await;
    world.pexip.set_min_pin_length(9);

    let ended = run(&settings, &[]).await;

    assert_eq!(ended.code, Some(1));
    let lines = |begin: &str| ended.stdout.iter().filter(|line| line.trim_start().starts_with(begin)).count();
    // The four checks of policy, which is off, share a line, and so do those of Entra's keys.
    assert_eq!((lines("fine "), lines("could not tell "), lines("not fine ")), (CHECKS.len() - 7, 2, 1), "{ended:?}");
    let pins = ended.stdout.iter().position(|line| line.contains("not fine")).expect("the fault");
    assert!(ended.stdout[pins].contains("ROOM_HOST_PIN is too short"), "{ended:?}");
    assert!(ended.stdout[pins + 1].contains("→ set ROOM_HOST_PIN to at least 9 digits"), "{ended:?}");
    let summary = format!("1 not fine, 0 warning, 2 could not tell, {} fine", CHECKS.len() - 3);
    assert_eq!(ended.stdout.last().expect("a last line"), &summary);
}

#[tokio::test]
async fn the_text_of_a_check_with_a_long_name_is_on_the_next_line() {
    let (_world, mut settings) = a_healthy_world().await;
    settings.remove("GENESYS_ORGANIZATION_ID");

    let ended = run(&settings, &[]).await;

    let lines: Vec<_> = ended.stdout.iter().map(|line| line.trim()).collect();
    let fault = lines.iter().position(|line| line.contains("GENESYS_ORGANIZATION_ID")).expect("the fault");
    assert_eq!(lines[fault..fault + 2], ["not fine       GENESYS_ORGANIZATION_ID", "is not set"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_found_by_its_own_check() {
    let wrong: Vec<_> = stream::iter(faults::FAULTS)
        .map(async |fault| {
            let (world, mut settings) = a_healthy_world().await;
            (fault.cause)(&world, &mut settings);
            let found = examine(&settings).await;
            traffics(&world).into_iter().for_each(assert_only_read);
            difference(&found, fault.not_fine, fault.warnings).map(|difference| format!("{}: {difference}", fault.what))
        })
        .buffer_unordered(CONCURRENT_RUNS)
        .filter_map(async |wrong| wrong)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_node_that_is_off_is_no_fault_out_of_hours_only() {
    let (hours, opening) = opening_in(90);
    for (off, check) in [(None, "pexip/connection"), (Some(Fault::Status(503)), "pexip/account")] {
        let (world, mut settings) = a_healthy_world().await;
        match off {
            None => world.pexip.stop().await,
            Some(fault) => world.pexip.traffic().inject(Matching::any(), Times::Always, fault),
        }
        settings.insert("SERVICE_HOURS", hours.clone());
        let found = examine(&settings).await;
        assert_found("closed", &found, &[], &[]);
        assert!(checks(&found.0, "could_not_tell").contains(check), "{:#}", found.0);
        assert!(texts(&found.0, check).0.starts_with("Pexip is closed by SERVICE_HOURS: "), "{:#}", found.0);
        let until = format!("closed until {}, by SERVICE_HOURS", opening.format(&Rfc3339).expect("a time"));
        assert_eq!(texts(&found.0, "pexip/hours").0, until);

        settings.insert("SERVICE_HOURS", ALWAYS_OPEN.to_owned());
        assert_found("an outage", &examine(&settings).await, &[check], &[]);
    }
}

#[tokio::test]
async fn the_reason_for_the_nodes_maintenance_is_reported() {
    let (world, settings) = a_healthy_world().await;
    world.pexip.set_maintenance(Some("upgrade\nto 41"));

    let (report, _) = examine(&settings).await;

    let expected = r"none of 1 Conferencing Nodes is in service (maintenance: upgrade\nto 41): nobody can join a room";
    assert_eq!(texts(&report, "pexip/release").0, expected);
}

#[tokio::test]
async fn a_stopped_event_sink_is_found_by_its_alarm() {
    let (world, settings) = a_healthy_world().await;
    let sink = world.pexip.add_event_sink(EVENTS_URL.parse().expect("a URL"), EVENT_USERNAME, EVENT_PASSWORD);
    let short = Duration::from_millis(1);
    sink.set_times(SinkTimes { timeout: Duration::from_secs(1), first_pause: short, longest_pause: short });
    world.pexip.dial_out_leg("somebody-elses-room");
    eventually("the sink stops", async || !sink.stopped_nodes().is_empty()).await;

    let found = examine(&settings).await;

    assert_found("a stopped sink", &found, &["pexip/event_sink"], &[]);
}

#[tokio::test]
async fn all_invalid_settings_are_named_and_the_other_systems_are_examined() {
    let (world, mut settings) = a_healthy_world().await;
    settings.insert("PEXIP_PASSWORD", String::new());
    settings.insert("CORS_ALLOWED_ORIGINS", "nonsense".to_owned());
    world.entra.traffic().set_clock_offset(-90);

    let (report, code) = examine(&settings).await;

    assert_eq!(code, Some(78));
    let expected = ["settings/PEXIP_PASSWORD", "settings/CORS_ALLOWED_ORIGINS", "entra/clock"];
    assert_eq!(checks(&report, "not_fine"), set(&expected), "{report:#}");
    let fine = checks(&report, "fine");
    for check in ["pexip/connection", "storage/access", "storage/queue", "entra/keys_v2", "genesys/api"] {
        assert!(fine.contains(check), "{check}: {report:#}");
    }
    let not_tried = checks(&report, "could_not_tell");
    assert!(not_tried.contains("pexip/account") && not_tried.contains("pool/stock"), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_repeats_the_request_reveals_no_secret() {
    let rows = [200, 302, 400, 401, 404, 500].into_iter().flat_map(|status| [(status, true), (status, false)]);
    stream::iter(rows)
        .map(async |(status, with_signature)| {
            let (world, mut settings) = a_healthy_world().await;
            if with_signature {
                settings.insert("PoolStorage", world.sas_connection_string());
            }
            for traffic in traffics(&world) {
                traffic.inject(Matching::any(), Times::Always, Fault::Echo(status));
            }
            let ended = run(&settings, &[]).await;
            assert_eq!(ended.code, Some(1), "{status}: {ended:?}");
        })
        .buffer_unordered(CONCURRENT_RUNS)
        .collect::<()>()
        .await;
}
