use std::path::Path;

use serde::Deserialize;
use url::Url;

use super::check::{Check, Fault, Outcome};
use super::rooms::is_room_name;

/// What an earlier run found, by its `--json`.
#[derive(Debug, Deserialize)]
pub(super) struct Earlier {
    url: Url,
    checks: Vec<EarlierCheck>,
}

#[derive(Debug, Deserialize)]
struct EarlierCheck {
    name: String,
    outcome: String,
    fault: Option<String>,
    detail: Option<String>,
}

/// Whether a fault was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Novelty {
    /// This check passed before.
    New,
    /// The same fault was there before, in the same words.
    Old,
    /// This check could not be made before, or something else was wrong with it.
    Unknown,
}

impl Earlier {
    /// Of the same address: what was wrong elsewhere says nothing.
    pub(super) fn read(file: &Path, url: &Url) -> Result<Self, String> {
        let text = std::fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
        let earlier: Option<Self> = serde_json::from_slice(&text).ok();
        let earlier = earlier
            .filter(|earlier| !earlier.checks.is_empty())
            .ok_or_else(|| format!("{} is not what `maxconf smoke --json` writes", file.display()))?;
        if earlier.url != *url {
            return Err(format!("{} is of another address, {}", file.display(), earlier.url));
        }
        Ok(earlier)
    }

    /// `None` where nothing is at fault now.
    pub(super) fn novelty(&self, check: Check, now: &Outcome) -> Option<Novelty> {
        let fault = now.fault()?;
        let Some(before) = self.checks.iter().find(|before| before.name == check.name()) else {
            return Some(Novelty::Unknown);
        };
        let same = before.fault.as_deref() == Some(fault.name())
            && before.detail.as_deref().map(without_names) == now.detail().map(without_names);
        Some(match before.outcome.as_str() {
            "passed" => Novelty::New,
            "failed" if same => Novelty::Old,
            _ => Novelty::Unknown,
        })
    }
}

/// A fault's words but for the rooms in them, which are others each time.
fn without_names(detail: &str) -> String {
    let words = detail.split([' ', '/', ';']);
    words.map(|word| if is_room_name(word) { "…" } else { word }).collect::<Vec<_>>().join(" ")
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use time::OffsetDateTime;

    use super::super::check::{Checked, Dependency, Finding};
    use super::super::report::Report;
    use super::*;

    const PASSED: Outcome = Outcome::Passed;

    /// Fine, ours, ours in other words, a dependency's, unclear, not checked.
    fn outcomes() -> [Outcome; 6] {
        [
            PASSED,
            Outcome::Found(Finding::ours("answered 500 instead of 200")),
            Outcome::Found(Finding::ours("Room-Source is neither pool nor direct")),
            Outcome::Found(Finding::dependency(Dependency::Pexip, "pexip is not ready")),
            Outcome::Found(Finding::unclear("cannot be reached")),
            Outcome::Found(Finding::not_checked("an earlier check did not pass")),
        ]
    }

    fn url() -> Url {
        "https://maxconf.example.org/".parse().expect("a URL")
    }

    /// A run in which these checks came to this, and nothing else was looked at.
    fn report<'a>(url: &'a Url, outcomes: &[(Check, &Outcome)], earlier: Option<&'a Earlier>) -> Report<'a> {
        let of =
            |&(check, outcome): &(Check, &Outcome)| Checked { check, outcome: outcome.clone(), took: Duration::ZERO };
        Report {
            url,
            version: Some("1.0.0".to_owned()),
            expected_version: None,
            started_at: OffsetDateTime::UNIX_EPOCH,
            checked: outcomes.iter().map(of).collect(),
            earlier,
        }
    }

    fn earlier(json: Value) -> Earlier {
        serde_json::from_value(json).expect("what a run writes")
    }

    #[test]
    fn each_state_before_and_after_a_change_has_its_exit_code() {
        let outcomes = outcomes();
        // By what was before, in the order of `outcomes`; the last line where it knew no such check. Across: what is now.
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
                let earlier = earlier(report(&url(), &[before], None).json());
                let judged = report(&url(), &[(Check::Create, now)], Some(&earlier)).judgement().exit_code();
                assert_eq!(judged, code, "{before:?}, then {now:?}");
            }
        }
    }

    /// Of several faults the gravest counts, and of ours only a new one.
    #[test]
    fn faults_of_several_checks_are_judged_each_by_its_own_past() {
        let [fine, ours, _, dependency, unclear, _] = outcomes();
        for (create, delete, code) in [
            // Each check before and after.
            ((&fine, &ours), (&ours, &ours), 1),
            ((&fine, &ours), (&fine, &dependency), 1),
            ((&ours, &ours), (&fine, &dependency), 3),
            ((&dependency, &ours), (&fine, &dependency), 3),
            ((&ours, &ours), (&unclear, &ours), 4),
            ((&ours, &ours), (&ours, &ours), 0),
            ((&ours, &fine), (&fine, &ours), 1),
        ] {
            let before = report(&url(), &[(Check::Create, create.0), (Check::Delete, delete.0)], None).json();
            let earlier = earlier(before);
            let now = [(Check::Create, create.1), (Check::Delete, delete.1)];
            let judged = report(&url(), &now, Some(&earlier)).judgement().exit_code();
            assert_eq!(judged, code, "{create:?} {delete:?}");
        }
    }

    #[test]
    fn the_same_words_on_other_rooms_are_the_same_fault() {
        let left = |name: &str| Outcome::Found(Finding::ours(format!("{name} is left behind; at DELETE /room/{name}")));
        let [before, now] = ["vbv-01jd5p3xk8qqqqqqqqqqqqqqqq", "vbv-01m7z925ftv4npzwkn18cya329"].map(left);
        let earlier = earlier(report(&url(), &[(Check::CleanUp, &before)], None).json());
        assert_eq!(earlier.novelty(Check::CleanUp, &now), Some(Novelty::Old));
        assert_eq!(earlier.novelty(Check::CleanUp, &left("boardroom")), Some(Novelty::Unknown));
    }

    #[test]
    fn a_result_of_another_program_or_version_is_read_as_far_as_it_goes() {
        let other = earlier(json!({
            "url": url(), "version": null, "more": {},
            "checks": [{ "name": "create", "outcome": "a new word" }, { "name": "a_new_check", "outcome": "passed" }],
        }));
        let [_, ours, ..] = outcomes();
        assert_eq!(other.novelty(Check::Create, &ours), Some(Novelty::Unknown));
        assert_eq!(other.novelty(Check::Tag, &ours), Some(Novelty::Unknown));
    }
}
