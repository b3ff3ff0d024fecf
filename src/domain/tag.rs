//! The citizen's case (`uuiData`) and the tag that is made from it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};

/// The longest tag that Pexip stores, in characters.
pub const LONGEST_TAG: usize = 250;

/// Most bytes that `uuiData` may decode to.
const LONGEST_UUI_DATA: usize = 128;

/// Most characters after the tag's URL: the length of `LONGEST_UUI_DATA` bytes in base64 without padding.
pub const LONGEST_TAG_SEGMENT: usize = 171;

/// The citizen's case as IDIM sends it, decoded: 1–128 bytes. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct UuiData(secrecy::SecretSlice<u8>);

/// Why `uuiData` is refused. Holds positions and lengths, never content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUuiData {
    #[error("uuiData is missing or empty")]
    Missing,
    #[error("uuiData is given more than once")]
    Repeated,
    #[error("character {position} is not a hexadecimal digit")]
    NotHexadecimal { position: usize },
    #[error("the number of hexadecimal digits is odd")]
    OddLength,
    #[error("uuiData decodes to {length} bytes, at most {LONGEST_UUI_DATA} are taken")]
    TooLong { length: usize },
    #[error("the decoded text holds other characters than A-Z, a-z, 0-9, - and _")]
    NotASegment,
    #[error("the tag would have {length} characters, Pexip stores at most {LONGEST_TAG}")]
    TagTooLong { length: usize },
}

impl UuiData {
    /// The decoded bytes, for the tag and for the hash in the audit trail.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// Parses hexadecimal digits of either case.
    pub fn parse(hexadecimal: &str) -> Result<Self, InvalidUuiData> {
        if hexadecimal.is_empty() {
            return Err(InvalidUuiData::Missing);
        }
        // Checked first: for "12x", the wrong character tells the caller more than the odd length.
        if let Some(index) = hexadecimal.chars().position(|character| !character.is_ascii_hexdigit()) {
            return Err(InvalidUuiData::NotHexadecimal { position: index + 1 });
        }
        if hexadecimal.len() > 2 * LONGEST_UUI_DATA {
            return Err(InvalidUuiData::TooLong { length: hexadecimal.len().div_ceil(2) });
        }
        let bytes = hex::decode(hexadecimal).map_err(|_| InvalidUuiData::OddLength)?;
        Ok(Self(bytes.into()))
    }
}

/// Format of the decoded `uuiData`. From `UUI_DATA_FORMAT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UuiDataFormat {
    /// Any bytes; the tag's last segment is their base64url.
    Bytes,
    /// Text that is the tag's last segment.
    Segment,
}

/// How a tag is made from a case.
#[derive(Clone, Debug)]
pub struct TagRule {
    /// Start of every tag. From `ROOM_TAG_URL`.
    pub url: String,
    pub format: UuiDataFormat,
}

impl TagRule {
    pub fn tag(&self, data: &UuiData) -> Result<Tag, InvalidUuiData> {
        let bytes = data.expose();
        let segment = match self.format {
            UuiDataFormat::Bytes => URL_SAFE_NO_PAD.encode(bytes),
            UuiDataFormat::Segment => std::str::from_utf8(bytes)
                .ok()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'))
                .ok_or(InvalidUuiData::NotASegment)?
                .to_owned(),
        };
        let tag = format!("{}{segment}", self.url);
        let length = tag.chars().count();
        if length > LONGEST_TAG {
            return Err(InvalidUuiData::TagTooLong { length });
        }
        Ok(Tag(tag.into()))
    }
}

/// URL that opens the citizen's case for the agent. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct Tag(SecretString);

impl Tag {
    /// The tag in an answer of Pexip, where an empty text means none.
    pub fn read(text: String) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// The URL, for Pexip and for answers to authorised callers.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(format: UuiDataFormat) -> TagRule {
        TagRule { url: "https://id.gov.bc.ca/idcheck/".to_owned(), format }
    }

    fn tag(format: UuiDataFormat, hexadecimal: &str) -> Result<String, InvalidUuiData> {
        let tag = rule(format).tag(&UuiData::parse(hexadecimal)?)?;
        Ok(tag.expose().to_owned())
    }

    #[test]
    fn the_reference_vector_gives_the_customers_tag() {
        assert_eq!(
            tag(UuiDataFormat::Bytes, "3132333435362c373635343332").as_deref(),
            Ok("https://id.gov.bc.ca/idcheck/MTIzNDU2LDc2NTQzMg")
        );
    }

    #[test]
    fn upper_and_lower_case_digits_are_the_same() {
        assert_eq!(tag(UuiDataFormat::Bytes, "fFeE"), tag(UuiDataFormat::Bytes, "FfEe"));
        // Bytes that base64 proper would write with '+' and '/'.
        assert_eq!(tag(UuiDataFormat::Bytes, "fbff").as_deref(), Ok("https://id.gov.bc.ca/idcheck/-_8"));
    }

    #[test]
    fn the_longest_uui_data_gives_a_tag_of_the_expected_length() {
        let tag = tag(UuiDataFormat::Bytes, &"ab".repeat(LONGEST_UUI_DATA)).expect("a tag");
        assert_eq!(tag.len(), "https://id.gov.bc.ca/idcheck/".len() + LONGEST_TAG_SEGMENT);
    }

    #[test]
    fn refused_uui_data_is_answered_with_the_position_of_the_fault() {
        let refused = |text: &str| UuiData::parse(text).err();
        assert_eq!(refused(""), Some(InvalidUuiData::Missing));
        assert_eq!(refused("31323g"), Some(InvalidUuiData::NotHexadecimal { position: 6 }));
        assert_eq!(refused("é1"), Some(InvalidUuiData::NotHexadecimal { position: 1 }));
        assert_eq!(refused("0x31"), Some(InvalidUuiData::NotHexadecimal { position: 2 }));
        assert_eq!(refused("313"), Some(InvalidUuiData::OddLength));
        assert_eq!(refused(&"31".repeat(129)), Some(InvalidUuiData::TooLong { length: 129 }));
        assert_eq!(refused(&"3".repeat(257)), Some(InvalidUuiData::TooLong { length: 129 }));
    }

    #[test]
    fn segment_format_accepts_only_characters_of_a_path_segment() {
        let hexadecimal = hex::encode("MTIzNDU2LDc2NTQzMg");
        assert_eq!(
            tag(UuiDataFormat::Segment, &hexadecimal).as_deref(),
            Ok("https://id.gov.bc.ca/idcheck/MTIzNDU2LDc2NTQzMg")
        );
        for foreign in ["a/b", "a b", "../x", "é", "a?b", "a#b", "a%2fb", "a="] {
            let answer = tag(UuiDataFormat::Segment, &hex::encode(foreign));
            assert_eq!(answer, Err(InvalidUuiData::NotASegment), "{foreign}");
        }
    }

    #[test]
    fn a_tag_longer_than_pexip_stores_is_refused() {
        let rule = TagRule { url: "https://example.org/".to_owned() + &"x".repeat(220), format: UuiDataFormat::Bytes };
        let data = UuiData::parse(&"00".repeat(20)).expect("valid data");
        assert_eq!(rule.tag(&data).err(), Some(InvalidUuiData::TagTooLong { length: 267 }));
    }

    #[test]
    fn debug_output_shows_neither_data_nor_tag() {
        let data = UuiData::parse("3132333435362c373635343332").expect("valid data");
        let tag = rule(UuiDataFormat::Bytes).tag(&data).expect("a tag");
        let shown = format!("{data:?} {tag:?}");
        assert!(!shown.contains("MTIz") && !shown.contains("123456") && !shown.contains("49"), "{shown}");
    }
}
