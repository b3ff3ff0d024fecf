//! The rooms that a test creates, reads and deletes. Remembers every room it was given until that is deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use reqwest::header::HeaderName;
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::check::Failure;
use super::room_format::{differing_properties, format_fault, is_read_of, is_room_name};
use super::service::{Answer, GENESYS_TOKEN, Service, Unanswered, bearer, secret_header};
use super::test_case::{TagForm, TestCase};
use crate::outbound::CallFailure;

/// Status and code of the answer for a room that no longer exists.
const GONE: (u16, &str) = (404, "room_not_found");

// Spelled here again, not imported: a mistake in the service's constants must fail the test.
const ROOM_SOURCE: HeaderName = HeaderName::from_static("room-source");
const ROOM_VALID_FROM: HeaderName = HeaderName::from_static("room-valid-from");
const ROOM_VALID_UNTIL: HeaderName = HeaderName::from_static("room-valid-until");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A room as its create returned it.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: String,
    pub(super) source: RoomSource,
    case: Arc<TestCase>,
    /// The `Idempotency-Key` of its create.
    key: Option<String>,
    has_right_tag: bool,
    /// The answer of its create.
    pub(super) body: Value,
}

/// Where a room comes from, as `Room-Source` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoomSource {
    Pool,
    Direct,
    /// It exists by external policy only.
    Instant,
}

impl RoomSource {
    fn of(answer: &Answer) -> Result<Self, Failure> {
        match answer.header(&ROOM_SOURCE) {
            "pool" => Ok(Self::Pool),
            "direct" => Ok(Self::Direct),
            "instant" => {
                let has_validity = [ROOM_VALID_FROM, ROOM_VALID_UNTIL]
                    .iter()
                    .all(|header| OffsetDateTime::parse(answer.header(header), &Rfc3339).is_ok());
                let invalid = "an instant room has no valid Room-Valid-From and Room-Valid-Until";
                if has_validity { Ok(Self::Instant) } else { Err(Failure::service(invalid)) }
            }
            _ => Err(Failure::service("Room-Source is none of pool, direct and instant")),
        }
    }
}

/// Creates rooms and records them. Clones share the record.
#[derive(Clone, Debug)]
pub(super) struct Rooms {
    service: Service,
    token: SecretString,
    tag_form: TagForm,
    /// Never held across an await.
    record: Arc<Mutex<Vec<Recorded>>>,
    creates: TaskTracker,
    /// A create had no answer: there may be a room whose name is unknown.
    has_unanswered_create: Arc<AtomicBool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Recorded {
    name: String,
    /// False if any answer showed another tag. The room may then be a citizen's, so it is not deleted.
    is_ours: bool,
    is_deleted: bool,
}

impl Rooms {
    pub(super) fn new(service: Service, token: SecretString, tag_form: TagForm) -> Self {
        let (record, creates, has_unanswered_create) = (Arc::default(), TaskTracker::new(), Arc::default());
        Self { service, token, tag_form, record, creates, has_unanswered_create }
    }

    /// Creates a room with an `Idempotency-Key`.
    pub(super) async fn create(&self) -> Result<Room, Failure> {
        self.create_with(Some(format!("smoke-{:032x}", rand::random::<u128>()))).await
    }

    async fn create_with(&self, key: Option<String>) -> Result<Room, Failure> {
        let case = Arc::new(TestCase::new(&self.tag_form));
        let answer = self.send_create(&case, key.as_deref()).await?;
        if answer.status != 200 {
            return Err(self.service.diagnose(&answer, "200").await);
        }
        let Some(name) = room_name(&answer) else {
            return Err(Failure::service(
                "the room's name is not a name of this service, so the room cannot be deleted; the sweep deletes it",
            ));
        };
        if let Some(fault) = format_fault(&answer.body) {
            return Err(Failure::service(fault));
        }
        let (name, source) = (name.to_owned(), RoomSource::of(&answer)?);
        let has_right_tag = case.has_tag(answer.text("tag"));
        Ok(Room { name, source, case, key, has_right_tag, body: answer.body })
    }

    /// Sends a create in a task of its own, so that a stop does not lose the name in an answer on its way.
    async fn send_create(&self, case: &Arc<TestCase>, key: Option<&str>) -> Result<Answer, Failure> {
        let (rooms, case) = (self.clone(), Arc::clone(case));
        let mut request = bearer(case.create(&self.service), &self.token);
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let sent = self.creates.spawn(async move {
            let answer = rooms.service.send(request).await.inspect_err(|unanswered| {
                let may_have_created = !matches!(unanswered.failure, CallFailure::Unreachable(_));
                rooms.has_unanswered_create.fetch_or(may_have_created, Ordering::Relaxed);
            })?;
            rooms.record(&answer, Some(&case));
            Ok::<_, Unanswered>(answer)
        });
        Ok(sent.await.map_err(|_| Failure::unclear("the create was aborted"))??)
    }

    /// Repeats the room's create: the same key and `uuiData`.
    pub(super) async fn repeat(&self, room: &Room) -> Result<(), Failure> {
        let answer = self.send_create(&room.case, room.key.as_deref()).await?;
        if answer.status != 200 {
            return Err(self.service.diagnose(&answer, "200").await);
        }
        let fault = if answer.text("name") != room.name {
            "it returned another room: the service knows no keys, or has forgotten this one"
        } else if answer.body != room.body {
            "it returned the room with other values"
        } else if answer.header(&IDEMPOTENCY_REPLAYED) != "true" {
            "Idempotency-Replayed is not true"
        } else {
            return Ok(());
        };
        Err(Failure::service(fault))
    }

    /// Sends the room's key with another `uuiData`.
    pub(super) async fn reuse_key(&self, room: &Room) -> Result<(), Failure> {
        let other = Arc::new(TestCase::new(&self.tag_form));
        let answer = self.send_create(&other, room.key.as_deref()).await?;
        self.service.expect_problem(&answer, 422, "idempotency_key_reused").await
    }

    /// Repeats the create of a room that this test has deleted.
    pub(super) async fn repeat_after_delete(&self, room: &Room) -> Result<(), Failure> {
        let answer = self.send_create(&room.case, room.key.as_deref()).await?;
        self.service.expect_problem(&answer, 410, "room_ended").await
    }

    /// Records the room that a create's answer names, if any, so that it is deleted at the end. The room is ours only
    /// if it has the tag of `case`.
    pub(super) fn record(&self, answer: &Answer, case: Option<&TestCase>) {
        let Some(name) = room_name(answer) else { return };
        let is_ours = case.is_some_and(|case| case.is_in(answer.text("tag")));
        let mut record = self.recorded();
        match record.iter_mut().find(|room| room.name == name) {
            Some(room) => room.is_ours &= is_ours,
            None => record.push(Recorded { name: name.to_owned(), is_ours, is_deleted: false }),
        }
    }

    pub(super) fn check_tag(room: &Room) -> Result<(), Failure> {
        if room.has_right_tag { Ok(()) } else { Err(Failure::service("the tag is not that of this create's uuiData")) }
    }

    /// Creates a room without a key.
    pub(super) async fn create_another(&self, first: &Room) -> Result<Room, Failure> {
        let second = self.create_with(None).await?;
        if second.name == first.name {
            return Err(Failure::service("two creates returned the same room"));
        }
        Self::check_tag(&second)?;
        Ok(second)
    }

    /// Reads the room as the agent's widget does.
    pub(super) async fn public_read(&self, room: &Room, genesys_token: &SecretString) -> Result<(), Failure> {
        let answer = self.send_public_read(&room.name, genesys_token).await?;
        match (answer.status, answer.code()) {
            (200, _) if is_read_of(&room.body, &answer.body) => Ok(()),
            (200, _) => {
                if !room.case.is_in(answer.text("tag")) {
                    self.update(&room.name, |recorded| recorded.is_ours = false);
                }
                Err(Failure::service("the public read differs from the create's answer"))
            }
            (401, "token_invalid") => Err(Failure::unclear("Genesys refuses SMOKE_GENESYS_TOKEN; renew it")),
            _ => Err(self.service.diagnose(&answer, "200").await),
        }
    }

    /// Reads the conference object as IDIM's server can, and compares it with the expected values.
    pub(super) async fn check_properties(&self, room: &Room, expected: &Map<String, Value>) -> Result<(), Failure> {
        if room.source == RoomSource::Instant {
            return Err(Failure::not_checked("an instant room has no conference object"));
        }
        let read =
            self.service.request(Method::GET, &["room", &room.name]).query(&[("constrained_attributes", "false")]);
        let answer = self.service.send(bearer(read, &self.token)).await?;
        if answer.status != 200 {
            return Err(self.service.diagnose(&answer, "200").await);
        }
        match differing_properties(expected, &answer.body).as_slice() {
            [] => Ok(()),
            differing => Err(Failure::service(format!("the room has other values in {}", differing.join(", ")))),
        }
    }

    /// Deletes the room and checks that every route then answers that it is gone.
    pub(super) async fn delete(&self, room: &Room, genesys_token: Option<&SecretString>) -> Result<(), Failure> {
        if !self.recorded().iter().any(|recorded| recorded.name == room.name && recorded.is_ours) {
            return Err(Failure::not_checked("the room may be a citizen's"));
        }
        let answer = self.service.send(self.delete_request(&room.name)).await?;
        if answer.status != 204 {
            return Err(self.service.diagnose(&answer, "204").await);
        }
        let again = self.service.send(self.delete_request(&room.name)).await?;
        self.service.expect_problem(&again, GONE.0, GONE.1).await?;
        self.update(&room.name, |recorded| recorded.is_deleted = true);
        if let Some(genesys_token) = genesys_token {
            let answer = self.send_public_read(&room.name, genesys_token).await?;
            if answer.code() != "token_invalid" {
                self.service.expect_problem(&answer, GONE.0, GONE.1).await?;
            }
        }
        Ok(())
    }

    async fn send_public_read(&self, name: &str, genesys_token: &SecretString) -> Result<Answer, Unanswered> {
        let request = self.service.request(Method::GET, &["public", "room", name]);
        self.service.send(request.header(GENESYS_TOKEN, secret_header(genesys_token.expose_secret()))).await
    }

    fn delete_request(&self, name: &str) -> RequestBuilder {
        bearer(self.service.request(Method::DELETE, &["room", name]), &self.token)
    }

    /// Deletes the remaining rooms. Takes at most four times `limit`.
    pub(super) async fn clean_up(&self, limit: Duration) -> Result<(), Failure> {
        let failed = self.delete_all(limit).await;
        let is_any_left = self.recorded().iter().any(|room| !room.is_deleted);
        let Some(left) = self.leftovers() else {
            let was_any_made = !self.recorded().is_empty();
            return if was_any_made { Ok(()) } else { Err(Failure::not_checked("no room was created")) };
        };
        let cause = match failed {
            Some(Ok(answer)) => timeout(2 * limit, self.service.diagnose(&answer, "204")).await.ok(),
            Some(Err(unanswered)) => Some(unanswered.into()),
            None => None,
        };
        Err(match cause {
            Some(Failure::Fault { fault, detail }) => Failure::new(fault, format!("{left}; {detail}")),
            _ if is_any_left => Failure::service(left),
            _ => Failure::unclear(left),
        })
    }

    /// Deletes every room of ours, concurrently. Waits at most `limit` for creates under way, then at most `limit` for
    /// the deletes. Returns the result of a delete that failed.
    pub(super) async fn delete_all(&self, limit: Duration) -> Option<Result<Answer, Unanswered>> {
        self.creates.close();
        // A create that is still under way is reported by `leftovers`.
        let _ = timeout(limit, self.creates.wait()).await;
        let recorded = self.recorded().clone();
        let left = recorded.into_iter().filter(|room| room.is_ours && !room.is_deleted);
        let deletes: JoinSet<_> = left.map(|room| self.clone().delete_one(room.name, limit)).collect();
        deletes.join_all().await.into_iter().flatten().next()
    }

    /// `None` if the room is gone.
    async fn delete_one(self, name: String, limit: Duration) -> Option<Result<Answer, Unanswered>> {
        let result = self.service.send(self.delete_request(&name).timeout(limit)).await;
        let is_gone = |answer: &Answer| answer.status == 204 || (answer.status, answer.code()) == GONE;
        if result.as_ref().is_ok_and(is_gone) {
            self.update(&name, |recorded| recorded.is_deleted = true);
            return None;
        }
        Some(result)
    }

    /// The rooms that are not deleted, and why; `None` if there are none.
    pub(super) fn leftovers(&self) -> Option<String> {
        let recorded = self.recorded();
        let left = recorded.iter().filter(|room| !room.is_deleted).map(|room| {
            let reason = if room.is_ours {
                "is left behind until the sweep deletes it"
            } else {
                "has the tag of another case and was not deleted"
            };
            format!("{} {reason}", room.name)
        });
        let is_unknown = self.has_unanswered_create.load(Ordering::Relaxed) || !self.creates.is_empty();
        let unknown = is_unknown.then(|| "a create had no answer; if it made a room, the sweep deletes it".to_owned());
        let left = left.chain(unknown).collect::<Vec<_>>().join("; ");
        (!left.is_empty()).then_some(left)
    }

    fn update(&self, name: &str, change: impl FnMut(&mut Recorded)) {
        self.recorded().iter_mut().filter(|room| room.name == name).for_each(change);
    }

    fn recorded(&self) -> MutexGuard<'_, Vec<Recorded>> {
        self.record.lock()
    }
}

/// The name in a successful answer, if it is one of a room.
fn room_name(answer: &Answer) -> Option<&str> {
    Some(answer.text("name")).filter(|name| answer.status == 200 && is_room_name(name))
}
