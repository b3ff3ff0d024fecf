//! Every path, method and guard on one screen.

mod health;
mod host;
pub mod openapi;
mod pexip_event;
mod pool_maintenance;
mod public_room;
mod room_answer;
mod room_create;
mod room_delete;

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Router};

use crate::app::AppState;
use crate::auth::caller_rates::CallerRates;
use crate::auth::{EventSinkAccount, Reason, client_address, entra_bearer, genesys_token};
use crate::config::ServerConfig;
use crate::http::problem::{ApiError, Code};
use crate::http::protection::{Bounds, allow_widget, bound, bound_with_body, contain};
use crate::http::request_log::{CallerId, RequestId, log_request};
use crate::telemetry::audit::{Audit, AuditContext, Caller};
use crate::telemetry::metrics::AUTH_RESULTS;

/// The service's router.
pub fn router(state: AppState, config: &ServerConfig) -> Router {
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
        .route("/openapi.json", get(openapi::handler))
        .route("/function_pool_maintenance", post(pool_maintenance::handler));
    let widget = Router::new()
        .route("/public/room/{name}", get(public_room::handler).route_layer(is_agent))
        // A 404 of their own: the widget could not read the others'.
        .route("/public/", any(not_found))
        .route("/public/{*unknown}", any(not_found));

    // Without its account the receiver is off, and its path unknown.
    let node_events = match &state.event_sink {
        None => Router::new(),
        Some(account) => {
            let is_node = from_fn_with_state(account.clone(), require_event_sender);
            Router::new().route("/pexip/events", post(pexip_event::handler).route_layer(is_node))
        }
    };

    let bounds = Bounds::new(config);
    let api = idim.method_not_allowed_fallback(method_not_allowed).fallback(not_found);
    // The widget can read an error only with the CORS headers on it, so CORS stands outside of what makes errors.
    let widget = allow_widget(bound(widget.method_not_allowed_fallback(method_not_allowed), &bounds), config);
    // Without the API's bounds on number and work: an instance that is busy is not dead, a run takes longer than a request.
    let host_and_probes = contain(host_and_probes.method_not_allowed_fallback(method_not_allowed), &bounds);
    let node_events = bound_with_body(node_events.method_not_allowed_fallback(method_not_allowed), &bounds);
    let followed = bound(api, &bounds).merge(widget).layer(from_fn_with_state(state.audit.clone(), follow));
    followed.merge(node_events).merge(host_and_probes).layer(from_fn(log_request)).with_state(state)
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
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let token = judged("entra", entra_bearer(request.headers(), request.uri().query()));
    let token = token.map_err(ApiError::entra_credentials)?;
    match judged("entra", state.entra.verify(&token, role).await) {
        Ok(caller) => Ok(let_through("entra", caller, &state.rates, request, next).await),
        Err(refusal) => {
            let known = refusal.client().map(|client| note(client.clone().into(), &request));
            Ok((known, ApiError::entra(&refusal, role)).into_response())
        }
    }
}

/// Lets an active user of our Genesys organisation through and leaves the proof in the request.
async fn require_genesys_user(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let token = judged("genesys", genesys_token(request.headers())).map_err(ApiError::genesys_credentials)?;
    match judged("genesys", state.genesys.verify(&token, client_address(request.headers())).await) {
        Ok(caller) => Ok(let_through("genesys", caller, &state.rates, request, next).await),
        Err(refusal) => {
            let known = refusal.user_id().map(|id| note(Caller::Genesys { user_id: id.to_owned() }, &request));
            Ok((known, ApiError::from(refusal)).into_response())
        }
    }
}

/// Counts what a guard refuses.
fn judged<T, E: Reason>(guard: &'static str, verdict: Result<T, E>) -> Result<T, E> {
    verdict.inspect_err(|refusal| AUTH_RESULTS.count([guard.into(), refusal.reason().into()]))
}

/// Counts whom a guard lets in.
fn let_in(guard: &'static str) {
    AUTH_RESULTS.count([guard.into(), "ok".into()]);
}

/// Sets the caller, permitted or refused, in the audit context and, for the log line, on the answer.
fn note(caller: Caller, request: &Request) -> Extension<CallerId> {
    let id = CallerId(caller.id().to_owned());
    if let Some(context) = request.extensions().get::<AuditContext>() {
        context.set_caller(caller);
    }
    Extension(id)
}

/// Leaves the proof of who calls in the request, and goes on while this caller keeps to its rate.
async fn let_through<C>(
    guard: &'static str,
    caller: C,
    rates: &CallerRates,
    mut request: Request,
    next: Next,
) -> Response
where
    C: Clone + Send + Sync + Into<Caller> + 'static,
{
    let_in(guard);
    let known = note(caller.clone().into(), &request);
    let answer = match rates.admit(&known.0.0).await {
        Ok(()) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(over) => ApiError::from(over).into_response(),
    };
    (known, answer).into_response()
}

/// Creates the audit context of a request about a room, and records a refusal if the answer is a problem.
async fn follow(
    State(audit): State<Audit>,
    Extension(RequestId(id)): Extension<RequestId>,
    route: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let context = audit.context(id);
    request.extensions_mut().insert(context.clone());
    let answer = next.run(request).await;
    // Where nothing is, no room was asked for.
    if route.is_some()
        && let Some(error) = answer.extensions().get::<Arc<ApiError>>()
    {
        context.request_refused(error.code().as_str());
    }
    answer
}

/// Lets a Conferencing Node through and leaves the proof in the request.
async fn require_event_sender(
    State(account): State<EventSinkAccount>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let sender = judged("event_sink", account.verify(request.headers())).map_err(ApiError::event_sink_credentials)?;
    let_in("event_sink");
    request.extensions_mut().insert(sender);
    Ok(next.run(request).await)
}

async fn not_found() -> ApiError {
    ApiError::new(Code::NotFound)
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(Code::MethodNotAllowed)
}
