//! The citizen's case as callers send it: `uuiData`, in hexadecimal digits.

use secrecy::ExposeSecret;

use super::tag::LONGEST_TAG;

/// Most bytes that `uuiData` may decode to.
const LONGEST_UUI_DATA: usize = 128;

/// What may follow the digits, in any case: the form of a SIP User-to-User header.
const ENCODING: &str = ";encoding=hex";

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
    #[error("the decoded text is not a host, one & and an id of A-Z, a-z, 0-9, - and _")]
    NotHostAndId,
    #[error("the host in the decoded text is not on the list of this deployment")]
    UnlistedHost,
    #[error("the tag would have {length} characters, Pexip stores at most {LONGEST_TAG}")]
    TagTooLong { length: usize },
}

impl UuiData {
    /// The decoded bytes, for the tag and for the hash in the audit trail.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// Parses hexadecimal digits of either case, with or without `;encoding=hex` after them.
    pub fn parse(text: &str) -> Result<Self, InvalidUuiData> {
        let hexadecimal = without_encoding(text);
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

fn without_encoding(text: &str) -> &str {
    let parts = text.len().checked_sub(ENCODING.len()).and_then(|index| text.split_at_checked(index));
    parts.filter(|(_, end)| end.eq_ignore_ascii_case(ENCODING)).map_or(text, |(digits, _)| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_uui_data_is_answered_with_the_position_of_the_fault() {
        let refused = |text: &str| UuiData::parse(text).err();
        assert_eq!(refused(""), Some(InvalidUuiData::Missing));
        assert_eq!(refused(";encoding=hex"), Some(InvalidUuiData::Missing));
        assert_eq!(refused("31323g"), Some(InvalidUuiData::NotHexadecimal { position: 6 }));
        assert_eq!(refused("é1"), Some(InvalidUuiData::NotHexadecimal { position: 1 }));
        assert_eq!(refused("0x31"), Some(InvalidUuiData::NotHexadecimal { position: 2 }));
        assert_eq!(refused("313"), Some(InvalidUuiData::OddLength));
        assert_eq!(refused(&"31".repeat(129)), Some(InvalidUuiData::TooLong { length: 129 }));
        assert_eq!(refused(&"3".repeat(257)), Some(InvalidUuiData::TooLong { length: 129 }));
    }

    #[test]
    fn the_encoding_may_follow_once_in_any_case() {
        for text in ["3132", "3132;encoding=hex", "3132;ENCODING=HEX", "3132;Encoding=Hex"] {
            assert_eq!(UuiData::parse(text).expect("valid data").expose(), b"12", "{text}");
        }
        let longest = "31".repeat(128) + ";encoding=hex";
        assert_eq!(UuiData::parse(&longest).expect("valid data").expose().len(), LONGEST_UUI_DATA);
        for text in [
            "3132;encoding=hex;encoding=hex",
            "3132;encoding=hex;",
            "3132;encoding=base64",
            "3132;encoding=",
            "3132; encoding=hex",
            "3132;encoding=hex ",
            "3132%3Bencoding%3Dhex",
            "3132,encoding=hex",
            "3132;éncoding=hex",
        ] {
            assert_eq!(UuiData::parse(text).err(), Some(InvalidUuiData::NotHexadecimal { position: 5 }), "{text}");
        }
    }
}
