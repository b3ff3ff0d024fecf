//! The API's reference: the OpenAPI document in Swagger UI, from which each request can be tried against the service.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use maxconf::http::routes;
use maxconf_simulators::operator::{EVENT_ACCOUNT, POLICY_ACCOUNT};
use reqwest::Client;
use reqwest::redirect::Policy;
use serde_json::json;
use swagger_ui_dist::{ApiDefinition, OpenApiSource};
use url::Url;

use crate::pages::{self, CSS, File, HTML, JAVASCRIPT};
use crate::world::KIOSK;

const FILES: [File; 3] = [
    ("/", HTML, include_str!("reference/index.html")),
    ("/reference.js", JAVASCRIPT, include_str!("reference/reference.js")),
    ("/reference.css", CSS, include_str!("reference/reference.css")),
];

/// Largest body that is passed on: more than the service accepts, so that its refusal can be seen.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// Limit of a request that is tried: above the gateway's.
const LIMIT: Duration = Duration::from_secs(60);

/// Prefix of headers that browsers do not let pages send.
const PREFIX: &str = "x-try-";

/// Tokens with which a request can be tried.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) entra: String,
    pub(crate) genesys: String,
}

struct Service {
    url: Url,
    http: Client,
}

/// The page. `tokens` makes new ones for each visit; requests to try go to `service`.
pub(crate) fn router(service: &Url, tokens: impl Fn() -> Tokens + Clone + Send + Sync + 'static) -> Router {
    let mut document = routes::document();
    document["servers"] = json!([{ "url": service.as_str().trim_end_matches('/'), "description": "The sandbox" }]);
    let credentials = async move || {
        let Tokens { entra, genesys } = tokens();
        Json(json!({
            "entra": entra, "genesys": genesys, "eventSink": EVENT_ACCOUNT, "policy": POLICY_ACCOUNT, "kiosk": KIOSK,
        }))
    };
    // Only the viewer's files are used of these routes: their page has a script inside.
    let viewer = swagger_ui_dist::generate_routes(ApiDefinition {
        uri_prefix: "/viewer",
        api_definition: OpenApiSource::Uri("openapi.json"),
        title: None,
    });
    let http = Client::builder().no_proxy().redirect(Policy::none()).timeout(LIMIT);
    let http = http.build().expect("a client without settings of TLS");
    let attempts =
        Router::new().route("/try/{*path}", any(pass_on)).with_state(Arc::new(Service { url: service.clone(), http }));
    let page = pages::files(&FILES)
        .route("/openapi.json", get(async || Json(document)))
        .route("/credentials.json", get(credentials))
        .merge(viewer);
    pages::with_headers(page, &[]).merge(attempts)
}

/// Passes a request on to the service: its CORS rules let no page read what all routes answer, and are not widened for
/// this one.
#[expect(clippy::disallowed_methods, reason = "a caller of the service, not a part of it")]
async fn pass_on(State(service): State<Arc<Service>>, Path(path): Path<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let mut url = service.url.clone();
    url.set_path(&path);
    url.set_query(parts.uri.query());
    let headers = headers_to_pass(&parts.headers);
    match service.http.request(parts.method, url).headers(headers).body(body).send().await {
        Ok(answer) => {
            let (status, mut headers) = (answer.status(), answer.headers().clone());
            headers.remove(header::TRANSFER_ENCODING);
            headers.remove(header::CONNECTION);
            let body = answer.bytes().await.unwrap_or_default();
            (status, headers, body).into_response()
        }
        Err(_) => (StatusCode::BAD_GATEWAY, "the service did not answer").into_response(),
    }
}

/// Without what concerns the connection or the browser's page.
fn headers_to_pass(headers: &HeaderMap) -> HeaderMap {
    let of_connection = [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::ORIGIN, header::REFERER];
    let passed = headers.iter().filter(|(name, _)| !of_connection.contains(name));
    let renamed = passed.filter_map(|(name, value)| {
        let name = name.as_str();
        let name = name.strip_prefix(PREFIX).unwrap_or(name);
        Some((HeaderName::try_from(name).ok()?, value.clone()))
    });
    renamed.collect()
}
