use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::api_error::{ApiError, Code};
use crate::audit::Trail;
use crate::auth::EntraCaller;
use crate::room::RoomNamePrefix;
use crate::room_pool::RoomPool;

/// `DELETE /room/{name}`: ends a room. Any name that is not ours is unknown, and Pexip is not asked.
pub(super) async fn handler(
    _caller: EntraCaller,
    Extension(trail): Extension<Trail>,
    State(prefix): State<RoomNamePrefix>,
    State(pool): State<RoomPool>,
    name: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let name = name.ok().and_then(|Path(name)| prefix.own(&name)).ok_or(ApiError::new(Code::RoomNotFound))?;
    trail.room_is(&name);
    if pool.end(name, trail).await? { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::new(Code::RoomNotFound)) }
}
