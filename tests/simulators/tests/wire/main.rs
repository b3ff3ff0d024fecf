//! The simulators over the wire, as far as the service's own tests do not cover them.

mod conferencing_node;
mod entra;
mod event_sink;
mod functions_host;
mod genesys;
mod infinity_app;
mod pexip;
mod queue;
mod traffic;

use reqwest::Client;
use reqwest::redirect::Policy;

/// No proxy, no redirects: what a simulator answers is what a test sees.
fn client() -> Client {
    Client::builder().no_proxy().redirect(Policy::none()).build().expect("a client without TLS settings of its own")
}
