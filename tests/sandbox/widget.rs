//! The agent's widget: a page that reads the room of an interaction and joins it as host.

use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use url::Url;

use crate::pages::{self, CALL, CSS, File, HTML, JAVASCRIPT, SVG};

const FILES: [File; 7] = [
    ("/", HTML, include_str!("widget/index.html")),
    ("/widget.js", JAVASCRIPT, include_str!("widget/widget.js")),
    ("/widget.css", CSS, include_str!("widget/widget.css")),
    ("/genesys.js", JAVASCRIPT, include_str!("widget/genesys.js")),
    ("/icon.svg", SVG, include_str!("widget/icon.svg")),
    ("/case.html", HTML, include_str!("widget/case.html")),
    ("/case.js", JAVASCRIPT, include_str!("widget/case.js")),
];

/// What the widget connects to.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Address of the room service. The widget's origin must be on its list.
    pub(crate) api: Url,
    /// Address of a Conferencing Node.
    pub(crate) node: Url,
}

/// The page. `genesys_token` logs an agent in.
pub(crate) fn router(settings: &Settings, genesys_token: impl Fn() -> String + Send + Sync + 'static) -> Router {
    // Tags name pages that are not on this machine, so the case is shown by one that is.
    let shown = json!({ "api": settings.api, "node": settings.node, "caseViewer": "case.html" });
    let genesys_token = Arc::new(genesys_token);
    let server = Router::new()
        .route("/settings.json", get(async move || Json(shown)))
        .route("/genesys-token", post(async move || Json(json!({ "token": genesys_token() }))));
    pages::with_headers(pages::files(FILES.iter().chain(&CALL)).merge(server), &[&settings.api, &settings.node])
}
