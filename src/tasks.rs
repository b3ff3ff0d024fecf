//! Work that goes on where nobody waits for it any more.

use std::panic::resume_unwind;

use tracing::Instrument;

/// Does the work in a task of its own, so that a caller who hangs up does not stop it half-way. Belongs to the caller's
/// span; a panic in it is the caller's.
pub(crate) async fn in_own_task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work.in_current_span()).await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The process ends, and whoever waits here with it.
            Err(_) => std::future::pending().await,
        },
    }
}
