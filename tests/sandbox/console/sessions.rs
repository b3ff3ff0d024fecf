//! Video sessions, and who is in them: each person is an app that joined on the Conferencing Node.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{Client, Url};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::website::{Room, Website};

/// Sessions that are remembered.
const KEPT: usize = 40;

/// Tokens of the client API are valid for two minutes.
const REFRESH: Duration = Duration::from_secs(50);

#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: Vec<Session>,
    last_id: u64,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) room: String,
    pub(super) case: String,
    pub(super) key: Option<String>,
    pub(super) guest_pin: String,
    pub(super) source: String,
    pub(super) valid: [Option<String>; 2],
    /// The validity that was asked for.
    pub(super) asked: [Option<String>; 2],
    /// Whether the case that the agent has opened is the citizen's own.
    pub(super) is_own_case: Option<bool>,
    /// Id of the website's link to the room, once it was shared.
    link_id: Option<String>,
    calls: Vec<Call>,
}

/// Who joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Citizen,
    Second,
    Agent,
}

/// Somebody's call. Hangs up by itself when nobody refreshes its token.
#[derive(Debug)]
pub(super) struct Call {
    who: Who,
    conference: Url,
    token: Arc<Mutex<String>>,
    refreshing: JoinHandle<()>,
}

/// What a node answers when it refuses a participant.
#[derive(Debug)]
pub(super) struct NotIn {
    pub(super) status: u16,
    pub(super) why: String,
}

impl Who {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "citizen" => Self::Citizen,
            "second" => Self::Second,
            "agent" => Self::Agent,
            _ => return None,
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Citizen => "citizen",
            Self::Second => "second",
            Self::Agent => "agent",
        }
    }

    pub(super) fn display_name(self) -> &'static str {
        match self {
            Self::Citizen => "Citizen",
            Self::Second => "Second citizen",
            Self::Agent => "Agent",
        }
    }
}

impl Sessions {
    /// Returns the new session's id.
    pub(super) fn add(&mut self, mut session: Session) -> u64 {
        self.last_id += 1;
        session.id = self.last_id;
        self.all.push(session);
        if self.all.len() > KEPT {
            self.all.remove(0);
        }
        self.last_id
    }

    pub(super) fn get(&mut self, id: u64) -> Option<&mut Session> {
        self.all.iter_mut().find(|session| session.id == id)
    }

    pub(super) fn by_room(&mut self, room: &str) -> Option<&mut Session> {
        self.all.iter_mut().rev().find(|session| session.room == room)
    }

    /// The newest first.
    pub(super) fn json(&self) -> Value {
        self.all.iter().rev().map(Session::json).collect()
    }
}

impl Session {
    /// What IDIM's answer says, for the request that it answers.
    pub(super) fn read(answer: &Value, case: &str, key: Option<String>, asked: [Option<String>; 2]) -> Self {
        let text = |member: &str| answer[member].as_str().map(ToOwned::to_owned);
        Self {
            id: 0,
            room: text("name").unwrap_or_default(),
            case: case.to_owned(),
            key,
            guest_pin: text("pin").unwrap_or_default(),
            source: text("source").unwrap_or_default(),
            valid: [text("valid_from"), text("valid_until")],
            asked,
            is_own_case: None,
            link_id: None,
            calls: Vec::new(),
        }
    }

    /// Id of the website's link to the room: the same each time.
    pub(super) fn link_id(&mut self, website: &Website) -> String {
        let room = || Room {
            name: self.room.clone(),
            alias: self.room.clone(),
            guest_pin: self.guest_pin.clone(),
            valid_from: self.valid[0].clone(),
            valid_until: self.valid[1].clone(),
        };
        self.link_id.get_or_insert_with(|| website.link_to(room())).clone()
    }

    pub(super) fn enter(&mut self, call: Call) {
        self.calls.push(call);
    }

    /// Takes the calls of one person, or of everybody.
    pub(super) fn take_calls(&mut self, who: Option<Who>) -> Vec<Call> {
        let is_theirs = |call: &mut Call| who.is_none_or(|who| call.who == who);
        self.calls.extract_if(.., is_theirs).collect()
    }

    fn json(&self) -> Value {
        let inside = self.calls.iter().filter(|call| !call.refreshing.is_finished());
        json!({
            "id": self.id, "room": self.room, "source": self.source, "has_key": self.key.is_some(),
            "valid_from": self.valid[0], "valid_until": self.valid[1],
            "is_own_case": self.is_own_case,
            "inside": inside.map(|call| call.who.as_str()).collect::<Vec<_>>(),
        })
    }
}

impl Call {
    /// Joins as an app does: a token for the PIN, then audio and video.
    pub(super) async fn join(http: &Client, node: &Url, room: &str, who: Who, pin: &str) -> Result<Self, NotIn> {
        let conference = node.join(&format!("api/client/v2/conferences/{room}/")).expect("a room's name is a path");
        let wanted = json!({ "display_name": who.display_name() });
        let request = http.post(at(&conference, "request_token")).header("pin", pin).json(&wanted);
        let joined = answer(request).await?;
        let text = |member: &str| joined[member].as_str().unwrap_or_default().to_owned();
        let (token, participant) = (text("token"), text("participant_uuid"));
        let media = json!({ "call_type": "WEBRTC", "sdp": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n" });
        let media = http.post(at(&conference, &format!("participants/{participant}/calls"))).json(&media);
        answer(media.header("token", &token)).await?;
        let token = Arc::new(Mutex::new(token));
        let refreshing = tokio::spawn(refresh(http.clone(), at(&conference, "refresh_token"), Arc::clone(&token)));
        Ok(Self { who, conference, token, refreshing })
    }

    pub(super) fn who(&self) -> Who {
        self.who
    }

    pub(super) async fn hang_up(self, http: &Client) -> Result<(), NotIn> {
        self.refreshing.abort();
        let token = self.token.lock().clone();
        let released = http.post(at(&self.conference, "release_token")).header("token", token).json(&json!({}));
        answer(released).await.map(drop)
    }
}

fn at(conference: &Url, path: &str) -> Url {
    conference.join(path).expect("a path of the client API")
}

/// Until the node says that the call is over.
async fn refresh(http: Client, address: Url, token: Arc<Mutex<String>>) {
    loop {
        tokio::time::sleep(REFRESH).await;
        let held = token.lock().clone();
        match answer(http.post(address.clone()).header("token", held).json(&json!({}))).await {
            Ok(refreshed) => {
                if let Some(new) = refreshed["token"].as_str() {
                    new.clone_into(&mut token.lock());
                }
            }
            Err(_) => return,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a caller of the node, not a part of the service")]
async fn answer(request: reqwest::RequestBuilder) -> Result<Value, NotIn> {
    let no_answer = |error: reqwest::Error| NotIn { status: 0, why: error.to_string() };
    let answer = request.send().await.map_err(no_answer)?;
    let status = answer.status();
    let mut body: Value = answer.json().await.map_err(no_answer)?;
    let result = body["result"].take();
    if status.is_success() {
        Ok(result)
    } else {
        let why = result.as_str().map_or_else(|| "PIN required".to_owned(), ToOwned::to_owned);
        Err(NotIn { status: status.as_u16(), why })
    }
}
