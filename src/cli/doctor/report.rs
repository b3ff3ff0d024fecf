//! The doctor's report: text for people, JSON for programs. Names in the JSON are fixed.

use serde::Serialize;
use serde_json::{Value, json};

use super::finding::{Finding, Section, Verdict};

#[derive(Debug)]
pub(super) struct Report(Vec<Section>);

impl Report {
    pub(super) fn new(sections: Vec<Section>) -> Self {
        Self(sections)
    }

    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.findings().filter(|(_, finding)| finding.verdict == verdict).count()
    }

    /// A line for each check, with the remedy below it. Checks with the same result share a line.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for section in &self.0 {
            text += &format!("{}\n", section.system);
            for group in section.findings.chunk_by(Finding::has_same_reason) {
                let Finding { verdict, says, to_do, .. } = &group[0];
                let checks: Vec<_> = group.iter().map(|finding| finding.check).collect();
                text += &line(verdict.label(), &checks.join(", "), says);
                if let Some(to_do) = to_do {
                    text += &line("", "", &format!("→ {to_do}"));
                }
            }
            text.push('\n');
        }
        let counts = [Verdict::NotFine, Verdict::Warning, Verdict::CouldNotTell, Verdict::Fine]
            .map(|verdict| format!("{} {}", self.count(verdict), verdict.label()));
        text + &format!("{}\n", counts.join(", "))
    }

    pub(super) fn json(&self) -> Value {
        #[derive(Serialize)]
        struct Line<'a> {
            system: &'static str,
            #[serde(flatten)]
            finding: &'a Finding,
        }

        let findings: Vec<_> = self.findings().map(|(system, finding)| Line { system, finding }).collect();
        json!({
            "not_fine": self.count(Verdict::NotFine),
            "warning": self.count(Verdict::Warning),
            "could_not_tell": self.count(Verdict::CouldNotTell),
            "fine": self.count(Verdict::Fine),
            "findings": findings,
        })
    }

    fn findings(&self) -> impl Iterator<Item = (&'static str, &Finding)> {
        self.0.iter().flat_map(|section| section.findings.iter().map(|finding| (section.system, finding)))
    }
}

fn line(verdict: &str, checks: &str, says: &str) -> String {
    const WIDTH: usize = 22;
    if checks.len() > WIDTH {
        return format!("  {verdict:<14} {checks}\n{}", line("", "", says));
    }
    format!("  {verdict:<14} {checks:<WIDTH$} {says}\n")
}

impl Verdict {
    fn label(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Warning => "warning",
            Self::NotFine => "not fine",
            Self::CouldNotTell => "could not tell",
        }
    }
}
