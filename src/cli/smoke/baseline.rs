//! The result of an earlier run, with which `--compare` tells new faults from old ones.

use std::path::Path;

use serde::{Deserialize, Serialize};
use url::Url;

use super::check::{Check, Fault, Outcome};
use super::room_format::is_room_name;

/// What an earlier run wrote with `--json`.
#[derive(Debug, Deserialize)]
pub(super) struct Baseline {
    url: Url,
    checks: Vec<BaselineCheck>,
}

#[derive(Debug, Deserialize)]
struct BaselineCheck {
    name: String,
    outcome: String,
    fault: Option<String>,
    detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Novelty {
    /// The check passed before.
    New,
    /// The check failed before with the same fault and the same detail.
    Old,
    /// The check was not made before, or failed otherwise.
    Unknown,
}

impl Baseline {
    /// Fails unless the result is complete and of the same address: faults elsewhere say nothing.
    pub(super) fn read(file: &Path, url: &Url) -> Result<Self, String> {
        let text = std::fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
        let baseline: Option<Self> = serde_json::from_slice(&text).ok();
        let baseline = baseline
            .filter(|baseline| !baseline.checks.is_empty())
            .ok_or_else(|| format!("{} is not a result of `maxconf smoke --json`", file.display()))?;
        if baseline.url != *url {
            return Err(format!("{} is the result of another address, {}", file.display(), baseline.url));
        }
        Ok(baseline)
    }

    /// `None` without a fault now.
    pub(super) fn novelty(&self, check: Check, outcome: &Outcome) -> Option<Novelty> {
        let fault = outcome.fault()?;
        let Some(before) = self.checks.iter().find(|before| before.name == check.name()) else {
            return Some(Novelty::Unknown);
        };
        let is_same = before.fault.as_deref() == Some(fault.name())
            && before.detail.as_deref().map(without_room_names) == outcome.detail().map(without_room_names);
        Some(match before.outcome.as_str() {
            "passed" => Novelty::New,
            "failed" if is_same => Novelty::Old,
            _ => Novelty::Unknown,
        })
    }
}

/// Every run creates rooms with other names.
fn without_room_names(detail: &str) -> String {
    let words = detail.split([' ', '/', ';', ':']);
    words.map(|word| if is_room_name(word) { "…" } else { word }).collect::<Vec<_>>().join(" ")
}

impl Novelty {
    /// The fault as it counts for the change under test. Undoing the change does not repair an old fault, and whether
    /// an unknown one is new is unclear.
    pub(super) fn fault_of_change(self, fault: Fault) -> Option<Fault> {
        match (fault, self) {
            (Fault::Service, Self::Old) => None,
            (Fault::Service, Self::Unknown) => Some(Fault::Unclear),
            (Fault::Service, Self::New) | (Fault::Dependency(_) | Fault::Unclear, _) => Some(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use time::OffsetDateTime;

    use super::super::check::{Checked, Dependency, Failure};
    use super::super::report::Report;
    use super::*;

    const PASSED: Outcome = Outcome::Passed;

    /// Passed, two service faults, a dependency's fault, unclear, not checked.
    fn outcomes() -> [Outcome; 6] {
        [
            PASSED,
            Outcome::Failed(Failure::service("answered 500 instead of 200")),
            Outcome::Failed(Failure::service("Room-Source is none of pool, direct and instant")),
            Outcome::Failed(Failure::dependency(Dependency::Pexip, "pexip is not ready")),
            Outcome::Failed(Failure::unclear("cannot be reached")),
            Outcome::Failed(Failure::not_checked("an earlier check did not pass")),
        ]
    }

    fn url() -> Url {
        "https://maxconf.example.org/".parse().expect("a URL")
    }

    /// The report of a run that made these checks only.
    fn report<'a>(url: &'a Url, outcomes: &[(Check, &Outcome)], baseline: Option<&'a Baseline>) -> Report<'a> {
        let of =
            |&(check, outcome): &(Check, &Outcome)| Checked { check, outcome: outcome.clone(), took: Duration::ZERO };
        Report {
            url,
            version: Some("1.0.0".to_owned()),
            expected_version: None,
            started_at: OffsetDateTime::UNIX_EPOCH,
            checked: outcomes.iter().map(of).collect(),
            baseline,
        }
    }

    fn baseline(json: Value) -> Baseline {
        serde_json::from_value(json).expect("a result of a run")
    }

    #[test]
    fn each_state_before_and_after_a_change_has_its_exit_code() {
        let outcomes = outcomes();
        // Rows: the outcome before, in the order of `outcomes`; in the last row the check did not exist. Columns: the
        // outcome now.
        for (line, codes) in [
            [0, 1, 1, 3, 4, 0],
            [0, 0, 4, 3, 4, 0],
            [0, 4, 0, 3, 4, 0],
            [0, 4, 4, 3, 4, 0],
            [0, 4, 4, 3, 4, 0],
            [0, 4, 4, 3, 4, 0],
            [0, 4, 4, 3, 4, 0],
        ]
        .into_iter()
        .enumerate()
        {
            for (now, code) in outcomes.iter().zip(codes) {
                let before = outcomes.get(line).map_or((Check::Version, &PASSED), |before| (Check::Create, before));
                let baseline = baseline(report(&url(), &[before], None).json());
                let code_now = report(&url(), &[(Check::Create, now)], Some(&baseline)).verdict_of_change().exit_code();
                assert_eq!(code_now, code, "{before:?}, then {now:?}");
            }
        }
    }

    /// The gravest fault counts, and of the service's faults only new ones.
    #[test]
    fn each_fault_is_compared_with_its_own_check() {
        let [passed, service, _, dependency, unclear, _] = outcomes();
        for (create, delete, code) in [
            // Each check before and now.
            ((&passed, &service), (&service, &service), 1),
            ((&passed, &service), (&passed, &dependency), 1),
            ((&service, &service), (&passed, &dependency), 3),
            ((&dependency, &service), (&passed, &dependency), 3),
            ((&service, &service), (&unclear, &service), 4),
            ((&service, &service), (&service, &service), 0),
            ((&service, &passed), (&passed, &service), 1),
        ] {
            let before = report(&url(), &[(Check::Create, create.0), (Check::Delete, delete.0)], None).json();
            let baseline = baseline(before);
            let now = [(Check::Create, create.1), (Check::Delete, delete.1)];
            let code_now = report(&url(), &now, Some(&baseline)).verdict_of_change().exit_code();
            assert_eq!(code_now, code, "{create:?} {delete:?}");
        }
    }

    #[test]
    fn the_same_fault_with_other_room_names_is_old() {
        let left = |name: &str| {
            Outcome::Failed(Failure::service(format!("{name} is left behind; DELETE /room/{name}: failed")))
        };
        let [before, now] = ["vbv-01jd5p3xk8qqqqqqqqqqqqqqqq", "vbv-01m7z925ftv4npzwkn18cya329"].map(left);
        let baseline = baseline(report(&url(), &[(Check::CleanUp, &before)], None).json());
        assert_eq!(baseline.novelty(Check::CleanUp, &now), Some(Novelty::Old));
        assert_eq!(baseline.novelty(Check::CleanUp, &left("boardroom")), Some(Novelty::Unknown));
    }

    #[test]
    fn unknown_members_and_outcomes_of_another_version_are_accepted() {
        let other = baseline(json!({
            "url": url(), "version": null, "more": {},
            "checks": [{ "name": "create", "outcome": "a_new_outcome" }, { "name": "a_new_check", "outcome": "passed" }],
        }));
        let [_, service, ..] = outcomes();
        assert_eq!(other.novelty(Check::Create, &service), Some(Novelty::Unknown));
        assert_eq!(other.novelty(Check::Tag, &service), Some(Novelty::Unknown));
    }
}
