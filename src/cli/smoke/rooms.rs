//! The rooms of a test: made, read, deleted, and not forgotten.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::check::Finding;
use super::refusals::{bearer, secret_header};
use super::service::{Answer, GENESYS_TOKEN, Service, Unanswered};
use crate::outbound::CallFailure;

/// A name of no form that the service gives: no room can have it, and Pexip is not asked.
pub(super) const NOBODYS_ROOM: &str = "maxconf-smoke-nobodys-room";

/// The start of what a test's `uuiData` decodes to. A multiple of three bytes, so that in base64url too the start is
/// always the same, and of characters that `UUI_DATA_FORMAT=segment` takes.
const CASE_MARK: &str = "maxconf-smoke--";

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
    /// A create was sent and has had no answer: there may be a room whose name nobody was told.
    has_lost_one: Arc<AtomicBool>,
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
        let (given, creates, has_lost_one) = (Arc::default(), TaskTracker::new(), Arc::default());
        Self { service, token, tag_start, given, creates, has_lost_one }
    }

    /// Creates a room. Runs in a task of its own: a stop must not forget a room whose name is on its way.
    pub(super) async fn create(&self) -> Result<Room, Finding> {
        let rooms = self.clone();
        let created = self.creates.spawn(async move {
            let case = CaseOfTest::new();
            let sent = rooms.service.send(bearer(case.create(&rooms.service), &rooms.token)).await;
            let answer = sent.inspect_err(|unanswered| {
                let is_lost = unanswered.failure != CallFailure::Unreachable;
                rooms.has_lost_one.fetch_or(is_lost, Ordering::Relaxed);
            })?;
            rooms.read(&answer, case).await
        });
        created.await.unwrap_or_else(|_| Err(Finding::unclear("the create was broken off")))
    }

    async fn read(&self, answer: &Answer, case: CaseOfTest) -> Result<Room, Finding> {
        if answer.status != 200 {
            return Err(self.service.judge(answer, "200").await);
        }
        let Some(name) = self.keep(answer, Some(&case)) else {
            return Err(Finding::ours(
                "the room's name is no name that the service gives; such a room cannot be deleted, the sweep ends it",
            ));
        };
        if let Some(fault) = fault_of_form(&answer.body) {
            return Err(Finding::ours(fault));
        }
        let source = answer.header(&reqwest::header::HeaderName::from_static("room-source"));
        if source != "pool" && source != "direct" {
            return Err(Finding::ours("Room-Source is neither pool nor direct"));
        }
        let has_right_tag = case.has_tag(answer.text("tag"), self.tag_start.as_deref());
        Ok(Room { name, from_pool: source == "pool", case, has_right_tag, body: answer.body.clone() })
    }

    /// Keeps the room that an answer to a create names, if it does, so that it is deleted in the end. Only with the tag
    /// of this case it is known to be ours; others are left behind, by name.
    pub(super) fn keep(&self, answer: &Answer, case: Option<&CaseOfTest>) -> Option<String> {
        let name = Some(answer.text("name")).filter(|name| answer.status == 200 && is_room_name(name))?;
        self.note_given(name, case.is_some_and(|case| case.has_tag(answer.text("tag"), None)));
        Some(name.to_owned())
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
        let answer = self.service.send(self.delete_request(&room.name)).await?;
        if answer.status != 204 {
            return Err(self.service.judge(&answer, "204").await);
        }
        let again = self.service.send(self.delete_request(&room.name)).await?;
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

    fn delete_request(&self, name: &str) -> RequestBuilder {
        bearer(self.service.request(Method::DELETE, &["room", name]), &self.token)
    }

    /// Deletes what is left. Takes at most four times as long as `patience`.
    pub(super) async fn clean_up(&self, patience: Duration) -> Result<(), Finding> {
        let undone = self.delete_all(patience).await;
        let is_any_left = self.given().iter().any(|room| !room.is_deleted);
        let Some(left) = self.leftovers() else {
            let was_any_made = !self.given().is_empty();
            return if was_any_made { Ok(()) } else { Err(Finding::not_checked("no room was made")) };
        };
        let cause = match undone {
            Some(Ok(answer)) => timeout(2 * patience, self.service.judge(&answer, "204")).await.ok(),
            Some(Err(unanswered)) => Some(unanswered.into()),
            None => None,
        };
        Err(match cause {
            Some(Finding::Fault { fault, detail }) => Finding::of(fault, format!("{left}; {detail}")),
            _ if is_any_left => Finding::ours(left),
            _ => Finding::unclear(left),
        })
    }

    /// Deletes every room that is ours, all at the same time. Waits at most this long for creates that are under way,
    /// and then for the deletes. Returns what was said to a delete that did not succeed.
    pub(super) async fn delete_all(&self, patience: Duration) -> Option<Result<Answer, Unanswered>> {
        self.creates.close();
        // Whether it was in vain `leftovers` tells.
        let _ = timeout(patience, self.creates.wait()).await;
        let given = self.given().clone();
        let left = given.into_iter().filter(|room| room.is_ours && !room.is_deleted);
        let deletes: JoinSet<_> = left.map(|room| self.clone().delete_for_good(room.name, patience)).collect();
        deletes.join_all().await.into_iter().flatten().next()
    }

    /// `None` if it worked.
    async fn delete_for_good(self, name: String, patience: Duration) -> Option<Result<Answer, Unanswered>> {
        let told = self.service.send(self.delete_request(&name).timeout(patience)).await;
        let is_gone = |answer: &Answer| answer.status == 204 || (answer.status, answer.code()) == GONE;
        if told.as_ref().is_ok_and(is_gone) {
            self.note_deleted(&name);
            return None;
        }
        Some(told)
    }

    /// What stays, and why; `None` if nothing does.
    pub(super) fn leftovers(&self) -> Option<String> {
        let given = self.given();
        let left = given.iter().filter(|room| !room.is_deleted).map(|room| {
            let fate = if room.is_ours {
                "is left behind, until the sweep ends it"
            } else {
                "has another's tag and was not touched"
            };
            format!("{} {fate}", room.name)
        });
        let has_lost_one = self.has_lost_one.load(Ordering::Relaxed) || !self.creates.is_empty();
        let unknown = has_lost_one.then(|| "a create had no answer; if it made a room, the sweep ends it".to_owned());
        let left = left.chain(unknown).collect::<Vec<_>>().join("; ");
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
pub(super) fn is_room_name(name: &str) -> bool {
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
