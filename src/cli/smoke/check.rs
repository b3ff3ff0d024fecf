//! The checks of a smoke test, and what a check can result in.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// Declares the checks in report order: variant, name, description. Programs compare results by name, so names are
/// fixed.
macro_rules! checks {
    ($($check:ident = $name:literal, $description:literal;)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Check {
            $($check,)+
        }

        impl Check {
            pub(super) const ALL: &[Self] = &[$(Self::$check,)+];

            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$check => $name,)+
                }
            }

            pub(super) fn description(self) -> &'static str {
                match self {
                    $(Self::$check => $description,)+
                }
            }
        }
    };
}

checks! {
    Version = "version", "the expected version answers";
    Ready = "ready", "the service is ready";
    EntraToken = "entra_token", "Entra issues a token to this test";
    CreateWithoutToken = "create_without_token", "create without a token is refused";
    CreateWithAlteredToken = "create_with_altered_token", "create with an altered token is refused";
    CreateWithForeignAudience = "create_with_foreign_audience", "create with a token for another API is refused";
    DeleteWithoutToken = "delete_without_token", "delete without a token is refused";
    PublicWithoutToken = "public_without_token", "the public read without a token is refused";
    PublicWithUnknownToken = "public_with_unknown_token", "the public read with an unknown Genesys token is refused";
    ForeignOrigin = "foreign_origin", "other origins get no CORS headers";
    AllowedOrigin = "allowed_origin", "the widget's origin gets CORS headers";
    WrongMethod = "wrong_method", "an unsupported method is refused";
    PolicyWithoutAccount = "policy_without_account", "a look-up without the Conferencing Nodes' account is refused";
    PolicyOfForeignAlias = "policy_of_foreign_alias", "a look-up of a foreign alias is passed on";
    UuiDataMissing = "uui_data_missing", "create without uuiData is refused";
    UuiDataInvalid = "uui_data_invalid", "create with uuiData that is not hexadecimal is refused";
    UuiDataTooLong = "uui_data_too_long", "create with uuiData that is too long is refused";
    UnknownRoom = "unknown_room", "delete of an unknown room is refused";
    Create = "create", "create returns a room";
    Tag = "tag", "the room has the tag of its uuiData";
    PublicRead = "public_read", "the public read returns the same room";
    Policy = "policy", "look-ups of an instant room are answered with it";
    RoomProperties = "room_properties", "the room has the expected properties on Pexip";
    KeyRepeated = "key_repeated", "a repeated Idempotency-Key returns the same room";
    KeyReused = "key_reused", "the same key with another uuiData is refused";
    CreateAnother = "create_another", "a second create returns another room with its own tag";
    Pool = "pool", "a room comes from the pool";
    Delete = "delete", "a deleted room is gone";
    PolicyOfDeletedRoom = "policy_of_deleted_room", "a look-up of a deleted instant room is refused";
    KeyOfDeletedRoom = "key_of_deleted_room", "the key of a deleted room is refused";
    CleanUp = "clean_up", "every room of this test is deleted";
    AnswerHeaders = "answer_headers", "every answer has the required headers and the same version";
}

/// A check that has been made.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) check: Check,
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed(Failure),
}

/// Why a check did not pass. The detail holds no secret: of a body it repeats only a problem's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A credential is missing, or an earlier check did not pass.
    NotChecked(String),
    Fault {
        fault: Fault,
        detail: String,
    },
}

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The service, its settings or its host.
    Service,
    /// A dependency is down, or refuses the service.
    Dependency(Dependency),
    /// Cannot be determined from here.
    Unclear,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Dependency {
    Entra,
    Queue,
    Records,
    Pexip,
    Genesys,
}

impl Failure {
    pub(super) fn not_checked(reason: impl Into<String>) -> Self {
        Self::NotChecked(reason.into())
    }

    pub(super) fn service(detail: impl Into<String>) -> Self {
        Self::new(Fault::Service, detail)
    }

    pub(super) fn unclear(detail: impl Into<String>) -> Self {
        Self::new(Fault::Unclear, detail)
    }

    pub(super) fn dependency(dependency: Dependency, detail: impl Into<String>) -> Self {
        Self::new(Fault::Dependency(dependency), detail)
    }

    pub(super) fn new(fault: Fault, detail: impl Into<String>) -> Self {
        Self::Fault { fault, detail: detail.into() }
    }
}

impl Outcome {
    pub(super) fn fault(&self) -> Option<Fault> {
        match self {
            Self::Failed(Failure::Fault { fault, .. }) => Some(*fault),
            Self::Passed | Self::Failed(Failure::NotChecked(_)) => None,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(Failure::NotChecked(_)) => "not_checked",
            Self::Failed(Failure::Fault { .. }) => "failed",
        }
    }

    pub(super) fn detail(&self) -> Option<&str> {
        match self {
            Self::Passed => None,
            Self::Failed(Failure::NotChecked(detail) | Failure::Fault { detail, .. }) => Some(detail),
        }
    }
}

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Service => "ours",
            Self::Dependency(_) => "dependency",
            Self::Unclear => "unclear",
        }
    }

    pub(super) fn dependency(self) -> Option<Dependency> {
        match self {
            Self::Dependency(dependency) => Some(dependency),
            Self::Service | Self::Unclear => None,
        }
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}
