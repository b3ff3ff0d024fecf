//! The settings' form of the hours and of the closed dates.

use std::ops::Range;

use jiff::tz::TimeZone;

use super::{ClosedDates, MINUTES_PER_DAY, ServiceHours};

pub(super) const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Why a text gives no hours. Words are counted from 1; the text itself is not quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServiceHours {
    #[error("must begin with a time zone of the IANA database, such as America/Vancouver")]
    Zone,
    #[error(
        "must have days such as Mon-Fri or Sat, and spans such as 07:30-17:00, from word 2 on; word {word} is neither"
    )]
    Word { word: usize },
    #[error("must not have days in reverse order; those of word {word} are (the week begins with Mon)")]
    DaysReversed { word: usize },
    #[error("must have days before its first span")]
    DaysMissing,
    #[error("must have a span after each of its days; those of word {word} have none")]
    SpanMissing { word: usize },
    #[error(
        "must have spans that end after they begin; one of word {word} does not. A span past midnight is written as \
         two: 18:00-24:00, and 00:00-02:00 of the next day"
    )]
    SpanReversed { word: usize },
    #[error("must not have spans that overlap; two of {day} do")]
    Overlap { day: &'static str },
}

/// Days that the spans after them belong to.
struct DayGroup {
    days: Vec<usize>,
    /// The number of the word that names them.
    word: usize,
    has_span: bool,
}

impl ServiceHours {
    /// Reads `America/Vancouver Mon-Fri 07:30-12:00 13:00-17:00 Sat,Sun 09:00-24:00`.
    pub fn parse(text: &str) -> Result<Self, InvalidServiceHours> {
        let mut words = (1..).zip(text.split_whitespace());
        let zone = words.next().and_then(|(_, name)| TimeZone::get(name).ok()).ok_or(InvalidServiceHours::Zone)?;
        let mut hours = Self { zone, week: Default::default(), closed_dates: ClosedDates::default() };
        let mut current: Option<DayGroup> = None;
        for (word, text) in words {
            if let Some(days) = days(text, word)? {
                require_span(current.as_ref())?;
                current = Some(DayGroup { days, word, has_span: false });
                continue;
            }
            let spans = text.split(',').map(span).collect::<Option<Vec<_>>>();
            let spans = spans.ok_or(InvalidServiceHours::Word { word })?;
            if spans.iter().any(Range::is_empty) {
                return Err(InvalidServiceHours::SpanReversed { word });
            }
            let group = current.as_mut().ok_or(InvalidServiceHours::DaysMissing)?;
            group.has_span = true;
            for &day in &group.days {
                hours.week[day].extend(spans.iter().cloned());
            }
        }
        require_span(current.as_ref())?;
        if current.is_none() {
            return Err(InvalidServiceHours::Word { word: 2 });
        }
        for (spans, day) in hours.week.iter_mut().zip(DAYS) {
            spans.sort_by_key(|span| span.start);
            if spans.windows(2).any(|pair| pair[1].start < pair[0].end) {
                return Err(InvalidServiceHours::Overlap { day });
            }
        }
        Ok(hours)
    }
}

impl ClosedDates {
    /// Reads `2026-12-25,2026-12-26`. `None` if an entry is no date.
    pub fn parse(text: &str) -> Option<Self> {
        let date = |entry: &str| {
            let entry = entry.trim();
            // The library also reads dates without hyphens, and times.
            let has_form = entry.len() == 10 && entry.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            entry.parse().ok().filter(|_| has_form)
        };
        text.split(',').map(date).collect::<Option<_>>().map(Self)
    }
}

fn require_span(group: Option<&DayGroup>) -> Result<(), InvalidServiceHours> {
    match group {
        Some(&DayGroup { word, has_span: false, .. }) => Err(InvalidServiceHours::SpanMissing { word }),
        _ => Ok(()),
    }
}

/// The days of `Mon`, `Mon-Fri` or `Mon-Wed,Sat`. `None` if the word does not begin with a day.
fn days(text: &str, word: usize) -> Result<Option<Vec<usize>>, InvalidServiceHours> {
    let day = |name: &str| DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
    if !text.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return Ok(None);
    }
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Some(first), Some(last)) = (day(first), day(last)) else {
            return Err(InvalidServiceHours::Word { word });
        };
        if last < first {
            return Err(InvalidServiceHours::DaysReversed { word });
        }
        days.extend(first..=last);
    }
    days.sort_unstable();
    days.dedup();
    Ok(Some(days))
}

/// `07:30-17:00`, in minutes since midnight; `24:00` is the end of the day.
fn span(text: &str) -> Option<Range<u16>> {
    let minutes = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let has_form = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        let (hour, minute): (u16, u16) = if has_form(hour) && has_form(minute) {
            (hour.parse().ok()?, minute.parse().ok()?)
        } else {
            return None;
        };
        let minutes = hour * 60 + minute;
        (minute < 60 && minutes <= MINUTES_PER_DAY).then_some(minutes)
    };
    let (start, end) = text.split_once('-')?;
    Some(minutes(start)?..minutes(end)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::OffsetDateTime;

    use super::*;

    fn hours(text: &str) -> ServiceHours {
        ServiceHours::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_fault_is_named() {
        for (text, error) in [
            ("", InvalidServiceHours::Zone),
            ("Mon-Fri 07:30-17:00", InvalidServiceHours::Zone),
            ("America/Vancuver Mon 07:30-17:00", InvalidServiceHours::Zone),
            ("UTC", InvalidServiceHours::Word { word: 2 }),
            ("UTC Mon 08:00-09:00 Foo 10:00-11:00", InvalidServiceHours::Word { word: 4 }),
            ("UTC Mon-Fry 08:00-09:00", InvalidServiceHours::Word { word: 2 }),
            ("UTC Monday 08:00-09:00", InvalidServiceHours::Word { word: 2 }),
            ("UTC Mon, 08:00-09:00", InvalidServiceHours::Word { word: 2 }),
            ("UTC Mon 8:00-09:00", InvalidServiceHours::Word { word: 3 }),
            ("UTC Mon 08:00-09:60", InvalidServiceHours::Word { word: 3 }),
            ("UTC Mon 08:00-24:01", InvalidServiceHours::Word { word: 3 }),
            ("UTC Mon 08:00", InvalidServiceHours::Word { word: 3 }),
            ("UTC Mon 08:00-09:00,", InvalidServiceHours::Word { word: 3 }),
            ("UTC Mon 08:00 - 09:00", InvalidServiceHours::Word { word: 3 }),
            ("UTC Mon +8:00-09:00", InvalidServiceHours::Word { word: 3 }),
            ("UTC Fri-Mon 08:00-09:00", InvalidServiceHours::DaysReversed { word: 2 }),
            ("UTC 08:00-09:00", InvalidServiceHours::DaysMissing),
            ("UTC Mon Tue 08:00-09:00", InvalidServiceHours::SpanMissing { word: 2 }),
            ("UTC Mon 08:00-09:00 Tue", InvalidServiceHours::SpanMissing { word: 4 }),
            ("UTC Mon 17:00-08:00", InvalidServiceHours::SpanReversed { word: 3 }),
            ("UTC Mon 08:00-08:00", InvalidServiceHours::SpanReversed { word: 3 }),
            ("UTC Mon 24:00-24:00", InvalidServiceHours::SpanReversed { word: 3 }),
            ("UTC Mon-Fri 08:00-12:00 Wed 11:59-14:00", InvalidServiceHours::Overlap { day: "Wed" }),
            ("UTC Sat 08:00-12:00 08:00-12:00", InvalidServiceHours::Overlap { day: "Sat" }),
        ] {
            assert_eq!(ServiceHours::parse(text).err(), Some(error), "{text}");
        }
        for text in ["", "2026-2-3", "20260203", "2026-02-30", "2026-02-03,", "2026-02-03T00", "-202602-03", "today"] {
            assert!(ClosedDates::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn spans_and_days_may_be_listed_by_commas_or_one_by_one() {
        let one_by_one = hours("UTC Mon 08:00-12:00 13:00-17:00 Tue 08:00-12:00 Tue 13:00-17:00");
        for text in ["UTC Mon-Tue 08:00-12:00,13:00-17:00", "UTC  mon,Tue 13:00-17:00 Mon-Tue 08:00-12:00 "] {
            assert_eq!(hours(text).week, one_by_one.week, "{text}");
        }
        hours("UTC Mon 08:00-12:00 12:00-17:00");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "(UTC )?[ A-Za-z0-9:,/-]{0,40}") {
            let _ = ServiceHours::parse(&text).map(|hours| hours.next_opening(OffsetDateTime::UNIX_EPOCH));
            let _ = ClosedDates::parse(&text);
        }
    }
}
