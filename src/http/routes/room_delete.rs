use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::auth::EntraCaller;
use crate::domain::RoomNamePrefix;
use crate::http::problem::{ApiError, Code};
use crate::rooms::RoomPool;
use crate::telemetry::audit::AuditContext;

/// `DELETE /room/{name}`: ends a room. Any name that is not ours is unknown, and Pexip is not asked.
pub(super) async fn handler(
    _caller: EntraCaller,
    Extension(audit): Extension<AuditContext>,
    State(prefix): State<RoomNamePrefix>,
    State(pool): State<RoomPool>,
    name: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let name = name.ok().and_then(|Path(name)| prefix.parse_name(&name)).ok_or(ApiError::new(Code::RoomNotFound))?;
    audit.set_room(&name);
    let is_deleted = pool.end(name, move || audit.room_deleted()).await?;
    if is_deleted { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::new(Code::RoomNotFound)) }
}
