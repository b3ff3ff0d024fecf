use std::io;
use std::time::Duration;

use quick_xml::Writer;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use super::check::{Check, Checked, Fault, Finding, Outcome};
use super::comparison::{Earlier, Novelty};

/// What a run found: a table for people, JSON and JUnit for pipelines. Names in the JSON stay as they are.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) url: &'a Url,
    /// That which answered, if one did.
    pub(super) version: Option<String>,
    pub(super) expected_version: Option<&'a str>,
    pub(super) started_at: OffsetDateTime,
    /// Every check once, in order.
    pub(super) checked: Vec<Checked>,
    pub(super) earlier: Option<&'a Earlier>,
}

/// What is said of a check to which a test has not come.
const NOT_REACHED: &str = "an earlier check did not pass";

/// What it comes to. Its exit codes leave out 2, which says that there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Healthy,
    Broken,
    DependencyDown,
    CouldNotTell,
}

impl Verdict {
    /// The gravest of these.
    fn of(faults: impl Iterator<Item = Fault>) -> Self {
        let faults: Vec<_> = faults.collect();
        if faults.contains(&Fault::Ours) {
            Self::Broken
        } else if faults.iter().any(|fault| fault.dependency().is_some()) {
            Self::DependencyDown
        } else if faults.contains(&Fault::Unclear) {
            Self::CouldNotTell
        } else {
            Self::Healthy
        }
    }

    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Broken => 1,
            Self::DependencyDown => 3,
            Self::CouldNotTell => 4,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Broken => "broken",
            Self::DependencyDown => "dependency_down",
            Self::CouldNotTell => "could_not_tell",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Healthy => "The service is healthy, as far as it was checked.",
            Self::Broken => "The service is broken.",
            Self::DependencyDown => "The service is not at fault: something that it depends on is down, or refuses it.",
            Self::CouldNotTell => "Whether the service is healthy could not be told.",
        }
    }

    /// The same of a change, where there is something to compare with.
    fn words_about_change(self) -> &'static str {
        match self {
            Self::Healthy => "No fault of ours is new.",
            Self::Broken => "A fault of ours is new.",
            Self::DependencyDown => "No fault of ours is new, but something that the service depends on is down.",
            Self::CouldNotTell => "Whether a fault of ours is new could not be told.",
        }
    }
}

impl Report<'_> {
    /// Of the service as it is.
    fn verdict(&self) -> Verdict {
        Verdict::of(self.checked.iter().filter_map(|checked| checked.outcome.fault()))
    }

    /// What the exit code tells: the verdict or, where there is something to compare with, that on the change.
    pub(super) fn judgement(&self) -> Verdict {
        Verdict::of(self.checked.iter().filter_map(|checked| {
            let fault = checked.outcome.fault()?;
            self.novelty(checked).map_or(Some(fault), |novelty| novelty.counts(fault))
        }))
    }

    fn novelty(&self, checked: &Checked) -> Option<Novelty> {
        self.earlier?.novelty(checked.check, &checked.outcome)
    }

    pub(super) fn text(&self) -> String {
        let version = self.version.as_deref().unwrap_or("unknown");
        let mut text = format!("Smoke test of {}, version {version}\n\n", self.url);
        for alike in self.checked.chunk_by(|one, next| not_reached(one) && not_reached(next)) {
            let checked = &alike[0];
            let what = match alike {
                [one] => one.check.words().to_owned(),
                more => format!("{} more", more.len()),
            };
            text += &format!("{:<12} {what}", state(&checked.outcome));
            if let Some(detail) = checked.outcome.detail() {
                text += &format!(": {detail}");
            }
            if let Some(novelty) = self.novelty(checked) {
                text += match novelty {
                    Novelty::New => " (new)",
                    Novelty::Old => " (as before)",
                    Novelty::Unknown => " (not so before, or not known)",
                };
            }
            text.push('\n');
        }
        text += &format!("\n{}\n", self.verdict().words());
        if self.earlier.is_some() {
            text += &format!("{}\n", self.judgement().words_about_change());
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
                "dependency": fault.and_then(Fault::dependency).map(|dependency| dependency.to_string()),
                "novelty": self.novelty(checked).map(Novelty::name),
                "detail": checked.outcome.detail(),
                "duration_ms": milliseconds(checked.took),
            })
        });
        json!({
            "url": self.url,
            "version": self.version,
            "expected_version": self.expected_version,
            "started_at": self.started_at.format(&Rfc3339).unwrap_or_default(),
            "verdict": self.verdict().name(),
            "exit_code": self.judgement().exit_code(),
            "checks": checks.collect::<Vec<_>>(),
        })
    }

    /// In the form that CI systems read: our faults are failures, all others errors.
    pub(super) fn junit(&self) -> io::Result<Vec<u8>> {
        let count = |wanted: fn(&Outcome) -> bool| {
            self.checked.iter().filter(|checked| wanted(&checked.outcome)).count().to_string()
        };
        let ours = |outcome: &Outcome| outcome.fault() == Some(Fault::Ours);
        let others = |outcome: &Outcome| outcome.fault().is_some_and(|fault| fault != Fault::Ours);
        let skipped = |outcome: &Outcome| matches!(outcome, Outcome::Found(Finding::NotChecked(_)));
        let total: Duration = self.checked.iter().map(|checked| checked.took).sum();

        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        let suite = writer.create_element("testsuite").with_attributes([
            ("name", "maxconf smoke"),
            ("tests", self.checked.len().to_string().as_str()),
            ("failures", count(ours).as_str()),
            ("errors", count(others).as_str()),
            ("skipped", count(skipped).as_str()),
            ("time", seconds(total).as_str()),
            ("timestamp", self.started_at.format(&Rfc3339).unwrap_or_default().as_str()),
        ]);
        suite.write_inner_content(|suite| self.checked.iter().try_for_each(|checked| write_case(suite, checked)))?;
        Ok(writer.into_inner())
    }
}

fn write_case(suite: &mut Writer<Vec<u8>>, checked: &Checked) -> io::Result<()> {
    let case = suite.create_element("testcase").with_attributes([
        ("classname", "maxconf.smoke"),
        ("name", checked.check.words()),
        ("time", seconds(checked.took).as_str()),
    ]);
    let Some(detail) = checked.outcome.detail() else {
        case.write_empty()?;
        return Ok(());
    };
    let (element, kind) = match checked.outcome.fault() {
        None => ("skipped", "not_checked"),
        Some(Fault::Ours) => ("failure", Fault::Ours.name()),
        Some(fault) => ("error", fault.name()),
    };
    case.write_inner_content(|case| {
        case.create_element(element).with_attributes([("type", kind), ("message", detail)]).write_empty()?;
        Ok(())
    })?;
    Ok(())
}

fn not_reached(checked: &Checked) -> bool {
    checked.outcome.detail() == Some(NOT_REACHED)
}

/// The word for people.
fn state(outcome: &Outcome) -> String {
    match (outcome, outcome.fault()) {
        (Outcome::Passed, _) => "ok".to_owned(),
        (_, None) => "not checked".to_owned(),
        (_, Some(Fault::Ours)) => "BROKEN".to_owned(),
        (_, Some(Fault::Dependency(dependency))) => format!("{dependency}!"),
        (_, Some(Fault::Unclear)) => "unclear".to_owned(),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// What was checked, and after it what was not reached, in the order of the list.
pub(super) fn complete(mut checked: Vec<Checked>) -> Vec<Checked> {
    for check in Check::ALL {
        if !checked.iter().any(|done| done.check == *check) {
            let outcome = Outcome::Found(Finding::not_checked(NOT_REACHED));
            checked.push(Checked { check: *check, outcome, took: Duration::ZERO });
        }
    }
    checked.sort_by_key(|done| Check::ALL.iter().position(|check| *check == done.check));
    checked
}
