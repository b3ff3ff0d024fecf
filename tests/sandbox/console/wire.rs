//! Turns what the simulated systems and the gateway see into the arrows of the sequence.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use axum::http::HeaderMap;
use maxconf_simulators::operator::HOST_PIN;
use maxconf_simulators::{End, Followed, Traffic};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;

use super::feed::Feed;
use super::gateway::INSTANCE;
use super::instances;
use super::mask;

/// Characters of a room's name after its prefix.
const ULID: usize = 26;

/// Tokens of the client API whose holder is known.
const KEPT_TOKENS: usize = 1_000;

/// Rooms whose id is known.
const KEPT_ROOMS: usize = 10_000;

/// Creates whose times are shown.
const LATENCIES: usize = 80;

/// Whose traffic it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callee {
    Idim,
    /// The website, whose server part is IDIM as well.
    Website,
    Gateway,
    Entra,
    Queue,
    Records,
    Pexip,
    Node,
    Genesys,
}

/// Translates exchanges; clones share what was learnt.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    feed: Feed,
    /// Wakes what reads the rooms.
    ended: Arc<Notify>,
    learnt: Arc<Mutex<Learnt>>,
}

#[derive(Debug, Default)]
struct Learnt {
    counters: Counters,
    /// Tokens of agents at the nodes, oldest first.
    agents: VecDeque<String>,
    /// Names of Pexip's rooms by id.
    rooms: HashMap<String, String>,
}

/// What has happened since the start.
#[derive(Debug, Default)]
struct Counters {
    /// Rooms handed out, by their source.
    creates: BTreeMap<String, u64>,
    refused: u64,
    deleted: u64,
    exchanges: u64,
    /// The last creates: milliseconds, source.
    latencies: VecDeque<(f64, Option<String>)>,
}

impl Wire {
    pub(super) fn counters(&self) -> Value {
        let counters = &self.learnt.lock().counters;
        let latencies: Vec<_> = counters.latencies.iter().map(|(ms, source)| json!([ms, source])).collect();
        json!({
            "creates": counters.creates, "refused": counters.refused, "deleted": counters.deleted,
            "exchanges": counters.exchanges, "latencies": latencies,
        })
    }

    fn count(&self, callee: Callee, followed: &Followed, end: &End, ms: f64) {
        let counters = &mut self.learnt.lock().counters;
        counters.exchanges += 1;
        let exchange = &followed.exchange;
        match (callee, exchange.method.as_str(), exchange.path.as_str(), exchange.status) {
            (Callee::Gateway, "POST", "/room/create", status) => {
                let source = end.headers.get("room-source").and_then(|source| source.to_str().ok());
                match source.filter(|_| status == Some(200)) {
                    Some(source) => *counters.creates.entry(source.to_owned()).or_default() += 1,
                    None => counters.refused += 1,
                }
                counters.latencies.push_back((ms, source.map(ToOwned::to_owned)));
                if counters.latencies.len() > LATENCIES {
                    counters.latencies.pop_front();
                }
            }
            (Callee::Gateway, "DELETE", _, Some(204)) => counters.deleted += 1,
            _ => {}
        }
    }

    pub(super) fn new(feed: Feed, ended: Arc<Notify>) -> Self {
        Self { feed, ended, learnt: Arc::default() }
    }

    /// Translates this traffic until its system is gone.
    pub(super) fn follow(&self, callee: Callee, traffic: &Traffic) {
        let (wire, mut followed) = (self.clone(), traffic.follow());
        tokio::spawn(async move {
            // Of those that are in progress.
            let mut ids = HashMap::new();
            loop {
                match followed.recv().await {
                    Ok(exchange) => wire.show(callee, &exchange, &mut ids),
                    // The page shows the sequence, not a complete record.
                    Err(RecvError::Lagged(_)) => ids.clear(),
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    fn show(&self, callee: Callee, followed: &Followed, ids: &mut HashMap<u64, u64>) {
        if is_noise(callee, followed) {
            return;
        }
        let id = *ids.entry(followed.number).or_insert_with(|| self.feed.next_id());
        let (from, to) = self.parties(callee, followed);
        let exchange = &followed.exchange;
        let mut line = json!({
            "t": self.feed.at(exchange.at), "from": from, "to": to, "method": exchange.method.as_str(),
            "path": mask::path(&path(&exchange.path)), "query": mask::query(&exchange.query),
            "what": what(callee, followed), "status": exchange.status, "is_expected": is_expected(followed),
            "rooms": self.rooms(followed),
        });
        if from == "api" && callee != Callee::Entra {
            line["caller"] = json!(instances::caller(&exchange.headers));
        }
        if let Some(end) = &followed.end {
            ids.remove(&followed.number);
            let micros = u32::try_from(end.took.as_micros()).unwrap_or(u32::MAX);
            let ms = f64::from(micros / 100) / 10.0;
            self.count(callee, followed, end, ms);
            line["ms"] = json!(ms);
            line["instance"] = json!(end.headers.get(INSTANCE).and_then(|name| name.to_str().ok()));
            line["code"] = problem_code(&end.body);
            self.feed.keep_detail(id, detail(followed, &line));
        }
        self.feed.tell("exchange", id, line);
        if followed.end.is_some() {
            self.ended.notify_one();
        }
    }

    fn parties(&self, callee: Callee, followed: &Followed) -> (&'static str, &'static str) {
        let path = &followed.exchange.path;
        match callee {
            Callee::Idim | Callee::Website => ("citizen", "idim"),
            Callee::Gateway => {
                let from = if path.starts_with("/room/") {
                    "idim"
                } else if path.starts_with("/public/room/") {
                    "agent"
                } else if path.starts_with("/policy/") || path == "/public/event_sink" {
                    "node"
                } else if path == "/function_pool_maintenance" {
                    "timer"
                } else {
                    "other"
                };
                (from, "api")
            }
            Callee::Entra if path.ends_with("/token") => ("idim", "entra"),
            Callee::Entra => (service_or_other(&followed.exchange.headers), "entra"),
            Callee::Queue => ("api", "queue"),
            Callee::Records => ("api", "records"),
            Callee::Pexip => (service_or_other(&followed.exchange.headers), "pexip"),
            Callee::Genesys => (service_or_other(&followed.exchange.headers), "genesys"),
            Callee::Node => (self.participant(followed), "node"),
        }
    }

    /// Agents are known by the host PIN, and by the tokens that they got for it.
    fn participant(&self, followed: &Followed) -> &'static str {
        let text = |name: &str| followed.exchange.headers.get(name).and_then(|value| value.to_str().ok());
        let mut learnt = self.learnt.lock();
        let in_query = followed.exchange.query.split('&').find_map(|pair| pair.strip_prefix("token="));
        let held = text("token").or(in_query);
        let is_agent =
            text("pin") == Some(HOST_PIN) || held.is_some_and(|token| learnt.agents.iter().any(|known| known == token));
        if !is_agent {
            return "citizen";
        }
        let answer = followed.end.as_ref().and_then(|end| serde_json::from_slice::<Value>(&end.body).ok());
        let issued = answer.as_ref().and_then(|answer| answer["result"]["token"].as_str());
        if let Some(token) = issued.filter(|token| !learnt.agents.iter().any(|known| known == token)) {
            learnt.agents.push_back(token.to_owned());
            if learnt.agents.len() > KEPT_TOKENS {
                learnt.agents.pop_front();
            }
        }
        "agent"
    }

    /// Names of our rooms in this exchange.
    fn rooms(&self, followed: &Followed) -> Vec<String> {
        let exchange = &followed.exchange;
        let mut names = HashSet::new();
        for text in [exchange.path.as_bytes(), exchange.query.as_bytes(), &followed.body] {
            names.extend(names_in(text));
        }
        let answered = followed.end.as_ref().map(|end| names_in(&end.body)).unwrap_or_default();
        let mut learnt = self.learnt.lock();
        // A list of all rooms says nothing about one of them.
        if answered.len() <= 4 {
            names.extend(answered);
        }
        if let Some((_, id)) = exchange.path.trim_end_matches('/').rsplit_once("/conference/") {
            names.extend(learnt.rooms.get(id).cloned());
        }
        if let Some(location) = followed.end.as_ref().and_then(|end| end.headers.get("location")?.to_str().ok())
            && let Some((_, id)) = location.trim_end_matches('/').rsplit_once("/conference/")
            && let [name] = names.iter().collect::<Vec<_>>()[..]
        {
            if learnt.rooms.len() == KEPT_ROOMS {
                learnt.rooms.clear();
            }
            learnt.rooms.insert(id.to_owned(), name.clone());
        }
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable();
        names
    }
}

fn detail(followed: &Followed, line: &Value) -> Value {
    let kind = |headers: &HeaderMap| {
        headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned()
    };
    let request = &followed.exchange;
    let answer = followed.end.as_ref().map(|end| {
        let body = mask::body(&kind(&end.headers), &end.body);
        json!({ "headers": mask::headers(&end.headers), "body": body })
    });
    json!({
        "line": line,
        "request": {
            "headers": mask::headers(&request.headers), "body": mask::body(&kind(&request.headers), &followed.body),
        },
        "answer": answer,
    })
}

/// Look-outs of each instance that happen every few seconds and say nothing, the browser's own questions, and the
/// website's files.
fn is_noise(callee: Callee, followed: &Followed) -> bool {
    let exchange = &followed.exchange;
    let is_poll = callee == Callee::Queue && exchange.method == "GET" && exchange.path.ends_with("-ended/messages");
    let is_file = callee == Callee::Website && !exchange.path.starts_with("/website/calls");
    is_poll || is_file || exchange.method == "OPTIONS" || (callee == Callee::Node && exchange.path.ends_with("/status"))
}

/// A 404 that is the good answer: no message was moved to the poison queue, and the record by which the service tells
/// whether records can be read is never made.
fn is_expected(followed: &Followed) -> bool {
    let exchange = &followed.exchange;
    exchange.status == Some(404) && (exchange.path.ends_with("/probe") || exchange.path.ends_with("-poison"))
}

/// What calls with the service's name is the service; a developer calls as well.
fn service_or_other(headers: &HeaderMap) -> &'static str {
    let agent = headers.get("user-agent").and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    if agent.starts_with("maxconf/") { "api" } else { "other" }
}

/// The path as people read it, without the emulator's account.
fn path(path: &str) -> String {
    let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
    path.strip_prefix("/devstoreaccount1").map(ToOwned::to_owned).unwrap_or(path)
}

/// What the exchange is for, in the words of the customer's sequence.
fn what(callee: Callee, followed: &Followed) -> &'static str {
    let (method, path) = (followed.exchange.method.as_str(), &*path(&followed.exchange.path));
    let in_body = |text: &str| followed.body.windows(text.len()).any(|part| part == text.as_bytes());
    match (callee, method) {
        (Callee::Website, "POST") if path.ends_with("/end") => "ends the session",
        (Callee::Website, "GET") => "asks what to join with",
        (Callee::Idim | Callee::Website, "POST") => "asks for a video session",
        (Callee::Idim | Callee::Website, _) => "ends the session",
        (Callee::Gateway, "POST") if path == "/room/create" => "creates a room",
        (Callee::Gateway | Callee::Pexip, "DELETE") => "deletes the room",
        (Callee::Gateway, _) if path.starts_with("/room/") => "reads the room",
        (Callee::Gateway, _) if path.starts_with("/public/room/") => "reads the room and its tag",
        (Callee::Gateway, _) if path.starts_with("/policy/") => "asks who may join",
        (Callee::Gateway, _) if path == "/public/event_sink" => "reports an event",
        (Callee::Gateway, _) if path == "/function_pool_maintenance" => "starts a maintenance run",
        (Callee::Gateway, _) => "asks",
        (Callee::Entra, _) if path.ends_with("/token") => "gets a token",
        (Callee::Entra, _) => "reads the signing keys",
        (Callee::Queue, "GET") if path.ends_with("/messages") => "receives a ready room",
        (Callee::Queue, "POST") if path.ends_with("/messages") => "puts a room’s name",
        (Callee::Queue, "DELETE") => "deletes the message",
        (Callee::Queue, _) if path.ends_with("-poison") => "looks for poison messages",
        (Callee::Queue, _) => "looks at the queue",
        (Callee::Records, "PUT") if path.contains("/claims/") => "claims the room",
        (Callee::Records, "PUT") if path.contains("/requests/") => "remembers the key",
        (Callee::Records, "PUT") if path.contains("/instant/") && in_body("\"ended\"") => "ends the instant room",
        (Callee::Records, "PUT") if path.contains("/instant/") => "makes an instant room",
        (Callee::Records, _) if path.contains("/instant/") => "looks the instant room up",
        (Callee::Records, _) if path.ends_with("/probe") => "checks that records answer",
        (Callee::Records, _) => "looks at the records",
        (Callee::Pexip, "PATCH") => "tags the room",
        (Callee::Pexip, "POST") if path.ends_with("/conference/") => "makes a room",
        (Callee::Pexip, "POST") if path.ends_with("/token/") => "gets a token",
        (Callee::Pexip, "POST") if path.contains("disconnect") => "disconnects the call",
        (Callee::Pexip, _) if path.contains("/status/") => "looks who is in",
        (Callee::Pexip, _) => "reads rooms",
        (Callee::Genesys, _) => "checks the agent’s token",
        (Callee::Node, _) if path.ends_with("/request_token") => "joins",
        (Callee::Node, _) if path.ends_with("/calls") => "connects audio and video",
        (Callee::Node, _) if path.ends_with("/release_token") => "hangs up",
        (Callee::Node, _) if path.ends_with("/refresh_token") => "stays in",
        (Callee::Node, _) if path.ends_with("/events") => "listens to the call",
        (Callee::Node, _) => "asks about the call",
    }
}

fn problem_code(body: &[u8]) -> Value {
    if body.len() > 8_192 {
        return Value::Null;
    }
    serde_json::from_slice::<Value>(body).map_or(Value::Null, |mut problem| problem["code"].take())
}

/// Names of our rooms in a text: prefix and ULID.
pub(super) fn names_in(text: &[u8]) -> HashSet<String> {
    let mut names = HashSet::new();
    for (at, _) in text.windows(4).enumerate().filter(|(_, part)| *part == b"vbv-" || *part == b"vbi-") {
        let name = text.get(at..at + 4 + ULID);
        let is_name =
            |name: &&[u8]| name[4..].iter().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit());
        names.extend(name.filter(is_name).map(|name| String::from_utf8_lossy(name).into_owned()));
    }
    names
}
