//! The tag that is made from a citizen's case.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};

use super::tag_url::{TagHost, TagUrl};
use super::uui_data::{InvalidUuiData, UuiData};

/// The longest tag that Pexip stores, in characters.
pub const LONGEST_TAG: usize = 250;

/// Most characters after the tag's URL: the length of 128 bytes in base64 without padding.
pub(super) const LONGEST_TAG_SEGMENT: usize = 171;

/// Format of the decoded `uuiData`. From `UUI_DATA_FORMAT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UuiDataFormat {
    /// Any bytes; the tag's last segment is their base64url.
    Bytes,
    /// Text that is the tag's last segment.
    Segment,
    /// `host&id`: text that is a label of the tag's host name, and text that is its last segment.
    HostAndId,
}

/// How a tag is made from a case. The settings ensure that URL, hosts and format fit together.
#[derive(Clone, Debug)]
pub struct TagRule {
    /// Start of every tag. From `ROOM_TAG_URL`.
    pub url: TagUrl,
    /// The only hosts that a case may choose. From `ROOM_TAG_HOSTS`.
    pub hosts: Vec<TagHost>,
    pub format: UuiDataFormat,
}

impl TagRule {
    pub fn tag(&self, data: &UuiData) -> Result<Tag, InvalidUuiData> {
        let bytes = data.expose();
        let text = std::str::from_utf8(bytes);
        let tag = match self.format {
            UuiDataFormat::Bytes => format!("{}{}", self.url.as_str(), URL_SAFE_NO_PAD.encode(bytes)),
            UuiDataFormat::Segment => {
                let segment = text.ok().filter(|text| is_segment(text)).ok_or(InvalidUuiData::NotASegment)?;
                format!("{}{segment}", self.url.as_str())
            }
            UuiDataFormat::HostAndId => {
                let parts = text.ok().and_then(|text| text.split_once('&'));
                let (host, id) = parts.filter(|(_, id)| is_segment(id)).ok_or(InvalidUuiData::NotHostAndId)?;
                // The caller's data chooses which host the agent's browser opens, so only a listed one is used.
                let host = self.hosts.iter().find(|listed| **listed == *host).ok_or(InvalidUuiData::UnlistedHost)?;
                format!("{}{id}", self.url.with_host(host))
            }
        };
        let length = tag.chars().count();
        if length > LONGEST_TAG {
            return Err(InvalidUuiData::TagTooLong { length });
        }
        Ok(Tag(tag.into()))
    }
}

/// Whether the text can end a path as it is: it has no second segment, no query, nothing to escape, and no dots.
fn is_segment(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
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
        let (url, hosts) = match format {
            UuiDataFormat::Bytes | UuiDataFormat::Segment => ("https://id.gov.bc.ca/idcheck/", vec![]),
            UuiDataFormat::HostAndId => ("https://{host}.gov.bc.ca/idcheck/protected/video/", vec!["id", "id-test"]),
        };
        let hosts = hosts.into_iter().map(|host| TagHost::parse(host).expect("a label")).collect();
        TagRule { url: TagUrl::parse(url).expect("a URL that can start a tag"), hosts, format }
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
        let tag = tag(UuiDataFormat::Bytes, &"ab".repeat(128)).expect("a tag");
        assert_eq!(tag.len(), "https://id.gov.bc.ca/idcheck/".len() + LONGEST_TAG_SEGMENT);
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
    fn the_reference_vector_of_idim_gives_the_customers_tag() {
        assert_eq!(
            tag(UuiDataFormat::HostAndId, "6964264d54497a4e4455324c4463324e54517a4d67;encoding=hex").as_deref(),
            Ok("https://id.gov.bc.ca/idcheck/protected/video/MTIzNDU2LDc2NTQzMg")
        );
        assert_eq!(
            tag(UuiDataFormat::HostAndId, &hex::encode("id-test&a-Z_9")).as_deref(),
            Ok("https://id-test.gov.bc.ca/idcheck/protected/video/a-Z_9")
        );
    }

    #[test]
    fn host_and_id_is_a_listed_host_one_ampersand_and_a_path_segment() {
        for text in ["", "&", "id", "id&", "id&a&b", "id&&a", "id&a/b", "id&..", "id&a=", "id&a\0", "id&a\n", "id&é"] {
            let expected = if text.is_empty() { InvalidUuiData::Missing } else { InvalidUuiData::NotHostAndId };
            assert_eq!(tag(UuiDataFormat::HostAndId, &hex::encode(text)), Err(expected), "{text:?}");
        }
        assert_eq!(tag(UuiDataFormat::HostAndId, "696426ff"), Err(InvalidUuiData::NotHostAndId));
        assert_eq!(tag(UuiDataFormat::HostAndId, "ff2661"), Err(InvalidUuiData::NotHostAndId));
        for host in
            ["", "ID", "Id", "i", "idt", "idtest", "id.", "id.evil", "evil/id", "id ", " id", "id\0", "іd", "{host}"]
        {
            let answer = tag(UuiDataFormat::HostAndId, &hex::encode(format!("{host}&a")));
            assert_eq!(answer, Err(InvalidUuiData::UnlistedHost), "{host:?}");
        }
    }

    /// The settings allow no such URL with this format.
    #[test]
    fn a_tag_longer_than_pexip_stores_is_refused() {
        let url = format!("https://{{host}}.example.org/{}/", "x".repeat(56));
        let rule = TagRule { url: TagUrl::parse(&url).expect("a URL"), ..rule(UuiDataFormat::Bytes) };
        let data = UuiData::parse(&"00".repeat(128)).expect("valid data");
        assert_eq!(rule.tag(&data).err(), Some(InvalidUuiData::TagTooLong { length: 255 }));
    }

    #[test]
    fn debug_output_shows_neither_data_nor_tag() {
        let data = UuiData::parse("3132333435362c373635343332").expect("valid data");
        let tag = rule(UuiDataFormat::Bytes).tag(&data).expect("a tag");
        let shown = format!("{data:?} {tag:?}");
        assert!(!shown.contains("MTIz") && !shown.contains("123456") && !shown.contains("49"), "{shown}");
    }
}
