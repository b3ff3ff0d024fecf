//! Name resolution by the operating system.

use std::net::ToSocketAddrs;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;

/// Resolves names as reqwest's own resolver does, with an error type by which [`ConnectStep`](super::ConnectStep)
/// recognises a DNS failure.
#[derive(Debug)]
pub(super) struct SystemResolver;

/// The name does not resolve.
#[derive(Debug, thiserror::Error)]
#[error("the name does not resolve")]
pub(super) struct NameNotResolved(std::io::Error);

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // Aborted on drop: a look-up whose connect has timed out must not stay in the queue of the blocking
            // threads.
            let look_up = AbortOnDropHandle::new(spawn_blocking(move || (name.as_str(), 0).to_socket_addrs()));
            let addresses = look_up.await.map_err(std::io::Error::other).flatten().map_err(NameNotResolved)?;
            Ok(Box::new(addresses) as Addrs)
        })
    }
}
