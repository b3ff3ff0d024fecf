use super::parser::list;

/// The OAuth clients that may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedClients {
    Any,
    Only(Vec<String>),
}

impl AllowedClients {
    /// Whether the client may call. GUIDs are compared without regard to case.
    pub fn allows(&self, client: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(clients) => clients.iter().any(|allowed| allowed.eq_ignore_ascii_case(client)),
        }
    }

    /// Parses a list of client ids, or `*`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "*" { Ok(Self::Any) } else { list(text).map(Self::Only) }
    }
}
