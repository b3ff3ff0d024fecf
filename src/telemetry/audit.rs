//! The audit trail: one event for each decision about a room, on a target of its own that no `LOG_LEVEL` silences.
//!
//! An event says who, which room and why. Of the citizen's case it has a keyed hash only: the same case has the same
//! hash, and without the key nobody can try cases out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac;
use rand::TryRng;
use rand::rngs::SysRng;
use secrecy::{ExposeSecret, SecretString};
use tracing::info;

use crate::auth::{EntraCaller, EntraClient, GenesysCaller};
use crate::domain::{RoomName, UuiData};

/// Where the events go.
pub const TARGET: &str = "maxconf::telemetry::audit";

/// What is decided about a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    HandedOut,
    Read,
    Deleted,
    Swept,
    Destroyed,
    Refused,
}

impl Decision {
    /// All of them, in the order of a room's life.
    pub const ALL: [Self; 6] =
        [Self::HandedOut, Self::Read, Self::Deleted, Self::Swept, Self::Destroyed, Self::Refused];

    /// The word in `event`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HandedOut => "room_handed_out",
            Self::Read => "room_read",
            Self::Deleted => "room_deleted",
            Self::Swept => "room_swept",
            Self::Destroyed => "room_destroyed",
            Self::Refused => "request_refused",
        }
    }

    /// When it is recorded, in words for an operator.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::HandedOut => "A room with a citizen's tag goes out to IDIM.",
            Self::Read => "An agent is shown a room, with its PINs and tag.",
            Self::Deleted => "A room is deleted because IDIM asks, even if IDIM hangs up meanwhile.",
            Self::Swept => "A room whose time or conference is over is deleted.",
            Self::Destroyed => "A room cannot be handed out and is to be destroyed.",
            Self::Refused => "A request to a room's route is answered with a problem.",
        }
    }

    /// The fields beside `event`. A refusal has as many of its fields as were known by then.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Self::HandedOut => &["request_id", "tid", "azp", "oid", "uti", "room", "source", "uui_data_hash"],
            Self::Read => &["request_id", "genesys_user", "room"],
            Self::Deleted => &["request_id", "tid", "azp", "oid", "uti", "room"],
            Self::Swept | Self::Destroyed => &["room", "reason"],
            Self::Refused => {
                &["request_id", "reason", "tid", "azp", "oid", "uti", "genesys_user", "room", "uui_data_hash"]
            }
        }
    }
}

/// Every field and what it holds.
pub const FIELDS: [(&str, &str); 11] = [
    ("event", "What was decided."),
    ("request_id", "The request's id, as in its answer and in its line of the log."),
    ("tid", "Tenant of the Entra token."),
    ("azp", "Client that it was issued to (v1.0: appid)."),
    ("oid", "Object id of whom it was issued for: the client, or a refused user; missing where the token has none."),
    ("uti", "Id of the token; missing where it has none."),
    ("genesys_user", "Id of the Genesys user."),
    ("room", "Name of the room."),
    ("source", "pool or direct."),
    ("reason", "The problem's code, or why the room was swept or destroyed."),
    ("uui_data_hash", "HMAC-SHA-256 of the decoded uuiData with AUDIT_HASH_KEY, in hexadecimal."),
];

/// Begins trails. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit(Arc<hmac::Key>);

impl Audit {
    /// Hashes with this key; without one with a random one, so that events of this process alone can be linked.
    pub fn new(key: Option<&SecretString>) -> Self {
        let mut random = [0; 32];
        SysRng.try_fill_bytes(&mut random).expect("a machine without a random source cannot keep secrets");
        let key = key.map_or(&random[..], |key| key.expose_secret().as_bytes());
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key)))
    }

    /// The trail of one request.
    pub fn trail(&self, request_id: String) -> AuditContext {
        AuditContext(Arc::new(AuditContextInner { hash_key: Arc::clone(&self.0), request_id, known: Mutex::default() }))
    }
}

/// What is known of one request about a room: its caller, its case, its room, as they become known. Clones share it.
#[derive(Clone, Debug)]
pub struct AuditContext(Arc<AuditContextInner>);

#[derive(Debug)]
struct AuditContextInner {
    hash_key: Arc<hmac::Key>,
    request_id: String,
    /// Never held across an await.
    known: Mutex<Known>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    caller: Option<Caller>,
    room: Option<RoomName>,
    uui_data_hash: Option<String>,
}

/// Who proved to be calling, be it that they are refused for it.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A client of Entra.
    Entra(EntraClient),
    /// A Genesys user, by id.
    Genesys(String),
}

impl Caller {
    /// What tells one caller from another: the client's or the user's id.
    pub fn id(&self) -> &str {
        match self {
            Self::Entra(client) => client.client_id(),
            Self::Genesys(user_id) => user_id,
        }
    }
}

impl From<EntraClient> for Caller {
    fn from(client: EntraClient) -> Self {
        Self::Entra(client)
    }
}

impl From<EntraCaller> for Caller {
    fn from(caller: EntraCaller) -> Self {
        EntraClient::from(caller).into()
    }
}

impl From<GenesysCaller> for Caller {
    fn from(caller: GenesysCaller) -> Self {
        Self::Genesys(caller.user_id().to_owned())
    }
}

impl AuditContext {
    /// It is known who calls.
    pub fn caller_is(&self, caller: Caller) {
        self.known().caller = Some(caller);
    }

    /// It is known which room is asked for: one of ours by its name.
    pub fn room_is(&self, room: &RoomName) {
        self.known().room = Some(room.clone());
    }

    /// It is known whose case it is.
    pub fn case_is(&self, data: &UuiData) {
        let hash = hmac::sign(&self.0.hash_key, data.expose());
        self.known().uui_data_hash = Some(hex::encode(hash));
    }

    /// The room goes out, from the pool or made directly.
    pub fn room_handed_out(&self, room: &RoomName, source: &'static str) {
        self.room_is(room);
        self.record(Decision::HandedOut, Some(source), None);
    }

    /// The room is shown.
    pub fn room_read(&self) {
        self.record(Decision::Read, None, None);
    }

    /// The room is deleted.
    pub fn room_deleted(&self) {
        self.record(Decision::Deleted, None, None);
    }

    /// The request ends with this problem.
    pub fn request_refused(&self, code: &'static str) {
        self.record(Decision::Refused, None, Some(code));
    }

    fn record(&self, decision: Decision, source: Option<&str>, reason: Option<&str>) {
        let Known { caller, room, uui_data_hash } = self.known().clone();
        let (entra, genesys) = match &caller {
            Some(Caller::Entra(client)) => (Some(client), None),
            Some(Caller::Genesys(user_id)) => (None, Some(user_id)),
            None => (None, None),
        };
        info!(
            target: TARGET,
            event = decision.as_str(),
            request_id = self.0.request_id,
            tid = entra.map(EntraClient::tenant_id),
            azp = entra.map(EntraClient::client_id),
            oid = entra.and_then(EntraClient::object_id),
            uti = entra.and_then(EntraClient::token_id),
            genesys_user = genesys.map(String::as_str),
            room = room.as_ref().map(RoomName::as_str),
            source,
            reason,
            uui_data_hash,
        );
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A room is deleted because its time or its conference is over.
pub fn room_swept(room: &RoomName, reason: &'static str) {
    record_of_pool(Decision::Swept, room, reason);
}

/// The pool gives a room up; where it was never made or is left to the sweep, the decision is the same.
pub fn room_destroyed(room: &RoomName, reason: &'static str) {
    record_of_pool(Decision::Destroyed, room, reason);
}

fn record_of_pool(decision: Decision, room: &RoomName, reason: &'static str) {
    info!(target: TARGET, event = decision.as_str(), room = room.as_str(), reason);
}
