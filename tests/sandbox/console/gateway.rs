//! What stands before the instances, as API Management does: one address for every caller. It sends each request to the
//! next instance, and to another one if that one does not listen.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use maxconf_simulators::{Server, Traffic};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use super::guard;
use super::instances::Instances;

/// Header of the answer that names the instance.
pub(super) const INSTANCE: &str = "sandbox-instance";

/// Above what the service accepts, so that the service refuses what is too long.
const LARGEST_BODY: usize = 1024 * 1024;

/// Above the service's own deadline.
const DEADLINE: Duration = Duration::from_secs(40);

/// Headers of one connection.
const OF_CONNECTION: [header::HeaderName; 5] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::UPGRADE, header::TE];

#[derive(Debug)]
pub(super) struct Gateway {
    server: Server,
    traffic: Traffic,
}

#[derive(Clone)]
struct Forward {
    instances: Arc<Instances>,
    http: Client,
}

impl Gateway {
    /// Listens on `port`, or on a free one if it is in use.
    pub(super) async fn start(port: u16, instances: Arc<Instances>) -> Self {
        let http = Client::builder().no_proxy().redirect(Policy::none()).timeout(DEADLINE);
        let http = http.build().expect("a client without settings of TLS");
        let router = Router::new().fallback(forward).with_state(Forward { instances, http });
        let traffic = Traffic::default();
        let router = traffic.watch(router).layer(middleware::from_fn(guard::refuse_other_hosts));
        let server = match Server::start_on(router.clone(), port).await {
            Ok(server) => server,
            Err(_) => Server::start(router).await,
        };
        Self { server, traffic }
    }

    pub(super) fn url(&self) -> Url {
        self.server.url()
    }

    pub(super) fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

async fn forward(State(forward): State<Forward>, request: Request) -> Response {
    let (mut head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    for name in OF_CONNECTION {
        head.headers.remove(name);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    for (name, mut url) in forward.instances.in_turn() {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        url.set_path(path);
        url.set_query(query);
        let request = forward.http.request(head.method.clone(), url).headers(head.headers.clone()).body(body.clone());
        #[expect(clippy::disallowed_methods, reason = "a caller of the service, not a part of it")]
        match request.send().await {
            Ok(answer) => return answered(name, answer).await,
            // Nothing was sent.
            Err(error) if error.is_connect() => {}
            Err(_) => return none(name, "the instance gave no answer"),
        }
    }
    none("-", "no instance is running")
}

async fn answered(name: &'static str, answer: reqwest::Response) -> Response {
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    let Ok(body) = answer.bytes().await else { return none(name, "the instance's answer ended too early") };
    for name in OF_CONNECTION {
        headers.remove(name);
    }
    headers.insert(INSTANCE, HeaderValue::from_static(name));
    (status, headers, Body::from(body)).into_response()
}

fn none(name: &'static str, why: &'static str) -> Response {
    (StatusCode::BAD_GATEWAY, [(INSTANCE, name)], why).into_response()
}
