//! What all simulated systems have in common: shared state, a log of their traffic, a server.

use std::io;
use std::sync::Arc;

use axum::Router;
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::server::Server;
use crate::traffic::Traffic;

/// A simulated system: its state and its endpoints.
pub trait System: Default + Send + Sync + 'static {
    /// The endpoints, which share its state.
    fn router(self: &Arc<Self>) -> Router;

    /// Sets the system's own address once it listens.
    fn listens_at(&self, _address: &Url) {}
}

/// A system on loopback; its initial state is its `Default`.
#[derive(Debug)]
pub struct Simulator<S> {
    pub(crate) system: Arc<S>,
    pub(crate) server: Server,
    traffic: Traffic,
}

impl<S: System> Simulator<S> {
    /// Starts on a port that the system chooses.
    pub async fn start() -> Self {
        Self::start_on(0).await.expect("the system has a free port on loopback")
    }

    /// Starts on the given port.
    pub async fn start_on(port: u16) -> io::Result<Self> {
        let (system, traffic, router) = Self::new_system();
        Ok(Self::serving(system, traffic, Server::start_on(router, port).await?))
    }

    /// Starts with https on a port that the system chooses.
    pub async fn start_tls(certificate: impl Into<TlsAcceptor>) -> Self {
        let (system, traffic, router) = Self::new_system();
        Self::serving(system, traffic, Server::start_tls(router, certificate).await)
    }

    fn new_system() -> (Arc<S>, Traffic, Router) {
        let (system, traffic) = (Arc::<S>::default(), Traffic::default());
        let router = traffic.watch(system.router());
        (system, traffic, router)
    }

    fn serving(system: Arc<S>, traffic: Traffic, server: Server) -> Self {
        system.listens_at(&server.url());
        Self { system, server, traffic }
    }

    /// Log and faults.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Closes the listener and every connection; connections are refused from then on. The state is kept.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Starts again at the same address.
    pub async fn restart(&self) {
        self.server.restart().await;
    }
}
