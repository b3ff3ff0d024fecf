//! The marks in a room's description.

use std::fmt;

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

const READY_UNTIL: &str = "ready-until";
const HANDED_OUT: &str = "handed-out";

/// Times that the service writes into a VMR's `description`, so that a room's age is known without a database.
///
/// Written as `ready-until=<RFC 3339> handed-out=<RFC 3339>`, in whole seconds UTC; either may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Until then a message may name the room; later it cannot be handed out. Set at provision.
    pub ready_until: Option<OffsetDateTime>,
    /// Time of the hand-out; written by the request that writes the tag.
    pub handed_out: Option<OffsetDateTime>,
}

impl Marks {
    /// Reads the marks from a description and ignores its other words.
    pub fn read(description: &str) -> Self {
        let mut marks = Self::default();
        for word in description.split_ascii_whitespace() {
            let Some((name, value)) = word.split_once('=') else { continue };
            // A time near the end of the supported range may have no equivalent in UTC.
            let time =
                OffsetDateTime::parse(value, &Rfc3339).ok().and_then(|time| time.checked_to_offset(UtcOffset::UTC));
            match name {
                READY_UNTIL => marks.ready_until = time,
                HANDED_OUT => marks.handed_out = time,
                _ => {}
            }
        }
        marks
    }

    /// Whether a description has a mark, with a valid time or not.
    pub fn are_in(description: &str) -> bool {
        let mut words = description.split_ascii_whitespace().filter_map(|word| word.split_once('='));
        words.any(|(name, _)| [READY_UNTIL, HANDED_OUT].contains(&name))
    }
}

impl fmt::Display for Marks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, time) in [(READY_UNTIL, self.ready_until), (HANDED_OUT, self.handed_out)] {
            if let Some(time) = time {
                let whole = time.to_offset(UtcOffset::UTC).truncate_to_second();
                let text = whole.format(&Rfc3339).map_err(|_| fmt::Error)?;
                write!(formatter, "{separator}{name}={text}")?;
                separator = " ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn marks_read_back_as_they_were_written() {
        let marks = Marks {
            ready_until: Some(datetime!(2026-03-04 22:32:11.234996 UTC)),
            handed_out: Some(datetime!(2026-03-04 14:32:12 -8)),
        };
        let text = marks.to_string();
        assert_eq!(text, "ready-until=2026-03-04T22:32:11Z handed-out=2026-03-04T22:32:12Z");
        assert_eq!(Marks::read(&text).to_string(), text);
    }

    #[test]
    fn a_mark_is_seen_even_if_its_time_is_invalid() {
        for (description, has_mark) in [
            ("handed-out=yesterday", true),
            ("a kiosk ready-until=2026-03-04T22:32:11Z", true),
            ("handed-out", false),
            ("not-handed-out=2026-03-04T22:32:11Z", false),
            ("", false),
        ] {
            assert_eq!(Marks::are_in(description), has_mark, "{description}");
        }
    }

    #[test]
    fn other_words_and_invalid_times_are_ignored() {
        assert_eq!(Marks::read(""), Marks::default());
        assert_eq!(Marks::read("a room of handed-out=yesterday ready-until"), Marks::default());
    }
}
