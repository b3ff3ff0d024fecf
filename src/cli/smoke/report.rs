//! Report of a run: verdict, text for people, JSON for programs. Names in the JSON are fixed.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use super::baseline::{Baseline, Novelty};
use super::check::{Check, Checked, Failure, Fault, Outcome};

#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) url: &'a Url,
    /// The version that answered.
    pub(super) version: Option<String>,
    pub(super) expected_version: Option<&'a str>,
    pub(super) started_at: OffsetDateTime,
    /// Every check once, in order.
    pub(super) checked: Vec<Checked>,
    pub(super) baseline: Option<&'a Baseline>,
}

const NOT_REACHED: &str = "an earlier check did not pass";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Healthy,
    Broken,
    DependencyDown,
    CouldNotTell,
}

impl Verdict {
    /// The gravest fault decides.
    fn of(faults: impl Iterator<Item = Fault>) -> Self {
        let faults: Vec<_> = faults.collect();
        if faults.contains(&Fault::Service) {
            Self::Broken
        } else if faults.iter().any(|fault| fault.dependency().is_some()) {
            Self::DependencyDown
        } else if faults.contains(&Fault::Unclear) {
            Self::CouldNotTell
        } else {
            Self::Healthy
        }
    }

    /// Never 2, which means that there is no result.
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Broken => 1,
            Self::DependencyDown => 3,
            Self::CouldNotTell => 4,
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Healthy => "The service is healthy: it passed every check that was made.",
            Self::Broken => "The service is broken.",
            Self::DependencyDown => "A dependency is down, or refuses the service. The service has no fault.",
            Self::CouldNotTell => "This test could not determine whether the service is healthy.",
        }
    }

    fn sentence_about_change(self) -> &'static str {
        match self {
            Self::Healthy => "Compared with the earlier result, the service has no new fault.",
            Self::Broken => "Compared with the earlier result, the service has a new fault.",
            Self::DependencyDown => {
                "Compared with the earlier result, the service has no new fault, but a dependency is down."
            }
            Self::CouldNotTell => "This test could not determine whether a fault of the service is new.",
        }
    }
}

impl Report<'_> {
    /// The verdict on the service as it is.
    fn verdict(&self) -> Verdict {
        Verdict::of(self.checked.iter().filter_map(|checked| checked.outcome.fault()))
    }

    /// The verdict that the exit code reports: with a baseline only new faults of the service count.
    pub(super) fn verdict_of_change(&self) -> Verdict {
        Verdict::of(self.checked.iter().filter_map(|checked| {
            let fault = checked.outcome.fault()?;
            self.novelty(checked).map_or(Some(fault), |novelty| novelty.fault_of_change(fault))
        }))
    }

    fn novelty(&self, checked: &Checked) -> Option<Novelty> {
        self.baseline?.novelty(checked.check, &checked.outcome)
    }

    pub(super) fn started_at(&self) -> String {
        self.started_at.format(&Rfc3339).unwrap_or_default()
    }

    /// A line for each check. Checks that were not reached share one.
    pub(super) fn text(&self) -> String {
        let version = self.version.as_deref().unwrap_or("unknown");
        let mut text = format!("Smoke test of {}, version {version}\n\n", self.url);
        for group in self.checked.chunk_by(|one, next| is_not_reached(one) && is_not_reached(next)) {
            let checked = &group[0];
            let what = match group {
                [one] => one.check.description().to_owned(),
                more => format!("{} more", more.len()),
            };
            text += &format!("{:<12} {what}", state(&checked.outcome));
            if let Some(detail) = checked.outcome.detail() {
                text += &format!(": {detail}");
            }
            text += match self.novelty(checked) {
                None => "",
                Some(Novelty::New) => " (new)",
                Some(Novelty::Old) => " (as before)",
                Some(Novelty::Unknown) => " (not known whether new)",
            };
            text.push('\n');
        }
        text += &format!("\n{}\n", self.verdict().sentence());
        if self.baseline.is_some() {
            text += &format!("{}\n", self.verdict_of_change().sentence_about_change());
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let checks = self.checked.iter().map(|checked| {
            let fault = checked.outcome.fault();
            json!({
                "name": checked.check.name(),
                "outcome": checked.outcome.name(),
                "fault": fault.map(Fault::name),
                "dependency": fault.and_then(Fault::dependency),
                "novelty": self.novelty(checked),
                "detail": checked.outcome.detail(),
                "duration_ms": u64::try_from(checked.took.as_millis()).unwrap_or(u64::MAX),
            })
        });
        json!({
            "url": self.url,
            "version": self.version,
            "expected_version": self.expected_version,
            "started_at": self.started_at(),
            "verdict": self.verdict(),
            "exit_code": self.verdict_of_change().exit_code(),
            "checks": checks.collect::<Vec<_>>(),
        })
    }
}

fn is_not_reached(checked: &Checked) -> bool {
    checked.outcome.detail() == Some(NOT_REACHED)
}

fn state(outcome: &Outcome) -> &'static str {
    match (outcome, outcome.fault()) {
        (Outcome::Passed, _) => "ok",
        (_, None) => "not checked",
        (_, Some(Fault::Service)) => "BROKEN",
        (_, Some(Fault::Dependency(_))) => "DEPENDENCY",
        (_, Some(Fault::Unclear)) => "unclear",
    }
}

/// Adds the checks that were not reached, and sorts all by the list's order.
pub(super) fn complete(mut checked: Vec<Checked>) -> Vec<Checked> {
    for &check in Check::ALL {
        if !checked.iter().any(|done| done.check == check) {
            let outcome = Outcome::Failed(Failure::not_checked(NOT_REACHED));
            checked.push(Checked { check, outcome, took: Duration::ZERO });
        }
    }
    checked.sort_by_key(|done| Check::ALL.iter().position(|check| *check == done.check));
    checked
}
