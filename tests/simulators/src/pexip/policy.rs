//! External policy: what Conferencing Nodes ask a policy server before they connect a call, and what they make of its
//! answer. Only service configurations are asked for. The platform has no Call Routing Rules.

mod answer;
mod request;
mod service_configuration;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use time::OffsetDateTime;

use super::platform::{Platform, State};
use super::service::Service;

pub(super) use request::Request;

use answer::Decision;

/// What nodes do about external policy, and what they have asked.
#[derive(Debug)]
pub(super) struct Policy {
    /// Limit of one look-up. Real nodes have no setting for it.
    pub(super) timeout: Duration,
    /// How long a node refuses an alias again without asking; `None` for not at all.
    pub(super) negative_cache: Option<Duration>,
    variants: HashSet<PolicyVariant>,
    look_ups: Vec<PolicyLookUp>,
    /// Until when a node refuses an alias without asking, by the node's address and the alias.
    refused_until: HashMap<(String, String), OffsetDateTime>,
    /// Names of running conferences of which a later answer differed.
    changed: Vec<String>,
}

/// A behaviour of Conferencing Nodes that no source proves. All are off by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyVariant {
    /// An empty `pin` or `guest_pin` is none. By default it voids the configuration.
    EmptyPins,
    /// The account is sent after a challenge. By default it is sent with every request.
    BasicAfterChallenge,
    /// The JSON of an answer with an error status is read. By default its status is all that counts.
    BodiesOfErrors,
    /// A web client's media are looked up as well as its token.
    Media,
    /// A client that refreshes its token is looked up again.
    Reconnects,
    /// Each reading of the status of conferences looks them up.
    StatusViews,
}

/// A look-up of a Conferencing Node at the policy server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLookUp {
    /// Address of the node.
    pub node: String,
    /// The `local_alias` of the request.
    pub alias: String,
    /// The `call_direction` of the request.
    pub call_direction: &'static str,
    /// The `protocol` of the request.
    pub protocol: &'static str,
    /// What the node made of the answer.
    pub outcome: PolicyOutcome,
}

/// What a Conferencing Node makes of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyOutcome {
    /// The call is connected to the service in the answer.
    Success,
    /// The call is refused.
    Reject,
    /// The node looks into its own database, for this reason.
    Default(String),
}

impl Default for Policy {
    /// The limit is the one that users of real nodes report.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            negative_cache: None,
            variants: HashSet::new(),
            look_ups: Vec::new(),
            refused_until: HashMap::new(),
            changed: Vec::new(),
        }
    }
}

impl Policy {
    pub(super) fn set_variant(&mut self, variant: PolicyVariant, on: bool) {
        if on {
            self.variants.insert(variant);
        } else {
            self.variants.remove(&variant);
        }
    }

    pub(super) fn has(&self, variant: PolicyVariant) -> bool {
        self.variants.contains(&variant)
    }

    pub(super) fn look_ups(&self) -> &[PolicyLookUp] {
        &self.look_ups
    }

    pub(super) fn changed(&self) -> &[String] {
        &self.changed
    }

    /// Notes that the running conference of this name was given other fields than it has.
    pub(super) fn note_change(&mut self, name: &str) {
        self.changed.push(name.to_owned());
    }
}

impl Platform {
    /// What a call is connected to: what the policy server says, or else what the database has for the dialled alias.
    pub(super) async fn find_dialled(&self, request: &Request) -> Option<Service> {
        let key = (request.node.clone(), request.local_alias.clone());
        {
            let mut state = self.state();
            let now = state.clock.now();
            state.policy.refused_until.retain(|_, until| *until > now);
            if state.policy.refused_until.contains_key(&key) {
                return None;
            }
        }
        let decision = self.ask(request).await;
        let mut state = self.state();
        let found = match decision {
            Decision::Success(service) => Some(service),
            Decision::Reject => None,
            Decision::Default => state.dialled(&request.local_alias),
        };
        if found.is_none()
            && let Some(kept) = state.policy.negative_cache
        {
            let until = state.clock.now() + kept;
            state.policy.refused_until.insert(key, until);
        }
        found
    }

    /// Whether a running conference may place a call: the answer must be the service that it runs.
    pub(super) async fn allows_dial_out(&self, running: &Service, request: &Request) -> bool {
        match self.ask(request).await {
            Decision::Success(service) => service == *running,
            Decision::Reject => false,
            Decision::Default => self.state().stored(&running.name).is_some(),
        }
    }

    /// Looks up a conference whose status is read. The answer changes nothing.
    pub(super) async fn look_up_viewed(&self, name: &str) {
        let _no_matter = self.ask(&Request::of_status_view(name)).await;
    }

    async fn ask(&self, request: &Request) -> Decision {
        let (question, timeout) = {
            let state = self.state();
            let Some(server) = state.selected_policy_server() else { return Decision::Default };
            let basic_after_challenge = state.policy.has(PolicyVariant::BasicAfterChallenge);
            let rules = answer::Rules {
                reads_bodies_of_errors: state.policy.has(PolicyVariant::BodiesOfErrors),
                accepts_empty_pins: state.policy.has(PolicyVariant::EmptyPins),
            };
            let query = request.query(&state.release);
            let question = answer::Question { server: server.clone(), query, basic_after_challenge, rules };
            (question, state.policy.timeout)
        };
        let asked = tokio::time::timeout(timeout, question.ask(&self.http)).await;
        let (decision, outcome) = match asked.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(decided @ Decision::Success(_)) => (decided, PolicyOutcome::Success),
            Ok(decided @ Decision::Reject) => (decided, PolicyOutcome::Reject),
            Ok(decided @ Decision::Default) => (decided, PolicyOutcome::Default("continue".to_owned())),
            Err(reason) => (Decision::Default, PolicyOutcome::Default(reason)),
        };
        self.state().policy.look_ups.push(PolicyLookUp {
            node: request.node.clone(),
            alias: request.local_alias.clone(),
            call_direction: request.call_direction,
            protocol: request.protocol,
            outcome,
        });
        decision
    }
}

impl State {
    /// The room of the database that this alias dials, as the Conferencing Nodes know it. A scheme is no part of it.
    fn dialled(&self, alias: &str) -> Option<Service> {
        let schemes = ["sip:", "sips:", "h323:"];
        let alias = schemes.iter().find_map(|scheme| alias.strip_prefix(scheme)).unwrap_or(alias);
        let room = self.rooms.replicated().find(|room| room.aliases.iter().any(|own| own.alias == alias))?;
        Some(Service::stored(room, &self.automatic_participants))
    }
}
