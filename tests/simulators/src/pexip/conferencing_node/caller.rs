//! Endpoints that dial a room without the client API.

use super::admission::Refused;
use super::{HUNG_UP, Node};
use crate::pexip::live::{Participant, Role};
use crate::pexip::policy::Request;
use crate::pexip::service::Service;

/// PINs that a caller may enter.
const MAX_TRIES: u8 = 3;

/// What calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A SIP endpoint.
    Sip,
    /// An H.323 endpoint.
    H323,
}

/// A connected call. It was looked up once, and its PIN is checked by that answer, however late it is entered.
#[derive(Debug)]
pub struct Caller {
    node: Node,
    participant: String,
    service: Service,
    tries_left: u8,
}

impl Endpoint {
    /// The protocol of status and events, which look-ups have in lower case, and the trigger.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Sip => ("SIP", "invite"),
            Self::H323 => ("H323", "setup"),
        }
    }
}

impl Caller {
    /// Without a PIN the caller is in at once.
    pub(super) async fn dial(node: Node, alias: &str, endpoint: Endpoint) -> Result<Self, Refused> {
        let (protocol, trigger) = endpoint.names();
        let caller = "sip:dana@clinic.example";
        let service = node.find(&Request::dial_in(&node.address, protocol, trigger, alias, caller)).await?;
        let role = service.role_by(None);
        let mut state = node.platform.state();
        let now = state.clock.now();
        let participant = match role {
            Ok(role) => Participant::dialled_in(&node.address, &service.name, role, now),
            Err(_) => Participant::before_pin(&node.address, &service.name, now),
        };
        let participant = Participant {
            protocol,
            source_alias: caller.to_owned(),
            destination_alias: alias.to_owned(),
            ..participant
        };
        let participant = state.enter(participant, &service);
        drop(state);
        Ok(Self { node, participant, service, tries_left: MAX_TRIES })
    }

    /// Enters a PIN. Asks nobody. After the third wrong one the call is ended.
    pub fn enter_pin(&mut self, pin: &str) -> Result<Role, Refused> {
        let mut state = self.node.platform.state();
        if state.live.participant(&self.participant).is_none() {
            return Err(Refused::Disconnected);
        }
        let entered = self.service.role_by(Some(pin));
        if let Ok(role) = entered {
            state.let_in(&self.participant, role, &self.service);
        } else {
            self.tries_left = self.tries_left.saturating_sub(1);
            if self.tries_left == 0 {
                state.live.remove(&self.participant, HUNG_UP);
            }
        }
        entered
    }

    /// Hangs up. Does nothing if the call was ended before.
    pub fn hang_up(&self) {
        self.node.platform.state().live.remove(&self.participant, HUNG_UP);
    }

    /// Whether the call has not been ended.
    pub fn is_connected(&self) -> bool {
        self.node.platform.state().live.participant(&self.participant).is_some()
    }
}
