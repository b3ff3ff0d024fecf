//! The simulators over the wire, as far as the service's own tests do not cover them.

mod conferencing_node;
mod direct_media;
mod entra;
mod event_sink;
mod functions_host;
mod genesys;
mod infinity_app;
mod pexip;
mod pexip_oauth2;
mod pexip_platform;
mod policy;
mod queue;
mod traffic;

use std::time::{Duration, Instant};

use reqwest::Client;
use reqwest::redirect::Policy;
use tokio::time::sleep;

/// Limit of every wait: generous, for other work may share the machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A client without proxy and redirects: tests see the simulator's own answers.
fn client() -> Client {
    Client::builder().no_proxy().redirect(Policy::none()).build().expect("a client without TLS settings of its own")
}

/// Waits until the condition holds.
async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
