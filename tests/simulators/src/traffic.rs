//! The log of a simulator's requests, and injected faults.

mod fault;
mod log;
mod matching;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::sync::{broadcast, watch};

use crate::server::Connection;

pub use fault::{Fault, MakePage, Times};
pub use log::{End, Exchange, Followed};
pub use matching::Matching;

use fault::Rule;
use log::{Log, Logged};

/// Largest accepted body, above every request of the service and the queue's limit of 64 KiB.
const MAX_REQUEST_BODY: usize = 4 * 1024 * 1024;

/// Largest answer that is read for those who follow.
const MAX_ANSWER_BODY: usize = 64 * 1024 * 1024;

/// The log and the faults of one simulator; clones share them.
#[derive(Clone, Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    log: Log,
    rules: Mutex<Vec<Rule>>,
    /// Counts the calls of `heal`, so that stalled requests notice.
    healed: watch::Sender<u64>,
    clock_offset: AtomicI64,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                log: Log::default(),
                rules: Mutex::default(),
                healed: watch::Sender::new(0),
                clock_offset: AtomicI64::new(0),
            }),
        }
    }
}

impl Traffic {
    /// Adds log and faults to a router.
    pub fn watch(&self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self.clone(), pass))
    }

    /// The last 100,000 exchanges in the order of their arrival.
    pub fn log(&self) -> Vec<Exchange> {
        self.shared.log.exchanges()
    }

    /// Clears the log.
    pub fn clear(&self) {
        self.shared.log.clear();
    }

    /// Number of matching exchanges in the log.
    pub fn count(&self, matching: &Matching) -> usize {
        self.shared.log.count(matching)
    }

    /// A stream of exchanges as they end, by an answer or by a cut connection.
    pub fn subscribe(&self) -> broadcast::Receiver<Exchange> {
        self.shared.log.subscribe()
    }

    /// A stream of exchanges with their bodies, each as it begins and as it ends. While somebody follows, answers are read
    /// to their end before they are sent on, except streams of events.
    pub fn follow(&self) -> broadcast::Receiver<Followed> {
        self.shared.log.follow()
    }

    /// Applies `fault` to the next matching requests. Of several matching rules the oldest applies.
    pub fn inject(&self, matching: Matching, times: Times, fault: Fault) {
        self.rules().push(Rule::new(matching, times, fault));
    }

    /// Removes all faults; stalled requests are processed and answered.
    pub fn heal(&self) {
        let mut rules = self.rules();
        rules.clear();
        self.shared.healed.send_modify(|healed| *healed += 1);
    }

    /// Moves the clock of the `Date` header by this many seconds.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.shared.clock_offset.store(seconds, Ordering::Relaxed);
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault for a request, and the news of every `heal` after that.
    fn fault_for(&self, exchange: &Exchange) -> (Option<Fault>, watch::Receiver<u64>) {
        let mut rules = self.rules();
        // While the rules are locked: the request would never notice a `heal` between the two.
        let healed = self.shared.healed.subscribe();
        let Some(at) = rules.iter().position(|rule| rule.matches(exchange)) else { return (None, healed) };
        let fault = rules[at].show();
        if rules[at].is_spent() {
            rules.remove(at);
        }
        (Some(fault), healed)
    }

    /// Rounded down to the second, the resolution of HTTP dates.
    fn date(&self) -> HeaderValue {
        let offset = self.shared.clock_offset.load(Ordering::Relaxed);
        let distance = Duration::from_secs(offset.unsigned_abs());
        let now = SystemTime::now();
        let shown = if offset < 0 { now - distance } else { now + distance };
        HeaderValue::try_from(httpdate::fmt_http_date(shown)).expect("a date is plain ASCII")
    }
}

async fn pass(State(traffic): State<Traffic>, request: Request, next: Next) -> Response {
    let connection =
        request.extensions().get::<Connection>().expect("the server names the connection of every request").clone();
    let (parts, body) = request.into_parts();
    let mut logged = traffic.shared.log.arrived(&parts);
    let Ok(body) = to_bytes(body, MAX_REQUEST_BODY).await else {
        return hang_up(&connection).await;
    };
    logged.set_body(&body);
    let (fault, mut healed) = traffic.fault_for(logged.exchange());
    let at_once = match fault {
        Some(Fault::Echo(status)) => Some(fault::echo(status, &parts, &body)),
        Some(Fault::Page(make)) => Some(fault::page(make, &parts)),
        _ => None,
    };
    if let Some(answer) = at_once {
        return finish(&mut logged, answer).await;
    }
    let work = Work { next, request: Request::from_parts(parts, Body::from(body)) };

    let mut answer = match fault {
        None => work.done().await,
        Some(Fault::Slow(delay)) => work.done_after(tokio::time::sleep(delay)).await,
        Some(Fault::Stall) => {
            let until_healed = async move {
                // Fails when the simulator is gone: then nobody waits any more.
                let _changed = healed.changed().await;
            };
            work.done_after(until_healed).await
        }
        Some(Fault::HangUpBefore) => return hang_up(&connection).await,
        Some(Fault::HangUpAfter) => {
            work.done().await;
            return hang_up(&connection).await;
        }
        Some(Fault::StatusAfter(status)) => {
            work.done().await;
            fault::bare(status)
        }
        Some(fault) => fault.answer(),
    };
    answer.headers_mut().insert(header::DATE, traffic.date());
    finish(&mut logged, answer).await
}

async fn finish(logged: &mut Logged<'_>, answer: Response) -> Response {
    logged.answered(answer.status());
    if !logged.is_followed() {
        return answer;
    }
    let (head, mut body) = answer.into_parts();
    let is_stream = head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    let read = if is_stream {
        Bytes::new()
    } else {
        let read =
            to_bytes(body, MAX_ANSWER_BODY).await.expect("a simulator's answer is in memory and of bounded size");
        body = Body::from(read.clone());
        read
    };
    logged.holds(&head.headers, &read);
    Response::from_parts(head, body)
}

struct Work {
    next: Next,
    request: Request,
}

impl Work {
    async fn done(self) -> Response {
        self.next.run(self.request).await
    }

    /// A real server does not notice that its caller has stopped waiting: it does the work, late.
    async fn done_after(self, delay: impl Future<Output = ()> + Send + 'static) -> Response {
        let late = tokio::spawn(async move {
            delay.await;
            self.done().await
        });
        late.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}

/// Never answers; the log entry has no status.
async fn hang_up(connection: &Connection) -> Response {
    connection.cut();
    std::future::pending().await
}
