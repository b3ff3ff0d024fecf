use std::sync::atomic::{AtomicUsize, Ordering};

use maxconf_simulators::World;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use url::Url;

use super::LIMIT;

/// The account of the Conferencing Nodes.
pub(crate) const NODES: (&str, &str) = ("conferencing-nodes", "of the nodes");

/// Everybody who calls the service, each with a token that stays the same.
#[derive(Clone)]
pub(crate) struct Callers {
    http: Client,
    service: Url,
    idim: String,
    agent: String,
}

impl Callers {
    pub(crate) fn new(world: &World, service: Url) -> Self {
        let http = Client::builder().no_proxy().build().expect("a client");
        Self { http, service, idim: world.entra.token().build(), agent: world.genesys.issue_token() }
    }

    /// A create for the next citizen. Returns the name of the room.
    pub(crate) async fn create(&self) -> String {
        static CITIZENS: AtomicUsize = AtomicUsize::new(0);
        let citizen = format!("{:06},765432", CITIZENS.fetch_add(1, Ordering::Relaxed));
        let request = self.request(Method::POST, &format!("room/create?uuiData={}", hex::encode(citizen)));
        let room = sent(request.bearer_auth(&self.idim)).await;
        room["name"].as_str().expect("a room has a name").to_owned()
    }

    pub(crate) async fn read(&self, name: &str) {
        sent(self.request(Method::GET, &format!("public/room/{name}")).header("x-auth-token", &self.agent)).await;
    }

    /// The look-up by a Conferencing Node of somebody who dials an instant room.
    pub(crate) async fn look_up(&self, name: &str) {
        let path = format!("policy/v1/service/configuration?call_direction=dial_in&local_alias={name}");
        let answer = sent(self.request(Method::GET, &path).basic_auth(NODES.0, Some(NODES.1))).await;
        assert_eq!(answer["status"], "success", "{answer}");
    }

    /// What the Functions host asks: it passes the middleware and calls nothing.
    pub(crate) async fn read_liveness(&self) {
        sent(self.request(Method::GET, "health/live")).await;
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.service.join(path).expect("a path")).timeout(LIMIT)
    }
}

async fn sent(request: RequestBuilder) -> Value {
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    let body = answer.text().await.expect("a body");
    assert_eq!(status, StatusCode::OK, "{body}");
    serde_json::from_str(&body).unwrap_or_default()
}
