//! The report in JUnit's format: a fault of the service is a failure, any other fault an error.

use std::io;
use std::time::Duration;

use quick_xml::Writer;

use super::check::{Checked, Fault, Outcome};
use super::report::Report;

/// The element of a test case that did not pass.
fn element(outcome: &Outcome) -> Option<(&'static str, &'static str)> {
    match (outcome, outcome.fault()) {
        (Outcome::Passed, _) => None,
        (_, None) => Some(("skipped", "not_checked")),
        (_, Some(fault @ Fault::Service)) => Some(("failure", fault.name())),
        (_, Some(fault)) => Some(("error", fault.name())),
    }
}

impl Report<'_> {
    pub(super) fn junit(&self) -> io::Result<Vec<u8>> {
        let elements = self.checked.iter().filter_map(|checked| element(&checked.outcome));
        let elements: Vec<_> = elements.map(|(element, _)| element).collect();
        let count = |wanted| elements.iter().filter(|element| **element == wanted).count().to_string();
        let total: Duration = self.checked.iter().map(|checked| checked.took).sum();

        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        let suite = writer.create_element("testsuite").with_attributes([
            ("name", "maxconf smoke"),
            ("tests", self.checked.len().to_string().as_str()),
            ("failures", count("failure").as_str()),
            ("errors", count("error").as_str()),
            ("skipped", count("skipped").as_str()),
            ("time", seconds(total).as_str()),
            ("timestamp", self.started_at().as_str()),
        ]);
        suite.write_inner_content(|suite| self.checked.iter().try_for_each(|checked| write_case(suite, checked)))?;
        Ok(writer.into_inner())
    }
}

fn write_case(suite: &mut Writer<Vec<u8>>, checked: &Checked) -> io::Result<()> {
    let case = suite.create_element("testcase").with_attributes([
        ("classname", "maxconf.smoke"),
        ("name", checked.check.description()),
        ("time", seconds(checked.took).as_str()),
    ]);
    let (Some((element, kind)), Some(detail)) = (element(&checked.outcome), checked.outcome.detail()) else {
        case.write_empty()?;
        return Ok(());
    };
    case.write_inner_content(|case| {
        case.create_element(element).with_attributes([("type", kind), ("message", detail)]).write_empty()?;
        Ok(())
    })?;
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}
