use std::fmt;
use std::time::Duration;

/// Declares the checks once, in the order in which they are reported: variant, its name for programs, its words for
/// people. The names stay as they are: results of different versions are compared by them.
macro_rules! checks {
    ($($check:ident = $name:literal, $words:literal;)+) => {
        /// One thing that is looked at.
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

            pub(super) fn words(self) -> &'static str {
                match self {
                    $(Self::$check => $words,)+
                }
            }
        }
    };
}

checks! {
    Version = "version", "the expected version answers";
    Ready = "ready", "all that the service needs is there";
    EntraToken = "entra_token", "Entra gives this test a token";
    CreateWithoutToken = "create_without_token", "create without a token is refused";
    CreateWithAlteredToken = "create_with_altered_token", "create with a token that was altered is refused";
    CreateWithForeignAudience = "create_with_foreign_audience", "create with a token for another API is refused";
    DeleteWithoutToken = "delete_without_token", "delete without a token is refused";
    PublicWithoutToken = "public_without_token", "the public read without a token is refused";
    PublicWithUnknownToken = "public_with_unknown_token", "the public read with a token unknown to Genesys is refused";
    ForeignOrigin = "foreign_origin", "pages of other origins are given no CORS headers";
    AllowedOrigin = "allowed_origin", "the widget's pages are given theirs";
    WrongMethod = "wrong_method", "a wrong method is refused";
    UuiDataMissing = "uui_data_missing", "create without uuiData is refused";
    UuiDataInvalid = "uui_data_invalid", "create with uuiData that is not hexadecimal is refused";
    UuiDataTooLong = "uui_data_too_long", "create with uuiData that is too long is refused";
    UnknownRoom = "unknown_room", "delete of a name that is nobody's is refused";
    Create = "create", "a room is created";
    Tag = "tag", "it carries the tag of its own uuiData";
    PublicRead = "public_read", "the public read shows the same room";
    CreateAnother = "create_another", "the next create gives another room, with its own tag";
    Pool = "pool", "a room comes from the pool";
    Delete = "delete", "a deleted room is gone";
    CleanUp = "clean_up", "no room of this test is left behind";
    AnswerHeaders = "answer_headers", "every answer has its headers, and comes from one version";
}

/// A check and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) check: Check,
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Found(Finding),
}

/// Why a check did not pass. The words hold no secret: nothing out of a body, but for the codes of problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The means are not there, or an earlier check did not pass. Nobody's fault.
    NotChecked(String),
    Fault {
        fault: Fault,
        detail: String,
    },
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The service's, its settings' or its host's.
    Ours,
    /// That of what the service depends on: down, or refusing it.
    Dependency(Dependency),
    /// Nobody's that could be told from here.
    Unclear,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dependency {
    Entra,
    Queue,
    Pexip,
    Genesys,
}

impl Finding {
    pub(super) fn not_checked(reason: impl Into<String>) -> Self {
        Self::NotChecked(reason.into())
    }

    pub(super) fn ours(detail: impl Into<String>) -> Self {
        Self::of(Fault::Ours, detail)
    }

    pub(super) fn unclear(detail: impl Into<String>) -> Self {
        Self::of(Fault::Unclear, detail)
    }

    pub(super) fn dependency(dependency: Dependency, detail: impl Into<String>) -> Self {
        Self::of(Fault::Dependency(dependency), detail)
    }

    pub(super) fn of(fault: Fault, detail: impl Into<String>) -> Self {
        Self::Fault { fault, detail: detail.into() }
    }
}

impl Outcome {
    pub(super) fn fault(&self) -> Option<Fault> {
        match self {
            Self::Found(Finding::Fault { fault, .. }) => Some(*fault),
            Self::Passed | Self::Found(Finding::NotChecked(_)) => None,
        }
    }

    /// The word for programs.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Found(Finding::NotChecked(_)) => "not_checked",
            Self::Found(Finding::Fault { .. }) => "failed",
        }
    }

    pub(super) fn detail(&self) -> Option<&str> {
        match self {
            Self::Passed => None,
            Self::Found(Finding::NotChecked(detail) | Finding::Fault { detail, .. }) => Some(detail),
        }
    }
}

impl Fault {
    /// The word for programs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Dependency(_) => "dependency",
            Self::Unclear => "unclear",
        }
    }

    pub(super) fn dependency(self) -> Option<Dependency> {
        match self {
            Self::Dependency(dependency) => Some(dependency),
            Self::Ours | Self::Unclear => None,
        }
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Entra => "entra",
            Self::Queue => "queue",
            Self::Pexip => "pexip",
            Self::Genesys => "genesys",
        })
    }
}
