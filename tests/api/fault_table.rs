//! The fault table: every upstream call with every fault, the answer that the caller gets, and that no room is lost
//! afterwards.

mod instant;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use maxconf_simulators::pexip::Role;
use maxconf_simulators::{Fault, Times};
use reqwest::Method;

use crate::instant::{look_up_request, with_policy};
use crate::support::{Answer, Call, POOL_QUEUE, TestApp, UUI_DATA, eventually, time_between_readings_passes, within};

const TARGET: usize = 4;

/// Maintenance runs until each room must be ended. The second run that finds a room empty ends it; on a busy machine a
/// call of a run may fail, which leaves its room to the next one.
const RUNS: usize = 4;

/// Concurrent rows; most of them wait for a time limit.
const CONCURRENT_ROWS: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    CreateFromPool,
    /// From the pool, with an `Idempotency-Key`.
    CreateWithKey,
    CreateDirect,
    Delete,
    Read,
    Maintain,
    CreateInstant,
    CreateInstantWithKey,
    /// Of an instant room where there is no pool, else of a direct one.
    CreateWithoutPool,
    DeleteInstant,
    ReadInstant,
    LookUp,
    /// Of what is no instant room's name.
    LookUpForeign,
    /// While an instant room is in use.
    MaintainInstant,
}

impl Request {
    fn creates(self) -> bool {
        matches!(
            self,
            Self::CreateFromPool
                | Self::CreateWithKey
                | Self::CreateDirect
                | Self::CreateInstant
                | Self::CreateInstantWithKey
                | Self::CreateWithoutPool
        )
    }

    /// Whether every room is an instant room.
    fn is_instant(self) -> bool {
        matches!(
            self,
            Self::CreateInstant
                | Self::CreateInstantWithKey
                | Self::DeleteInstant
                | Self::ReadInstant
                | Self::LookUp
                | Self::LookUpForeign
                | Self::MaintainInstant
        )
    }
}

/// The caller's answer: a status, and a problem code, the room's source or the answer to a node.
type Expected = (u16, &'static str);

const POOL: Expected = (200, "pool");
const DIRECT: Expected = (200, "direct");
const INSTANT: Expected = (200, "instant");
const LET_IN: Expected = (200, "success");
const CONTINUE: Expected = (200, "continue");
const GONE: Expected = (204, "");
const READ: Expected = (200, "");
const RUN: Expected = (200, "");
const NO_ROOM: Expected = (503, "no_room");
const NO_RECORDS: Expected = (503, "records_unavailable");
const REFUSED: Expected = (502, "pexip_refused");
const INVALID: Expected = (502, "pexip_invalid");
const UNAVAILABLE: Expected = (503, "pexip_unavailable");
const TIMEOUT: Expected = (504, "pexip_timeout");

/// How a call fails.
#[derive(Clone, Debug, PartialEq)]
enum Failure {
    Fault(Fault),
    /// The system's port is closed, so every call to it is refused.
    Refused,
}

fn faults() -> [Fault; 12] {
    [
        Fault::Slow(Duration::from_millis(150)),
        Fault::Stall,
        Fault::HangUpBefore,
        Fault::HangUpAfter,
        Fault::StatusAfter(500),
        Fault::Status(400),
        Fault::Status(401),
        Fault::Status(404),
        Fault::Status(429),
        Fault::Status(503),
        Fault::Rubbish,
        Fault::Redirect("/accounts/login/?next=/".into()),
    ]
}

/// The answer after a failed call to Pexip on whose outcome the answer depends.
#[expect(clippy::match_same_arms, reason = "each arm is a row of the table, for its own reason")]
fn pexip_failure(fault: &Fault, success: Expected) -> Expected {
    match fault {
        Fault::Slow(_) => success,
        Fault::Stall => TIMEOUT,
        Fault::HangUpBefore | Fault::HangUpAfter => UNAVAILABLE,
        Fault::Status(429 | 503) | Fault::StatusAfter(_) => UNAVAILABLE,
        Fault::Rubbish => INVALID,
        _ => REFUSED,
    }
}

/// The table: the answer to each request when every call of one kind fails in this way.
#[expect(clippy::match_same_arms, reason = "each arm is a row of the table, for its own reason")]
fn expected(request: Request, call: Call, fault: &Fault) -> Expected {
    match (request, call, fault) {
        // Without the queue, or with an unclear answer to a claim, the request gets a direct room.
        (Request::CreateFromPool, Call::QueueReceive | Call::QueueClaim, Fault::Slow(_)) => POOL,
        (Request::CreateFromPool, Call::QueueReceive | Call::QueueClaim, _) => DIRECT,
        // Made by this request, as a read shows.
        (Request::CreateFromPool, Call::RecordMake, Fault::Slow(_) | Fault::HangUpAfter | Fault::StatusAfter(_)) => {
            POOL
        }
        // A lost answer of the make, which no other read settles.
        (Request::CreateFromPool, Call::RecordRead, Fault::Slow(_)) => POOL,
        (Request::CreateFromPool, Call::RecordMake | Call::RecordRead, _) => DIRECT,
        (Request::CreateWithKey, Call::RecordMake, Fault::Slow(_) | Fault::HangUpAfter | Fault::StatusAfter(_)) => POOL,
        (Request::CreateWithKey, Call::RecordRead, Fault::Slow(_)) => POOL,
        (Request::CreateWithKey, Call::RecordMake | Call::RecordRead, _) => DIRECT,
        // The key's record is made first and changed last; each write shows by a read that it was this request's.
        (Request::CreateWithKey, Call::KeyWrite, Fault::Slow(_) | Fault::HangUpAfter | Fault::StatusAfter(_)) => POOL,
        (Request::CreateWithKey, Call::KeyRead, Fault::Slow(_)) => POOL,
        (Request::CreateWithKey, _, _) => NO_RECORDS,
        (Request::CreateFromPool, Call::PexipLookUp | Call::PexipToken, _) => pexip_failure(fault, POOL),
        // Each room found missing uses up one try; then a direct room is made.
        (Request::CreateFromPool, Call::PexipTag, Fault::Status(404)) => DIRECT,
        (Request::CreateFromPool, Call::PexipTag, _) => pexip_failure(fault, POOL),
        // Calls after the hand-out do not affect its answer.
        (Request::CreateFromPool, _, _) => POOL,

        (Request::CreateDirect, Call::PexipCreate, Fault::Slow(_) | Fault::HangUpAfter | Fault::StatusAfter(_)) => {
            DIRECT
        }
        (Request::CreateDirect, Call::PexipLookUp | Call::PexipToken, Fault::Slow(_)) => DIRECT,
        (Request::CreateDirect, _, _) => NO_ROOM,

        // Gone already, or found gone by the second look-up.
        (Request::Delete, Call::PexipDelete, Fault::Status(404) | Fault::HangUpAfter | Fault::StatusAfter(_)) => GONE,
        (Request::Delete, Call::PexipDelete, _) => pexip_failure(fault, GONE),
        (Request::Delete, Call::PexipRunning, _) => GONE,
        (Request::Delete, _, _) => pexip_failure(fault, GONE),

        (Request::Read, _, _) => pexip_failure(fault, READ),
        (Request::Maintain | Request::MaintainInstant, _, _) => RUN,

        // Made or ended by this request, as a read shows.
        (
            Request::CreateInstant | Request::CreateInstantWithKey | Request::CreateWithoutPool,
            Call::InstantWrite | Call::KeyWrite,
            Fault::Slow(_) | Fault::HangUpAfter | Fault::StatusAfter(_),
        ) => INSTANT,
        (Request::DeleteInstant, Call::InstantWrite, Fault::HangUpAfter | Fault::StatusAfter(_)) => GONE,
        (Request::CreateInstant | Request::CreateInstantWithKey | Request::CreateWithoutPool, _, Fault::Slow(_)) => {
            INSTANT
        }
        (Request::CreateWithoutPool, _, _) => DIRECT,
        // The conference is disconnected after the answer.
        (Request::DeleteInstant, Call::PexipRunning, _) => GONE,
        (Request::DeleteInstant, _, Fault::Slow(_)) => GONE,
        (Request::ReadInstant, _, Fault::Slow(_)) => READ,
        (Request::LookUp, _, Fault::Slow(_)) => LET_IN,
        // Without a call.
        (Request::LookUpForeign, _, _) => CONTINUE,
        (
            Request::CreateInstant
            | Request::CreateInstantWithKey
            | Request::DeleteInstant
            | Request::ReadInstant
            | Request::LookUp,
            _,
            _,
        ) => NO_RECORDS,
    }
}

fn rows() -> Vec<(Request, Call, Failure)> {
    let faulty = [
        (Request::CreateFromPool, Call::QueueReceive),
        (Request::CreateFromPool, Call::QueueClaim),
        (Request::CreateFromPool, Call::RecordMake),
        (Request::CreateFromPool, Call::RecordRead),
        (Request::CreateWithKey, Call::RecordMake),
        (Request::CreateWithKey, Call::RecordRead),
        (Request::CreateWithKey, Call::KeyWrite),
        (Request::CreateWithKey, Call::KeyRead),
        (Request::CreateFromPool, Call::PexipLookUp),
        (Request::CreateFromPool, Call::PexipTag),
        (Request::CreateFromPool, Call::PexipCreate),
        (Request::CreateFromPool, Call::QueuePut),
        (Request::CreateFromPool, Call::QueueCount),
        (Request::CreateDirect, Call::PexipCreate),
        (Request::CreateDirect, Call::PexipLookUp),
        (Request::CreateFromPool, Call::PexipToken),
        (Request::CreateDirect, Call::PexipToken),
        (Request::Delete, Call::PexipToken),
        (Request::Read, Call::PexipToken),
        (Request::Maintain, Call::PexipToken),
        (Request::Delete, Call::PexipLookUp),
        (Request::Delete, Call::PexipDelete),
        (Request::Delete, Call::PexipRunning),
        (Request::Read, Call::PexipLookUp),
        (Request::Maintain, Call::QueueCount),
        (Request::Maintain, Call::QueuePut),
        (Request::Maintain, Call::PexipLookUp),
        (Request::Maintain, Call::PexipCreate),
        (Request::CreateInstant, Call::InstantWrite),
        (Request::CreateInstant, Call::InstantRead),
        (Request::CreateInstantWithKey, Call::InstantWrite),
        (Request::CreateInstantWithKey, Call::InstantRead),
        (Request::CreateInstantWithKey, Call::KeyWrite),
        (Request::CreateInstantWithKey, Call::KeyRead),
        (Request::CreateWithoutPool, Call::InstantWrite),
        (Request::CreateWithoutPool, Call::InstantRead),
        (Request::DeleteInstant, Call::InstantRead),
        (Request::DeleteInstant, Call::InstantWrite),
        (Request::DeleteInstant, Call::PexipRunning),
        (Request::ReadInstant, Call::InstantRead),
        (Request::LookUp, Call::InstantRead),
        (Request::LookUpForeign, Call::InstantRead),
        (Request::MaintainInstant, Call::InstantRead),
        (Request::MaintainInstant, Call::PexipRunning),
    ]
    .into_iter()
    .flat_map(|(request, call)| faults().map(|fault| (request, call, Failure::Fault(fault))));
    // With refused connections, each request fails at its first call to the system.
    let refused = [
        (Request::CreateFromPool, Call::QueueReceive),
        (Request::CreateFromPool, Call::RecordMake),
        (Request::CreateWithKey, Call::KeyWrite),
        (Request::CreateFromPool, Call::PexipLookUp),
        (Request::CreateDirect, Call::PexipCreate),
        (Request::Delete, Call::PexipLookUp),
        (Request::Read, Call::PexipLookUp),
        (Request::Maintain, Call::QueueCount),
        (Request::Maintain, Call::PexipLookUp),
        (Request::CreateInstant, Call::InstantWrite),
        (Request::CreateInstantWithKey, Call::KeyWrite),
        (Request::CreateWithoutPool, Call::InstantWrite),
        (Request::DeleteInstant, Call::InstantRead),
        (Request::DeleteInstant, Call::PexipRunning),
        (Request::ReadInstant, Call::InstantRead),
        (Request::LookUp, Call::InstantRead),
        (Request::LookUpForeign, Call::InstantRead),
        (Request::MaintainInstant, Call::InstantRead),
    ]
    .map(|(request, call)| (request, call, Failure::Refused));
    faulty.chain(refused).collect()
}

#[test]
fn each_fault_of_each_upstream_call_has_its_answer_and_leaves_no_room_behind() {
    let rows = Mutex::new(rows());
    let wrong = Mutex::new(Vec::new());
    // A runtime for each row, because each row has its own clock.
    std::thread::scope(|scope| {
        for _ in 0..CONCURRENT_ROWS {
            scope.spawn(|| {
                // A separate statement: in the loop's head the lock would be held while the row runs.
                let next = || rows.lock().expect("no panic while locked").pop();
                while let Some((request, call, failure)) = next() {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                    if let Err(row) = runtime.block_on(check_row(request, call, failure)) {
                        wrong.lock().expect("no panic while locked").push(row);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic while locked");
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

async fn check_row(request: Request, call: Call, failure: Failure) -> Result<(), String> {
    let row = format!("{request:?} while {call:?} shows {failure:?}");
    let seconds_ahead = Arc::new(AtomicU64::new(0));
    let app = start(request, call, &seconds_ahead).await;
    let has_room = !request.creates() && request != Request::Maintain;
    let room = if has_room { a_room(&app).await } else { String::new() };
    if matches!(request, Request::DeleteInstant | Request::MaintainInstant) {
        app.pexip.join(&room, Role::Guest);
    }
    // The next call has to fetch a token.
    app.pexip.revoke_oauth2_tokens();
    inject(&app, call, &failure).await;

    let answer = match request {
        Request::CreateWithKey | Request::CreateInstantWithKey => {
            let create = app.request(Method::POST, &format!("room/create?uuiData={UUI_DATA}"));
            app.send(create.bearer_auth(app.entra.token().build()).header("Idempotency-Key", "a-key")).await
        }
        Request::CreateFromPool | Request::CreateDirect | Request::CreateInstant | Request::CreateWithoutPool => {
            app.create_room().await
        }
        Request::Delete | Request::DeleteInstant => app.delete_room(&room).await,
        Request::Read | Request::ReadInstant => app.public_room(&room).await,
        Request::LookUp => app.send(look_up_request(&app, &[("local_alias", &room)])).await,
        Request::LookUpForeign => app.send(look_up_request(&app, &[("local_alias", "boardroom")])).await,
        Request::Maintain | Request::MaintainInstant => app.run_maintenance().await,
    };
    if request == Request::DeleteInstant && call == Call::PexipRunning && failure != Failure::Refused {
        let is_asked = async || app.pexip.traffic().count(&call.matching()) > 0;
        eventually("the conference is looked for after the answer", is_asked).await;
    }
    heal(&app, call, &failure).await;

    let (status, detail) = match &failure {
        Failure::Fault(fault) => expected(request, call, fault),
        // Certainly not carried out, like a call whose connection is closed at once.
        Failure::Refused => expected(request, call, &Fault::HangUpBefore),
    };
    if (answer.status.as_u16(), detail_of(&answer).as_str()) != (status, detail) {
        return Err(format!("{row}: {} {:?} instead of {status} {detail}", answer.status, detail_of(&answer)));
    }
    if request == Request::Delete
        && (status, detail) == GONE
        && app.pexip.room(&room).is_some()
        && failure != Failure::Fault(Fault::Status(404))
    {
        return Err(format!("{row}: the room is still there"));
    }
    if request == Request::MaintainInstant && !app.pexip.is_running(&room) {
        return Err(format!("{row}: whoever was in an open room was disconnected"));
    }
    let is_deleted = request == Request::DeleteInstant && (status, detail) == GONE;
    instant::check_rooms(&app, &answer, is_deleted).await.map_err(|wrong| format!("{row}: {wrong}"))?;
    assert_no_room_is_lost(&app, &seconds_ahead, &answer, target(request))
        .await
        .map_err(|lost| format!("{row}: {lost}"))?;
    instant::check_rooms_are_over(&app).await.map_err(|wrong| format!("{row}: {wrong}"))
}

/// On a busy machine a call may take longer than its limit.
async fn a_room(app: &TestApp) -> String {
    let room = RefCell::default();
    eventually("a room is made", async || {
        let answer = app.create_room().await;
        let is_made = answer.status == 200;
        if is_made {
            room.replace(answer.room());
        }
        is_made
    })
    .await;
    room.into_inner()
}

async fn inject(app: &TestApp, call: Call, failure: &Failure) {
    // Creates read records after lost answers only.
    let lost = match call {
        Call::RecordRead => Some(Call::RecordMake),
        Call::KeyRead => Some(Call::KeyWrite),
        Call::InstantRead => Some(Call::InstantWrite),
        _ => None,
    };
    if let Some(lost) = lost {
        app.blobs.traffic().inject(lost.matching(), Times::Once, Fault::HangUpAfter);
    }
    match failure {
        Failure::Fault(fault) => call.traffic(app).inject(call.matching(), Times::Always, fault.clone()),
        Failure::Refused => call.refuse_connections(app).await,
    }
}

async fn heal(app: &TestApp, call: Call, failure: &Failure) {
    match failure {
        Failure::Fault(_) => call.traffic(app).heal(),
        Failure::Refused => call.accept_connections(app).await,
    }
}

fn target(request: Request) -> usize {
    let has_pool = !request.is_instant() && !matches!(request, Request::CreateDirect | Request::CreateWithoutPool);
    if has_pool { TARGET } else { 0 }
}

async fn start(request: Request, call: Call, seconds_ahead: &Arc<AtomicU64>) -> TestApp {
    let ahead = Arc::clone(seconds_ahead);
    let service = if call == Call::PexipToken { with_policy().oauth2() } else { with_policy() };
    let app = service
        .set("ROOM_SOURCE", if request.is_instant() { "instant" } else { "pool" })
        .set("POOL_EMPTY", if request == Request::CreateWithoutPool { "instant" } else { "direct" })
        .clock(move || SystemTime::now() + Duration::from_secs(ahead.load(Ordering::Relaxed)))
        .set("POOL_TARGET_SIZE", target(request))
        // Without a prefetch a create makes every call itself.
        .set("POOL_PREFETCH", 0)
        .set("PEXIP_REQUEST_TIMEOUT_SECONDS", 1)
        .start()
        .await;
    if matches!(request, Request::CreateFromPool | Request::CreateWithKey) {
        app.fill_pool().await;
    }
    app
}

/// The problem's code, the answer to a node, the room's source, or nothing.
fn detail_of(answer: &Answer) -> String {
    match answer.header("content-type") {
        "application/problem+json" => answer.json()["code"].as_str().unwrap_or_default().to_owned(),
        "application/json" if answer.json()["result"].is_object() => "success".to_owned(),
        "application/json" if answer.json()["action"].is_string() => {
            answer.json()["action"].as_str().unwrap_or_default().to_owned()
        }
        _ => answer.header("room-source").to_owned(),
    }
}

/// Asserts that a handed-out room exists, and that after all lifetimes every room is either in the pool with its message
/// or deleted.
async fn assert_no_room_is_lost(
    app: &TestApp,
    seconds_ahead: &AtomicU64,
    answer: &Answer,
    target: usize,
) -> Result<(), String> {
    if ["pool", "direct"].contains(&answer.header("room-source")) && app.pexip.room(&answer.room()).is_none() {
        return Err("the room in the answer does not exist".into());
    }
    // After two days the lifetimes of rooms, messages and hand-outs have passed, with their margins.
    let days = Duration::from_secs(2 * 86_400);
    seconds_ahead.store(days.as_secs(), Ordering::Relaxed);
    app.pexip.traffic().set_clock_offset(i64::try_from(days.as_secs()).expect("a small number"));
    app.queue.advance(days);
    app.pexip.advance(days);
    for _ in 0..RUNS {
        eventually("a maintenance run fills the pool", async || a_run(app).await.contains("failed 0, swept")).await;
        time_between_readings_passes().await;
    }

    let (rooms, messages) = (app.pexip.rooms(), app.queue.messages(POOL_QUEUE));
    let with_message = rooms.iter().filter(|room| messages.iter().any(|message| message.text == room.name)).count();
    let tagged = rooms.iter().filter(|room| !room.tag.is_empty()).count();
    // A stalled put is carried out after the fault ends, for a room that has been swept by then. That message is dropped
    // when it is received.
    if tagged == 0 && with_message == rooms.len() && rooms.len() == target && messages.len() >= target {
        Ok(())
    } else {
        Err(format!(
            "{} rooms, {tagged} with a tag, {with_message} with a message, {} messages",
            rooms.len(),
            messages.len()
        ))
    }
}

/// The report of a maintenance run. Waits for a run that is already in progress.
async fn a_run(app: &TestApp) -> String {
    let run = async {
        loop {
            let report = app.run_maintenance().await.text;
            if !report.contains("another run") {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("a maintenance run", run).await
}
