//! IDIM, agents' widgets and Conferencing Nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use maxconf_simulators::World;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use url::Url;

use crate::Error;

/// The account of the Conferencing Nodes.
pub(crate) const NODES: (&str, &str) = ("conferencing-nodes", "of the nodes");

const LIMIT: Duration = Duration::from_secs(30);

/// Callers of one or several instances, which they use in turn. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Callers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    http: Client,
    instances: Vec<Url>,
    next: AtomicUsize,
    idim: String,
    agent: String,
}

impl Callers {
    pub(crate) fn new(world: &World, instances: Vec<Url>) -> Result<Self, Error> {
        Ok(Self(Arc::new(Shared {
            http: http()?,
            instances,
            next: AtomicUsize::new(0),
            idim: world.entra.token().build(),
            agent: world.genesys.issue_token(),
        })))
    }

    /// Returns the name of the room.
    pub(crate) async fn create(&self) -> Result<String, String> {
        let citizen = hex::encode(format!("{:09},765432", self.0.next.load(Ordering::Relaxed)));
        let request = self.request(Method::POST, &format!("room/create?uuiData={citizen}"));
        let room = sent(request.bearer_auth(&self.0.idim), 200).await?;
        let room: Value = serde_json::from_str(&room).map_err(|error| error.to_string())?;
        room["name"].as_str().map(str::to_owned).ok_or_else(|| format!("no room: {room}"))
    }

    pub(crate) async fn read(&self, name: &str) -> Result<(), String> {
        let request = self.request(Method::GET, &format!("public/room/{name}"));
        sent(request.header("x-auth-token", &self.0.agent), 200).await.map(drop)
    }

    /// IDIM's read with another token.
    pub(crate) async fn read_with(&self, token: &str, name: &str) -> Result<(), String> {
        let request = self.request(Method::GET, &format!("room/{name}"));
        sent(request.bearer_auth(token), 200).await.map(drop)
    }

    /// A create that is refused for what it asks: only its token is verified.
    pub(crate) async fn show(&self, token: &str) -> Result<(), String> {
        let request = self.request(Method::POST, "room/create?uuiData=nothing");
        sent(request.bearer_auth(token), 400).await.map(drop)
    }

    pub(crate) async fn look_up(&self, name: &str) -> Result<(), String> {
        let path = format!("policy/v1/service/configuration?call_direction=dial_in&local_alias={name}");
        let answer = sent(self.request(Method::GET, &path).basic_auth(NODES.0, Some(NODES.1)), 200).await?;
        if answer.contains("\"success\"") { Ok(()) } else { Err(answer) }
    }

    /// The Functions host's timer. Returns the run's report.
    pub(crate) async fn run_maintenance(&self) -> Result<String, String> {
        sent(self.request(Method::POST, "function_pool_maintenance"), 200).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let instances = &self.0.instances;
        let instance = &instances[self.0.next.fetch_add(1, Ordering::Relaxed) % instances.len()];
        self.0.http.request(method, instance.join(path).expect("a path"))
    }
}

/// A client of load, with connections for all requests that are in progress at the same time.
pub(crate) fn http() -> Result<Client, Error> {
    Ok(Client::builder().no_proxy().timeout(LIMIT).build()?)
}

/// Returns the body of an answer with this status.
pub(crate) async fn sent(request: RequestBuilder, expected: u16) -> Result<String, String> {
    let answer = request.send().await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let body = answer.text().await.map_err(|error| error.to_string())?;
    if status == expected { Ok(body) } else { Err(format!("{status}: {body}")) }
}
