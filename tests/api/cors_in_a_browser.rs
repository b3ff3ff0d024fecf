//! What a real browser lets pages read. A desktop frames three of them, as Genesys Cloud does: the widget from an origin
//! on the list, a page from elsewhere, and the widget in a sandbox that takes its origin away. Each asks the service
//! the same and tells the desktop what it could read.

use std::collections::HashMap;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::response::Html;
use axum::routing::{get, post};
use maxconf_simulators::{Fault, Matching, Server, Times};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use url::Url;

use crate::support::{Browser, HANDED_OUT, IDIM_CREATE, TAG, TestApp};

/// A browser starts slowly, especially beside other tests.
const LIMIT: Duration = Duration::from_secs(120);

/// A room whose look-up on Pexip fails.
const UNAVAILABLE: &str = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqr";

/// What a page gets instead of an answer that it may not read.
const UNREADABLE: &str = "TypeError: Failed to fetch";

/// Sends the requests that its address lists, one after the other, and reports the results.
const PAGE: &str = r#"<!doctype html>
<script>
(async () => {
  const { asks, report } = JSON.parse(decodeURIComponent(location.hash.slice(1)));
  const answers = {};
  for (const { name, url, ...options } of asks) {
    try {
      const answer = await fetch(url, options);
      const { status, headers } = answer;
      answers[name] = { status, headers: Object.fromEntries(headers), body: await answer.text() };
    } catch (error) {
      answers[name] = String(error);
    }
  }
  // Whoever may not read an answer may still send.
  await fetch(report, { method: "POST", mode: "no-cors", body: JSON.stringify({ origin: self.origin, answers }) });
})();
</script>
"#;

/// Serves the page on an origin of its own.
async fn page_server() -> Server {
    Server::start(Router::new().route("/", get(async || Html(PAGE)))).await
}

/// What the pages have reported, by their names.
type Reports = mpsc::UnboundedReceiver<(String, Value)>;

/// Takes reports, and serves the desktop that frames these pages.
async fn desktop_server(frames: Vec<(&'static str, Url, Value)>) -> (Server, Reports) {
    let (sender, reports) = mpsc::unbounded_channel();
    let take = post(async move |Path(name): Path<String>, report: String| {
        // A test that has failed waits for none.
        let _ = sender.send((name, serde_json::from_str(&report).expect("a report in JSON")));
    });
    let desktop = get(async move |host: axum::http::HeaderMap| {
        let host = host["host"].to_str().expect("a host").to_owned();
        let frames = frames.iter().map(|(name, page, asks)| {
            let mut page = page.clone();
            page.set_fragment(Some(
                &json!({ "asks": asks, "report": format!("http://{host}/report/{name}") }).to_string(),
            ));
            let sandbox = if *name == "sandboxed" { r#"sandbox="allow-scripts""# } else { "" };
            // In a fragment every quotation mark is encoded.
            format!("<iframe {sandbox} src=\"{page}\"></iframe>")
        });
        Html(format!("<!doctype html>{}", frames.collect::<String>()))
    });
    (Server::start(Router::new().route("/", desktop).route("/report/{name}", take)).await, reports)
}

/// The requests of one page, with tokens that no other page has.
fn asks(app: &TestApp) -> Value {
    let address = |path: &str| app.url.join(path).expect("a path");
    let room = address(&format!("public/room/{HANDED_OUT}"));
    let token = || json!({ "x-auth-token": app.genesys.issue_token() });
    let mut with_another_header = token();
    with_another_header["x-another"] = json!("1");
    json!([
        { "name": "room", "url": room, "headers": token() },
        { "name": "no token", "url": room },
        { "name": "refused", "url": room, "headers": { "x-auth-token": "an-unknown-token-of-a-page" } },
        { "name": "nowhere", "url": address("public/nowhere"), "headers": token() },
        { "name": "unavailable", "url": address(&format!("public/room/{UNAVAILABLE}")), "headers": token() },
        { "name": "another header", "url": room, "headers": with_another_header },
        { "name": "another method", "url": room, "method": "PUT", "headers": token() },
        { "name": "with credentials", "url": room, "credentials": "include", "headers": token() },
        { "name": "IDIM's route", "url": address(IDIM_CREATE.path), "method": "POST" },
        { "name": "probe", "url": address("health/live") },
        { "name": "blind", "url": room, "mode": "no-cors" },
    ])
}

#[tokio::test]
async fn a_browser_lets_the_widget_read_every_answer_and_no_other_page_any() {
    let (widget, elsewhere) = (page_server().await, page_server().await);
    let origin = widget.url().origin().ascii_serialization();
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("CORS_ALLOWED_ORIGINS", &origin).start().await;
    app.insert_handed_out_room();
    let look_up = Matching::any().query_contains(UNAVAILABLE);
    app.pexip.traffic().inject(look_up, Times::Always, Fault::Status(503));
    let widgets_asks = asks(&app);
    let frames = vec![
        ("widget", widget.url(), widgets_asks.clone()),
        ("elsewhere", elsewhere.url(), asks(&app)),
        ("sandboxed", widget.url(), asks(&app)),
    ];
    let (desktop, mut reports) = desktop_server(frames).await;

    let Some(_browser) = Browser::open(&desktop.url()) else { return };

    let mut of_pages = HashMap::new();
    while of_pages.len() < 3 {
        let report = timeout(LIMIT, reports.recv()).await.expect("reports of all pages in time");
        of_pages.extend(report);
    }
    assert_eq!(of_pages["widget"]["origin"], origin);
    assert_widget_reads(&of_pages["widget"]["answers"]);
    for (page, origin) in
        [("elsewhere", elsewhere.url().origin().ascii_serialization()), ("sandboxed", "null".to_owned())]
    {
        assert_eq!(of_pages[page]["origin"], origin);
        assert_nothing_is_readable(page, &of_pages[page]["answers"]);
    }
    // Where the preflight is refused, the token does not even leave the browser.
    let token = |name: &str| {
        let ask = widgets_asks.as_array().and_then(|asks| asks.iter().find(|ask| ask["name"] == name)).expect("an ask");
        format!("Bearer {}", ask["headers"]["x-auth-token"].as_str().expect("a token"))
    };
    let mut seen: Vec<_> = app
        .genesys
        .traffic()
        .log()
        .iter()
        .map(|call| call.headers["authorization"].to_str().expect("text").to_owned())
        .collect();
    seen.dedup();
    assert_eq!(seen, ["room", "refused", "unavailable"].map(token));
}

fn assert_widget_reads(answers: &Value) {
    for (name, status, code) in [
        ("no token", 401, "token_missing"),
        ("refused", 401, "token_invalid"),
        ("nowhere", 404, "not_found"),
        ("unavailable", 503, "pexip_unavailable"),
    ] {
        let answer = &answers[name];
        let problem: Value = serde_json::from_str(answer["body"].as_str().unwrap_or_default()).unwrap_or_default();
        assert_eq!((&answer["status"], &problem["code"]), (&json!(status), &json!(code)), "{name}: {answer}");
        assert_eq!(answer["headers"]["x-request-id"], problem["request_id"], "{name}: {answer}");
        let challenge = answer["headers"]["www-authenticate"].as_str().unwrap_or_default();
        assert_eq!(challenge.starts_with("Bearer realm=\"genesys\""), status == 401, "{name}: {answer}");
        assert_eq!(answer["headers"]["retry-after"].is_string(), status == 503, "{name}: {answer}");
    }
    let room = &answers["room"];
    assert_eq!(room["status"], 200, "{room}");
    let conference: Value = serde_json::from_str(room["body"].as_str().expect("a body")).expect("JSON");
    assert_eq!((&conference["name"], &conference["tag"]), (&json!(HANDED_OUT), &json!(TAG)), "{room}");
    for name in ["another header", "another method", "with credentials", "IDIM's route", "probe"] {
        assert_eq!(answers[name], UNREADABLE, "{name}");
    }
    assert_eq!(answers["blind"], json!({ "status": 0, "headers": {}, "body": "" }));
}

fn assert_nothing_is_readable(page: &str, answers: &Value) {
    let answers = answers.as_object().expect("answers");
    assert_eq!(answers.len(), 11, "{page}: {answers:?}");
    for (name, answer) in answers {
        let nothing =
            if name == "blind" { json!({ "status": 0, "headers": {}, "body": "" }) } else { json!(UNREADABLE) };
        assert_eq!(*answer, nothing, "{page}: {name}");
    }
}
