//! The listener: bound before anything slow, stopped in order where somebody asks for it. Bounds the connections, and
//! what may come over one before it is a request.

mod connection;
mod places;

use std::convert::Infallible;
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use places::Places;

use crate::app::{App, BuildError};
use crate::config::ServerConfig;
use crate::telemetry::COMMIT;

/// Exit codes by convention: 128 + the signal's number.
const STOPPED_BY_INTERRUPT: u8 = 130;
const STOPPED_BY_TERMINATION: u8 = 143;

/// How long requests under way, and callers who keep their connection open, hold up a stop.
const LONGEST_GOODBYE: Duration = Duration::from_secs(10);

/// Places for connections beyond those that requests are worked on at: for the idle ones that a client keeps, and for
/// those who ask something while others ask nothing. With the default of `MAX_CONCURRENT_REQUESTS` the sum is below
/// 1,024, the usual limit of file descriptors.
const SPARE_CONNECTIONS: usize = 256;

/// Pause after the system gave no connection.
const PAUSE_WITHOUT_CONNECTIONS: Duration = Duration::from_millis(100);

/// Why the service does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "cannot listen on {address}: {source}; is another instance running, or FUNCTIONS_CUSTOMHANDLER_PORT taken?"
    )]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("the listener failed: {0}")]
    Listener(#[from] std::io::Error),
}

/// Takes the port. From here on a request waits instead of being refused.
pub async fn bind(config: &ServerConfig) -> Result<TcpListener, ServeError> {
    let address = SocketAddr::new(config.address, config.port);
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })
}

/// Serves until `stop` comes, then ends the requests under way. Returns the exit code that fits.
pub async fn serve(listener: TcpListener, app: App, stop: impl Future<Output = u8>) -> Result<u8, ServeError> {
    info!(address = %listener.local_addr()?, commit = COMMIT, "listening");
    let places = Places::new(app.max_concurrent_requests() + SPARE_CONNECTIONS);
    let (router, _background) = app.into_parts();
    let (connections, stopping) = (TaskTracker::new(), CancellationToken::new());
    let reason = tokio::select! {
        reason = stop => reason,
        never = accept(&listener, router, &places, &connections, &stopping) => match never {},
    };
    // From here on nobody else gets in.
    drop(listener);
    stopping.cancel();
    connections.close();
    if timeout(LONGEST_GOODBYE, connections.wait()).await.is_err() {
        warn!("stopping with requests under way");
    }
    Ok(reason)
}

/// Serves whoever comes, each on a task of its own.
async fn accept(
    listener: &TcpListener,
    router: Router,
    places: &Arc<Places>,
    connections: &TaskTracker,
    stopping: &CancellationToken,
) -> Infallible {
    let router = TowerToHyperService::new(router);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Not before somebody is there: no connection is closed for nobody.
                let place = places.take().await;
                let _only_latency_suffers = stream.set_nodelay(true);
                connections.spawn(connection::serve(stream, router.clone(), place, stopping.clone()));
            }
            // That caller has left already.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                warn!(%error, "the system gives no connection, idle ones are closed");
                places.shrink();
                sleep(PAUSE_WITHOUT_CONNECTIONS).await;
            }
        }
    }
}

/// Waits for Ctrl-C or, as containers send it, SIGTERM. The Functions host sends neither: it kills.
pub async fn stop_signal() -> u8 {
    use tokio::signal::unix::{SignalKind, signal};

    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        // Without the handler SIGTERM ends the process by itself.
        let _ = tokio::signal::ctrl_c().await;
        return STOPPED_BY_INTERRUPT;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => STOPPED_BY_INTERRUPT,
        _ = terminate.recv() => STOPPED_BY_TERMINATION,
    }
}
