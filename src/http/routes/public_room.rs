use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::room_answer::ConstrainedConference;
use crate::auth::GenesysCaller;
use crate::domain::RoomNamePrefix;
use crate::http::problem::{ApiError, Code};
use crate::rooms::RoomPool;
use crate::telemetry::audit::AuditContext;

/// `GET /public/room/{name}`: the room as Pexip has it at this moment, so the tag is the citizen's own. A room that
/// is still in the pool, a foreign name and an unknown one are the same 404.
pub(super) async fn handler(
    _caller: GenesysCaller,
    Extension(audit): Extension<AuditContext>,
    State(prefix): State<RoomNamePrefix>,
    State(pool): State<RoomPool>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let name = name.ok().and_then(|Path(name)| prefix.parse_name(&name)).ok_or(ApiError::new(Code::RoomNotFound))?;
    audit.set_room(&name);
    let conference = pool.find_handed_out(&name).await?.ok_or(ApiError::new(Code::RoomNotFound))?;
    audit.room_read();
    Ok(Json(ConstrainedConference::from(&conference)).into_response())
}
