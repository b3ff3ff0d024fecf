use super::Environment;
use super::reader::{Reader, Setting, list};

/// Which clients may call: a list, or everyone that is otherwise accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedClients {
    Any,
    Only(Vec<String>),
}

impl AllowedClients {
    /// Whether the client is one of those. GUIDs are compared without regard to case.
    pub fn allows(&self, client: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(clients) => clients.iter().any(|allowed| allowed.eq_ignore_ascii_case(client)),
        }
    }

    /// Reads `setting`. Outside local, everyone is let in only where that was said.
    pub(super) fn read(reader: &mut Reader<'_>, setting: &Setting, environment: Environment) -> Option<Self> {
        let clients = reader.optional(setting, Self::parse)?;
        if clients.is_none() && environment != Environment::Local {
            reader.fault(setting, "is not set; it is required outside local");
        }
        Some(clients.unwrap_or(Self::Any))
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "*" { Ok(Self::Any) } else { list(text).map(Self::Only) }
    }
}
