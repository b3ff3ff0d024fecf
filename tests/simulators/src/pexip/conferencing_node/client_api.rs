//! `api/client/v2`: apps join, refresh their tokens, read events and leave.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::time::sleep;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::admission::Refused;
use super::{HUNG_UP, Node};
use crate::identifier::guid;
use crate::pexip::live::{Conference, Participant, Role};
use crate::pexip::policy::PolicyVariant;
use crate::pexip::sessions::{Session, TOKEN_LIFETIME};

const CONFERENCE: &str = "/api/client/v2/conferences/{alias}/";

/// An SDP answer without media: without direct media none flows in a simulator.
const EMPTY_ANSWER: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";

/// How often a client that ignores its peer's first offer is sent it again, and how long after.
const OFFER_REPETITIONS: usize = 20;
const OFFER_PAUSE: Duration = Duration::from_millis(100);

pub(super) fn router(node: Node) -> Router {
    let conference = Router::new()
        .route("/request_token", post(request_token))
        .route("/refresh_token", post(refresh_token))
        .route("/release_token", post(release_token))
        .route("/events", get(events))
        .route("/conference_status", get(conference_status))
        .route("/participants", get(participants))
        .route("/disconnect", post(disconnect))
        .route("/participants/{participant}/calls", post(call))
        .route("/participants/{participant}/calls/{call}/ack", post(acknowledge))
        .route("/participants/{participant}/calls/{call}/new_candidate", post(new_candidate))
        .route("/participants/{participant}/calls/{call}/update", post(update))
        .route("/participants/{participant}/calls/{call}/disconnect", post(disconnect_call))
        .route("/theme/", get(theme));
    Router::new()
        .nest(CONFERENCE, conference)
        .route("/api/client/v2/status", get(|| async { success(&json!(true)) }))
        .with_state(node)
}

/// Pages of any site may join. With credentials, because the vendor's client releases its token by a beacon, which browsers
/// send with them, when a page is closed.
pub(super) fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .allow_credentials(true)
}

/// Why a request is refused.
enum Failure {
    Refused(Refused),
    InvalidToken,
    InvalidRole,
    NotJson,
    NoName,
}

/// Who has a token of this node. It outlives a disconnected participant until it is released or has expired.
struct Holder {
    token: String,
    session: Session,
}

/// A request of a participant who has joined on this node.
struct Member {
    token: String,
    session: Session,
    conference: String,
}

/// A call of such a participant.
struct Call {
    member: Member,
    id: String,
}

async fn request_token(
    State(node): State<Node>,
    Path(alias): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Failure> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(Failure::NotJson);
    }
    let request: Value = serde_json::from_str(&body).map_err(|_| Failure::NoName)?;
    let display_name = request["display_name"].as_str().ok_or(Failure::NoName)?;
    let pin = headers.get("pin").map(|pin| pin.to_str().unwrap_or_default());

    let joined = node.admit(&alias, pin, display_name).await.map_err(Failure::Refused)?;
    let mut state = node.platform.state();
    let has_direct_media = state.live.direct_media.is_on && request["direct_media"] == true;
    if has_direct_media {
        state.sessions.use_direct_media(&joined.token);
    }
    let conference = state.live.participant(&joined.participant).map(|participant| &participant.conference);
    Ok(success(&json!({
        "token": joined.token,
        "expires": TOKEN_LIFETIME.as_secs().to_string(),
        "participant_uuid": joined.participant,
        "display_name": display_name,
        "role": joined.role.client_name(),
        "service_type": "conference",
        "current_service_type": "conference",
        "conference_name": conference,
        "version": version(),
        "call_type": "video",
        "chat_enabled": false,
        "guests_can_present": true,
        "direct_media": has_direct_media,
        "analytics_enabled": false,
        "breakout_rooms": false,
        "fecc_enabled": false,
        "rtmp_enabled": false,
        "trickle_ice_enabled": true,
        "bandwidth_in": 0,
        "bandwidth_out": 0,
    })))
}

async fn refresh_token(State(node): State<Node>, member: Member) -> Result<Response, Failure> {
    let Session { participant, alias, .. } = &member.session;
    node.look_up_again(PolicyVariant::Reconnects, "api", participant, alias).await.map_err(Failure::Refused)?;
    let mut state = node.platform.state();
    let now = state.clock.now();
    let token = state.sessions.refresh(&member.token, now).ok_or(Failure::InvalidToken)?;
    Ok(success(&json!({
        "token": token,
        "expires": TOKEN_LIFETIME.as_secs().to_string(),
        "role": member.session.role.client_name(),
    })))
}

/// Whoever has been disconnected releases its token as well.
async fn release_token(State(node): State<Node>, holder: Holder) -> Response {
    node.platform.state().leave(&holder.token, HUNG_UP);
    success(&json!(true))
}

/// The present participants, then events, until the participant is disconnected.
async fn events(State(node): State<Node>, member: Member) -> Response {
    let mut state = node.platform.state();
    let mut snapshot = vec![("participant_sync_begin", Value::Null)];
    let present = state.live.inside(&member.conference);
    snapshot.extend(present.map(|participant| ("participant_create", participant.client_json())));
    snapshot.push(("participant_sync_end", Value::Null));
    snapshot.extend(state.live.conference(&member.conference).map(|it| ("conference_update", it.client_json())));
    let mut upcoming = state.live.watchers.add(&member.session.participant, &member.conference, snapshot);
    let events = stream::poll_fn(move |context| {
        upcoming.poll_recv(context).map(|event| event.map(|(name, data)| Ok::<_, Infallible>(server_sent(name, &data))))
    });
    Sse::new(events).into_response()
}

async fn conference_status(State(node): State<Node>, member: Member) -> Response {
    let state = node.platform.state();
    success(&state.live.conference(&member.conference).map_or(Value::Null, Conference::client_json))
}

async fn participants(State(node): State<Node>, member: Member) -> Response {
    let state = node.platform.state();
    let present = state.live.inside(&member.conference);
    success(&present.map(Participant::client_json).collect())
}

/// Ends the conference for all participants; hosts only.
async fn disconnect(State(node): State<Node>, member: Member) -> Result<Response, Failure> {
    if member.session.role != Role::Chair {
        return Err(Failure::InvalidRole);
    }
    node.platform.state().live.end(&member.conference, "Conference terminated by another participant");
    Ok(success(&json!(true)))
}

/// Connects media. With direct media, the SDP is passed on to another participant who has no peer yet; whoever is the
/// first is told to wait for an offer.
async fn call(
    State(node): State<Node>,
    member: Member,
    Path((_, participant)): Path<(String, String)>,
    body: String,
) -> Result<Response, Failure> {
    if participant != member.session.participant {
        return Err(Failure::InvalidRole);
    }
    node.connect_media(&participant, &member.session.alias).await.map_err(Failure::Refused)?;
    if !member.session.has_direct_media {
        return Ok(success(&json!({"call_uuid": guid(), "sdp": EMPTY_ANSWER})));
    }
    let id = {
        let live = &mut node.platform.state().live;
        live.begin_direct_media(&participant, member.session.role, &member.conference)
    };
    let answer = node.first_answer(&id, &sdp_of(&body)).await;
    let ignored = answer.is_none();
    Ok(success(&json!({"call_uuid": id, "sdp": answer.unwrap_or_default(), "offer_ignored": ignored})))
}

/// With direct media, this may be the answer to an offer of the peer.
async fn acknowledge(State(node): State<Node>, call: Call, body: String) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let ignored = body["offer_ignored"] == true;
    let answer = body["sdp"].as_str().filter(|_| !ignored).map(str::to_owned);
    if ignored || answer.is_some() {
        node.platform.state().live.direct_media.answer(&call.id, answer);
    }
    success(&json!(true))
}

/// Passes an ICE candidate on to the peer.
async fn new_candidate(State(node): State<Node>, call: Call, Json(candidate): Json<Value>) -> Response {
    let mut state = node.platform.state();
    let peer = state.live.direct_media.peer_of(&call.id).map(str::to_owned);
    if let Some(peer) = peer {
        state.live.watchers.send_to(&peer, "new_candidate", &candidate);
    }
    success(&Value::Null)
}

/// Passes a further offer on to the peer.
async fn update(State(node): State<Node>, call: Call, body: String) -> Response {
    let answer = node.answer_of_peer("update_sdp", &call.id, &sdp_of(&body)).await.flatten();
    success(&json!({"call_uuid": call.id, "sdp": answer.unwrap_or_default()}))
}

async fn disconnect_call(State(node): State<Node>, call: Call) -> Response {
    node.platform.state().live.end_direct_media(&call.member.session.participant);
    success(&Value::Null)
}

/// The rooms have no theme of their own.
async fn theme(_: Member) -> StatusCode {
    StatusCode::NO_CONTENT
}

impl Node {
    /// The peer's answer to the offer with which a call begins; `None` without a peer. The peer ignores the offer until it
    /// has dropped its own.
    async fn first_answer(&self, call: &str, sdp: &str) -> Option<String> {
        for _ in 0..OFFER_REPETITIONS {
            if let Some(answer) = self.answer_of_peer("new_offer", call, sdp).await? {
                return Some(answer);
            }
            sleep(OFFER_PAUSE).await;
        }
        None
    }

    /// Sends the peer an offer. The outer `None` if there is no peer any more, the inner one if it ignores the offer.
    async fn answer_of_peer(&self, event: &'static str, call: &str, sdp: &str) -> Option<Option<String>> {
        let answer = {
            let live = &mut self.platform.state().live;
            let (peer, answer) = live.direct_media.ask(call)?;
            live.watchers.send_to(&peer, event, &json!({ "sdp": sdp }));
            answer
        };
        answer.await.ok()
    }
}

fn sdp_of(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    body["sdp"].as_str().unwrap_or_default().to_owned()
}

/// The token is a header. The event stream takes it as a parameter, since browsers' `EventSource` sends no headers.
impl FromRequestParts<Node> for Holder {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, node: &Node) -> Result<Self, Failure> {
        let path = Path::<HashMap<String, String>>::from_request_parts(parts, node).await;
        let alias = path.ok().and_then(|Path(mut path)| path.remove("alias"));
        let query = Query::<HashMap<String, String>>::try_from_uri(&parts.uri);
        let token = match parts.headers.get("token") {
            Some(token) => token.to_str().ok().map(str::to_owned),
            None => query.ok().and_then(|Query(mut query)| query.remove("token")),
        };
        let (alias, token) = alias.zip(token).ok_or(Failure::InvalidToken)?;
        let state = node.platform.state();
        let session = state.sessions.get(&token).ok_or(Failure::InvalidToken)?.clone();
        if session.alias != alias || session.node != node.address {
            return Err(Failure::InvalidToken);
        }
        Ok(Self { token, session })
    }
}

impl FromRequestParts<Node> for Member {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, node: &Node) -> Result<Self, Failure> {
        let Holder { token, session } = Holder::from_request_parts(parts, node).await?;
        let state = node.platform.state();
        let participant = state.live.participant(&session.participant).ok_or(Failure::InvalidToken)?;
        Ok(Self { token, conference: participant.conference.clone(), session })
    }
}

/// A participant's own call only.
impl FromRequestParts<Node> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, node: &Node) -> Result<Self, Failure> {
        let path = Path::<HashMap<String, String>>::from_request_parts(parts, node).await;
        let member = Member::from_request_parts(parts, node).await?;
        let Path(mut path) = path.map_err(|_| Failure::InvalidToken)?;
        if path.get("participant") != Some(&member.session.participant) {
            return Err(Failure::InvalidRole);
        }
        let id = path.remove("call").ok_or(Failure::InvalidToken)?;
        Ok(Self { member, id })
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, result) = match self {
            Self::Refused(refused @ Refused::NotFound) => (StatusCode::NOT_FOUND, json!(refused.to_string())),
            Self::Refused(Refused::PinRequired { of_guests }) => {
                let guest_pin = if of_guests { "required" } else { "none" };
                (StatusCode::FORBIDDEN, json!({"pin": "required", "guest_pin": guest_pin, "version": version()}))
            }
            Self::Refused(refused @ (Refused::InvalidPin | Refused::Disconnected)) => {
                (StatusCode::FORBIDDEN, json!(refused.to_string()))
            }
            Self::InvalidToken => (StatusCode::FORBIDDEN, json!("Invalid token")),
            Self::InvalidRole => (StatusCode::FORBIDDEN, json!("Invalid role")),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, json!("Unsupported Media Type")),
            Self::NoName => (StatusCode::BAD_REQUEST, json!("Invalid request")),
        };
        (status, Json(json!({"status": "failed", "result": result}))).into_response()
    }
}

fn success(result: &Value) -> Response {
    Json(json!({"status": "success", "result": result})).into_response()
}

fn version() -> Value {
    json!({"version_id": "41", "pseudo_version": "83701.0.0"})
}

fn server_sent(name: &'static str, data: &Value) -> sse::Event {
    sse::Event::default().event(name).data(data.to_string())
}
