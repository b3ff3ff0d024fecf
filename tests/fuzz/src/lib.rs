//! Shared by the targets: valid settings, and simulated dependencies that answer with the fuzzer's input.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use maxconf::config::Config;
use maxconf::outbound::client_builder;
use maxconf_simulators::Server;
use tokio::runtime::{Builder, Runtime};

/// Statuses that the clients distinguish, the commonest first.
const STATUSES: [u16; 16] = [200, 201, 202, 204, 400, 401, 403, 404, 409, 412, 429, 500, 503, 302, 299, 418];

/// The settings of a service whose outside world is [`outside_url`], with others in place of some of them.
pub fn settings(own: &[(&'static str, &str)]) -> HashMap<&'static str, OsString> {
    let outside = outside_url();
    let queue = format!(
        "AccountName=devstoreaccount1;AccountKey=a2V5;QueueEndpoint={outside}devstoreaccount1;\
         BlobEndpoint={outside}devstoreaccount1"
    );
    [
        ("PoolStorage", queue.as_str()),
        ("PEXIP_MANAGEMENT_URL", outside),
        ("PEXIP_USERNAME", "maxconf"),
        ("PEXIP_PASSWORD", "password"),
        // A list that never ends is read until the budget is spent.
        ("PEXIP_REQUESTS_PER_MINUTE", "9"),
        ("ENTRA_AUTHORITY_URL", outside),
        ("ENTRA_TENANT_ID", maxconf_simulators::entra::TENANT_ID),
        ("ENTRA_AUDIENCE", maxconf_simulators::entra::API_CLIENT_ID),
        ("GENESYS_API_URL", outside),
        ("GENESYS_ORGANIZATION_ID", maxconf_simulators::genesys::ORGANIZATION_ID),
    ]
    .iter()
    .chain(own)
    .map(|(name, value)| (*name, OsString::from(value)))
    .collect()
}

/// The same, read as the service reads them.
pub fn config(own: &[(&'static str, &str)]) -> Config {
    let settings = settings(own);
    Config::read(|name| settings.get(name).cloned()).expect("settings that can be used")
}

/// The one runtime, which also drives the outside world.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_current_thread().enable_all().build().expect("a runtime"))
}

/// A client as the service makes them. Its connections are kept from one input to the next.
pub fn http() -> &'static reqwest::Client {
    static HTTP: OnceLock<reqwest::Client> = OnceLock::new();
    HTTP.get_or_init(|| client_builder(Duration::from_secs(5)).build().expect("a client"))
}

/// Where the outside world answers.
pub fn outside_url() -> &'static str {
    static SERVER: OnceLock<(Server, String)> = OnceLock::new();
    let (_, url) = SERVER.get_or_init(|| {
        let server = runtime().block_on(Server::start(Router::new().fallback(answer)));
        let url = server.url().to_string();
        (server, url)
    });
    url
}

/// An input, taken apart: which call is made, and what it is answered.
#[derive(Debug)]
pub struct Outside<'a> {
    /// Chooses the call.
    pub call: u8,
    status: StatusCode,
    header: &'a [u8],
    body: &'a [u8],
}

impl<'a> Outside<'a> {
    /// The first byte chooses call and status; what follows is one header's value, a line feed, and the body.
    pub fn read(input: &'a [u8]) -> Option<Self> {
        let (choice, rest) = input.split_first()?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let status = StatusCode::from_u16(STATUSES[usize::from(choice >> 4)]).expect("a status of the table");
        Some(Self { call: choice & 0x0f, status, header: &rest[..end], body: &rest[end + 1..] })
    }

    /// From now on every request is answered like this; `header` is the one that has the input's value.
    pub fn answers_with(&self, header: &'static str) {
        let mut response = Response::new(self.body.to_vec());
        *response.status_mut() = self.status;
        if let Ok(value) = HeaderValue::from_bytes(self.header) {
            response.headers_mut().insert(HeaderName::from_static(header), value);
        }
        *ANSWER.lock().unwrap_or_else(PoisonError::into_inner) = Some(response);
    }

    /// The body, if it is JSON.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(self.body).ok()
    }
}

/// `None` until the first input.
static ANSWER: Mutex<Option<Response<Vec<u8>>>> = Mutex::new(None);

async fn answer() -> Response<Body> {
    let answer = ANSWER.lock().unwrap_or_else(PoisonError::into_inner).clone();
    answer.unwrap_or_default().map(Body::from)
}

/// What an error says goes into the log: it must be short, of one line, and without the outside world's own words.
pub fn assert_harmless(error: &impl std::fmt::Display) {
    let text = error.to_string();
    assert!(text.len() < 700 && !text.chars().any(char::is_control), "{text:?}");
}
