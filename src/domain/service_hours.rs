//! The weekly hours in which Pexip is meant to be up.

mod text;

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};
use time::{OffsetDateTime, UtcOffset};

pub use text::InvalidServiceHours;

const MINUTES_PER_DAY: u16 = 24 * 60;

/// How far ahead the next opening or closing is looked for.
const LONGEST_SEARCH: Duration = Duration::from_secs(400 * 86_400);

/// Weekly hours in a time zone. They are open at a time if the zone's clock then shows a time within a span of that
/// day: an hour that the clock skips does not occur, one that it repeats counts twice.
#[derive(Clone, Debug)]
pub struct ServiceHours {
    zone: TimeZone,
    /// The spans of each day from Monday on, in minutes since midnight; in order and without overlap.
    week: [Vec<Range<u16>>; 7],
    closed_dates: ClosedDates,
}

/// Dates on which the hours do not hold, such as holidays.
#[derive(Clone, Debug, Default)]
pub struct ClosedDates(BTreeSet<Date>);

impl ServiceHours {
    /// The same hours, closed on these dates.
    #[must_use]
    pub fn closed_on(self, closed_dates: ClosedDates) -> Self {
        Self { closed_dates, ..self }
    }

    pub fn is_open(&self, at: OffsetDateTime) -> bool {
        timestamp(at).is_some_and(|at| self.is_open_by_clock(self.zone.to_offset(at).to_datetime(at)))
    }

    /// The first time from `from` on at which they are open, with the zone's offset. `None` if there is none for over
    /// a year.
    pub fn next_opening(&self, from: OffsetDateTime) -> Option<OffsetDateTime> {
        self.first(from, true)
    }

    /// The first time from `from` on at which they are closed.
    pub fn next_closing(&self, from: OffsetDateTime) -> Option<OffsetDateTime> {
        self.first(from, false)
    }

    /// The first time from `from` on at which [`is_open`](Self::is_open) is `open`. Between two changes of the zone's
    /// offset its clock runs evenly, so each stretch is searched by the clock alone.
    fn first(&self, from: OffsetDateTime, open: bool) -> Option<OffsetDateTime> {
        let mut from = timestamp(from)?;
        let end = from.checked_add(LONGEST_SEARCH).unwrap_or(Timestamp::MAX);
        let mut changes = self.zone.following(from);
        loop {
            let until = changes.next().map_or(end, |change| change.timestamp().min(end));
            let offset = self.zone.to_offset(from);
            let first = self.first_by_clock(offset.to_datetime(from), offset.to_datetime(until), open);
            if let Some(first) = first {
                return to_time(offset.to_timestamp(first).ok()?, self.zone.to_offset(from));
            }
            if until == end {
                return None;
            }
            from = until;
        }
    }

    fn first_by_clock(&self, from: DateTime, until: DateTime, open: bool) -> Option<DateTime> {
        let is_wanted = |at: &DateTime| *at < until && self.is_open_by_clock(*at) == open;
        let days = from.date().series(1.day()).take_while(|date| *date <= until.date());
        let changes = days.flat_map(|date| {
            let spans = self.spans(date).iter().flat_map(|span| [span.start, span.end]);
            // The end of the day is the next one's midnight.
            let within_day = [0].into_iter().chain(spans).filter(|minute| *minute < MINUTES_PER_DAY);
            within_day.map(|minute| at_minute(date, minute)).collect::<Vec<_>>()
        });
        [from].into_iter().chain(changes.filter(|change| *change > from)).find(is_wanted)
    }

    fn is_open_by_clock(&self, at: DateTime) -> bool {
        let minute = u16::from(at.hour().unsigned_abs()) * 60 + u16::from(at.minute().unsigned_abs());
        self.spans(at.date()).iter().any(|span| span.contains(&minute))
    }

    fn spans(&self, date: Date) -> &[Range<u16>] {
        let day = usize::from(date.weekday().to_monday_zero_offset().unsigned_abs());
        if self.closed_dates.0.contains(&date) { &[] } else { &self.week[day] }
    }
}

impl ClosedDates {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn at_minute(date: Date, minute: u16) -> DateTime {
    let part = |number: u16| i8::try_from(number).expect("hours and minutes of a day are less than 60");
    date.at(part(minute / 60), part(minute % 60), 0, 0)
}

/// `None` outside of the years that the library knows.
fn timestamp(at: OffsetDateTime) -> Option<Timestamp> {
    Timestamp::from_nanosecond(at.unix_timestamp_nanos()).ok()
}

fn to_time(at: Timestamp, offset: Offset) -> Option<OffsetDateTime> {
    let utc = OffsetDateTime::from_unix_timestamp_nanos(at.as_nanosecond()).ok()?;
    utc.checked_to_offset(UtcOffset::from_whole_seconds(offset.seconds()).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};
    use time::macros::datetime;

    use super::text::DAYS;
    use super::*;

    fn hours(text: &str) -> ServiceHours {
        ServiceHours::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn closed_on(dates: &str) -> ClosedDates {
        ClosedDates::parse(dates).expect("dates")
    }

    const OFFICE: &str = "America/Vancouver Mon-Fri 07:30-17:00 Sat 09:00-17:00";

    #[test]
    fn a_week_opens_and_closes_by_the_zones_clock() {
        let office = hours(OFFICE);
        // Friday evening, and the Saturday after it.
        let friday_evening = datetime!(2025-06-13 17:00 -07:00);
        assert!(office.is_open(datetime!(2025-06-13 16:59:59.999 -07:00)) && !office.is_open(friday_evening));
        assert_eq!(office.next_opening(friday_evening), Some(datetime!(2025-06-14 09:00 -07:00)));
        assert_eq!(office.next_opening(datetime!(2025-06-14 17:00 -07:00)), Some(datetime!(2025-06-16 07:30 -07:00)));
        let in_hours = datetime!(2025-06-16 12:00 UTC).replace_hour(18).expect("an hour");
        assert_eq!((office.next_opening(in_hours), office.is_open(in_hours)), (Some(in_hours), true));
        assert_eq!(office.next_closing(in_hours), Some(datetime!(2025-06-16 17:00 -07:00)));
        let offset = office.next_opening(friday_evening).expect("an opening").offset();
        assert_eq!(offset.whole_hours(), -7, "times are the zone's");
    }

    #[test]
    fn closed_dates_are_skipped() {
        let office = hours(OFFICE).closed_on(closed_on("2025-12-25, 2025-12-26"));
        assert!(!office.is_open(datetime!(2025-12-25 12:00 -08:00)));
        assert_eq!(office.next_opening(datetime!(2025-12-24 17:00 -08:00)), Some(datetime!(2025-12-27 09:00 -08:00)));
        // A week without a day that is open.
        let mondays = hours("America/Vancouver Mon 07:30-17:00").closed_on(closed_on("2025-12-22,2025-12-29"));
        assert_eq!(mondays.next_opening(datetime!(2025-12-16 00:00 -08:00)), Some(datetime!(2026-01-05 07:30 -08:00)));
    }

    #[test]
    fn hours_past_midnight_are_one_stretch() {
        let night = hours("Europe/Vienna Fri 18:00-24:00 Sat 00:00-02:00");
        let evening = datetime!(2025-06-13 19:00 +02:00);
        assert_eq!(night.next_closing(evening), Some(datetime!(2025-06-14 02:00 +02:00)));
        let always = hours("UTC Mon-Sun 00:00-24:00");
        assert_eq!(always.next_closing(evening), None);
        assert!(always.is_open(datetime!(2025-06-14 00:00 UTC)));
    }

    #[test]
    fn an_hour_that_the_clock_skips_is_not_waited_for() {
        // 02:00 to 03:00 does not exist on this day.
        let sunday = datetime!(2025-03-09 00:00 -08:00);
        let opens_within = hours("America/Vancouver Sun 02:30-10:00");
        assert_eq!(opens_within.next_opening(sunday), Some(datetime!(2025-03-09 03:00 -07:00)));
        let lies_within = hours("America/Vancouver Sun 02:15-02:45");
        assert_eq!(lies_within.next_opening(sunday), Some(datetime!(2025-03-16 02:15 -07:00)));
        let closes_within = hours("America/Vancouver Sun 00:00-02:30");
        assert_eq!(closes_within.next_closing(sunday), Some(datetime!(2025-03-09 03:00 -07:00)));
    }

    #[test]
    fn an_hour_that_the_clock_repeats_counts_twice() {
        // 01:00 to 02:00 comes twice.
        let hours = hours("America/Vancouver Sun 01:30-02:00");
        let first = datetime!(2025-11-02 01:30 -07:00);
        assert_eq!(hours.next_opening(datetime!(2025-11-02 00:00 -07:00)), Some(first));
        assert_eq!(hours.next_closing(first), Some(datetime!(2025-11-02 01:00 -08:00)));
        assert_eq!(hours.next_opening(datetime!(2025-11-02 01:00 -08:00)), Some(datetime!(2025-11-02 01:30 -08:00)));
    }

    #[test]
    fn a_day_that_the_calendar_skips_has_no_hours() {
        // Samoa had no 30 December 2011.
        let fridays = hours("Pacific/Apia Fri 08:00-16:00");
        let before = datetime!(2011-12-29 12:00 -10:00);
        assert_eq!(fridays.next_opening(before), Some(datetime!(2012-01-06 08:00 +14:00)));
    }

    /// Zones whose clocks jump by half an hour, at midnight, just after it, over a whole day, or not at all.
    const ZONES: [(&str, i64); 7] = [
        ("America/Vancouver", datetime!(2025-03-06 00:00 UTC).unix_timestamp()),
        ("America/Vancouver", datetime!(2025-10-30 00:00 UTC).unix_timestamp()),
        ("America/St_Johns", datetime!(2010-11-04 00:00 UTC).unix_timestamp()),
        ("America/Sao_Paulo", datetime!(2018-11-01 00:00 UTC).unix_timestamp()),
        ("Australia/Lord_Howe", datetime!(2025-04-03 00:00 UTC).unix_timestamp()),
        ("Pacific/Apia", datetime!(2011-12-27 00:00 UTC).unix_timestamp()),
        ("UTC", datetime!(2025-12-30 00:00 UTC).unix_timestamp()),
    ];

    fn any_week() -> impl Strategy<Value = String> {
        // Quarters of an hour in order, taken in pairs: spans without overlap.
        let spans = subsequence((0..=96).collect::<Vec<u16>>(), 0..=6).prop_map(|quarters| {
            let time = |quarter: u16| format!("{:02}:{:02}", quarter / 4, quarter % 4 * 15);
            let pairs = quarters.chunks_exact(2);
            pairs.map(|pair| format!(" {}-{}", time(pair[0]), time(pair[1]))).collect::<Vec<_>>().concat()
        });
        vec(spans, 7)
            .prop_map(|week| {
                let days = DAYS.iter().zip(week).filter(|(_, spans)| !spans.is_empty());
                days.map(|(day, spans)| format!(" {day}{spans}")).collect::<Vec<_>>().concat()
            })
            .prop_filter("a week without a span", |week| !week.is_empty())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn the_next_change_is_the_first_minute_that_differs(
            (zone, start) in select(ZONES.as_slice()),
            week in any_week(),
            closed in vec(0_i8..9, 0..5),
            minutes_later in 0_i64..6 * 24 * 60,
            open in any::<bool>(),
        ) {
            let from = OffsetDateTime::from_unix_timestamp(start + minutes_later * 60).expect("a time");
            let (zone_of_hours, at) = (TimeZone::get(zone).expect("a zone"), timestamp(from).expect("a time"));
            let first_date = zone_of_hours.to_offset(at).to_datetime(at).date();
            let closed = closed.into_iter().map(|days| first_date + i64::from(days).days());
            let hours = hours(&format!("{zone}{week}")).closed_on(ClosedDates(closed.collect()));

            let found = hours.first(from, open);

            let minute = |number: i64| from + time::Duration::minutes(number);
            let first = (0..9 * 24 * 60).map(minute).find(|at| hours.is_open(*at) == open);
            match first {
                Some(first) => prop_assert_eq!(found, Some(first)),
                None => prop_assert!(found.is_none_or(|found| found > minute(9 * 24 * 60 - 1))),
            }
        }
    }

    #[test]
    fn times_at_the_ends_of_the_calendar_do_not_panic() {
        let office = hours(OFFICE);
        for at in [datetime!(-9999-01-01 00:00 UTC), datetime!(9999-12-31 23:59 UTC)] {
            office.is_open(at);
            office.next_opening(at);
            office.next_closing(at);
        }
    }
}
