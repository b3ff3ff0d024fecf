//! `GET /`: the start-up probe of the Functions host.

use axum::http::Method;

use crate::http::openapi::Audience;
use crate::http::route::Route;

pub(super) fn route() -> Route {
    Route::undocumented(Audience::Operation, Method::GET, "/", None, probe)
}

/// The host requests it every 25 ms until the process answers; any answer will do.
async fn probe() -> &'static str {
    "maxconf"
}
