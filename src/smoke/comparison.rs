use std::path::Path;

use serde::Deserialize;

use super::check::{Check, Fault};

/// What an earlier run found, by its `--json`.
#[derive(Debug, Deserialize)]
pub(super) struct Earlier {
    checks: Vec<EarlierCheck>,
}

#[derive(Debug, Deserialize)]
struct EarlierCheck {
    name: String,
    outcome: String,
    fault: Option<String>,
}

/// Whether a fault was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Novelty {
    /// This check passed before.
    New,
    /// The same fault was there before.
    Old,
    /// This check could not be made before.
    Unknown,
}

impl Earlier {
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
        let earlier: Option<Self> = serde_json::from_slice(&text).ok();
        earlier
            .filter(|earlier| !earlier.checks.is_empty())
            .ok_or_else(|| format!("{} is not what `maxconf smoke --json` writes", file.display()))
    }

    pub(super) fn novelty(&self, check: Check, fault: Fault) -> Novelty {
        let before = self.checks.iter().find(|before| before.name == check.name());
        match before.map(|before| (before.outcome.as_str(), before.fault.as_deref())) {
            Some(("passed", _)) => Novelty::New,
            Some(("failed", Some(before))) if before == fault.name() => Novelty::Old,
            _ => Novelty::Unknown,
        }
    }
}

impl Novelty {
    /// The fault as far as it counts after the change that is judged: what we had before is not undone by undoing
    /// the change, and of what may be old nobody can tell.
    pub(super) fn counts(self, fault: Fault) -> Option<Fault> {
        match (fault, self) {
            (Fault::Ours, Self::Old) => None,
            (Fault::Ours, Self::Unknown) => Some(Fault::Unclear),
            (Fault::Ours, Self::New) | (Fault::Dependency(_) | Fault::Unclear, _) => Some(fault),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Old => "old",
            Self::Unknown => "unknown",
        }
    }
}
