//! A loopback HTTP or https server that can be stopped and restarted on its port, and whose connections can be cut.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use url::Url;

/// Serves a router on 127.0.0.1 until it is stopped or dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    site: Site,
    running: Mutex<Option<Running>>,
    /// Reserves the port, without listening, while the server is stopped: otherwise the system could give it to another
    /// process.
    kept: Mutex<Option<TcpSocket>>,
}

/// What is served, and how.
#[derive(Clone)]
struct Site {
    router: Router,
    /// `None` for plain HTTP.
    tls: Option<TlsAcceptor>,
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    accepting: JoinHandle<()>,
}

/// The connection a request came in on, as a request extension.
#[derive(Clone, Debug)]
pub struct Connection(CancellationToken);

impl Server {
    /// Starts on a port that the system chooses.
    pub async fn start(router: Router) -> Self {
        Self::start_on(router, 0).await.expect("the system has a free port on loopback")
    }

    /// Starts on the given port, or on one that the system chooses if it is 0.
    pub async fn start_on(router: Router, port: u16) -> io::Result<Self> {
        Self::start_site(Site { router, tls: None }, port).await
    }

    /// Starts with https on a port that the system chooses.
    pub async fn start_tls(router: Router, certificate: impl Into<TlsAcceptor>) -> Self {
        let site = Site { router, tls: Some(certificate.into()) };
        Self::start_site(site, 0).await.expect("the system has a free port on loopback")
    }

    async fn start_site(site: Site, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        Ok(Self {
            address: listener.local_addr()?,
            running: Mutex::new(Some(Running::start(listener, site.clone()))),
            kept: Mutex::default(),
            site,
        })
    }

    /// Address of the server, with a trailing slash.
    pub fn url(&self) -> Url {
        let url = match self.site.tls {
            None => format!("http://{}/", self.address),
            // The name that the certificate is for.
            Some(_) => format!("https://localhost:{}/", self.address.port()),
        };
        Url::parse(&url).expect("a socket address makes a URL")
    }

    /// Closes the listener and every connection; from then on connections are refused.
    pub async fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.stop.cancel();
            // An accept loop that panicked has closed its listener as well.
            let _ended = running.accepting.await;
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.reclaim_port().await);
        }
    }

    /// Starts again on the same port, stopping first where necessary.
    pub async fn restart(&self) {
        self.stop().await;
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take().expect("a stopped server's port");
        let running = Running::start(kept.listen(1024).expect("a port of ours"), self.site.clone());
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
    }

    /// The system may have given the port to another process since it was free.
    async fn reclaim_port(&self) -> TcpSocket {
        for _ in 0..100 {
            let socket = TcpSocket::new_v4().expect("a socket");
            // Allows binding while ended connections are in TIME_WAIT.
            socket.set_reuseaddr(true).expect("an option of sockets");
            if socket.bind(self.address).is_ok() {
                return socket;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} is still taken after five seconds", self.address);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.take() {
            running.stop.cancel();
        }
    }
}

impl Running {
    fn start(listener: TcpListener, site: Site) -> Self {
        let stop = CancellationToken::new();
        let accepting = tokio::spawn(accept(listener, site, stop.clone()));
        Self { stop, accepting }
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Site").field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

impl Connection {
    /// Closes the connection without an answer to whatever is in flight on it.
    pub fn cut(&self) {
        self.0.cancel();
    }
}

async fn accept(listener: TcpListener, site: Site, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        // Out of file descriptors is the usual cause of an error here; existing connections free some.
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _only_latency_suffers = stream.set_nodelay(true);
        let (router, cut) = (site.router.clone(), stop.child_token());
        match site.tls.clone() {
            None => connections.spawn(serve(stream, router, cut)),
            Some(tls) => connections.spawn(async move {
                let handshake = cut.run_until_cancelled(tls.accept(stream)).await;
                // A client that does not trust the certificate disconnects here.
                if let Some(Ok(stream)) = handshake {
                    serve(stream, router, cut).await;
                }
            }),
        };
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Serves one connection, whatever carries it, until the client leaves or the connection is cut.
async fn serve<S>(stream: S, router: Router, cut: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = Connection(cut.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(connection.clone());
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    tokio::select! {
        // A simulated system cannot react to a client that disconnects.
        _served = http1::Builder::new().serve_connection(TokioIo::new(stream), service) => {}
        () = cut.cancelled() => {}
    }
}
