//! The start of every tag: a URL that the operator sets, and the hosts that may stand in it.

use std::fmt;

use url::{Host, Position, Url};

use super::tag::{LONGEST_TAG, LONGEST_TAG_SEGMENT};

/// Where the host of the citizen's case goes.
const PLACEHOLDER: &str = "{host}";

/// Longest label of a host name.
const LONGEST_LABEL: usize = 63;

/// Start of every tag: https, with a path that ends in `/`, and nothing that changes the meaning of what is appended.
/// May have `{host}` as one label of its host name. Pexip stores the tag as text, so the URL keeps its spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagUrl(String);

/// Why a URL cannot start a tag. Completes the sentence that starts with the setting's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTagUrl {
    #[error("must be a URL that starts with https://")]
    NotHttps,
    #[error("must have no account, query or fragment in it")]
    NotOnlyHostAndPath,
    #[error("must have a path that ends in /")]
    NoFinalSlash,
    #[error("must have only printable ASCII characters, and no backslash")]
    NotPrintable,
    #[error("must have a host in its plain form")]
    NotAHost,
    #[error("may have {PLACEHOLDER} once, as a whole label of its host name, and no other braces")]
    MisplacedHost,
    #[error("must have at most {} characters", LONGEST_TAG - LONGEST_TAG_SEGMENT)]
    TooLong,
}

impl TagUrl {
    pub fn parse(text: &str) -> Result<Self, InvalidTagUrl> {
        // `Url` drops or rewrites these, but Pexip and the agent's browser get the text.
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return Err(InvalidTagUrl::NotPrintable);
        }
        let url = Self(text.to_owned());
        if text.contains(['{', '}']) {
            let host = authority(text).ok_or(InvalidTagUrl::NotHttps)?.split(':').next().unwrap_or_default();
            let is_label = host.split('.').any(|label| label == PLACEHOLDER);
            if !is_label || text.replacen(PLACEHOLDER, "", 1).contains(['{', '}']) {
                return Err(InvalidTagUrl::MisplacedHost);
            }
            // The shortest host: longer ones are checked when they are known.
            url.check_with(&TagHost("a".to_owned()))?;
        } else {
            check(text, false)?;
        }
        Ok(url)
    }

    /// Whether the case's host is part of the URL.
    pub fn has_host(&self) -> bool {
        self.0.contains(PLACEHOLDER)
    }

    /// Checks the URL with this host in it.
    pub fn check_with(&self, host: &TagHost) -> Result<(), InvalidTagUrl> {
        check(&self.with_host(host), true)
    }

    /// The URL with this host in it.
    pub(super) fn with_host(&self, host: &TagHost) -> String {
        self.0.replacen(PLACEHOLDER, &host.0, 1)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Host and port as they are written.
fn authority(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    scheme.eq_ignore_ascii_case("https").then(|| rest.split(['/', '?', '#']).next().unwrap_or_default())
}

fn check(text: &str, needs_name: bool) -> Result<(), InvalidTagUrl> {
    let written = authority(text).ok_or(InvalidTagUrl::NotHttps)?;
    let url = Url::parse(text).map_err(|_| InvalidTagUrl::NotHttps)?;
    if written.contains('@') || text.contains(['?', '#']) {
        return Err(InvalidTagUrl::NotOnlyHostAndPath);
    }
    // Without a path, what is appended would become part of the host.
    if !text.ends_with('/') || text.len() < "https://".len() + written.len() + 1 {
        return Err(InvalidTagUrl::NoFinalSlash);
    }
    // What `Url` reads differs from what is written for hosts such as `2130706433`, `%69d.gov.bc.ca` and an empty one.
    let is_as_written = url[Position::BeforeHost..Position::AfterPort]
        .eq_ignore_ascii_case(written.strip_suffix(":443").unwrap_or(written));
    let is_name = matches!(url.host(), Some(Host::Domain(_)));
    if !is_as_written || needs_name && !is_name {
        return Err(InvalidTagUrl::NotAHost);
    }
    if text.len() + LONGEST_TAG_SEGMENT > LONGEST_TAG {
        return Err(InvalidTagUrl::TooLong);
    }
    Ok(())
}

/// What `{host}` may stand for: one label of a host name, from `ROOM_TAG_HOSTS`. The label of a case must equal one of
/// them byte for byte: `ID` is not `id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagHost(String);

impl TagHost {
    /// `None` for anything but 1–63 characters of a-z, 0-9 and -, with no - at either end.
    pub fn parse(text: &str) -> Option<Self> {
        let has_characters =
            text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let is_label = (1..=LONGEST_LABEL).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-');
        (has_characters && is_label).then(|| Self(text.to_owned()))
    }
}

impl PartialEq<str> for TagHost {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl fmt::Display for TagHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, host: &str) -> Result<String, InvalidTagUrl> {
        let (url, host) = (TagUrl::parse(text)?, TagHost::parse(host).expect("a label"));
        url.check_with(&host).map(|()| url.with_host(&host))
    }

    #[test]
    fn a_url_is_https_and_ends_with_its_path() {
        for good in [
            "https://id.gov.bc.ca/",
            "HTTPS://ID.gov.bc.ca/idcheck/",
            "https://id.gov.bc.ca:8443/idcheck/",
            "https://id.gov.bc.ca:443/idcheck/",
            "https://id.gov.bc.ca/@/",
        ] {
            assert_eq!(TagUrl::parse(good).map(|url| url.0), Ok(good.to_owned()));
        }
        for (bad, fault) in [
            ("", InvalidTagUrl::NotHttps),
            ("id.gov.bc.ca/", InvalidTagUrl::NotHttps),
            ("http://id.gov.bc.ca/", InvalidTagUrl::NotHttps),
            ("http://127.0.0.1/", InvalidTagUrl::NotHttps),
            ("https:/id.gov.bc.ca/", InvalidTagUrl::NotHttps),
            ("https:id.gov.bc.ca/", InvalidTagUrl::NotHttps),
            ("https://", InvalidTagUrl::NotHttps),
            ("https:///id.gov.bc.ca/", InvalidTagUrl::NotAHost),
            ("https://id.gov.bc.ca", InvalidTagUrl::NoFinalSlash),
            ("https://id.gov.bc.ca/idcheck", InvalidTagUrl::NoFinalSlash),
            ("https://id.gov.bc.ca/idcheck/?", InvalidTagUrl::NotOnlyHostAndPath),
            ("https://id.gov.bc.ca?a/", InvalidTagUrl::NotOnlyHostAndPath),
            ("https://id.gov.bc.ca/?a=/", InvalidTagUrl::NotOnlyHostAndPath),
            ("https://id.gov.bc.ca/#/", InvalidTagUrl::NotOnlyHostAndPath),
            ("https://agent@id.gov.bc.ca/", InvalidTagUrl::NotOnlyHostAndPath),
            ("https://@id.gov.bc.ca/", InvalidTagUrl::NotOnlyHostAndPath),
            ("https://:@id.gov.bc.ca/", InvalidTagUrl::NotOnlyHostAndPath),
            (" https://id.gov.bc.ca/", InvalidTagUrl::NotPrintable),
            ("https://id.gov.bc.ca/ ", InvalidTagUrl::NotPrintable),
            ("https://id.gov.bc.ca/\n/", InvalidTagUrl::NotPrintable),
            ("https://id.gov.bc.ca\\@evil.example/", InvalidTagUrl::NotPrintable),
            ("https://id.gov.bc.ca/é/", InvalidTagUrl::NotPrintable),
            ("https://2130706433/", InvalidTagUrl::NotAHost),
            ("https://%69d.gov.bc.ca/", InvalidTagUrl::NotAHost),
        ] {
            assert_eq!(TagUrl::parse(bad), Err(fault), "{bad}");
        }
    }

    #[test]
    fn the_longest_tag_must_fit_into_what_pexip_stores() {
        let url = |length: usize| format!("https://id.gov.bc.ca/{}/", "x".repeat(length - 22));
        assert!(TagUrl::parse(&url(79)).is_ok());
        assert_eq!(TagUrl::parse(&url(80)), Err(InvalidTagUrl::TooLong));

        let url = |length: usize| format!("https://{{host}}.gov.bc.ca/{}/", "x".repeat(length - 20));
        assert!(with(&url(73), "idtest").is_ok());
        assert_eq!(with(&url(74), "idtest"), Err(InvalidTagUrl::TooLong));
    }

    #[test]
    fn the_placeholder_is_one_whole_label_of_the_host_name() {
        for (url, host, expected) in [
            ("https://{host}.gov.bc.ca/idcheck/", "id", "https://id.gov.bc.ca/idcheck/"),
            ("https://www.{host}.ca:8443/", "id-1", "https://www.id-1.ca:8443/"),
            ("https://{host}/", "id", "https://id/"),
        ] {
            assert_eq!(with(url, host).as_deref(), Ok(expected));
        }
        for url in [
            "https://id{host}.gov.bc.ca/",
            "https://{host}-id.gov.bc.ca/",
            "https://{host}.{host}.ca/",
            "https://{host}.gov.bc.ca/{host}/",
            "https://id.gov.bc.ca/{host}/",
            "https://id.gov.bc.ca:{host}/",
            "https://{Host}.gov.bc.ca/",
            "https://{{host}}.gov.bc.ca/",
            "https://{host}.gov.bc.ca/{id}/",
            "https://id.gov.bc.ca/}/",
            "https://id.gov.bc.ca/?{host}/",
        ] {
            assert_eq!(TagUrl::parse(url), Err(InvalidTagUrl::MisplacedHost), "{url}");
        }
        for (url, fault) in [
            ("http://{host}.gov.bc.ca/", InvalidTagUrl::NotHttps),
            ("https://{host}.gov.bc.ca", InvalidTagUrl::NoFinalSlash),
            ("https://a:{host}.gov@id.gov.bc.ca/", InvalidTagUrl::MisplacedHost),
            ("https://{host}:a@id.gov.bc.ca/", InvalidTagUrl::NotOnlyHostAndPath),
        ] {
            assert_eq!(TagUrl::parse(url), Err(fault), "{url}");
        }
    }

    #[test]
    fn a_host_that_changes_the_meaning_of_the_url_is_refused() {
        // An IP address has no labels.
        for (url, host) in [("https://{host}/", "127"), ("https://10.0.0.{host}/", "1"), ("https://10.{host}/", "0x1")]
        {
            assert_eq!(with(url, host), Err(InvalidTagUrl::NotAHost), "{url} {host}");
        }
        assert_eq!(with("https://{host}.gov.bc.ca/", "xn--a"), Err(InvalidTagUrl::NotHttps));
    }

    #[test]
    fn a_host_is_one_dns_label_in_lower_case() {
        let longest = "a".repeat(63);
        for good in ["id", "idtest", "id-dev", "1", "a1", &longest] {
            assert!(TagHost::parse(good).is_some(), "{good}");
        }
        let longer = "a".repeat(64);
        for bad in ["", "ID", "id.evil", "id/", "id_", "-id", "id-", "é", "id\n", "id ", "{host}", &longer] {
            assert!(TagHost::parse(bad).is_none(), "{bad}");
        }
    }
}
