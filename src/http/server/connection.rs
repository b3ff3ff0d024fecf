use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::places::Place;

/// The most bytes before a body: a token of 8 KiB, the headers that gateway and Functions host add, and room to spare.
/// More is answered with 431, as are more headers than hyper's 100.
const LARGEST_HEAD: usize = 32 * 1024;

/// From a request's first byte to the end of its headers.
const LONGEST_HEAD: Duration = Duration::from_secs(10);

/// How long a connection may wait for its next request. Longer than the Functions host's client keeps one (1 minute,
/// 2 in older ones), so that no request of the host meets our closing.
const LONGEST_IDLE: Duration = Duration::from_secs(130);

/// Serves a connection until its caller leaves, takes too long or gives way to another one, or until `stop`; a request
/// under way is then answered first.
pub(super) async fn serve(
    stream: TcpStream,
    router: TowerToHyperService<Router>,
    place: Place,
    stop: CancellationToken,
) {
    let visit = Arc::new(Visit { place, phase: Mutex::new(Phase::Waiting { until: Instant::now() + LONGEST_IDLE }) });
    let service = service_fn(|request: Request<Incoming>| {
        visit.head_is_there();
        let answer = router.call(request.map(|body| Body::new(WatchedBody::new(body, Arc::clone(&visit)))));
        let visit = Arc::clone(&visit);
        async move {
            let answer = answer.await;
            visit.is_answered();
            answer
        }
    });
    let stream = TokioIo::new(WatchedStream { stream, visit: Arc::clone(&visit) });
    let mut http = http1::Builder::new();
    // The buffer alone is no exact bound: what lies in it behind the headers counts there as well.
    http.max_header_size(LARGEST_HEAD).max_buf_size(LARGEST_HEAD);
    let mut connection = pin!(http.serve_connection(stream, service));
    tokio::select! {
        () = in_time(connection.as_mut(), &visit) => return,
        () = visit.place.is_wanted() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    in_time(connection, &visit).await;
}

/// Runs the connection to its end or to the end of its caller's time. Whatever moves that end happens while it is
/// polled here.
async fn in_time(mut connection: Pin<&mut impl Future>, visit: &Visit) {
    let mut timer = pin!(sleep_until(Instant::now() + LONGEST_IDLE));
    std::future::poll_fn(|context| {
        if connection.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(until) = visit.until() else { return Poll::Pending };
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(context)
    })
    .await;
}

/// A caller's connection, and what it is waited for.
struct Visit {
    place: Place,
    phase: Mutex<Phase>,
}

#[derive(Clone, Copy)]
enum Phase {
    /// No byte of the next request yet.
    Waiting { until: Instant },
    /// Some bytes of its headers.
    Head { until: Instant },
    /// The rest is bounded by the request's own deadline.
    Request,
}

impl Visit {
    fn bytes_came(&self) {
        let mut phase = self.phase();
        if let Phase::Waiting { .. } = *phase {
            *phase = Phase::Head { until: Instant::now() + LONGEST_HEAD };
        }
    }

    fn head_is_there(&self) {
        *self.phase() = Phase::Request;
    }

    fn request_is_there(&self) {
        self.place.is_at_work();
    }

    fn is_answered(&self) {
        *self.phase() = Phase::Waiting { until: Instant::now() + LONGEST_IDLE };
        self.place.is_idle();
    }

    /// When its caller's time is over.
    fn until(&self) -> Option<Instant> {
        match *self.phase() {
            Phase::Waiting { until } | Phase::Head { until } => Some(until),
            Phase::Request => None,
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the visit of the first byte of a request.
struct WatchedStream {
    stream: TcpStream,
    visit: Arc<Visit>,
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if buffer.filled().len() > before {
            self.visit.bytes_came();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Tells the visit when the last of a request has come: who sends slowly is not yet at work.
struct WatchedBody {
    body: Incoming,
    visit: Arc<Visit>,
}

impl WatchedBody {
    fn new(body: Incoming, visit: Arc<Visit>) -> Self {
        if body.is_end_stream() {
            visit.request_is_there();
        }
        Self { body, visit }
    }
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() {
            self.visit.request_is_there();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
