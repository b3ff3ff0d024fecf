//! Test data that is recognisable as a smoke test's: `uuiData`, the tag that must follow from it, a name without a room.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};

use super::service::Service;

/// Not in the form of a room name: no room can have it, and the service does not ask Pexip for it.
pub(super) const INVALID_NAME: &str = "maxconf-smoke-nobodys-room";

/// Start of what a test's `uuiData` decodes to. A multiple of three bytes, so that its base64url form has a fixed start
/// too, and of characters that `UUI_DATA_FORMAT=segment` accepts.
const CASE_PREFIX: &str = "maxconf-smoke--";

/// The citizen's case of one create: a unique value.
#[derive(Debug)]
pub(super) struct TestCase(SecretString);

impl TestCase {
    pub(super) fn new() -> Self {
        Self(format!("{CASE_PREFIX}{:032x}", rand::random::<u128>()).into())
    }

    /// The create request for this case, without a token.
    pub(super) fn create(&self, service: &Service) -> RequestBuilder {
        create(service, Some(&hex::encode(self.0.expose_secret())))
    }

    /// Whether `tag` is this case's: `start` (or, if unknown, any that ends in `/`), then the case in one of the two
    /// forms of `UUI_DATA_FORMAT`.
    pub(super) fn has_tag(&self, tag: &str, start: Option<&str>) -> bool {
        let case = self.0.expose_secret();
        [URL_SAFE_NO_PAD.encode(case).as_str(), case].into_iter().any(|segment| {
            let rest = tag.strip_suffix(segment);
            rest.is_some_and(|rest| start.map_or_else(|| rest.ends_with('/'), |start| rest == start))
        })
    }
}

/// A create request, without a token.
pub(super) fn create(service: &Service, uui_data: Option<&str>) -> RequestBuilder {
    let query: Vec<_> = uui_data.map(|value| ("uuiData", value)).into_iter().collect();
    service.request(Method::POST, &["room", "create"]).query(&query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_recognised_in_both_forms_and_only_after_its_start() {
        let case = TestCase(format!("{CASE_PREFIX}01JD5P3XK8QQQQQQQQQQQQQQQQ").into());
        let base64url = "bWF4Y29uZi1zbW9rZS0tMDFKRDVQM1hLOFFRUVFRUVFRUVFRUVFRUVE";
        for (tag, start, is_own) in [
            (format!("https://a.example.org/x/{base64url}"), None, true),
            (format!("https://a.example.org/x/{base64url}"), Some("https://a.example.org/x/"), true),
            (format!("https://a.example.org/y/{base64url}"), Some("https://a.example.org/x/"), false),
            ("https://a.example.org/maxconf-smoke--01JD5P3XK8QQQQQQQQQQQQQQQQ".to_owned(), None, true),
            (format!("https://a.example.org/x{base64url}"), None, false),
            ("https://a.example.org/MTIzNDU2LDc2NTQzMg".to_owned(), None, false),
            (String::new(), None, false),
        ] {
            assert_eq!(case.has_tag(&tag, start), is_own, "{tag} {start:?}");
        }
    }

    #[test]
    fn every_case_is_unique() {
        assert_ne!(TestCase::new().0.expose_secret(), TestCase::new().0.expose_secret());
    }
}
