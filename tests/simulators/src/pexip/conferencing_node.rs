//! A Conferencing Node, on which citizens and agents join rooms.

mod admission;
mod caller;
mod client_api;
mod client_view;

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinSet;

use crate::server::Server;
use crate::traffic::Traffic;

use super::live::{Participant, Role};
use super::platform::{PendingDialOut, Platform};
use super::policy::{PolicyVariant, Request};
use super::service::Service;
use super::sessions::{Session, TIMED_OUT};

pub use admission::Refused;
pub use caller::{Caller, Endpoint};

/// Reason of a participant's own hang-up.
const HUNG_UP: &str = "Call disconnected";

/// A Conferencing Node on loopback. It asks the policy server, if the location selects one, and then sees a room's
/// writes once they have been replicated.
#[derive(Debug)]
pub struct ConferencingNode {
    node: Node,
    traffic: Traffic,
    server: Server,
    /// What places its calls; ends with the node.
    _caller: JoinSet<()>,
}

/// A participant who has joined by the client API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The participant's id.
    pub participant: String,
    /// Role that the PIN gives.
    pub role: Role,
    /// Token of the client API.
    pub token: String,
}

/// What a node needs to answer its clients.
#[derive(Clone, Debug)]
struct Node {
    platform: Arc<Platform>,
    /// Primary address, the node's name in events and status.
    address: String,
}

impl ConferencingNode {
    pub(super) async fn start(platform: Arc<Platform>, address: &str) -> Self {
        let node = Node { platform, address: address.to_owned() };
        let traffic = Traffic::default();
        let server = Server::start(traffic.watch(client_api::router(node.clone())).layer(client_api::cors())).await;
        let (caller, due) = mpsc::unbounded_channel();
        node.platform.state().set_caller(address, caller);
        let mut placing = JoinSet::new();
        placing.spawn(node.clone().place_calls(due));
        Self { node, traffic, server, _caller: placing }
    }

    /// The node's server: its address for clients, and methods to stop and start it.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Primary address, the node's name in events and status. Nothing listens there.
    pub fn address(&self) -> &str {
        &self.node.address
    }

    /// Log and faults of the client API.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Joins as an app does, with media: first without a PIN, then with it if the room requires one. An empty PIN is
    /// not sent.
    pub async fn join(&self, alias: &str, pin: &str) -> Result<Joined, Refused> {
        let joined = match self.node.admit(alias, None, "").await {
            Err(Refused::PinRequired { .. }) if !pin.is_empty() => self.node.admit(alias, Some(pin), "").await?,
            answered => answered?,
        };
        self.node.connect_media(&joined.participant, alias).await?;
        Ok(joined)
    }

    /// Dials as an endpoint of another kind does. The alias is sent as it is.
    pub async fn dial(&self, alias: &str, endpoint: Endpoint) -> Result<Caller, Refused> {
        Caller::dial(self.node.clone(), alias, endpoint).await
    }

    /// Hangs up as an app does. Does nothing if the participant was disconnected before.
    pub fn leave(&self, joined: &Joined) {
        self.node.platform.state().leave(&joined.token, HUNG_UP);
    }

    /// Disconnects a participant whose token was not refreshed in time, as after the loss of its network.
    pub fn lose(&self, joined: &Joined) {
        self.node.platform.state().leave(&joined.token, TIMED_OUT);
    }
}

impl Node {
    async fn admit(&self, alias: &str, pin: Option<&str>, display_name: &str) -> Result<Joined, Refused> {
        let service = self.find(&self.web_request("api", alias, display_name)).await?;
        let role = service.role_by(pin)?;
        let mut state = self.platform.state();
        let now = state.clock.now();
        let api_only = Participant {
            display_name: display_name.to_owned(),
            protocol: "API",
            destination_alias: alias.to_owned(),
            has_media: false,
            ..Participant::dialled_in(&self.address, &service.name, role, now)
        };
        let participant = state.enter(api_only, &service);
        let token = state.sessions.open(Session::new(participant.clone(), role, &self.address, alias, now));
        Ok(Joined { participant, role, token })
    }

    /// Connects a web client's media.
    async fn connect_media(&self, participant: &str, alias: &str) -> Result<(), Refused> {
        self.look_up_again(PolicyVariant::Media, "webrtc", participant, alias).await?;
        self.platform.state().live.connect_media(participant);
        Ok(())
    }

    /// Looks a participant up again if nodes are to do so. Without the room that it is in, it is disconnected.
    async fn look_up_again(
        &self,
        variant: PolicyVariant,
        protocol: &'static str,
        participant: &str,
        alias: &str,
    ) -> Result<(), Refused> {
        let present = {
            let state = self.platform.state();
            state.live.participant(participant).filter(|_| state.policy.has(variant)).cloned()
        };
        let Some(present) = present else { return Ok(()) };
        let found = self.find(&self.web_request(protocol, alias, &present.display_name)).await;
        if found.is_ok_and(|service| service.name == present.conference) {
            return Ok(());
        }
        self.platform.state().live.remove(participant, HUNG_UP);
        Err(Refused::NotFound)
    }

    async fn find(&self, request: &Request) -> Result<Service, Refused> {
        self.platform.find_dialled(request).await.ok_or(Refused::NotFound)
    }

    fn web_request(&self, protocol: &'static str, alias: &str, display_name: &str) -> Request {
        Request::dial_in(&self.address, protocol, "web", alias, display_name)
    }

    /// Places the calls that become due, each after a look-up of its own.
    async fn place_calls(self, mut due: UnboundedReceiver<PendingDialOut>) {
        let due = stream::poll_fn(|context| due.poll_recv(context));
        due.for_each_concurrent(None, |pending| self.place(pending)).await;
    }

    async fn place(&self, pending: PendingDialOut) {
        let running = self.platform.state().running(&pending).cloned();
        let Some(service) = running else { return };
        let request = Request::dial_out(&self.address, &service, &pending.callee);
        if self.platform.allows_dial_out(&service, &request).await {
            self.platform.state().place(&pending);
        }
    }
}
