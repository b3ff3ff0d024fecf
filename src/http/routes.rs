//! Every route on one screen. Each is declared in its own file, with its document.

mod constrained_attributes;
mod document;
mod event_sink;
mod health;
mod host;
mod named_room;
mod policy;
mod pool_maintenance;
mod public_room;
mod room_answer;
mod room_create;
mod room_delete;
mod room_read;

use axum::Router;
use axum::http::Method;
use axum::routing::any;
use serde_json::Value;

use crate::http::middleware::{Routes, around};
use crate::http::openapi::{self, Operation};
use crate::http::permit::Guard;
use crate::http::problem::{ApiError, Code};
use crate::http::route::Route;
use crate::http::state::AppState;

fn table() -> Vec<Route> {
    vec![
        room_create::route(),
        room_delete::route(),
        room_delete::route_of_create(),
        room_read::route(),
        public_room::route(),
        event_sink::route(),
        policy::route(),
        health::route(),
        health::route_without_probe(),
        document::route(),
        host::route(),
        pool_maintenance::route(),
    ]
}

/// The service's router.
pub(crate) fn router(state: AppState) -> Router {
    let mut routes = Routes::default();
    // Unknown paths here need CORS headers, or the widget could not read their 404.
    routes.widget = routes.widget.route("/public/", any(not_found)).route("/public/{*unknown}", any(not_found));
    for Route { audience, path, guard, handler, .. } in table() {
        // Without its account a route of the nodes is off and its path unknown. The 404 above would have the widget's
        // headers.
        let is_off = match guard {
            Some(Guard::EventSink) => state.event_sink.is_none(),
            Some(Guard::Policy) => state.policy.is_none(),
            Some(Guard::Entra(_) | Guard::Genesys) | None => false,
        };
        let handler = if is_off { any(not_found) } else { handler };
        let group = routes.of(audience);
        *group = std::mem::take(group).route(path, handler);
    }
    routes.idim = routes.idim.fallback(not_found);
    let routes = routes.map(|router| router.method_not_allowed_fallback(method_not_allowed));
    around(routes, &state).with_state(state)
}

/// Method and path of each route, and the folder of its Azure function.
pub fn functions() -> Vec<(Method, &'static str, Option<&'static str>)> {
    table().into_iter().map(|route| (route.method, route.path, route.function)).collect()
}

/// The API as an OpenAPI 3.1 document: `infra/openapi.json`.
pub fn document() -> Value {
    openapi::document(operations())
}

/// What the gateway publishes: `infra/gateway/operations.json`.
pub fn gateway_operations() -> String {
    openapi::gateway_operations(operations())
}

fn operations() -> impl Iterator<Item = Operation> {
    table().into_iter().flat_map(|route| route.operations)
}

async fn not_found() -> ApiError {
    ApiError::new(Code::NotFound)
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(Code::MethodNotAllowed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// An operation has its method.
    const OF_NO_OPERATION: [Code; 1] = [Code::MethodNotAllowed];

    fn texts(values: &Value) -> BTreeSet<&str> {
        values.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    #[test]
    fn every_code_is_the_answer_of_an_operation() {
        let document = document();
        let known = texts(&document["components"]["schemas"]["ProblemCode"]["enum"]);
        let operations = document["paths"].as_object().expect("paths").values().filter_map(Value::as_object).flatten();
        let answers = operations.filter_map(|(_, operation)| operation["responses"].as_object()).flatten();
        let answered: BTreeSet<_> = answers
            .flat_map(|(_, answer)| {
                texts(
                    &answer["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]["enum"],
                )
            })
            .chain(OF_NO_OPERATION.map(Code::as_str))
            .collect();
        assert!(known.len() > 20, "the codes were found: {known:?}");
        assert_eq!(answered, known);
    }
}
