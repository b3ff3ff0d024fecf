//! `maxconf pool` as an operator runs it: the real program, with rooms and messages of others beside its own.

mod drain;
mod wait;

use maxconf_simulators::pexip::PASSWORD;
use maxconf_simulators::queue::ACCOUNT_KEY;
use maxconf_simulators::world::RECORDS;
use maxconf_simulators::{Fault, Matching, StoredMessage, StoredRoom, Times, Traffic};
use reqwest::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::{Ended, POOL_QUEUE, Program, Secrets, TAG, World};

const HOUR: i64 = 3600;
const PINS: [&str; 2] = ["2718281828", "3141592653"];

fn name(number: usize) -> String {
    format!("vbv-01jd5p3xk8qqqqqqqqqqqqqq{number:02}")
}

fn mark(name: &str, seconds_from_now: i64) -> String {
    let at = OffsetDateTime::now_utc() + time::Duration::seconds(seconds_from_now);
    format!("{name}={}", at.truncate_to_second().format(&Rfc3339).expect("a time"))
}

fn room(number: usize, description: &str) -> StoredRoom {
    StoredRoom::named(name(number)).with_pins(PINS[0], PINS[1]).described(description)
}

/// A room in the pool.
fn ready(number: usize) -> StoredRoom {
    room(number, &mark("ready-until", HOUR))
}

/// A room that a citizen has.
fn handed_out(number: usize, seconds_ago: i64) -> StoredRoom {
    room(number, &mark("handed-out", -seconds_ago)).tagged(TAG)
}

fn put_into_pool(world: &World, room: StoredRoom) {
    world.queue.put(POOL_QUEUE, &room.name);
    world.pexip.insert(room);
}

/// All rooms and messages.
fn everything(world: &World) -> (Vec<StoredRoom>, Vec<StoredMessage>) {
    (world.pexip.rooms(), world.queue.messages(POOL_QUEUE))
}

fn names(world: &World) -> Vec<String> {
    let mut names: Vec<_> = world.pexip.rooms().into_iter().map(|room| room.name).collect();
    names.sort();
    names
}

pub(crate) fn assert_only_read(traffic: &Traffic) {
    for exchange in traffic.log() {
        let fetches_token = exchange.path == "/oauth/token/" && exchange.method == Method::POST;
        assert!(exchange.method == Method::GET || fetches_token, "{exchange:?}");
        // A receive is a GET too, and hides what it finds.
        let received = exchange.path.ends_with("/messages") && !exchange.query.contains("peekonly");
        assert!(!received, "{exchange:?}");
    }
}

fn start(world: &World, command: &str, settings: &[(&'static str, &str)]) -> Program {
    let mut all = world.settings();
    all.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let arguments: Vec<_> = ["pool"].into_iter().chain(command.split(' ')).collect();
    Program::start(&arguments, all)
}

/// Runs a command, and checks that its output holds no secret.
async fn run_with(world: &World, command: &str, settings: &[(&'static str, &str)]) -> Ended {
    let mut secrets = Secrets::default();
    for secret in [PINS[0], PINS[1], TAG, PASSWORD, ACCOUNT_KEY] {
        secrets.plant("a secret", secret);
    }
    let ended = start(world, command, settings).ended().await;
    secrets.assert_not_in(command, &[ended.stdout.as_slice(), &ended.stderr].concat().join("\n"));
    ended
}

async fn run(world: &World, command: &str) -> Ended {
    run_with(world, command, &[]).await
}

fn result(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout.join("\n")).unwrap_or_else(|_| panic!("not JSON: {ended:?}"))
}

#[track_caller]
fn assert_succeeded(ended: &Ended) {
    assert_eq!((ended.code, ended.stderr.is_empty()), (Some(0), true), "{ended:?}");
}

#[track_caller]
fn assert_failed(ended: &Ended, cause: &str) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let stderr = ended.stderr.join("\n");
    assert!(stderr.starts_with("maxconf: ") && stderr.contains(cause), "{cause:?} is not in {stderr:?}");
}

/// Rooms of each kind, some of them with messages.
async fn a_world_of_all_kinds() -> World {
    let world = World::start().await;
    put_into_pool(&world, ready(1));
    put_into_pool(&world, ready(2));
    put_into_pool(&world, room(3, &mark("ready-until", 86_400)));
    for room in [
        room(4, &mark("ready-until", -60)),
        room(5, &mark("ready-until", -2 * HOUR)),
        handed_out(6, 60),
        handed_out(7, 6 * HOUR),
        handed_out(8, 14 * HOUR),
        room(9, "a note of an operator"),
        StoredRoom::named("boardroom").tagged(TAG),
        StoredRoom::named("edge-01jd5p3xk8qqqqqqqqqqqqqqqq").described(mark("ready-until", HOUR)),
    ] {
        world.pexip.insert(room);
    }
    world.queue.put(POOL_QUEUE, "junk");
    world.queue.put(&format!("{POOL_QUEUE}-poison"), "older junk");
    world
}

#[tokio::test]
async fn status_counts_everything_and_changes_nothing() {
    let world = a_world_of_all_kinds().await;
    let before = everything(&world);
    let settings = [("POOL_READY_DELAY_SECONDS", "90"), ("POOL_MAX_ROOMS", "500"), ("POOL_TARGET_SIZE", "6")];

    let ended = run_with(&world, "status --json", &settings).await;

    assert_succeeded(&ended);
    assert_eq!(
        result(&ended),
        json!({
            "queue": { "name": POOL_QUEUE, "exists": true, "messages": 4, "poison_messages": 1 },
            "rooms": {
                "prefix": "vbv-", "total": 9, "max": 500,
                "ready": 2, "warming": 1, "past_age": 2, "handed_out": 3, "unmarked": 1,
            },
            "pool": { "in_pool": 3, "target": 6, "missing": 3 },
            "claims": { "looked_at": 4, "claimed_before": 0, "copies": 0 },
            "sweep_due": { "unused": 1, "past_lifetime": 1, "past_absolute_lifetime": 1 },
        })
    );
    let readable = run_with(&world, "status", &settings).await;
    assert_succeeded(&readable);
    for (label, number) in [
        ("In the pool", 3),
        ("Missing", 3),
        ("Messages in the queue", 4),
        ("Poison messages", 1),
        ("Rooms on Pexip", 9),
        ("ready", 2),
        ("warming", 1),
        ("past age", 2),
        ("handed out", 3),
        ("unmarked", 1),
        ("unused", 1),
        ("past lifetime", 1),
        ("past absolute lifetime", 1),
    ] {
        let line = readable.stdout.iter().find(|line| line.trim_start().starts_with(label)).expect(label);
        let shown = line.trim_start()[label.len()..].split_whitespace().next();
        assert_eq!(shown, Some(number.to_string().as_str()), "{readable:#?}");
    }
    assert_eq!(everything(&world), before);
    assert_only_read(world.pexip.traffic());
    assert_only_read(world.queue.traffic());
}

#[tokio::test]
async fn messages_of_claimed_rooms_and_copies_are_counted_and_kept() {
    let world = World::start().await;
    (1..=3).for_each(|number| put_into_pool(&world, ready(number)));
    world.queue.put(POOL_QUEUE, &name(2));
    world.queue.put(POOL_QUEUE, &name(2));
    for claimed in [1, 2, 4] {
        world.blobs.put(RECORDS, &format!("claims/{}", name(claimed)), "{}");
    }
    let before = (everything(&world), world.blobs.blobs(RECORDS));

    let ended = run(&world, "status --json").await;

    assert_succeeded(&ended);
    assert_eq!(result(&ended)["claims"], json!({ "looked_at": 5, "claimed_before": 4, "copies": 2 }));
    let readable = run(&world, "status").await;
    for line in
        ["Messages looked at            5", "  claimed before              4", "  copies                      2"]
    {
        assert!(readable.stdout.iter().any(|shown| shown.starts_with(line)), "{line}: {readable:#?}");
    }
    assert_eq!((everything(&world), world.blobs.blobs(RECORDS)), before);
    [world.queue.traffic(), world.blobs.traffic()].into_iter().for_each(assert_only_read);
}

#[tokio::test]
async fn status_without_the_room_records_says_what_it_cannot_tell() {
    let world = World::start().await;
    put_into_pool(&world, ready(1));
    world.blobs.traffic().inject(Matching::any(), Times::Always, Fault::Status(503));

    let ended = run(&world, "status --json").await;

    assert_succeeded(&ended);
    assert_eq!((&result(&ended)["claims"], &result(&ended)["pool"]["in_pool"]), (&Value::Null, &json!(1)));
    let readable = run(&world, "status").await;
    let line = "Messages looked at            ?  the storage service answered 503";
    assert!(readable.stdout.iter().any(|shown| shown == line), "{readable:#?}");
}

#[tokio::test]
async fn status_before_the_first_run_is_empty_and_creates_no_queue() {
    let world = World::start().await;

    let ended = run(&world, "status --json").await;

    assert_succeeded(&ended);
    let status = result(&ended);
    let queue = json!({ "name": POOL_QUEUE, "exists": false, "messages": 0, "poison_messages": 0 });
    assert_eq!(status["queue"], queue);
    assert_eq!(status["pool"], json!({ "in_pool": 0, "target": 4, "missing": 4 }));
    let readable = run(&world, "status").await;
    assert!(readable.stdout.iter().any(|line| line.contains("no such queue yet")), "{readable:#?}");
    assert_only_read(world.queue.traffic());
}

#[tokio::test]
async fn rooms_with_marks_in_the_years_0000_and_9999_are_counted() {
    let world = World::start().await;
    for (number, year) in [(1, "9999"), (2, "0000")] {
        world.pexip.insert(room(number, &format!("ready-until={year}-12-31T23:59:59Z")));
        world.pexip.insert(room(10 + number, &format!("handed-out={year}-12-31T23:59:59Z")).tagged(TAG));
    }

    let ended = run(&world, "status --json").await;

    assert_succeeded(&ended);
    assert_eq!((&result(&ended)["rooms"]["past_age"], &result(&ended)["rooms"]["handed_out"]), (&json!(1), &json!(2)));
    let due = json!({ "unused": 1, "past_lifetime": 0, "past_absolute_lifetime": 1 });
    assert_eq!(result(&ended)["sweep_due"], due);
}

#[tokio::test]
async fn fill_makes_the_missing_rooms_once() {
    let world = World::start().await;

    let first = run(&world, "fill --json").await;
    let second = run(&world, "fill").await;

    assert_succeeded(&first);
    assert_eq!(result(&first), json!({ "dry_run": false, "in_pool_before": 0, "to_make": 4, "made": 4 }));
    assert_succeeded(&second);
    assert_eq!(second.stdout, ["4 rooms are in the pool; none are missing."]);
    let mut waiting: Vec<_> = world.queue.messages(POOL_QUEUE).into_iter().map(|message| message.text).collect();
    waiting.sort();
    assert_eq!((names(&world), waiting.len()), (waiting, 4));
    assert!(world.pexip.rooms().iter().all(|room| room.tag.is_empty() && room.description.starts_with("ready-until=")));
    let received = Matching::method(Method::GET).path_contains("/messages");
    assert_eq!(world.queue.traffic().count(&received), 0, "no background task runs");
}

#[tokio::test]
async fn fill_respects_pool_max_rooms_and_does_not_sweep() {
    let world = World::start().await;
    world.pexip.insert(room(1, &mark("ready-until", -100 * HOUR)));
    world.pexip.insert(handed_out(2, 100 * HOUR));

    let ended = run_with(&world, "fill --json", &[("POOL_MAX_ROOMS", "5")]).await;

    assert_succeeded(&ended);
    assert_eq!(result(&ended)["made"], 3);
    assert_eq!(world.pexip.rooms().len(), 5);
    assert_eq!(world.pexip.traffic().count(&Matching::method(Method::DELETE)), 0);
}

#[tokio::test]
async fn a_dry_run_reports_what_would_be_done_and_changes_nothing() {
    let world = a_world_of_all_kinds().await;
    let before = everything(&world);
    let settings = [("POOL_TARGET_SIZE", "7")];

    let fill = run_with(&world, "fill --dry-run --json", &settings).await;
    let drain = run_with(&world, "drain --dry-run --json", &settings).await;
    let readable = [
        run_with(&world, "fill --dry-run", &settings).await.stdout,
        // `--yes` has no effect.
        run_with(&world, "drain --dry-run --yes", &settings).await.stdout,
    ];

    assert_succeeded(&fill);
    assert_eq!(result(&fill), json!({ "dry_run": true, "in_pool_before": 3, "to_make": 4, "made": 0 }));
    assert_succeeded(&drain);
    assert_eq!(result(&drain), json!({ "dry_run": true, "messages": 4, "rooms_at_most": 3 }));
    assert_eq!(
        readable.concat(),
        ["3 rooms are in the pool; 4 would be made.", "4 messages and up to 3 rooms would be deleted."]
    );
    assert_eq!(everything(&world), before);
    assert_only_read(world.pexip.traffic());
    assert_only_read(world.queue.traffic());
}

#[tokio::test]
async fn a_retry_after_of_pexip_is_respected_and_reported() {
    let busy =
        || Fault::StatusWith { status: 429, headers: vec![("retry-after".into(), "1".into())], body: String::new() };
    for (command, matching, made) in [
        ("status", Matching::method(Method::GET), false),
        ("fill", Matching::method(Method::POST), true),
        ("drain --yes", Matching::method(Method::DELETE), false),
    ] {
        let world = World::start().await;
        put_into_pool(&world, ready(1));
        world.pexip.traffic().inject(matching, Times::Once, busy());

        let ended = run(&world, command).await;

        assert_eq!(ended.code, Some(0), "{command}: {ended:?}");
        assert!(ended.stderr.iter().any(|line| line.contains("waiting 1 s")), "{command}: {ended:?}");
        let rooms = world.pexip.rooms().len();
        let expected = if made { 4 } else { usize::from(command == "status") };
        assert_eq!(rooms, expected, "{command}");
    }
}

#[tokio::test]
async fn a_failure_is_reported_with_its_remedy_and_no_message_is_claimed() {
    let world = World::start().await;
    put_into_pool(&world, ready(1));
    let commands = ["status", "status --json", "fill", "fill --dry-run", "drain --yes", "drain --dry-run"];

    for command in commands {
        let wrong = run_with(&world, command, &[("PEXIP_PASSWORD", "not-the-password")]).await;
        assert_failed(&wrong, "Pexip refuses our account (401); check PEXIP_USERNAME, PEXIP_PASSWORD");
        assert!(!wrong.stderr.concat().contains("not-the-password"), "{wrong:?}");
    }
    world.pexip.stop().await;
    for command in commands {
        assert_failed(
            &run(&world, command).await,
            "Pexip cannot be reached (TCP: connection refused); check PEXIP_MANAGEMENT_URL",
        );
    }
    assert!(world.queue.messages(POOL_QUEUE)[0].visible, "not even leased");

    world.queue.stop().await;
    for command in commands {
        assert_failed(&run(&world, command).await, "check PoolStorage");
    }
}

#[tokio::test]
async fn a_failed_fill_reports_how_many_rooms_it_made() {
    let world = World::start().await;
    let refused = Fault::StatusWith {
        status: 400,
        headers: vec![("content-type".into(), "application/json".into())],
        body: json!({ "conference": { "pin": [format!("{} cannot be used", PINS[0])] } }).to_string(),
    };
    world.pexip.traffic().inject(Matching::method(Method::POST), Times::Always, refused);

    let ended = run(&world, "fill --json").await;

    assert_failed(&ended, "fields: pin");
    assert_eq!(result(&ended)["made"], 0);
}

#[tokio::test]
async fn invalid_settings_have_their_own_exit_code() {
    for command in ["status", "fill", "drain --yes"] {
        let ended = Program::run(&[&["pool"], command.split(' ').collect::<Vec<_>>().as_slice()].concat(), []).await;

        assert_eq!(ended.code, Some(78), "{ended:?}");
    }
}
