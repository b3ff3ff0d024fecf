//! The audit trail: one event per decision about a room, on a target that no `LOG_LEVEL` silences.
//!
//! An event names the caller, the room and the reason. The citizen's case appears only as a keyed hash: one case has
//! one hash, and without the key the case cannot be found by trying candidates.

use std::sync::Arc;

use parking_lot::Mutex;
use secrecy::SecretString;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::info;

use crate::domain::{HashKey, RoomName, UuiData, named_enum};

/// The target of the events. A contract with whoever collects the log, so it does not follow the module's name.
pub const TARGET: &str = "maxconf::audit";

named_enum! {
    /// A decision about a room, by the value of the field `event`.
    pub enum Decision {
        HandedOut = "room_handed_out",
        Replayed = "room_replayed",
        Conflict = "claim_conflict",
        Read = "room_read",
        Deleted = "room_deleted",
        Ended = "room_ended",
        Swept = "room_swept",
        Destroyed = "room_destroyed",
        Refused = "request_refused",
    }
}

impl Decision {
    /// Every decision, in the order of a room's life.
    pub const ALL: [Self; 9] = [
        Self::HandedOut,
        Self::Replayed,
        Self::Conflict,
        Self::Read,
        Self::Deleted,
        Self::Ended,
        Self::Swept,
        Self::Destroyed,
        Self::Refused,
    ];

    /// When it is recorded, for operators.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::HandedOut => "A room that carries a citizen's tag is sent to IDIM.",
            Self::Replayed => "A request with the same Idempotency-Key as an earlier one gets that request's room.",
            Self::Conflict => "A room is not used, because it was claimed before or its message is gone.",
            Self::Read => "An agent or IDIM receives a room with its PINs and tag.",
            Self::Deleted => "A room is deleted at IDIM's request, even if IDIM closes the connection meanwhile.",
            Self::Ended => {
                "An instant room ends by itself: its conference has ended (from then on no node lets anybody in), or people were in it after its validity and were disconnected. An end by validity with nobody in it is no event."
            }
            Self::Swept => {
                "A room is deleted because one of its times has passed, its conference has ended, or a caller's delete was interrupted."
            }
            Self::Destroyed => "A room cannot be handed out and is destroyed.",
            Self::Refused => "A request to a route about rooms is answered with a problem.",
        }
    }

    /// The fields beside `event`. A refusal has those that were known when the request was refused, a read those of its
    /// caller. Only an instant room has a validity.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Self::HandedOut | Self::Replayed => &[
                "request_id",
                "tid",
                "azp",
                "oid",
                "uti",
                "room",
                "source",
                "valid_from",
                "valid_until",
                "uui_data_hash",
            ],
            Self::Read => &["request_id", "tid", "azp", "oid", "uti", "genesys_user", "room"],
            Self::Deleted => &["request_id", "tid", "azp", "oid", "uti", "room"],
            Self::Conflict | Self::Ended | Self::Swept | Self::Destroyed => &["room", "reason"],
            Self::Refused => {
                &["request_id", "reason", "tid", "azp", "oid", "uti", "genesys_user", "room", "uui_data_hash"]
            }
        }
    }
}

/// Every field and its content.
pub const FIELDS: [(&str, &str); 13] = [
    ("event", "The decision."),
    ("request_id", "Id of the request, as in its answer and in its log line."),
    ("tid", "Tenant of the Entra token."),
    ("azp", "Client that the token was issued to (v1.0: appid)."),
    ("oid", "Object id of the token's subject: the client, or a refused user; missing if the token has none."),
    ("uti", "Id of the token; missing if the token has none."),
    ("genesys_user", "Id of the Genesys user."),
    ("room", "Name of the room."),
    ("source", "pool, direct or instant."),
    ("valid_from", "From when an instant room can be joined."),
    (
        "valid_until",
        "Until when an instant room can be joined, if nothing ends it before. Other rooms have no validity.",
    ),
    ("reason", "The problem's code, or why the room was not used, ended, swept or destroyed."),
    ("uui_data_hash", "HMAC-SHA-256 of the decoded uuiData with AUDIT_HASH_KEY, in hexadecimal."),
];

/// Creates the context of each request. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit(HashKey);

impl Audit {
    /// Hashes cases with `key`; without one with a random key, so that only events of this process can be linked.
    pub fn new(key: Option<&SecretString>) -> Self {
        Self(key.map_or_else(HashKey::random, HashKey::new))
    }

    /// The context of one request.
    pub fn context(&self, request_id: String) -> AuditContext {
        let known = Mutex::default();
        AuditContext(Arc::new(AuditContextInner { hash_key: self.0.clone(), request_id, known }))
    }
}

/// What is known of one request about a room: caller, case and room, each set once it is known. Clones share it.
#[derive(Clone, Debug)]
pub struct AuditContext(Arc<AuditContextInner>);

#[derive(Debug)]
struct AuditContextInner {
    hash_key: HashKey,
    request_id: String,
    known: Mutex<Known>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    caller: Option<Caller>,
    room: Option<String>,
    uui_data_hash: Option<String>,
}

/// What one decision has beside what is known of its request.
#[derive(Clone, Copy, Debug, Default)]
struct Details {
    source: Option<&'static str>,
    validity: Option<[OffsetDateTime; 2]>,
    reason: Option<&'static str>,
}

/// The authenticated caller of a request, by ids; set for refused requests too.
#[derive(Clone, Debug)]
pub enum Caller {
    /// An Entra client, by claims of its token.
    Entra { tid: String, azp: String, oid: Option<String>, uti: Option<String> },
    /// A Genesys user.
    Genesys { user_id: String },
}

impl Caller {
    /// The client's or the user's id.
    pub fn id(&self) -> &str {
        match self {
            Self::Entra { azp, .. } => azp,
            Self::Genesys { user_id } => user_id,
        }
    }
}

impl AuditContext {
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// The id of the caller, once it is authenticated.
    pub fn caller_id(&self) -> Option<String> {
        self.0.known.lock().caller.as_ref().map(|caller| caller.id().to_owned())
    }

    /// Tenant and client of an Entra caller, once it is authenticated.
    pub fn entra_client(&self) -> Option<[String; 2]> {
        match self.0.known.lock().caller.as_ref()? {
            Caller::Entra { tid, azp, .. } => Some([tid.clone(), azp.clone()]),
            Caller::Genesys { .. } => None,
        }
    }

    /// Sets the authenticated caller.
    pub fn set_caller(&self, caller: Caller) {
        self.0.known.lock().caller = Some(caller);
    }

    /// Sets the room that the request is about, by a name that has been checked.
    pub fn set_room(&self, room: &impl AsRef<str>) {
        self.0.known.lock().room = Some(room.as_ref().to_owned());
    }

    /// Sets the hash of the citizen's case.
    pub fn set_case_hash(&self, data: &UuiData) {
        let hash = self.0.hash_key.hash(data.expose());
        self.0.known.lock().uui_data_hash = Some(hex::encode(hash));
    }

    /// Records that the room is handed out, where it comes from, and from when until when an instant room can be
    /// joined.
    pub fn room_handed_out(&self, room: &RoomName, source: &'static str, validity: Option<[OffsetDateTime; 2]>) {
        self.set_room(room);
        self.record(Decision::HandedOut, Details { source: Some(source), validity, reason: None });
    }

    /// Records that the room of an earlier request with the same key is sent again.
    pub fn room_replayed(&self, room: &RoomName, source: &'static str, validity: Option<[OffsetDateTime; 2]>) {
        self.set_room(room);
        self.record(Decision::Replayed, Details { source: Some(source), validity, reason: None });
    }

    /// Records that an agent receives the room.
    pub fn room_read(&self) {
        self.record(Decision::Read, Details::default());
    }

    /// Records that the room is deleted.
    pub fn room_deleted(&self) {
        self.record(Decision::Deleted, Details::default());
    }

    /// Records that the request is answered with the problem `code`.
    pub fn request_refused(&self, code: &'static str) {
        self.record(Decision::Refused, Details { reason: Some(code), ..Details::default() });
    }

    fn record(&self, decision: Decision, Details { source, validity, reason }: Details) {
        let Known { caller, room, uui_data_hash } = self.0.known.lock().clone();
        let (mut client, mut genesys_user) = ((None, None, None, None), None);
        match &caller {
            Some(Caller::Entra { tid, azp, oid, uti }) => client = (Some(tid), Some(azp), oid.as_ref(), uti.as_ref()),
            Some(Caller::Genesys { user_id }) => genesys_user = Some(user_id),
            None => {}
        }
        let (tid, azp, oid, uti) = client;
        let [valid_from, valid_until] =
            validity.map_or([None, None], |times| times.map(|time| time.format(&Rfc3339).ok()));
        info!(
            target: TARGET,
            event = decision.as_str(),
            request_id = self.0.request_id,
            tid,
            azp,
            oid,
            uti,
            genesys_user,
            room,
            source,
            valid_from,
            valid_until,
            reason,
            uui_data_hash,
        );
    }
}

/// Records that the sweep deletes a room, or that a room is deleted because its conference has ended.
pub fn room_swept(room: &RoomName, reason: &'static str) {
    record_of_pool(Decision::Swept, room, reason);
}

/// Records that an instant room ends, but not by a caller's delete.
pub fn room_ended(room: &RoomName, reason: &'static str) {
    record_of_pool(Decision::Ended, room, reason);
}

/// Records that the room is not used, because others have claimed it.
pub fn claim_conflict(room: &RoomName, reason: &'static str) {
    record_of_pool(Decision::Conflict, room, reason);
}

/// Records that the pool destroys a room, even if the room was never made or is left to the sweep.
pub fn room_destroyed(room: &RoomName, reason: &'static str) {
    record_of_pool(Decision::Destroyed, room, reason);
}

fn record_of_pool(decision: Decision, room: &RoomName, reason: &'static str) {
    info!(target: TARGET, event = decision.as_str(), room = room.as_str(), reason);
}
