//! `POST /pexip/events`: what the Conferencing Nodes report.

use std::collections::BTreeSet;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use tracing::{debug, warn};

use crate::http::middleware::limits::read_body;
use crate::http::permit::{Permit, SendEvents};
use crate::http::problem::ApiError;
use crate::http::state::AppState;
use crate::pexip::events;
use crate::telemetry::metrics::EVENTS;

/// The longest delivery, in MiB. In bulk mode a node sends all events that have accumulated while it could not deliver.
const MAX_DELIVERY_MIB: usize = 1;

/// Accepts whatever its account sends: a node waits 7 s, repeats, and stops publishing if it is refused for long. A
/// failure of ours is no reason to refuse an event, because the sweep deletes the room of a lost one.
pub(super) async fn handler(
    permit: Permit<SendEvents>,
    State(state): State<AppState>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let body = read_body(request.into_body(), MAX_DELIVERY_MIB * 1024 * 1024).await?;
    let events = events(&body, &state.prefix);
    if events.is_empty() {
        warn!(bytes = body.len(), "an event could not be read");
    }
    for event in &events {
        EVENTS.count([event.kind.as_str().into()]);
        debug!(kind = event.kind.as_str(), "pexip event");
    }
    let ended: BTreeSet<_> = events.into_iter().filter_map(|event| event.ended).collect();
    if !ended.is_empty() {
        state.rooms.note_ended(permit, ended).await;
    }
    Ok(StatusCode::NO_CONTENT)
}
