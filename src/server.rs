//! The listener: bound before anything slow, stopped in order where somebody asks for it.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;

use crate::app::{App, BuildError};
use crate::config::ServerConfig;
use crate::telemetry::{COMMIT, VERSION};

/// Exit codes by convention: 128 + the signal's number.
const STOPPED_BY_INTERRUPT: u8 = 130;
const STOPPED_BY_TERMINATION: u8 = 143;

/// How long requests under way, and callers who keep their connection open, hold up a stop.
const LONGEST_GOODBYE: Duration = Duration::from_secs(10);

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
pub async fn serve(
    listener: TcpListener,
    app: App,
    stop: impl Future<Output = u8> + Send + 'static,
) -> Result<u8, ServeError> {
    info!(address = %listener.local_addr()?, version = VERSION, commit = COMMIT, "listening");
    let (router, _background) = app.into_parts();
    let (stopping, stopped) = watch::channel(None);
    let stop = async move {
        let _ = stopping.send(Some(stop.await));
    };
    let mut seen = stopped.clone();
    let overdue = async move {
        let _ = seen.wait_for(Option::is_some).await;
        tokio::time::sleep(LONGEST_GOODBYE).await;
    };
    tokio::select! {
        served = axum::serve(listener, router).with_graceful_shutdown(stop) => served?,
        () = overdue => info!("stopping with requests under way"),
    }
    let reason = *stopped.borrow();
    Ok(reason.unwrap_or(STOPPED_BY_TERMINATION))
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
