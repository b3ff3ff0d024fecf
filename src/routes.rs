//! Every path, method and guard on one screen.

mod health;
mod host;
mod pool_maintenance;
mod public_room;
mod room_answer;
mod room_create;
mod room_delete;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::api_error::{ApiError, Code};
use crate::app::AppState;
use crate::auth::{entra_bearer, genesys_token};
use crate::protection::{Bounds, allow_widget, bound, contain};
use crate::request_log::{CallerId, log_request};

/// The service's router.
pub fn router(state: AppState) -> Router {
    let may_create = from_fn_with_state(state.clone(), require_create_role);
    let may_delete = from_fn_with_state(state.clone(), require_delete_role);
    let is_agent = from_fn_with_state(state.clone(), require_genesys_user);

    let idim = Router::new()
        .route(
            "/room/create",
            post(room_create::handler)
                .route_layer(may_create)
                // A room cannot be named `create`, but its path can be asked for: the same guard, the same 404.
                .merge(axum::routing::delete(room_delete::handler).route_layer(may_delete.clone())),
        )
        .route("/room/{name}", axum::routing::delete(room_delete::handler).route_layer(may_delete));
    let host_and_probes = Router::new()
        .route("/", get(host::probe))
        .route("/health/{probe}", get(health::handler))
        .route("/function_pool_maintenance", post(pool_maintenance::handler));
    let widget = Router::new().route("/public/room/{name}", get(public_room::handler).route_layer(is_agent));

    let server = state.server.clone();
    let bounds = Bounds::new(&server);
    let api = idim.method_not_allowed_fallback(method_not_allowed).fallback(not_found);
    // The widget can read an error only with the CORS headers on it, so CORS stands outside of what makes errors.
    let widget = allow_widget(bound(widget.method_not_allowed_fallback(method_not_allowed), &bounds), &server);
    // Without the bounds of the API: an instance that is busy is not dead, and a run takes longer than a request.
    let host_and_probes = contain(host_and_probes.method_not_allowed_fallback(method_not_allowed));
    bound(api, &bounds).merge(widget).merge(host_and_probes).layer(from_fn(log_request)).with_state(state)
}

async fn require_create_role(state: State<AppState>, request: Request, next: Next) -> Result<Response, ApiError> {
    let role = state.entra.create_role().to_owned();
    require_role(&role, state, request, next).await
}

async fn require_delete_role(state: State<AppState>, request: Request, next: Next) -> Result<Response, ApiError> {
    let role = state.entra.delete_role().to_owned();
    require_role(&role, state, request, next).await
}

/// Lets an Entra caller with this role through and leaves the proof in the request.
async fn require_role(
    role: &str,
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let token = entra_bearer(request.headers(), request.uri().query()).map_err(ApiError::entra_credentials)?;
    let caller = state.entra.verify(&token, role).await.map_err(|refusal| ApiError::entra(refusal, role))?;
    let id = CallerId(caller.client_id().to_owned());
    request.extensions_mut().insert(caller);
    Ok((axum::Extension(id), next.run(request).await).into_response())
}

/// Lets an active user of our Genesys organisation through and leaves the proof in the request.
async fn require_genesys_user(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let token = genesys_token(request.headers()).map_err(ApiError::genesys_credentials)?;
    let caller = state.genesys.verify(&token).await?;
    let id = CallerId(caller.user_id().to_owned());
    request.extensions_mut().insert(caller);
    Ok((axum::Extension(id), next.run(request).await).into_response())
}

async fn not_found() -> ApiError {
    ApiError::new(Code::NotFound)
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(Code::MethodNotAllowed)
}
