//! What the checks of a system found.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Fine,
    /// Works now, but needs attention.
    Warning,
    NotFine,
    CouldNotTell,
}

/// The result of one check. Holds no secret.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// Name of the check within its system. Names are fixed.
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    pub(super) says: String,
    /// The remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to_do: Option<String>,
}

pub(super) type Findings = Vec<Finding>;

impl Finding {
    pub(super) fn fine(check: &'static str, says: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fine, says: says.into(), to_do: None }
    }

    pub(super) fn warning(check: &'static str, says: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, says: says.into(), to_do: Some(to_do.into()) }
    }

    pub(super) fn not_fine(check: &'static str, says: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::NotFine, says: says.into(), to_do: Some(to_do.into()) }
    }

    pub(super) fn could_not_tell(check: &'static str, says: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::CouldNotTell, says: says.into(), to_do: None }
    }

    /// The finding of a check that returns early with an `Err`.
    pub(super) fn of(result: Result<Self, Self>) -> Self {
        result.unwrap_or_else(|finding| finding)
    }

    /// Whether both checks could not be made, or are fine, for the same reason.
    pub(super) fn has_same_reason(&self, other: &Self) -> bool {
        let needs_nothing = matches!(self.verdict, Verdict::CouldNotTell | Verdict::Fine);
        needs_nothing && self.verdict == other.verdict && self.says == other.says
    }
}

/// The findings of one system, in the order of its checks.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) system: &'static str,
    pub(super) findings: Findings,
}

impl Section {
    /// Adds a finding with `reason` for each of `checks` that was not made.
    pub(super) fn complete(
        system: &'static str,
        checks: &[&'static str],
        mut findings: Findings,
        reason: &str,
    ) -> Self {
        for check in checks {
            if findings.iter().all(|finding| finding.check != *check) {
                findings.push(Finding::could_not_tell(check, reason));
            }
        }
        findings.sort_by_key(|finding| checks.iter().position(|check| *check == finding.check));
        Self { system, findings }
    }
}
