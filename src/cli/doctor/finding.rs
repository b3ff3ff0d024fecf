use serde::Serialize;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Fine,
    /// It works, and will not for ever, or not well.
    Warning,
    NotFine,
    CouldNotTell,
}

/// What one check came to. Nothing in it is secret.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// Names the check within its section; the names stay as they are.
    pub(super) check: &'static str,
    pub(super) verdict: Verdict,
    pub(super) says: String,
    /// What an operator can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to_do: Option<String>,
}

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

    /// Whether nothing is known of both, for the same reason.
    pub(super) fn is_untold_like(&self, other: &Self) -> bool {
        self.verdict == Verdict::CouldNotTell && other.verdict == Verdict::CouldNotTell && self.says == other.says
    }

    pub(super) fn could_not_tell(check: &'static str, says: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::CouldNotTell, says: says.into(), to_do: None }
    }
}

/// All that was found about one system, in the order of its checks.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) system: &'static str,
    pub(super) findings: Vec<Finding>,
}

impl Section {
    /// The findings so far, and a line for each check that nobody came to: `why` not.
    pub(super) fn of(
        system: &'static str,
        checks: &[&'static str],
        mut findings: Vec<Finding>,
        why: impl Into<String>,
    ) -> Self {
        let why = why.into();
        for check in checks {
            if findings.iter().all(|finding| finding.check != *check) {
                findings.push(Finding::could_not_tell(check, why.clone()));
            }
        }
        findings.sort_by_key(|finding| checks.iter().position(|check| *check == finding.check));
        Self { system, findings }
    }

    /// No check could be made.
    pub(super) fn unexamined(system: &'static str, checks: &[&'static str], why: &str) -> Self {
        Self::of(system, checks, Vec::new(), why)
    }

    /// What was found until the first check without which the others make no sense, that one included.
    pub(super) fn examined(
        system: &'static str,
        checks: &[&'static str],
        mut findings: Vec<Finding>,
        ended: Result<(), Finding>,
    ) -> Self {
        let why = match &ended {
            Ok(()) => String::new(),
            Err(last) => format!("not tried, because of its {}", last.check),
        };
        findings.extend(ended.err());
        Self::of(system, checks, findings, why)
    }
}
