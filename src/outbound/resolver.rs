//! Name resolution by the operating system.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

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
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(NameNotResolved)?;
            Ok(Box::new(addresses.collect::<Vec<SocketAddr>>().into_iter()) as Addrs)
        })
    }
}
