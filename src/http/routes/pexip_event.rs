use std::collections::BTreeSet;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use tracing::{debug, warn};

use crate::auth::EventSender;
use crate::domain::RoomNamePrefix;
use crate::http::problem::ApiError;
use crate::http::protection::whole_body;
use crate::pexip::events;
use crate::rooms::RoomPool;
use crate::telemetry::metrics::EVENTS;

/// The longest delivery that is read. In bulk a node sends what has come together while it could not deliver, and it
/// stops for good where it is refused long enough.
const LARGEST_DELIVERY: usize = 1024 * 1024;

/// `POST /pexip/events`: what a Conferencing Node reports.
///
/// What its account sends is always accepted: a node waits 7 s, repeats, and stops publishing after repeated failures. A
/// failure on our side never fails the event: the sweep deletes the room if the event is lost.
pub(super) async fn handler(
    _sender: EventSender,
    State(prefix): State<RoomNamePrefix>,
    State(pool): State<RoomPool>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let body = whole_body(request.into_body(), LARGEST_DELIVERY).await?;
    let events = events(&body, &prefix);
    if events.is_empty() {
        warn!(bytes = body.len(), "an event could not be read");
    }
    for event in &events {
        EVENTS.count([event.kind.as_str().into()]);
        debug!(kind = event.kind.as_str(), "pexip event");
    }
    let ended: BTreeSet<_> = events.into_iter().filter_map(|event| event.ended).collect();
    if !ended.is_empty() {
        pool.note_ended(ended).await;
    }
    Ok(StatusCode::NO_CONTENT)
}
