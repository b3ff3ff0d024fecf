//! `POST /public/event_sink`: what the Conferencing Nodes report.

use std::collections::BTreeSet;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use serde_json::json;
use tracing::{debug, warn};

use crate::http::middleware::limits::read_body;
use crate::http::openapi::{Answer, Audience, EXAMPLE_NAME, Operation};
use crate::http::permit::{Permit, SendEvents};
use crate::http::problem::{ApiError, Code};
use crate::http::route::Route;
use crate::http::state::AppState;
use crate::pexip::events;
use crate::telemetry::metrics::EVENTS;

/// The longest delivery, in MiB. In bulk mode a node sends all events that have accumulated while it could not deliver.
const MAX_DELIVERY_MIB: usize = 4;

pub(super) fn route() -> Route {
    let (path, summary) = ("/public/event_sink", "Report what happened on a Conferencing Node");
    let example = json!({
        "node": "10.44.0.12",
        "seq": 7,
        "version": 1,
        "time": 1_795_219_000.25,
        "event": "conference_ended",
        "data": { "name": EXAMPLE_NAME, "start_time": 1_795_218_000.5, "end_time": 1_795_219_000.2 },
    });
    let body = format!("An event as Pexip writes it, {MAX_DELIVERY_MIB} MiB at most. Not refused for its form.");
    let operation = Operation::new("event_sink", Audience::ConferencingNodes, Method::POST, path, summary)
        .description(
            "The target of Pexip's event sink, single or in bulk. Everything that comes with the sink's account is \
            accepted, because a node that is refused stops publishing; only `conference_ended` of a room of ours has \
            consequences. An unreadable event of a bulk does not affect the others. Without an account in the settings \
            the path is unknown (404 `not_found`).",
        )
        .body(&body, &example)
        .answer(Answer::empty(StatusCode::NO_CONTENT, "The event is accepted, whether it has consequences or not."))
        .problems(&[Code::NotFound]);
    Route::guarded(operation, "function_event_sink", handler)
}

/// Accepts whatever its account sends, up to [`MAX_DELIVERY_MIB`]: a node waits 7 s, repeats, and stops publishing if
/// it is refused for long. A failure of ours is no reason to refuse an event, because the sweep deletes the room of a
/// lost one.
async fn handler(
    permit: Permit<SendEvents>,
    State(state): State<AppState>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let body = read_body(request.into_body(), MAX_DELIVERY_MIB * 1024 * 1024).await?;
    let events = events(&body, [&state.prefix, &state.instant_prefix]);
    let unreadable = events.iter().filter(|event| event.is_none()).count();
    if unreadable > 0 {
        warn!(events = events.len(), unreadable, bytes = body.len(), "events could not be read");
    }
    let events: Vec<_> = events.into_iter().flatten().collect();
    for event in &events {
        EVENTS.count([event.kind.as_str().into()]);
        debug!(kind = event.kind.as_str(), "event received");
    }
    let ended: BTreeSet<_> = events.into_iter().filter_map(|event| event.ended).collect();
    if !ended.is_empty() {
        state.rooms.note_ended(permit, ended).await;
    }
    Ok(StatusCode::NO_CONTENT)
}
