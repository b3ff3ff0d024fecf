//! The listener: binds before anything slow, bounds the connections and what one may send before it is a request, and
//! stops in order on a signal.
//!
//! On Azure every connection is the Functions host's. The bounds against hostile connections are for a container, whose
//! port clients reach directly.

mod connection;
mod lingering;
mod slots;

use std::convert::Infallible;
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use slots::ConnectionSlots;

use crate::config::ServerConfig;
use crate::exit_code;
use crate::telemetry::COMMIT;

/// How long a stop waits for requests in progress and for open connections.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Slots beyond one for each concurrent request: for idle connections that clients keep, and for requests that arrive
/// while other connections send nothing. With the default of `MAX_CONCURRENT_REQUESTS` the sum is below 1,024, the
/// usual limit of file descriptors.
const SPARE_CONNECTIONS: usize = 256;

/// Connections that the system keeps until they are accepted, at most its own limit. When they are more, Linux may
/// reset one whose request has arrived.
const BACKLOG: u32 = 4096;

/// Pause after the system could not accept a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Why the service does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "cannot listen on {address}: {source}; is another instance running, or FUNCTIONS_CUSTOMHANDLER_PORT taken?"
    )]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("the listener failed: {0}")]
    Listener(#[from] std::io::Error),
}

/// Binds the port. From then on connections wait to be accepted instead of being refused.
pub fn bind(config: &ServerConfig) -> Result<TcpListener, ServeError> {
    let address = SocketAddr::new(config.address, config.port);
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restarted process binds while connections of the one before it are in `TIME_WAIT`.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| ServeError::Bind { address, source })
}

/// Serves until `stop`, then lets requests in progress finish. Returns the exit code that `stop` gave.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    max_concurrent_requests: usize,
    stop: impl Future<Output = u8>,
) -> Result<u8, ServeError> {
    info!(address = %listener.local_addr()?, commit = COMMIT, "listening");
    let slots = ConnectionSlots::new(max_concurrent_requests + SPARE_CONNECTIONS);
    let (connections, stopping) = (TaskTracker::new(), CancellationToken::new());
    let reason = tokio::select! {
        reason = stop => reason,
        never = accept(&listener, router, &slots, &connections, &stopping) => match never {},
    };
    // New connections are refused while those in progress finish.
    drop(listener);
    stopping.cancel();
    connections.close();
    if timeout(SHUTDOWN_TIMEOUT, connections.wait()).await.is_err() {
        warn!("stopped with requests in progress");
    }
    Ok(reason)
}

/// Accepts connections and serves each in its own task.
async fn accept(
    listener: &TcpListener,
    router: Router,
    slots: &Arc<ConnectionSlots>,
    connections: &TaskTracker,
    stopping: &CancellationToken,
) -> Infallible {
    let router = TowerToHyperService::new(router);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // After the accept: an idle connection is closed only for one that is there.
                let slot = slots.acquire().await;
                let _only_latency_suffers = stream.set_nodelay(true);
                connections.spawn(connection::serve(stream, router.clone(), slot, stopping.clone()));
            }
            // The client has disconnected before the accept.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                warn!(%error, "cannot accept connections, closing idle ones");
                slots.shrink();
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Waits for Ctrl-C, or for the SIGTERM of a container platform, and returns the exit code. The Functions host sends
/// neither: it kills the process.
pub async fn stop_signal() -> u8 {
    use tokio::signal::unix::{SignalKind, signal};

    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        // Without a handler SIGTERM ends the process.
        let _ = tokio::signal::ctrl_c().await;
        return exit_code::INTERRUPTED;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => exit_code::INTERRUPTED,
        _ = terminate.recv() => exit_code::TERMINATED,
    }
}
