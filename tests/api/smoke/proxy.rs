use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use futures_util::stream::{self, StreamExt};
use maxconf_simulators::Server;
use reqwest::{Client, Method};
use serde_json::Value;
use tokio::time::sleep;
use url::Url;

use crate::support::TestApp;

/// A request to the proxy.
#[derive(Clone, Debug)]
pub(super) struct ProxiedRequest {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
}

/// The proxy's answer.
#[derive(Clone, Debug)]
pub(super) struct ProxiedAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) delivery: Delivery,
}

/// How an answer is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Delivery {
    #[default]
    AtOnce,
    After(Duration),
    /// Not even the status.
    Never,
    /// The first half of the body.
    Half,
    /// Single bytes, endlessly.
    Drip,
}

impl Delivery {
    async fn body(self, body: Vec<u8>) -> Body {
        let bytes = |part: &[u8]| Ok::<_, Infallible>(Bytes::copy_from_slice(part));
        match self {
            Self::AtOnce => return Body::from(body),
            Self::After(delay) => sleep(delay).await,
            Self::Never => std::future::pending().await,
            Self::Half => {
                let half = stream::iter([bytes(&body[..body.len() / 2])]);
                return Body::from_stream(half.chain(stream::pending()));
            }
            Self::Drip => {
                let drip = stream::repeat(()).then(move |()| async move {
                    sleep(Duration::from_millis(200)).await;
                    bytes(b" ")
                });
                return Body::from_stream(drip);
            }
        }
        Body::from(body)
    }
}

impl ProxiedRequest {
    pub(super) fn is(&self, method: &Method, path: &str) -> bool {
        self.method == *method && self.path.starts_with(path)
    }

    pub(super) fn has(&self, header: &str) -> bool {
        self.headers.contains_key(header)
    }
}

impl ProxiedAnswer {
    /// An answer of a host or gateway, without the service's headers.
    pub(super) fn bare(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("a status");
        Self { status, headers: HeaderMap::new(), body: Vec::new(), delivery: Delivery::AtOnce }
    }

    pub(super) fn set(&mut self, header: &'static str, value: &str) {
        self.headers.insert(HeaderName::from_static(header), HeaderValue::from_str(value).expect("a header's value"));
    }

    /// Changes a member of the JSON body.
    pub(super) fn set_member(&mut self, name: &str, value: impl Into<Value>) {
        let mut body = self.json();
        body[name] = value.into();
        self.body = body.to_string().into_bytes();
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// Answers instead of the service if `instead` has an answer. Otherwise forwards the request, and lets `tamper` change
/// the answer.
pub(super) struct Proxy {
    server: Server,
}

impl Proxy {
    /// Changes answers of the service.
    pub(super) async fn tampering(
        app: &TestApp,
        tamper: impl Fn(&ProxiedRequest, &mut ProxiedAnswer) + Send + Sync + 'static,
    ) -> Self {
        Self::start(app, None, |_| None, tamper).await
    }

    /// In front of a service that does not know this header.
    pub(super) async fn dropping(app: &TestApp, header: &'static str) -> Self {
        Self::start(app, Some(header), |_| None, |_, _| {}).await
    }

    /// Answers some requests itself.
    pub(super) async fn answering(
        app: &TestApp,
        instead: impl Fn(&ProxiedRequest) -> Option<ProxiedAnswer> + Send + Sync + 'static,
    ) -> Self {
        Self::start(app, None, instead, |_, _| {}).await
    }

    async fn start(
        app: &TestApp,
        dropped: Option<&'static str>,
        instead: impl Fn(&ProxiedRequest) -> Option<ProxiedAnswer> + Send + Sync + 'static,
        tamper: impl Fn(&ProxiedRequest, &mut ProxiedAnswer) + Send + Sync + 'static,
    ) -> Self {
        let (url, http) = (app.url.clone(), app.http.clone());
        let (instead, tamper) = (Arc::new(instead), Arc::new(tamper));
        let router = Router::new().fallback(move |mut request: Request| {
            let (url, http, instead, tamper) = (url.clone(), http.clone(), Arc::clone(&instead), Arc::clone(&tamper));
            async move {
                if let Some(dropped) = dropped {
                    request.headers_mut().remove(dropped);
                }
                let seen = ProxiedRequest {
                    method: request.method().clone(),
                    path: request.uri().path().to_owned(),
                    query: request.uri().query().unwrap_or_default().to_owned(),
                    headers: request.headers().clone(),
                };
                let answer = if let Some(answer) = instead(&seen) {
                    answer
                } else {
                    // A task of its own: like the Functions host, it continues after the caller has hung up.
                    let forwarded = tokio::spawn(async move { forward(&url, &http, request).await });
                    let mut answer = forwarded.await.expect("no panic");
                    tamper(&seen, &mut answer);
                    answer
                };
                let mut response = Response::new(answer.delivery.body(answer.body).await);
                *response.status_mut() = answer.status;
                *response.headers_mut() = answer.headers;
                response
            }
        });
        Self { server: Server::start(router).await }
    }

    pub(super) fn url(&self) -> Url {
        self.server.url()
    }
}

async fn forward(service: &Url, http: &Client, request: Request) -> ProxiedAnswer {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().expect("a path").as_str();
    let mut headers = parts.headers;
    headers.remove("host");
    let body = to_bytes(body, 1024 * 1024).await.expect("a small body");
    let request = http.request(parts.method, service.join(path).expect("a path")).headers(headers).body(body);
    match request.send().await {
        Ok(response) => {
            let (status, mut headers) = (response.status(), response.headers().clone());
            headers.remove("content-length");
            headers.remove("transfer-encoding");
            let body = response.bytes().await.map(|body| body.to_vec()).unwrap_or_default();
            ProxiedAnswer { status, headers, body, delivery: Delivery::AtOnce }
        }
        Err(_) => ProxiedAnswer::bare(502),
    }
}
