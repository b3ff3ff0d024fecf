//! The rooms of a test: made, read, deleted, and not forgotten.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::check::Finding;
use super::refusals::{bearer, secret_header};
use super::service::{Answer, Service};
use crate::auth::GENESYS_TOKEN;

/// A name of no form that the service gives: no room can have it, and Pexip is not asked.
pub(super) const NOBODYS_ROOM: &str = "maxconf-smoke-nobodys-room";

/// The start of what a test's `uuiData` decodes to. A multiple of three bytes, so that in base64url too the start is
/// always the same, and of characters that `UUI_DATA_FORMAT=segment` takes.
const CASE_MARK: &str = "maxconf-smoke--";

/// How long a stop waits for a create that is under way, and for the deletes. A pipeline kills after about 10 s.
const LONGEST_GOODBYE: Duration = Duration::from_secs(4);

/// How a deleted room is called that is gone already.
const GONE: (u16, &str) = (404, "room_not_found");

/// Fields of a `ConstrainedConference`, in alphabetical order.
const FIELDS: [&str; 8] = ["aliases", "allow_guests", "guest_pin", "id", "name", "pin", "service_type", "tag"];

/// `uuiData` that nobody else has, recognisable as a test's.
#[derive(Debug)]
pub(super) struct CaseOfTest(SecretString);

impl CaseOfTest {
    pub(super) fn new() -> Self {
        Self(format!("{CASE_MARK}{:032x}", rand::random::<u128>()).into())
    }

    /// IDIM's create for it, without a token.
    pub(super) fn create(&self, service: &Service) -> RequestBuilder {
        let uui_data = hex::encode(self.0.expose_secret());
        service.request(Method::POST, &["room", "create"]).query(&[("uuiData", uui_data)])
    }

    /// Whether the tag is this case's: `start` (any, where that is not known), then the case in one of the two forms
    /// that the API has.
    fn has_tag(&self, tag: &str, start: Option<&str>) -> bool {
        let case = self.0.expose_secret();
        [URL_SAFE_NO_PAD.encode(case).as_str(), case].into_iter().any(|segment| {
            let rest = tag.strip_suffix(segment);
            rest.is_some_and(|rest| start.map_or_else(|| rest.ends_with('/'), |start| rest == start))
        })
    }
}

/// A room that was handed to this test.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: String,
    pub(super) from_pool: bool,
    case: CaseOfTest,
    has_right_tag: bool,
    /// As the create showed it.
    body: Value,
}

/// Makes rooms, and knows which it was given. Clones share that.
#[derive(Clone, Debug)]
pub(super) struct Rooms {
    service: Service,
    token: SecretString,
    tag_start: Option<String>,
    /// Never held across an await.
    given: Arc<Mutex<Vec<Given>>>,
    creates: TaskTracker,
}

/// A room that this test has been given.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    name: String,
    /// Another tag than our own, wherever it was seen, makes it somebody else's: such a room is not deleted.
    is_ours: bool,
    is_deleted: bool,
}

impl Rooms {
    pub(super) fn new(service: Service, token: SecretString, tag_start: Option<String>) -> Self {
        Self { service, token, tag_start, given: Arc::default(), creates: TaskTracker::new() }
    }

    /// Creates a room. Runs in a task of its own: a stop must not forget a room whose name is on its way.
    pub(super) async fn create(&self) -> Result<Room, Finding> {
        let rooms = self.clone();
        let created = self.creates.spawn(async move {
            let case = CaseOfTest::new();
            let answer = rooms.service.send(bearer(case.create(&rooms.service), &rooms.token)).await?;
            rooms.read(&answer, case).await
        });
        created.await.unwrap_or_else(|_| Err(Finding::unclear("the create was broken off")))
    }

    async fn read(&self, answer: &Answer, case: CaseOfTest) -> Result<Room, Finding> {
        if answer.status != 200 {
            return Err(self.service.judge(answer, "200").await);
        }
        let text = |field: &str| answer.body[field].as_str().unwrap_or_default();
        let name = text("name").to_owned();
        if !is_room_name(&name) {
            return Err(Finding::ours(
                "the room's name is no name that the service gives; such a room cannot be deleted, the sweep ends it",
            ));
        }
        self.note_given(&name, case.has_tag(text("tag"), None));
        if let Some(fault) = fault_of_form(&answer.body) {
            return Err(Finding::ours(fault));
        }
        let source = answer.header(&reqwest::header::HeaderName::from_static("room-source"));
        if source != "pool" && source != "direct" {
            return Err(Finding::ours("Room-Source is neither pool nor direct"));
        }
        let has_right_tag = case.has_tag(text("tag"), self.tag_start.as_deref());
        Ok(Room { name, from_pool: source == "pool", case, has_right_tag, body: answer.body.clone() })
    }

    /// Whether the room belongs to whom it was given.
    pub(super) fn tag(room: &Room) -> Result<(), Finding> {
        if room.has_right_tag { Ok(()) } else { Err(Finding::ours("the tag is not the one of this create's uuiData")) }
    }

    pub(super) async fn create_another(&self, first: &Room) -> Result<Room, Finding> {
        let second = self.create().await?;
        if second.name == first.name {
            return Err(Finding::ours("two creates were given the same room"));
        }
        Self::tag(&second)?;
        Ok(second)
    }

    pub(super) async fn judge_empty_pool(&self) -> Finding {
        self.service.judge_empty_pool().await
    }

    /// What the agent's widget sees.
    pub(super) async fn public_read(&self, room: &Room, genesys_token: &SecretString) -> Result<(), Finding> {
        let answer = self.look(&room.name, genesys_token).await?;
        match (answer.status, answer.code()) {
            (200, _) if answer.body == room.body => Ok(()),
            (200, _) => {
                if !room.case.has_tag(answer.body["tag"].as_str().unwrap_or_default(), None) {
                    self.disown(&room.name);
                }
                Err(Finding::ours("the public read shows something else than the create"))
            }
            (401, "token_invalid") => Err(Finding::unclear("Genesys refuses SMOKE_GENESYS_TOKEN; has it expired?")),
            _ => Err(self.service.judge(&answer, "200").await),
        }
    }

    /// Deletes the room; then it must be unknown to everybody.
    pub(super) async fn delete(&self, room: &Room, genesys_token: Option<&SecretString>) -> Result<(), Finding> {
        if !self.given().iter().any(|given| given.name == room.name && given.is_ours) {
            return Err(Finding::not_checked("the room may be somebody else's"));
        }
        let answer = self.send_delete(&room.name).await?;
        if answer.status != 204 {
            return Err(self.service.judge(&answer, "204").await);
        }
        let again = self.send_delete(&room.name).await?;
        self.service.expect_problem(&again, GONE.0, GONE.1).await?;
        self.note_deleted(&room.name);
        if let Some(genesys_token) = genesys_token {
            let answer = self.look(&room.name, genesys_token).await?;
            if answer.code() != "token_invalid" {
                self.service.expect_problem(&answer, GONE.0, GONE.1).await?;
            }
        }
        Ok(())
    }

    async fn look(&self, name: &str, genesys_token: &SecretString) -> Result<Answer, Finding> {
        let request = self.service.request(Method::GET, &["public", "room", name]);
        Ok(self.service.send(request.header(GENESYS_TOKEN, secret_header(genesys_token.expose_secret()))).await?)
    }

    async fn send_delete(&self, name: &str) -> Result<Answer, Finding> {
        let request = self.service.request(Method::DELETE, &["room", name]);
        Ok(self.service.send(bearer(request, &self.token)).await?)
    }

    /// Deletes what is left.
    pub(super) async fn clean_up(&self) -> Result<(), Finding> {
        let given = self.given().clone();
        if given.is_empty() {
            return Err(Finding::not_checked("no room was made"));
        }
        let mut cause = None;
        for room in given.into_iter().filter(|room| room.is_ours && !room.is_deleted) {
            match self.send_delete(&room.name).await {
                Ok(answer) if answer.status == 204 || (answer.status, answer.code()) == GONE => {
                    self.note_deleted(&room.name);
                }
                Ok(answer) => cause = Some(self.service.judge(&answer, "204").await),
                Err(finding) => cause = Some(finding),
            }
        }
        match (self.leftovers(), cause) {
            (None, _) => Ok(()),
            (Some(left), Some(Finding::Fault { fault, detail })) => {
                Err(Finding::of(fault, format!("{left}; {detail}")))
            }
            (Some(left), _) => Err(Finding::ours(left)),
        }
    }

    /// The same when this test is stopped: bounded, and with the creates that are under way. Says what it could not do.
    pub(super) async fn clean_up_in_haste(&self) -> Option<String> {
        self.creates.close();
        let all_known = timeout(LONGEST_GOODBYE, self.creates.wait()).await.is_ok();
        // What is left is said below, with or without a cause.
        let _ = timeout(LONGEST_GOODBYE, self.clean_up()).await;
        let unknown = (!all_known).then(|| "a create had no answer yet; its room is ended by the sweep".to_owned());
        self.leftovers().or(unknown)
    }

    fn leftovers(&self) -> Option<String> {
        let given = self.given();
        let left = given.iter().filter(|room| !room.is_deleted).map(|room| {
            let fate = if room.is_ours {
                "is left behind, until the sweep ends it"
            } else {
                "has another's tag and was not touched"
            };
            format!("{} {fate}", room.name)
        });
        let left = left.collect::<Vec<_>>().join("; ");
        (!left.is_empty()).then_some(left)
    }

    /// A name that was given twice is ours only if it was both times.
    fn note_given(&self, name: &str, is_ours: bool) {
        let mut given = self.given();
        match given.iter_mut().find(|room| room.name == name) {
            Some(room) => room.is_ours &= is_ours,
            None => given.push(Given { name: name.to_owned(), is_ours, is_deleted: false }),
        }
    }

    fn disown(&self, name: &str) {
        self.given().iter_mut().filter(|room| room.name == name).for_each(|room| room.is_ours = false);
    }

    fn note_deleted(&self, name: &str) {
        self.given().iter_mut().filter(|room| room.name == name).for_each(|room| room.is_deleted = true);
    }

    fn given(&self) -> MutexGuard<'_, Vec<Given>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A prefix of `[a-z0-9-]`, at most 20, then a ULID in lower case. Own words, and not the service's code: a mistake in
/// there must show.
fn is_room_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_crockford = |byte: u8| byte.is_ascii_alphanumeric() && !b"ilou".contains(&byte);
    (27..=46).contains(&name.len()) && name.bytes().all(is_plain) && name.bytes().rev().take(26).all(is_crockford)
}

/// What is wrong with a `ConstrainedConference`; of its values nothing is told.
fn fault_of_form(body: &Value) -> Option<&'static str> {
    let mut fields: Vec<_> = body.as_object()?.keys().map(String::as_str).collect();
    fields.sort_unstable();
    let is_pin = |pin: &Value| {
        let digits = pin.as_str().unwrap_or_default().trim_end_matches('#');
        (4..=20).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let aliases = body["aliases"].as_array();
    let alias_is_name = aliases.is_some_and(|aliases| aliases.iter().any(|alias| alias["alias"] == body["name"]));
    [
        (fields != FIELDS, "the answer's fields are not those of a ConstrainedConference"),
        (!body["id"].is_u64(), "the room's id is no number"),
        (body["service_type"] != "conference", "the room is no conference"),
        (!is_pin(&body["pin"]) || !is_pin(&body["guest_pin"]), "a PIN is not of the form that the service gives"),
        (!alias_is_name, "no alias is the room's name"),
    ]
    .into_iter()
    .find_map(|(wrong, fault)| wrong.then_some(fault))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn case() -> CaseOfTest {
        CaseOfTest(format!("{CASE_MARK}01JD5P3XK8QQQQQQQQQQQQQQQQ").into())
    }

    #[test]
    fn a_tag_is_the_cases_own_in_both_forms_and_behind_its_start_only() {
        let base64url = "bWF4Y29uZi1zbW9rZS0tMDFKRDVQM1hLOFFRUVFRUVFRUVFRUVFRUVE";
        for (tag, start, own) in [
            (format!("https://a.example.org/x/{base64url}"), None, true),
            (format!("https://a.example.org/x/{base64url}"), Some("https://a.example.org/x/"), true),
            (format!("https://a.example.org/y/{base64url}"), Some("https://a.example.org/x/"), false),
            ("https://a.example.org/maxconf-smoke--01JD5P3XK8QQQQQQQQQQQQQQQQ".to_owned(), None, true),
            (format!("https://a.example.org/x{base64url}"), None, false),
            ("https://a.example.org/MTIzNDU2LDc2NTQzMg".to_owned(), None, false),
            (String::new(), None, false),
        ] {
            assert_eq!(case().has_tag(&tag, start), own, "{tag} {start:?}");
        }
    }

    #[test]
    fn no_two_cases_are_the_same() {
        assert_ne!(CaseOfTest::new().0.expose_secret(), CaseOfTest::new().0.expose_secret());
    }

    #[test]
    fn only_names_that_the_service_gives_are_names() {
        for (name, taken) in [
            ("vbv-01jd5p3xk8qqqqqqqqqqqqqqqq", true),
            ("a-prefix-of-20-chars01jd5p3xk8qqqqqqqqqqqqqqqq", true),
            ("01jd5p3xk8qqqqqqqqqqqqqqqq", false),
            ("a-prefix-of-21-chars-01jd5p3xk8qqqqqqqqqqqqqqqq", false),
            ("vbv-01jd5p3xk8qqqqqqqqqqqqqqqu", false),
            ("vbv-01JD5P3XK8QQQQQQQQQQQQQQQQ", false),
            ("../01jd5p3xk8qqqqqqqqqqqqqqqq", false),
            ("boardroom", false),
        ] {
            assert_eq!(is_room_name(name), taken, "{name}");
        }
    }

    #[test]
    fn a_room_of_another_form_is_noticed() {
        let room = json!({
            "id": 41, "name": "n", "service_type": "conference", "allow_guests": true, "pin": "193604",
            "guest_pin": "852117", "tag": "t", "aliases": [{ "alias": "n", "creation_time": "", "description": "", "id": 1 }],
        });
        assert_eq!(fault_of_form(&room), None);
        for (field, value) in [
            ("id", json!("41")),
            ("service_type", json!("lecture")),
            ("pin", json!("")),
            ("guest_pin", json!(null)),
            ("aliases", json!([])),
            ("more", json!(1)),
        ] {
            let mut other = room.clone();
            other[field] = value;
            assert!(fault_of_form(&other).is_some(), "{field}");
        }
    }
}
