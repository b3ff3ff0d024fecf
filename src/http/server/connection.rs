//! Serves one connection: bounds the time for a request's headers, the idle time and the size of the headers.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use axum::http::header::EXPECT;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;

use super::lingering::{Lingering, MAX_DROPPED_BYTES};
use super::slots::ConnectionSlot;

/// The most bytes before a body: a token of 8 KiB, the headers that gateway and Functions host add, and a margin. A
/// larger head is answered with 431, as are more headers than hyper's 100.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// From a request's first byte to the end of its headers. Not hyper's `header_read_timeout`, which also runs while the
/// connection is idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may wait for its next request. Longer than the Functions host's client keeps one (1 minute,
/// 2 in older ones), so that the host never sends a request on a connection that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(130);

/// How long the rest of a body that is answered unread is dropped. A client that writes all of its request before it
/// reads would lose the answer: what arrives on a closed connection resets it.
const LONGEST_DROP: Duration = Duration::from_secs(5);
const LONGEST_PAUSE_IN_DROP: Duration = Duration::from_secs(1);

/// Serves a connection until the client closes it, a timeout expires, it is closed for a new connection, or `stop`. A
/// request in progress is answered first.
pub(super) async fn serve(
    stream: TcpStream,
    router: TowerToHyperService<Router>,
    slot: ConnectionSlot,
    stop: CancellationToken,
) {
    let connection = Arc::new(Connection { slot, phase: Mutex::new(Phase::idle()) });
    let service = service_fn(|request: Request<Incoming>| {
        connection.end_head();
        let unread = Arc::default();
        // A client that expects `100 Continue` sends no body before somebody reads it.
        let waits = request.headers().contains_key(EXPECT);
        let watched = |body| WatchedBody::new(body, waits, Arc::clone(&unread), Arc::clone(&connection));
        let response = router.call(request.map(|body| Body::new(watched(body))));
        let connection = Arc::clone(&connection);
        async move {
            let response = response.await;
            let unread = unread.lock().take();
            if let Some(body) = unread {
                drop_bounded(body).await;
            }
            connection.end_request();
            response
        }
    });
    let stream = TokioIo::new(InspectReader::new(Lingering::new(stream), |bytes| {
        // Empty at the end of the stream.
        if !bytes.is_empty() {
            connection.begin_head();
        }
    }));
    let mut http = http1::Builder::new();
    // The buffer alone is no exact bound: bytes that follow the headers count towards it as well.
    http.max_header_size(MAX_HEAD_BYTES).max_buf_size(MAX_HEAD_BYTES);
    let mut exchange = pin!(http.serve_connection(stream, service));
    tokio::select! {
        // A request is read before the connection is closed.
        biased;
        () = run_within_timeouts(exchange.as_mut(), &connection) => return,
        () = wait_until_evicted(&connection.slot) => {
            if !connection.slot.is_busy() {
                return;
            }
        }
        () = stop.cancelled() => {}
    }
    exchange.as_mut().graceful_shutdown();
    run_within_timeouts(exchange, &connection).await;
}

/// Waits until the connection is to be closed for a new one, and 1 ms more: on a busy machine a whole request may have
/// arrived that tokio has not reported yet; it does so before the sleep returns.
async fn wait_until_evicted(slot: &ConnectionSlot) {
    slot.wait_until_closed_for_newcomer().await;
    sleep(Duration::from_millis(1)).await;
}

/// Runs the exchange to its end or to the deadline of the current phase. The phase changes only while it is polled
/// here.
async fn run_within_timeouts(mut exchange: Pin<&mut impl Future>, connection: &Connection) {
    let mut timer = pin!(sleep_until(Instant::now() + IDLE_TIMEOUT));
    std::future::poll_fn(|context| {
        if exchange.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(deadline) = connection.deadline() else { return Poll::Pending };
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(context)
    })
    .await;
}

/// State of a connection: its slot and the phase of its current request.
struct Connection {
    slot: ConnectionSlot,
    phase: Mutex<Phase>,
}

#[derive(Clone, Copy)]
enum Phase {
    /// No byte of the next request has arrived.
    Idle { deadline: Instant },
    /// Part of the headers has arrived.
    Head { deadline: Instant },
    /// The headers are complete; the request's own deadline bounds the rest.
    Request,
}

impl Phase {
    fn idle() -> Self {
        Self::Idle { deadline: Instant::now() + IDLE_TIMEOUT }
    }
}

impl Connection {
    /// Bytes have arrived: if the connection was idle, a request's headers begin.
    fn begin_head(&self) {
        let mut phase = self.phase.lock();
        if let Phase::Idle { .. } = *phase {
            *phase = Phase::Head { deadline: Instant::now() + HEAD_TIMEOUT };
        }
    }

    fn end_head(&self) {
        *self.phase.lock() = Phase::Request;
    }

    /// The whole request has arrived, with its body.
    fn end_body(&self) {
        self.slot.mark_busy();
    }

    fn end_request(&self) {
        *self.phase.lock() = Phase::idle();
        self.slot.mark_idle();
    }

    fn deadline(&self) -> Option<Instant> {
        match *self.phase.lock() {
            Phase::Idle { deadline } | Phase::Head { deadline } => Some(deadline),
            Phase::Request => None,
        }
    }
}

/// Reads the rest of a body, within bounds, and drops it.
async fn drop_bounded(mut body: Incoming) {
    let dropping = async {
        let mut left = MAX_DROPPED_BYTES;
        while let Ok(Some(Ok(frame))) = timeout(LONGEST_PAUSE_IN_DROP, body.frame()).await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { break };
            left = rest;
        }
    };
    let _ = timeout(LONGEST_DROP, dropping).await;
}

/// What of a body nobody has read.
type Unread = Arc<Mutex<Option<Incoming>>>;

/// Notices the last byte of a request: until then the connection may be closed for another one. Dropped before that, it
/// leaves the rest to the connection.
struct WatchedBody {
    /// `None` once it is dropped.
    body: Option<Incoming>,
    /// Whether the client waits with its body until the first byte of it is asked for.
    waits: bool,
    unread: Unread,
    connection: Arc<Connection>,
}

impl WatchedBody {
    fn new(body: Incoming, waits: bool, unread: Unread, connection: Arc<Connection>) -> Self {
        if body.is_end_stream() {
            connection.end_body();
        }
        Self { body: Some(body), waits, unread, connection }
    }
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.waits = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if frame.is_none() {
            self.connection.end_body();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        if !self.waits && !self.is_end_stream() {
            *self.unread.lock() = self.body.take();
        }
    }
}
