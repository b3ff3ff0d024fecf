//! Every upstream call against every fault: what the caller is told, and that the books balance afterwards.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use maxconf_simulators::{Fault, Times};

use crate::support::{Answer, Call, POOL_QUEUE, TestApp, eventually, time_between_readings_passes, within};

const TARGET: usize = 4;

/// Rows that run at the same time: most of them wait for a time limit.
const AT_A_TIME: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    CreateFromPool,
    CreateDirect,
    Delete,
    Look,
    Maintain,
}

/// What the caller is told: a status, and a problem code or where the room came from.
type Told = (u16, &'static str);

const POOL: Told = (200, "pool");
const DIRECT: Told = (200, "direct");
const GONE: Told = (204, "");
const SEEN: Told = (200, "");
const RUN: Told = (200, "");
const NO_ROOM: Told = (503, "no_room");
const REFUSED: Told = (502, "pexip_refused");
const INVALID: Told = (502, "pexip_invalid");
const UNAVAILABLE: Told = (503, "pexip_unavailable");
const TIMEOUT: Told = (504, "pexip_timeout");

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq)]
enum Trouble {
    Fault(Fault),
    /// Nobody listens at its address, so no call to that system gets through.
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

/// What callers are told of trouble at Pexip with a call whose outcome the answer rests on.
#[expect(clippy::match_same_arms, reason = "each arm is a row of the table, for its own reason")]
fn pexips_trouble(fault: &Fault, fine: Told) -> Told {
    match fault {
        Fault::Slow(_) => fine,
        Fault::Stall => TIMEOUT,
        Fault::HangUpBefore | Fault::HangUpAfter => UNAVAILABLE,
        Fault::Status(429 | 503) | Fault::StatusAfter(_) => UNAVAILABLE,
        Fault::Rubbish => INVALID,
        _ => REFUSED,
    }
}

/// The table: what each request is told when each call it makes fails always in this way.
#[expect(clippy::match_same_arms, reason = "each arm is a row of the table, for its own reason")]
fn told(request: Request, call: Call, fault: &Fault) -> Told {
    match (request, call, fault) {
        // Without the queue, or without its clear word, rooms are made directly.
        (Request::CreateFromPool, Call::QueueReceive | Call::QueueClaim, Fault::Slow(_)) => POOL,
        (Request::CreateFromPool, Call::QueueReceive | Call::QueueClaim, _) => DIRECT,
        (Request::CreateFromPool, Call::PexipLookUp, _) => pexips_trouble(fault, POOL),
        // Each room that is gone costs a try; in the end one is made.
        (Request::CreateFromPool, Call::PexipTag, Fault::Status(404)) => DIRECT,
        (Request::CreateFromPool, Call::PexipTag, _) => pexips_trouble(fault, POOL),
        // What follows a hand-out does not touch its answer.
        (Request::CreateFromPool, _, _) => POOL,

        (Request::CreateDirect, Call::PexipCreate, Fault::Slow(_) | Fault::HangUpAfter | Fault::StatusAfter(_)) => {
            DIRECT
        }
        (Request::CreateDirect, Call::PexipLookUp, Fault::Slow(_)) => DIRECT,
        (Request::CreateDirect, _, _) => NO_ROOM,

        // Gone already, or found gone at the second look.
        (Request::Delete, Call::PexipDelete, Fault::Status(404) | Fault::HangUpAfter | Fault::StatusAfter(_)) => GONE,
        (Request::Delete, Call::PexipDelete, _) => pexips_trouble(fault, GONE),
        (Request::Delete, Call::PexipRunning, _) => GONE,
        (Request::Delete, _, _) => pexips_trouble(fault, GONE),

        (Request::Look, _, _) => pexips_trouble(fault, SEEN),
        (Request::Maintain, _, _) => RUN,
    }
}

fn rows() -> Vec<(Request, Call, Trouble)> {
    let faulty = [
        (Request::CreateFromPool, Call::QueueReceive),
        (Request::CreateFromPool, Call::QueueClaim),
        (Request::CreateFromPool, Call::PexipLookUp),
        (Request::CreateFromPool, Call::PexipTag),
        (Request::CreateFromPool, Call::PexipCreate),
        (Request::CreateFromPool, Call::QueuePut),
        (Request::CreateFromPool, Call::QueueCount),
        (Request::CreateDirect, Call::PexipCreate),
        (Request::CreateDirect, Call::PexipLookUp),
        (Request::Delete, Call::PexipLookUp),
        (Request::Delete, Call::PexipDelete),
        (Request::Delete, Call::PexipRunning),
        (Request::Look, Call::PexipLookUp),
        (Request::Maintain, Call::QueueCount),
        (Request::Maintain, Call::QueuePut),
        (Request::Maintain, Call::PexipLookUp),
        (Request::Maintain, Call::PexipCreate),
    ]
    .into_iter()
    .flat_map(|(request, call)| faults().map(|fault| (request, call, Trouble::Fault(fault))));
    // Each with the first call that it makes to the system.
    let refused = [
        (Request::CreateFromPool, Call::QueueReceive),
        (Request::CreateFromPool, Call::PexipLookUp),
        (Request::CreateDirect, Call::PexipCreate),
        (Request::Delete, Call::PexipLookUp),
        (Request::Look, Call::PexipLookUp),
        (Request::Maintain, Call::QueueCount),
        (Request::Maintain, Call::PexipLookUp),
    ]
    .map(|(request, call)| (request, call, Trouble::Refused));
    faulty.chain(refused).collect()
}

#[test]
fn each_fault_of_each_upstream_call_has_its_answer_and_leaves_nothing_behind() {
    let rows = Mutex::new(rows());
    let wrong = Mutex::new(Vec::new());
    // A runtime for each row: they set their clocks each for itself.
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                // A statement of its own: in the loop's head the lock would be held while the row runs.
                let next = || rows.lock().expect("no panic while locked").pop();
                while let Some((request, call, trouble)) = next() {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                    if let Err(row) = runtime.block_on(check_row(request, call, trouble)) {
                        wrong.lock().expect("no panic while locked").push(row);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic while locked");
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

async fn check_row(request: Request, call: Call, trouble: Trouble) -> Result<(), String> {
    let row = format!("{request:?} while {call:?} shows {trouble:?}");
    let seconds_ahead = Arc::new(AtomicU64::new(0));
    let app = start(request, &seconds_ahead).await;
    let room = match request {
        Request::Delete | Request::Look => app.create_room().await.room(),
        Request::CreateFromPool | Request::CreateDirect | Request::Maintain => String::new(),
    };
    cause(&app, call, &trouble).await;

    let answer = match request {
        Request::CreateFromPool | Request::CreateDirect => app.create_room().await,
        Request::Delete => app.delete_room(&room).await,
        Request::Look => app.public_room(&room).await,
        Request::Maintain => app.run_maintenance().await,
    };
    mend(&app, call, &trouble).await;

    let (status, word) = match &trouble {
        Trouble::Fault(fault) => told(request, call, fault),
        // Not done for certain, like a call whose connection is closed.
        Trouble::Refused => told(request, call, &Fault::HangUpBefore),
    };
    if (answer.status.as_u16(), said(&answer).as_str()) != (status, word) {
        return Err(format!("{row}: told {} {:?} instead of {status} {word}", answer.status, said(&answer)));
    }
    if request == Request::Delete
        && (status, word) == GONE
        && app.pexip.room(&room).is_some()
        && trouble != Trouble::Fault(Fault::Status(404))
    {
        return Err(format!("{row}: the room is still there"));
    }
    balance(&app, &seconds_ahead, &answer, target(request)).await.map_err(|unbalanced| format!("{row}: {unbalanced}"))
}

async fn cause(app: &TestApp, call: Call, trouble: &Trouble) {
    match trouble {
        Trouble::Fault(fault) => call.traffic(app).inject(call.matching(), Times::Always, fault.clone()),
        Trouble::Refused => call.refuse_connections(app).await,
    }
}

async fn mend(app: &TestApp, call: Call, trouble: &Trouble) {
    match trouble {
        Trouble::Fault(_) => call.traffic(app).heal(),
        Trouble::Refused => call.accept_connections(app).await,
    }
}

fn target(request: Request) -> usize {
    if request == Request::CreateDirect { 0 } else { TARGET }
}

async fn start(request: Request, seconds_ahead: &Arc<AtomicU64>) -> TestApp {
    let ahead = Arc::clone(seconds_ahead);
    let app = TestApp::with()
        .clock(move || SystemTime::now() + Duration::from_secs(ahead.load(Ordering::Relaxed)))
        .set("POOL_TARGET_SIZE", target(request))
        // Nothing is leased in advance, so that a create makes every call itself.
        .set("POOL_PREFETCH", 0)
        .set("PEXIP_REQUEST_TIMEOUT_SECONDS", 1)
        .start()
        .await;
    if request == Request::CreateFromPool {
        app.fill_pool().await;
    }
    app
}

/// The code of a problem, the source of a room, or nothing.
fn said(answer: &Answer) -> String {
    match answer.header("content-type") {
        "application/problem+json" => answer.json()["code"].as_str().unwrap_or_default().to_owned(),
        _ => answer.header("room-source").to_owned(),
    }
}

/// Once its time is over, every room of ours is either in the pool with its ticket or gone; what a caller was
/// given stays until then.
async fn balance(app: &TestApp, seconds_ahead: &AtomicU64, answer: &Answer, target: usize) -> Result<(), String> {
    if answer.status == 200 && !answer.header("room-source").is_empty() && app.pexip.room(&answer.room()).is_none() {
        return Err("the room that the caller was given is gone".into());
    }
    // Two days: the lifetimes of rooms, tickets and hand-outs, with their margins, are over.
    let days = Duration::from_secs(2 * 86_400);
    seconds_ahead.store(days.as_secs(), Ordering::Relaxed);
    app.pexip.traffic().set_clock_offset(i64::try_from(days.as_secs()).expect("a small number"));
    app.queue.advance(days);
    eventually("a run makes what is missing", async || a_run(app).await.contains("failed 0, swept")).await;
    time_between_readings_passes().await;
    eventually("a run sweeps", async || !a_run(app).await.contains("swept failed")).await;

    let (rooms, messages) = (app.pexip.rooms(), app.queue.messages(POOL_QUEUE));
    let with_ticket = rooms.iter().filter(|room| messages.iter().any(|message| message.text == room.name)).count();
    let tagged = rooms.iter().filter(|room| !room.tag.is_empty()).count();
    // A put that stalled is carried out when it is healed, for a room that is swept by then: such a ticket is dropped
    // when it is received.
    if tagged == 0 && with_ticket == rooms.len() && rooms.len() == target && messages.len() >= target {
        Ok(())
    } else {
        Err(format!(
            "{} rooms, {tagged} with a tag, {with_ticket} with a ticket, {} tickets",
            rooms.len(),
            messages.len()
        ))
    }
}

/// What a maintenance run reports; the one after a refill that is under way.
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
    within("a run", run).await
}
