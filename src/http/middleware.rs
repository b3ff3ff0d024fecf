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
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
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

/// Puts the middleware around the routes: one function for each audience, because every layer of its own costs each
/// request a copy of what is below it.
pub(crate) fn around(routes: Routes, state: &AppState) -> Router<AppState> {
    let layer = |audience| from_fn_with_state((state.clone(), audience), handle);
    Router::new()
        .merge(routes.idim.layer(layer(Audience::Idim)))
        .merge(routes.widget.layer(layer(Audience::Widget)))
        .merge(routes.nodes.layer(layer(Audience::ConferencingNodes)))
        .merge(routes.operation.layer(layer(Audience::Operation)))
}

/// Everything that happens to a request outside of its handler, from the outside in. The guard of a route is not in it,
/// for the handler extracts a [`Permit`](super::permit::Permit).
async fn handle(State((state, audience)): State<(AppState, Audience)>, mut request: Request, next: Next) -> Response {
    // Outermost, so that every answer, by whatever makes it, has its id, its headers and its line in the log.
    let context = RequestContext {
        invocation_id: request_id::invocation_id(request.headers()),
        audit: state.audit.context(state.request_ids.for_request(request.headers())),
    };
    let mut log = AccessLog::start(&request, context.clone());
    request.extensions_mut().insert(context.clone());
    let (trace, span) = log.spans();
    // Outside of what makes errors: the widget can read an error only if it has the CORS headers.
    let cors = (audience == Audience::Widget).then(|| state.cors.answer_to(&request));
    // Outside of the limits, so that their refusals are recorded as well. A request for an unknown path is not about a
    // room, nor are those of nodes and operators.
    let is_audited = matches!(audience, Audience::Idim | Audience::Widget) && log.route_is_known();

    let mut response = match &cors {
        Some(cors) if cors.is_preflight() => Response::default(),
        // The panic outside of the limits, so that a permit of theirs is released before it is answered.
        _ => {
            let bounded = state.limits.run(audience, request, next);
            let bounded = async { bounded.await.into_response() };
            panics::answered(bounded).instrument(trace).instrument(span).await
        }
    };

    if is_audited {
        audit::record_refusal(&context.audit, &response);
    }
    let problem = problems::render(&mut response, context.request_id());
    if let Some(cors) = cors {
        cors.set(response.headers_mut());
    }
    request_id::set(response.headers_mut(), context.request_id());
    security_headers::set(response.headers_mut());
    log.answered(response.status(), problem);
    response
}
