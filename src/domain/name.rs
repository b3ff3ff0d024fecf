//! Room names and their prefix.

use std::fmt;
use std::time::SystemTime;

use rand::{Rng, RngExt};
use time::OffsetDateTime;
use ulid::Ulid;

/// Length of a ULID in Crockford's Base32.
const ULID_LENGTH: usize = 26;

/// Crockford's Base32 digits in lower case: without `i`, `l`, `o` and `u`.
const CROCKFORD: &[u8] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Start of every room name: 1–20 characters of `[a-z0-9-]`.
///
/// Distinguishes our rooms from other VMRs on the management node, and the rooms of environments that share a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomNamePrefix(String);

/// The text is not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 20 characters of a-z, 0-9 and -")]
pub struct InvalidRoomNamePrefix;

impl RoomNamePrefix {
    pub fn parse(text: &str) -> Result<Self, InvalidRoomNamePrefix> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=20).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRoomNamePrefix)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `text` as a room name, if it is exactly this prefix and a lower-case ULID. `None`: the room is not ours.
    pub fn parse_name(&self, text: &str) -> Option<RoomName> {
        let ulid = text.strip_prefix(&self.0)?;
        let ours = ulid.len() == ULID_LENGTH && ulid.bytes().all(|byte| CROCKFORD.contains(&byte));
        ours.then(|| RoomName(text.to_owned()))
    }

    /// The room of ours that a caller dials with `alias`: its name in any case, with or without a scheme, parameters, a
    /// host or a port.
    pub fn parse_alias(&self, alias: &str) -> Option<RoomName> {
        let alias = alias.trim().to_ascii_lowercase();
        let schemes = ["sip:", "sips:", "h323:"];
        let rest = schemes.into_iter().find_map(|scheme| alias.strip_prefix(scheme)).unwrap_or(&alias);
        let user = rest.split([';', '?', '@']).next()?;
        let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let name = user.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(user, |(name, _)| name);
        self.parse_name(name)
    }

    /// Whether a name can start with both prefixes.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }

    /// A new name: its ULID has 48 bits of time and 80 random bits, so it is unique.
    pub fn mint(&self, now: SystemTime, rng: &mut impl Rng) -> RoomName {
        let milliseconds = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let ulid = Ulid::from_parts(milliseconds, rng.random());
        RoomName(format!("{}{}", self.0, ulid.to_string().to_ascii_lowercase()))
    }
}

/// Name of one of our rooms, which is also its alias: prefix and ULID, `[a-z0-9-]` only.
///
/// Only a [`RoomNamePrefix`] makes one, so a VMR that is not ours has no `RoomName`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(String);

impl RoomName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When the name was minted, shortly before its room was provisioned. `None` if it holds no time that exists.
    pub fn minted_at(&self) -> Option<OffsetDateTime> {
        let digits = &self.0[self.0.len() - ULID_LENGTH..];
        // 26 digits have two bits more than a ULID; the parser drops them.
        let ulid = Ulid::from_string(digits).ok().filter(|ulid| ulid.to_string().eq_ignore_ascii_case(digits))?;
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(ulid.timestamp_ms()) * 1_000_000).ok()
    }

    /// Whether the name has this prefix.
    pub fn has_prefix(&self, prefix: &RoomNamePrefix) -> bool {
        prefix.parse_name(&self.0).is_some()
    }

    /// A number for the room, always the same: at least 2^52, so that it is no id of Pexip's, and below 2^53, so that
    /// JavaScript reads it exactly.
    pub fn number(&self) -> u64 {
        let random = self.ulid() & ((1 << 52) - 1);
        (1 << 52) + u64::try_from(random).expect("52 bits")
    }

    fn ulid(&self) -> u128 {
        let digits = &self.0.as_bytes()[self.0.len() - ULID_LENGTH..];
        let value = |digit: &u8| CROCKFORD.iter().position(|known| known == digit).expect("a digit, as in every name");
        digits.iter().fold(0, |number, digit| number << 5 | value(digit) as u128)
    }
}

impl AsRef<str> for RoomName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Longest name of a VMR on Pexip.
const LONGEST_NAME: usize = 250;

/// Start of the names of foreign rooms that agents may read: at least 4 characters of `[A-Za-z0-9_-]`. One of
/// `PUBLIC_READ_PREFIXES`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadablePrefix(String);

impl ReadablePrefix {
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let is_prefix = (4..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(allowed);
        is_prefix.then(|| Self(text.to_owned()))
    }

    /// Whether a name can start with both prefixes.
    pub fn overlaps(&self, ours: &RoomNamePrefix) -> bool {
        self.0.starts_with(&ours.0) || ours.0.starts_with(&self.0)
    }

    /// `text` as the name of a foreign room, if it starts with this prefix. Only `[A-Za-z0-9._~-]`: what no gateway and
    /// no host writes otherwise in a path (RFC 3986, unreserved).
    pub fn parse_name(&self, text: &str) -> Option<ForeignRoomName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        let is_name = text.starts_with(&self.0) && text.len() <= LONGEST_NAME && text.bytes().all(allowed);
        is_name.then(|| ForeignRoomName(text.to_owned()))
    }
}

/// Name of a foreign room that agents may read. What changes or deletes a room takes a [`RoomName`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ForeignRoomName(String);

impl AsRef<str> for ForeignRoomName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn prefix() -> RoomNamePrefix {
        RoomNamePrefix::parse("vbv-").expect("a valid prefix")
    }

    #[test]
    fn minted_names_are_ours_and_start_with_their_time() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(0x0193_51d1_a2b3);
        let name = prefix().mint(now, &mut StdRng::seed_from_u64(7));
        assert_eq!(prefix().parse_name(name.as_str()), Some(name.clone()));
        assert!(name.as_str().starts_with("vbv-01jd8x38nk"), "{name}");
        assert_eq!(name.minted_at(), Some(now.into()));
        assert!((1 << 52..1 << 53).contains(&name.number()), "{}", name.number());
        let last = prefix().parse_name("vbv-zzzzzzzzzzzzzzzzzzzzzzzzzz").expect("a name");
        assert_eq!(last.number(), (1 << 53) - 1);
    }

    #[test]
    fn names_that_are_not_exactly_prefix_and_ulid_are_foreign() {
        for foreign in [
            "",
            "vbv-",
            "vbv-01jd5p3xk8qqqqqqqqqqqqqqq",
            "vbv-01jd5p3xk8qqqqqqqqqqqqqqqqq",
            "VBV-01jd5p3xk8qqqqqqqqqqqqqqqq",
            "vbv-01JD5P3XK8QQQQQQQQQQQQQQQQ",
            "vbv-01jd5p3xk8qqqqqqqqqqqqqqqu",
            "xvbv-01jd5p3xk8qqqqqqqqqqqqqqqq",
            "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq\n",
            "edge-01jd5p3xk8qqqqqqqqqqqqqqqq",
        ] {
            assert_eq!(prefix().parse_name(foreign), None, "{foreign:?}");
        }
        assert!(prefix().parse_name("vbv-01jd5p3xk8qqqqqqqqqqqqqqqq").is_some());
    }

    #[test]
    fn a_name_whose_time_does_not_exist_has_none() {
        for digits in ["7zzzzzzzzzzzzzzzzzzzzzzzzz", "81jd5p3xk8qqqqqqqqqqqqqqqq", "zzzzzzzzzzzzzzzzzzzzzzzzzz"] {
            let name = prefix().parse_name(&format!("vbv-{digits}")).expect("a name of ours");
            assert_eq!(name.minted_at(), None, "{name}");
        }
    }

    #[test]
    fn a_room_is_found_by_every_alias_that_protocols_make_of_its_name() {
        let name = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";
        for alias in [
            name,
            "VBV-01JD5P3XK8QQQQQQQQQQQQQQQQ",
            " vbv-01jd5p3xk8qqqqqqqqqqqqqqqq ",
            "sip:vbv-01jd5p3xk8qqqqqqqqqqqqqqqq",
            "SIPS:vbv-01jd5p3xk8qqqqqqqqqqqqqqqq@meet.example.org:5061;transport=tls",
            "h323:vbv-01jd5p3xk8qqqqqqqqqqqqqqqq@10.0.0.1",
            "sip:vbv-01jd5p3xk8qqqqqqqqqqqqqqqq;user=phone@meet.example.org",
            "sip:vbv-01jd5p3xk8qqqqqqqqqqqqqqqq?subject=x",
            "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq:5060",
            "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq@",
        ] {
            assert_eq!(prefix().parse_alias(alias).as_ref().map(RoomName::as_str), Some(name), "{alias:?}");
        }
        for foreign in [
            "",
            "sip:",
            "sip:sip:vbv-01jd5p3xk8qqqqqqqqqqqqqqqq",
            "tel:vbv-01jd5p3xk8qqqqqqqqqqqqqqqq",
            "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq:",
            "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq:x",
            "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq.example.org",
            "%76bv-01jd5p3xk8qqqqqqqqqqqqqqqq",
            "boss@vbv-01jd5p3xk8qqqqqqqqqqqqqqqq",
            "vbv-01jd5p3xk8qqqqqqqqqqqqqqqqq",
        ] {
            assert_eq!(prefix().parse_alias(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn readable_prefixes_are_at_least_four_plain_characters() {
        for refused in ["", "tes", "test ", "test.", "test*", "test/", "tést", "%74est"] {
            assert_eq!(ReadablePrefix::parse(refused), None, "{refused:?}");
        }
        for accepted in ["test", "test_", "vkiosk_", "VK-1"] {
            assert!(ReadablePrefix::parse(accepted).is_some(), "{accepted}");
        }
    }

    #[test]
    fn foreign_names_start_with_the_prefix_and_hold_only_unreserved_characters() {
        let prefix = ReadablePrefix::parse("test_").expect("a prefix");
        let longest = format!("test_{}", "x".repeat(245));
        for accepted in ["test_", "test_Kiosk-7.a~b", &longest] {
            assert!(prefix.parse_name(accepted).is_some(), "{accepted}");
        }
        let too_long = format!("{longest}x");
        for refused in [
            "", "test", "Test_1", "xtest_1", " test_1", "test_1 ", "test_a/b", "test_%31", "test_*", "test_\n",
            "test_é", &too_long,
        ] {
            assert_eq!(prefix.parse_name(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn prefixes_hold_only_what_sip_and_genesys_carry() {
        for refused in ["", "VBV-", "vbv_", "vbv ", "vbv-vbv-vbv-vbv-vbv-x", "vbvé"] {
            assert_eq!(RoomNamePrefix::parse(refused), Err(InvalidRoomNamePrefix), "{refused:?}");
        }
    }
}
