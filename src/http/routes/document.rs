//! `GET /openapi.json`: the API's document.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;

use crate::http::openapi::{Answer, Audience, Operation};
use crate::http::route::Route;

pub(super) fn route() -> Route {
    let path = "/openapi.json";
    let operation = Operation::new("openapi", Audience::Operation, Method::GET, path, "Read this document")
        .answer(Answer::object(StatusCode::OK, "This document, OpenAPI 3.1."));
    Route::open(path, vec![operation], "function_openapi", handler)
}

async fn handler() -> impl IntoResponse {
    static BODY: LazyLock<Bytes> = LazyLock::new(|| super::document().to_string().into());
    ([(CONTENT_TYPE, "application/json")], BODY.clone())
}
