//! When an instant room can be joined.

use std::time::Duration;

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// How far ahead a validity may begin.
pub(crate) const FURTHEST_START: Duration = Duration::from_secs(86_400);

/// The times that a caller gives, as text. Default: none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenValidity {
    pub from: Option<String>,
    pub until: Option<String>,
}

/// From when and until when an instant room can be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub from: OffsetDateTime,
    /// Exclusive.
    pub until: OffsetDateTime,
    /// Whether it begins when the room is made.
    pub begins_at_once: bool,
    /// Whether the caller gave one of its times.
    pub is_given: bool,
}

/// Why given times are no validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValidity {
    #[error("rooms of this deployment have no validity")]
    Unsupported,
    #[error("validFrom and validUntil are given at most once")]
    Repeated,
    #[error("validFrom and validUntil are RFC 3339 times in UTC that end in Z")]
    Malformed,
    #[error("validFrom is more than 24 hours ahead")]
    TooFarAhead,
    #[error("the validity ends before it begins, or is over")]
    Reversed,
    #[error("the validity is too long")]
    TooLong,
}

impl GivenValidity {
    /// Whether neither time is given.
    pub fn is_empty(&self) -> bool {
        self.from.is_none() && self.until.is_none()
    }

    /// The validity of a room that is made `now`. Without an end it lasts for `lifetime`; at most it may last
    /// `longest`.
    pub fn validity(
        &self,
        now: OffsetDateTime,
        lifetime: Duration,
        longest: Duration,
    ) -> Result<Validity, InvalidValidity> {
        let given_from = self.from.as_deref().map(parse).transpose()?.filter(|from| *from > now);
        let from = given_from.unwrap_or(now);
        if from > now + FURTHEST_START {
            return Err(InvalidValidity::TooFarAhead);
        }
        let until = match &self.until {
            Some(until) => parse(until)?,
            None => from + lifetime,
        };
        if until <= from {
            return Err(InvalidValidity::Reversed);
        }
        if until - from > longest {
            return Err(InvalidValidity::TooLong);
        }
        Ok(Validity { from, until, begins_at_once: given_from.is_none(), is_given: !self.is_empty() })
    }
}

fn parse(text: &str) -> Result<OffsetDateTime, InvalidValidity> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok().filter(|_| text.ends_with('Z'));
    Ok(time.ok_or(InvalidValidity::Malformed)?.to_offset(UtcOffset::UTC))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-03-04 12:00 UTC);

    fn validity(from: Option<&str>, until: Option<&str>) -> Result<Validity, InvalidValidity> {
        let given = GivenValidity { from: from.map(str::to_owned), until: until.map(str::to_owned) };
        given.validity(NOW, Duration::from_secs(3_600), Duration::from_secs(7_200))
    }

    #[test]
    fn what_is_not_given_is_now_and_the_lifetime() {
        let later = datetime!(2026-03-04 13:30:00.5 UTC);
        let hour = Duration::from_secs(3_600);
        for (from, until, expected) in [
            (None, None, (NOW, NOW + hour, true)),
            (Some("2026-03-04T13:30:00.5Z"), None, (later, later + hour, false)),
            (Some("2020-01-01T00:00:00Z"), None, (NOW, NOW + hour, true)),
            (None, Some("2026-03-04T13:30:00.5Z"), (NOW, later, true)),
            (Some("2026-03-04T13:30:00.5Z"), Some("2026-03-04T14:30:00.5Z"), (later, later + hour, false)),
        ] {
            let (from_expected, until_expected, begins_at_once) = expected;
            let is_given = from.is_some() || until.is_some();
            let expected = Validity { from: from_expected, until: until_expected, begins_at_once, is_given };
            assert_eq!(validity(from, until), Ok(expected), "{from:?} {until:?}");
        }
    }

    #[test]
    fn other_times_are_refused() {
        for (from, until, expected) in [
            (Some(""), None, InvalidValidity::Malformed),
            (Some("2026-03-04T13:00:00+00:00"), None, InvalidValidity::Malformed),
            (Some("2026-03-04T13:00:00z"), None, InvalidValidity::Malformed),
            (Some("2026-03-04"), None, InvalidValidity::Malformed),
            (None, Some("1772629200"), InvalidValidity::Malformed),
            (Some("2026-03-05T12:00:00.001Z"), None, InvalidValidity::TooFarAhead),
            (None, Some("2026-03-04T12:00:00Z"), InvalidValidity::Reversed),
            (Some("2026-03-04T13:00:00Z"), Some("2026-03-04T13:00:00Z"), InvalidValidity::Reversed),
            (Some("2026-03-04T13:00:00Z"), Some("2026-03-04T12:30:00Z"), InvalidValidity::Reversed),
            (None, Some("2026-03-04T14:00:00.001Z"), InvalidValidity::TooLong),
        ] {
            assert_eq!(validity(from, until), Err(expected), "{from:?} {until:?}");
        }
        assert!(validity(None, Some("2026-03-04T14:00:00Z")).is_ok());
        assert!(validity(Some("2026-03-05T12:00:00Z"), None).is_ok());
    }
}
