//! Ids on a list of the settings: of clients, of divisions.

use super::parser::list;

/// The ids that are accepted: of clients, or of divisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedIds {
    Any,
    Only(Vec<String>),
}

impl AllowedIds {
    /// Whether the id is accepted. GUIDs are compared without regard to case.
    pub fn allows(&self, id: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(ids) => ids.iter().any(|allowed| allowed.eq_ignore_ascii_case(id)),
        }
    }

    /// Parses a list of ids, or `*`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "*" { Ok(Self::Any) } else { list(text).map(Self::Only) }
    }
}
