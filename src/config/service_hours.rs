//! Settings of the hours in which Pexip is meant to be up.

use super::parser::optional;
use super::setting::WhenUnset::Described;
use super::setting::{Faulty, Reader, Setting, settings};
use crate::domain::{ClosedDates, ServiceHours};

settings! {
    HOURS = "SERVICE_HOURS", Described("none = always open"),
        "Weekly hours in which Pexip is meant to be up: time zone, days, spans, such as America/Vancouver Mon-Fri \
         07:30-12:00 13:00-17:00 Sat 09:00-17:00. A span past midnight is written as two; a day that is not named is \
         closed. They refuse nothing: they only name a failure of Pexip.";
    CLOSED_DATES = "SERVICE_CLOSED_DATES", Described("none"),
        "Holidays on which SERVICE_HOURS do not hold: YYYY-MM-DD, comma-separated, in the same zone.";
}

/// `None`: always open.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Option<ServiceHours>, Faulty> {
    let parse = |text: &str| ServiceHours::parse(text).map_err(|error| error.to_string());
    let hours: Result<Option<ServiceHours>, _> = reader.read(&HOURS, optional(parse));
    let closed_dates: Result<ClosedDates, _> = reader.read(&CLOSED_DATES, optional(closed_dates));
    let (hours, closed_dates) = (hours?, closed_dates?);
    if hours.is_none() && !closed_dates.is_empty() {
        return Err(reader.fault(CLOSED_DATES.name, "is set, but SERVICE_HOURS is not"));
    }
    Ok(hours.map(|hours| hours.closed_on(closed_dates)))
}

fn closed_dates(text: &str) -> Result<ClosedDates, String> {
    ClosedDates::parse(text).ok_or_else(|| "must be dates such as 2026-12-25, comma-separated".to_owned())
}
