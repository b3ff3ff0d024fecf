//! Every path, method and handler on one screen. A handler's [`Permit`](super::permit::Permit) is its guard.

mod health;
mod host;
pub mod openapi;
mod our_room;
mod pexip_event;
mod pool_maintenance;
mod public_room;
mod room_answer;
mod room_create;
mod room_delete;

use axum::Router;
use axum::routing::{any, delete, get, post};

use crate::http::middleware::{Routes, around};
use crate::http::problem::{ApiError, Code};
use crate::http::state::AppState;

/// The service's router.
pub fn router(state: AppState, cors_allowed_origins: &[String]) -> Router {
    let idim = Router::new()
        // No room is named `create`; deleting it has the same guard and the same 404 as any other name.
        .route("/room/create", post(room_create::handler).delete(room_delete::handler))
        .route("/room/{name}", delete(room_delete::handler))
        .fallback(not_found);
    let widget = Router::new()
        .route("/public/room/{name}", get(public_room::handler))
        // Unknown paths here need CORS headers, or the widget could not read their 404.
        .route("/public/", any(not_found))
        .route("/public/{*unknown}", any(not_found));
    let nodes = match &state.event_sink {
        None => Router::new(),
        Some(_) => Router::new().route("/pexip/events", post(pexip_event::handler)),
    };
    let operations = Router::new()
        .route("/", get(host::probe))
        .route("/health/{probe}", get(health::handler))
        .route("/openapi.json", get(openapi::handler))
        .route("/function_pool_maintenance", post(pool_maintenance::handler));
    let [idim, widget, nodes, operations] =
        [idim, widget, nodes, operations].map(|routes| routes.method_not_allowed_fallback(method_not_allowed));
    around(Routes { idim, widget, nodes, operations }, &state, cors_allowed_origins).with_state(state)
}

async fn not_found() -> ApiError {
    ApiError::new(Code::NotFound)
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(Code::MethodNotAllowed)
}
