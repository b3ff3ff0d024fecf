//! Test data that is recognisable as a smoke test's: `uuiData`, the tag that must follow from it, a name without a
//! room.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::service::Service;

/// Not in the form of a room name: no room can have it, and the service does not ask Pexip for it.
pub(super) const INVALID_NAME: &str = "maxconf-smoke-nobodys-room";

/// Start of what a test's `uuiData` decodes to. A multiple of three bytes, so that its base64url form has a fixed start
/// too, and of characters that `UUI_DATA_FORMAT=segment` accepts.
const CASE_PREFIX: &str = "maxconf-smoke--";

/// What is known of the deployment's tags.
#[derive(Clone, Debug)]
pub(super) struct TagForm {
    /// Start of every tag. `None`: any that ends in `/`.
    start: Option<String>,
    /// The host that goes with each case, for `UUI_DATA_FORMAT=host-and-id`.
    host: Option<String>,
}

impl TagForm {
    pub(super) fn new(start: Option<&str>, host: Option<&str>) -> Self {
        let start = start.map(|start| host.map_or_else(|| start.to_owned(), |host| start.replace("{host}", host)));
        Self { start, host: host.map(str::to_owned) }
    }
}

/// The citizen's case of one create: a unique value.
#[derive(Debug)]
pub(super) struct TestCase {
    id: SecretString,
    form: TagForm,
}

impl TestCase {
    pub(super) fn new(form: &TagForm) -> Self {
        Self { id: format!("{CASE_PREFIX}{:032x}", rand::random::<u128>()).into(), form: form.clone() }
    }

    /// The create request for this case, without a token. With a host, it is what IDIM sends.
    pub(super) fn create(&self, service: &Service) -> RequestBuilder {
        let id = self.id.expose_secret();
        let uui_data = match &self.form.host {
            Some(host) => hex::encode(format!("{host}&{id}")) + ";encoding=hex",
            None => hex::encode(id),
        };
        create(service, Some(&uui_data))
    }

    /// Whether `tag` ends in this case. A room with such a tag is this test's.
    pub(super) fn is_in(&self, tag: &str) -> bool {
        self.start_of(tag).is_some_and(|start| start.ends_with('/'))
    }

    /// Whether `tag` is the one that this case must have.
    pub(super) fn has_tag(&self, tag: &str) -> bool {
        let Some(start) = self.start_of(tag) else { return false };
        let has_start = self.form.start.as_ref().map_or_else(|| start.ends_with('/'), |expected| start == expected);
        let has_label = |host: &String| {
            let url = Url::parse(tag).ok();
            url.as_ref().and_then(Url::host_str).is_some_and(|name| name.split('.').any(|label| label == host))
        };
        has_start && self.form.host.as_ref().is_none_or(has_label)
    }

    /// What precedes this case in `tag`. The case has one of two forms, and only one if it has a host.
    fn start_of<'a>(&self, tag: &'a str) -> Option<&'a str> {
        let id = self.id.expose_secret();
        let base64url = || tag.strip_suffix(&URL_SAFE_NO_PAD.encode(id)).filter(|_| self.form.host.is_none());
        tag.strip_suffix(id).or_else(base64url)
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

    fn case(start: Option<&str>, host: Option<&str>) -> TestCase {
        let id = format!("{CASE_PREFIX}01JD5P3XK8QQQQQQQQQQQQQQQQ");
        TestCase { id: id.into(), form: TagForm::new(start, host) }
    }

    #[test]
    fn a_tag_is_recognised_in_both_forms_and_only_after_its_start() {
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
            assert_eq!(case(start, None).has_tag(&tag), is_own, "{tag} {start:?}");
        }
    }

    #[test]
    fn the_tag_of_a_case_with_a_host_has_that_host() {
        let id = "maxconf-smoke--01JD5P3XK8QQQQQQQQQQQQQQQQ";
        for (tag, is_own, has_host, has_start) in [
            (format!("https://id.example.org/x/{id}"), true, true, true),
            (format!("https://id.example.org/y/{id}"), true, true, false),
            (format!("https://idtest.example.org/x/{id}"), true, false, false),
            (format!("https://idtest.example.org/id/{id}"), true, false, false),
            (format!("https://id.example.org/x/{}", URL_SAFE_NO_PAD.encode(id)), false, false, false),
            ("https://id.example.org/x/maxconf-smoke--2".to_owned(), false, false, false),
            (id.to_owned(), false, false, false),
        ] {
            let (any, of_start) = (case(None, Some("id")), case(Some("https://{host}.example.org/x/"), Some("id")));
            let found = (any.is_in(&tag), any.has_tag(&tag), of_start.has_tag(&tag));
            assert_eq!(found, (is_own, has_host, has_start), "{tag}");
        }
    }

    #[test]
    fn every_case_is_unique() {
        let id = || TestCase::new(&TagForm::new(None, None)).id;
        assert_ne!(id().expose_secret(), id().expose_secret());
    }
}
