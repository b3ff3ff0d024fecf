//! The middleware and its order.

mod access_log;
mod audit;
pub(crate) mod cors;
pub(crate) mod limits;
mod panics;
mod problems;
pub(crate) mod request_id;
pub(crate) mod security_headers;
mod traces;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use tracing::Instrument;

use crate::http::context::RequestContext;
use crate::http::openapi::Audience;
use crate::http::state::AppState;
use access_log::AccessLog;

/// The routes of each audience, which decides the middleware around them.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// Also every unknown path.
    pub(crate) idim: Router<AppState>,
    pub(crate) widget: Router<AppState>,
    pub(crate) nodes: Router<AppState>,
    pub(crate) operation: Router<AppState>,
}

impl Routes {
    pub(crate) fn of(&mut self, audience: Audience) -> &mut Router<AppState> {
        match audience {
            Audience::Idim => &mut self.idim,
            Audience::Widget => &mut self.widget,
            Audience::ConferencingNodes => &mut self.nodes,
            Audience::Operation => &mut self.operation,
        }
    }

    pub(crate) fn map(self, change: impl Fn(Router<AppState>) -> Router<AppState>) -> Self {
        let Self { idim, widget, nodes, operation } = self;
        Self { idim: change(idim), widget: change(widget), nodes: change(nodes), operation: change(operation) }
    }
}

/// Puts the middleware around the routes. The list is in order, outermost first; the guard of a route is not in it, for
/// the handler extracts a [`Permit`](super::permit::Permit).
pub(crate) fn around(routes: Routes, state: &AppState, cors_allowed_origins: &[String]) -> Router<AppState> {
    // Outermost, so that every answer, by whatever makes it, has its id, its headers and its line in the log.
    let every_request = from_fn_with_state(state.clone(), complete);
    // Outside of the limits, so that their refusals are recorded as well.
    let audit = from_fn(audit::record_refusal);
    // Outside of what makes errors: the widget can read an error only if it has the CORS headers.
    let cors = (map_response(cors::remove_for_foreign_origins), cors::layer(cors_allowed_origins));
    // Outside of the limits, so that a permit of theirs is released before a panic is answered.
    let panics = panics::layer();
    // Innermost: the deadline, then the body, then a concurrency permit, so that a slow body holds no permit.
    let limits = |audience| from_fn_with_state((state.clone(), audience), limits::bound);
    // Without the body: the handler reads it, up to a bound of its own.
    let nodes = (state.clone(), Audience::ConferencingNodes);
    let limits_but_body = from_fn_with_state(nodes, limits::bound_all_but_body);
    // Without deadline and concurrency: a busy instance is not dead, and a maintenance run outlasts a request.
    let body_limit = from_fn_with_state(state.clone(), limits::bound_body);

    Router::new()
        .merge(routes.idim.layer((audit.clone(), panics, limits(Audience::Idim))))
        .merge(routes.widget.layer((audit, cors, panics, limits(Audience::Widget))))
        .merge(routes.nodes.layer((panics, limits_but_body)))
        .merge(routes.operation.layer((panics, body_limit)))
        .layer(every_request)
}

/// Gives a request its context and completes its answer: log, trace and metrics, problem body, fixed headers.
async fn complete(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let context = RequestContext {
        invocation_id: request_id::invocation_id(request.headers()),
        audit: state.audit.context(state.request_ids.for_request(request.headers())),
    };
    let mut log = AccessLog::start(&request, context.clone());
    request.extensions_mut().insert(context.clone());
    let (trace, span) = log.spans();
    let mut response = next.run(request).instrument(trace).instrument(span).await;

    let problem = problems::render(&mut response, context.request_id());
    request_id::set(response.headers_mut(), context.request_id());
    security_headers::set(response.headers_mut());
    log.answered(response.status(), problem);
    response
}
