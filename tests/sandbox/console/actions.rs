//! What the page's buttons do: each acts as one of the parties, with that party's own credentials, over HTTP.

use std::sync::Arc;
use std::time::Duration;

use maxconf_simulators::operator::HOST_PIN;
use rand::RngExt;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use super::Shared;
use super::instances::{Mode, NAMES, WhenEmpty};
use super::sessions::{Call, NotIn, Session, Who};
use crate::RoomSource;

/// Validity of the room that is joined too late.
const SHORT: Duration = Duration::from_secs(2);

/// How far ahead the room is that is joined too early.
const AHEAD: Duration = Duration::from_secs(3_600);

/// A button, and what it was pressed for.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Action {
    Start { source: Option<RoomSource>, with_key: bool },
    Repeat { session: u64 },
    Share { session: u64 },
    Join { session: u64, who: String },
    Accept { session: u64 },
    HangUp { session: u64, who: Option<String> },
    Delete { session: u64 },
    Early,
    Late,
    WrongPin { session: u64 },
    Load { source: Option<RoomSource>, creates: usize },
    DeleteAll,
    Fault { name: String, on: bool },
    Restore,
    Instance { name: String, on: bool },
    Setting { source: Option<RoomSource>, when_empty: Option<String> },
    Maintenance,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Outcome {
    /// `done`, `refused` where a refusal is right, `failed`.
    result: &'static str,
    text: String,
    session: Option<u64>,
    rooms: Vec<String>,
    /// Only for who pressed the button: whoever has it can join.
    link: Option<Url>,
}

impl Outcome {
    pub(super) fn done(text: impl Into<String>) -> Self {
        Self { result: "done", text: text.into(), session: None, rooms: Vec::new(), link: None }
    }

    fn refused(text: impl Into<String>) -> Self {
        Self { result: "refused", ..Self::done(text) }
    }

    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self { result: "failed", ..Self::done(text) }
    }

    fn about(mut self, session: u64, room: &str) -> Self {
        self.session = Some(session);
        self.rooms = vec![room.to_owned()];
        self
    }

    pub(super) fn json(&self) -> Value {
        json!({ "result": self.result, "text": self.text, "session": self.session, "link": self.link })
    }
}

impl Action {
    /// Who acts, and what they do.
    fn title(&self) -> (&'static str, String) {
        let fault = |name: &str| match name {
            "pexip_slow" => "Pexip is slow",
            "pexip_down" => "Pexip is down",
            "storage_down" => "Storage is down",
            "genesys_busy" => "Genesys answers 429",
            _ => "Answers are lost",
        };
        match self {
            Self::Start { .. } => ("citizen", "A citizen starts a video session".to_owned()),
            Self::Repeat { .. } => ("idim", "IDIM repeats its request".to_owned()),
            Self::Share { .. } => ("citizen", "The citizen shares the link".to_owned()),
            Self::Join { who, .. } if who == "second" => ("citizen", "A second citizen opens the link".to_owned()),
            Self::Join { .. } => ("citizen", "The citizen joins".to_owned()),
            Self::Accept { .. } => ("agent", "The agent accepts".to_owned()),
            Self::HangUp { who: None, .. } => ("citizen", "Everybody hangs up".to_owned()),
            Self::HangUp { who: Some(who), .. } if who == "agent" => ("agent", "The agent hangs up".to_owned()),
            Self::HangUp { .. } => ("citizen", "The citizen hangs up".to_owned()),
            Self::Delete { .. } => ("idim", "IDIM deletes the room".to_owned()),
            Self::Early => ("citizen", "A citizen joins an hour too early".to_owned()),
            Self::Late => ("citizen", "A citizen joins too late".to_owned()),
            Self::WrongPin { .. } => ("citizen", "Somebody tries a wrong PIN".to_owned()),
            Self::Load { creates, .. } => ("citizen", format!("{creates} citizens start at once")),
            Self::DeleteAll => ("idim", "IDIM deletes all rooms".to_owned()),
            Self::Fault { name, on: true } => ("fault", format!("Fault: {}", fault(name))),
            Self::Fault { name, on: false } => ("fault", format!("Mended: {}", fault(name))),
            Self::Restore => ("fault", "Fault: Pexip is restored from a backup".to_owned()),
            Self::Instance { name, on: true } => ("fault", format!("Instance {name} is started")),
            Self::Instance { name, on: false } => ("fault", format!("Fault: instance {name} is killed")),
            Self::Setting { .. } => ("operator", "The operator changes a setting".to_owned()),
            Self::Maintenance => ("operator", "The timer starts a maintenance run".to_owned()),
        }
    }
}

impl Shared {
    /// Does it, with a note of it in the sequence.
    pub(super) async fn act(self: &Arc<Self>, action: Action) -> Outcome {
        let id = self.feed.next_id();
        let (by, title) = action.title();
        let mut note = json!({ "t": self.feed.now(), "by": by, "title": title, "result": null, "rooms": [] });
        self.feed.tell("note", id, note.clone());
        let outcome = self.perform(action).await;
        note["result"] = json!(outcome.result);
        note["text"] = json!(outcome.text);
        note["session"] = json!(outcome.session);
        note["rooms"] = json!(outcome.rooms);
        note["ended"] = json!(self.feed.now());
        self.feed.tell("note", id, note);
        self.read_rooms();
        outcome
    }

    async fn perform(self: &Arc<Self>, action: Action) -> Outcome {
        match action {
            Action::Start { source, with_key } => self.start(source, with_key).await,
            Action::Repeat { session } => self.repeat(session).await,
            Action::Share { session } => self.share(session),
            Action::Join { session, who } => match Who::named(&who) {
                Some(Who::Citizen) => self.join(session).await,
                Some(Who::Second) => self.join_by_link(session).await,
                _ => Outcome::failed("nobody of this name joins"),
            },
            Action::Accept { session } => self.accept(session).await,
            Action::HangUp { session, who } => self.hang_up(session, who.as_deref().and_then(Who::named)).await,
            Action::Delete { session } => self.delete(session).await,
            Action::Early => self.early().await,
            Action::Late => self.late().await,
            Action::WrongPin { session } => self.wrong_pin(session).await,
            Action::Load { source, creates } => match self.choose(source).await {
                Ok(()) => self.load(creates).await,
                Err(error) => Outcome::failed(error),
            },
            Action::DeleteAll => self.delete_all().await,
            Action::Fault { name, on } => {
                if self.faults.switch(&self.world, &name, on).await {
                    Outcome::done("")
                } else {
                    Outcome::failed("there is no such fault")
                }
            }
            Action::Restore => match self.faults.restore(&self.world) {
                Some(rooms) => Outcome::done(format!("it has its first {rooms} rooms again, and no later one")),
                None => Outcome::failed("there is no backup yet: the pool is not full"),
            },
            Action::Instance { name, on } => self.switch_instance(&name, on).await,
            Action::Setting { source, when_empty } => self.set(source, when_empty.as_deref()).await,
            Action::Maintenance => self.maintenance().await,
        }
    }

    async fn start(&self, source: Option<RoomSource>, with_key: bool) -> Outcome {
        if let Err(error) = self.choose(source).await {
            return Outcome::failed(error);
        }
        let key = with_key.then(|| format!("session-{}", random_digits(12)));
        match self.open(new_case(), key, [None, None]).await {
            Ok((id, _)) => self.join(id).await,
            Err(outcome) => outcome,
        }
    }

    /// Lets rooms come from this source from now on.
    async fn choose(&self, source: Option<RoomSource>) -> Result<(), String> {
        let before = self.instances.mode();
        let source = source.unwrap_or(before.source);
        self.instances.set_mode(Mode { source, ..before }).await?;
        if source == RoomSource::Pool && before.source != source {
            // There may be no pool so far.
            self.maintenance().await;
        }
        Ok(())
    }

    /// The citizen's app asks IDIM for a session. Returns the session, and whether an earlier one was answered again.
    async fn open(
        &self,
        case: String,
        key: Option<String>,
        asked: [Option<String>; 2],
    ) -> Result<(u64, bool), Outcome> {
        self.faults.prepare(&self.world, 1).await;
        let wanted = json!({ "case": case, "key": key, "valid_from": asked[0], "valid_until": asked[1] });
        let (status, answer) = self.send(self.idim_request(Method::POST, "").json(&wanted)).await;
        if status != 201 {
            return Err(Outcome::failed(refusal("IDIM gets no room", status, &answer)));
        }
        let replayed = answer["is_replayed"] == true;
        let session = Session::read(&answer, &case, key, asked);
        let id = {
            let mut sessions = self.sessions.lock();
            let known = sessions.by_room(&session.room).filter(|_| replayed).map(|known| known.id);
            known.unwrap_or_else(|| sessions.add(session))
        };
        // Before anybody joins: the room's life shows that it was handed out.
        self.read_rooms();
        Ok((id, replayed))
    }

    async fn repeat(&self, id: u64) -> Outcome {
        let Some((case, key, asked, room)) = self
            .of(id, |session| (session.case.clone(), session.key.clone(), session.asked.clone(), session.room.clone()))
        else {
            return unknown();
        };
        let has_key = key.is_some();
        match self.open(case, key, asked).await {
            Ok((again, true)) => Outcome::done("the same key gets the same room").about(again, &room),
            Ok((other, false)) if has_key => {
                Outcome::failed("the same key got another room").about(other, &self.room_of(other))
            }
            Ok((other, false)) => {
                Outcome::done("without a key each request gets a room of its own").about(other, &self.room_of(other))
            }
            Err(outcome) => outcome.about(id, &room),
        }
    }

    async fn join(&self, id: u64) -> Outcome {
        let Some((room, pin, source)) =
            self.of(id, |session| (session.room.clone(), session.guest_pin.clone(), session.source.clone()))
        else {
            return unknown();
        };
        match self.enter(id, &room, Who::Citizen, &pin).await {
            Ok(()) => {
                let from = match source.as_str() {
                    "pool" => "a room that was ready in the pool",
                    "direct" => "a room that was made just now",
                    _ => "an instant room, which no database holds",
                };
                Outcome::done(format!("Citizen is in {from}")).about(id, &room)
            }
            Err(not_in) => Outcome::failed(not_in.text()).about(id, &room),
        }
    }

    /// Gives the link by which a browser joins the room.
    fn share(&self, id: u64) -> Outcome {
        let Some((link_id, room)) = self.of(id, |session| (session.link_id(&self.website), session.room.clone()))
        else {
            return unknown();
        };
        let mut link = self.at_website("");
        link.set_fragment(Some(&link_id));
        let outcome = Outcome::done("whoever opens it joins as a guest").about(id, &room);
        Outcome { link: Some(link), ..outcome }
    }

    /// What the website's page does for whoever opens the link: asks what to join with, and joins.
    async fn join_by_link(&self, id: u64) -> Outcome {
        let Some((link_id, room)) = self.of(id, |session| (session.link_id(&self.website), session.room.clone()))
        else {
            return unknown();
        };
        let (status, call) = self.send(self.http.get(self.at_website(&format!("calls/{link_id}")))).await;
        let (Some(alias), Some(pin)) = (call["alias"].as_str(), call["pin"].as_str()) else {
            return Outcome::failed(refusal("the link leads nowhere", status, &call)).about(id, &room);
        };
        match self.enter(id, alias, Who::Second, pin).await {
            Ok(()) => Outcome::done("Second citizen is in the same room").about(id, &room),
            Err(not_in) => Outcome::failed(not_in.text()).about(id, &room),
        }
    }

    /// An address of the website.
    fn at_website(&self, path: &str) -> Url {
        let console = self.address.get().expect("buttons are pressed on a page that the console's server has sent");
        console.join("website/").and_then(|website| website.join(path)).expect("a path")
    }

    async fn enter(&self, id: u64, room: &str, who: Who, pin: &str) -> Result<(), NotIn> {
        let call = Call::join(&self.http, &self.node.server().url(), room, who, pin).await?;
        let mut sessions = self.sessions.lock();
        if let Some(session) = sessions.get(id) {
            session.enter(call);
        }
        Ok(())
    }

    /// What the widget does: reads the room that Genesys names, opens its tag and joins as host.
    async fn accept(&self, id: u64) -> Outcome {
        let Some(room) = self.of(id, |session| session.room.clone()) else { return unknown() };
        let url = self.gateway.url().join(&format!("public/room/{room}")).expect("a room's name is a path");
        let request = self.http.get(url).header("x-auth-token", self.world.genesys.issue_token());
        let (status, answer) = self.send(request).await;
        if status != 200 {
            return Outcome::failed(refusal("the agent gets no room", status, &answer)).about(id, &room);
        }
        let tag = answer["tag"].as_str().unwrap_or_default();
        self.of(id, |session| session.is_own_case = Some(tag.ends_with(&format!("/{}", session.case))));
        match self.enter(id, &room, Who::Agent, HOST_PIN).await {
            Ok(()) => Outcome::done("the agent has opened the citizen’s case and is the host").about(id, &room),
            Err(not_in) => Outcome::failed(not_in.text()).about(id, &room),
        }
    }

    async fn hang_up(&self, id: u64, who: Option<Who>) -> Outcome {
        let Some((room, calls)) = self.of(id, |session| (session.room.clone(), session.take_calls(who))) else {
            return unknown();
        };
        let mut left = Vec::new();
        for call in calls {
            let who = call.who();
            // Whoever was disconnected before is out as well.
            if call.hang_up(&self.http).await.is_ok() {
                left.push(who.display_name());
            }
        }
        if left.is_empty() {
            return Outcome::done("nobody was in any more").about(id, &room);
        }
        Outcome::done(format!("out: {}", left.join(", "))).about(id, &room)
    }

    async fn delete(&self, id: u64) -> Outcome {
        let Some(room) = self.of(id, |session| session.room.clone()) else { return unknown() };
        let outcome = self.delete_room(&room).await;
        outcome.about(id, &room)
    }

    async fn delete_room(&self, room: &str) -> Outcome {
        match self.send(self.idim_request(Method::DELETE, &format!("/{room}"))).await {
            (204, _) => Outcome::done("the room is gone, and whoever was in it is out"),
            (404, _) => Outcome::done("the room was gone already"),
            (status, answer) => Outcome::failed(refusal("the room is not deleted", status, &answer)),
        }
    }

    /// Deletes whatever was handed out, of whichever session.
    async fn delete_all(self: &Arc<Self>) -> Outcome {
        let mut rooms: Vec<_> = self.world.pexip.rooms().into_iter().filter(|room| !room.tag.is_empty()).collect();
        rooms.retain(|room| room.name.starts_with("vbv-"));
        let mut names: Vec<_> = rooms.into_iter().map(|room| room.name).collect();
        names.extend(self.open_instant_rooms());
        let count = names.len();
        let mut failed = 0;
        for some in names.chunks(8) {
            let mut deleting = tokio::task::JoinSet::new();
            for name in some {
                let (shared, name) = (Arc::clone(self), name.clone());
                deleting.spawn(async move { shared.delete_room(&name).await });
            }
            while let Some(outcome) = deleting.join_next().await {
                failed += usize::from(outcome.is_ok_and(|outcome| outcome.result == "failed"));
            }
        }
        if failed > 0 {
            return Outcome::failed(format!("{failed} of {count} rooms are not deleted"));
        }
        Outcome::done(format!("{count} rooms are gone"))
    }

    async fn early(&self) -> Outcome {
        let valid = [Some(after(AHEAD)), Some(after(AHEAD * 2))];
        self.out_of_time(valid, Duration::ZERO, "the room is valid in an hour only").await
    }

    async fn late(&self) -> Outcome {
        let valid = [None, Some(after(SHORT))];
        self.out_of_time(valid, SHORT, "the room’s validity is over").await
    }

    /// Only instant rooms have a validity. It fails if the node lets the citizen in.
    async fn out_of_time(&self, valid: [Option<String>; 2], wait: Duration, why: &str) -> Outcome {
        let before = self.instances.mode().source;
        if let Err(error) = self.choose(Some(RoomSource::Instant)).await {
            return Outcome::failed(error);
        }
        let opened = self.open(new_case(), None, valid).await;
        if let Err(error) = self.choose(Some(before)).await {
            return Outcome::failed(error);
        }
        let id = match opened {
            Ok((id, _)) => id,
            Err(outcome) => return outcome,
        };
        tokio::time::sleep(wait).await;
        let Some((room, pin)) = self.of(id, |session| (session.room.clone(), session.guest_pin.clone())) else {
            return unknown();
        };
        match self.enter(id, &room, Who::Citizen, &pin).await {
            Ok(()) => Outcome::failed("the citizen is in, out of the room’s time").about(id, &room),
            Err(not_in) => Outcome::refused(format!("{}: {why}", not_in.text())).about(id, &room),
        }
    }

    async fn wrong_pin(&self, id: u64) -> Outcome {
        let Some((room, pin)) = self.of(id, |session| (session.room.clone(), session.guest_pin.clone())) else {
            return unknown();
        };
        let wrong = ["1111", "2222", "3333"].into_iter().find(|wrong| *wrong != pin && *wrong != HOST_PIN);
        match self.enter(id, &room, Who::Citizen, wrong.unwrap_or_default()).await {
            Ok(()) => Outcome::failed("the wrong PIN was accepted").about(id, &room),
            Err(not_in) => Outcome::refused(not_in.text()).about(id, &room),
        }
    }

    async fn switch_instance(&self, name: &str, on: bool) -> Outcome {
        let Some(index) = NAMES.iter().position(|known| *known == name) else {
            return Outcome::failed("there is no such instance");
        };
        if on {
            return match self.instances.revive(index).await {
                Ok(()) => Outcome::done(format!("{name} answers again")),
                Err(error) => Outcome::failed(error),
            };
        }
        self.instances.kill(index).await;
        Outcome::done("the rooms that it held are ready again when their leases end")
    }

    async fn set(&self, source: Option<RoomSource>, when_empty: Option<&str>) -> Outcome {
        let mut mode = self.instances.mode();
        mode.source = source.unwrap_or(mode.source);
        if let Some(name) = when_empty {
            let Some(known) = WhenEmpty::ALL.into_iter().find(|one| one.as_str() == name) else {
                return Outcome::failed("there is no such value");
            };
            mode.when_empty = known;
        }
        match self.instances.set_mode(mode).await {
            Ok(()) => Outcome::done(format!(
                "ROOM_SOURCE={} POOL_EMPTY={}: both instances are new ones",
                mode.source.as_str(),
                mode.when_empty.as_str()
            )),
            Err(error) => Outcome::failed(error),
        }
    }

    pub(super) async fn maintenance(&self) -> Outcome {
        let url = self.gateway.url().join("function_pool_maintenance").expect("a path");
        match self.send(self.http.post(url).json(&json!({}))).await {
            (200, _) => Outcome::done("the pool is filled up, and what is over is swept"),
            (status, answer) => Outcome::failed(refusal("the maintenance run failed", status, &answer)),
        }
    }

    pub(super) fn idim_request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = self.idim.url().join(&format!("video/v2/sessions{path}")).expect("a path");
        self.http.request(method, url)
    }

    /// Status and body; the status is 0 if there was no answer.
    #[expect(clippy::disallowed_methods, reason = "a caller of the service, not a part of it")]
    pub(super) async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        match request.send().await {
            Ok(answer) => (answer.status().as_u16(), answer.json().await.unwrap_or_default()),
            Err(_) => (0, Value::Null),
        }
    }

    fn of<T>(&self, id: u64, read: impl FnOnce(&mut Session) -> T) -> Option<T> {
        self.sessions.lock().get(id).map(read)
    }

    fn room_of(&self, id: u64) -> String {
        self.of(id, |session| session.room.clone()).unwrap_or_default()
    }
}

impl NotIn {
    fn text(&self) -> String {
        match self.status {
            0 => "the node gives no answer".to_owned(),
            status => format!("the node says {status}, {}", self.why),
        }
    }
}

fn unknown() -> Outcome {
    Outcome::failed("there is no such session any more")
}

/// The service's own words about its refusal.
fn refusal(what: &str, status: u16, answer: &Value) -> String {
    match answer["code"].as_str() {
        Some(code) => format!("{what}: {status}, {code}"),
        None if status == 0 => format!("{what}: no answer"),
        None => format!("{what}: {status}"),
    }
}

/// A citizen's case, as IDIM names cases.
pub(super) fn new_case() -> String {
    let numbers = format!("{},{}", random_digits(6), random_digits(6));
    base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, numbers)
}

fn random_digits(count: usize) -> String {
    let mut random = rand::rng();
    (0..count).map(|_| char::from(b'0' + random.random_range(0..10u8))).collect()
}

fn after(time: Duration) -> String {
    #[expect(clippy::disallowed_methods, reason = "a caller of the service has the real time")]
    let now = OffsetDateTime::now_utc();
    (now + time).format(&Rfc3339).expect("a time of this century")
}
