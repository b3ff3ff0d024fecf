//! Every answer that the API's document promises can be obtained over the wire. That no other answer occurs is asserted
//! in all tests: see `support/promises.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use maxconf_simulators::{Fault, GenesysToken, Matching, StoredBlob, Times};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::instant::unknown;
use crate::support::{Answer, HANDED_OUT, Promises, TestApp, UUI_DATA, eventually, opening_in};

/// Concurrent services.
const CONCURRENT_SERVICES: usize = 8;

const NODES: (&str, &str) = ("conferencing-nodes", "password-of-the-nodes");
const NOWHERE: &str = "http://127.0.0.1:1/";
const STRANGER: &str = "99999999-d9cb-469f-a165-70867728950e";

/// Promised answers that no request gets. `internal` is the answer after a panic, and the first four routes call nothing
/// that can panic; a unit test of `src/http/middleware/panics.rs` has a route that panics. The `default` answer of the
/// last one only states that there are no others.
const NEVER_GIVEN: [&str; 5] =
    ["health_live 500", "health_ready 500", "openapi 500", "event_sink 500", "room_delete_create default"];

/// An operation of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Create,
    Delete,
    DeleteCreate,
    ReadAsServer,
    Read,
    Preflight,
    Event,
    Policy,
    Alive,
    Live,
    Ready,
    Document,
}

use Operation::{
    Alive, Create, Delete, DeleteCreate, Document, Event, Live, Policy, Preflight, Read, ReadAsServer, Ready,
};

const ALL: &[Operation] =
    &[Create, Delete, DeleteCreate, ReadAsServer, Read, Preflight, Event, Policy, Alive, Live, Ready, Document];
/// All but the preflight, which is answered before its body is read.
const WITH_A_BODY: &[Operation] =
    &[Create, Delete, DeleteCreate, ReadAsServer, Read, Event, Policy, Alive, Live, Ready, Document];
const BOUNDED: &[Operation] = &[Create, Delete, DeleteCreate, ReadAsServer, Read, Event, Policy];
const GUARDED: &[Operation] = BOUNDED;
const WITH_A_CLOCK: &[Operation] = &[Create, Delete, DeleteCreate, ReadAsServer, Read, Policy, Alive];
const OF_A_RECORD: &[Operation] = &[Delete, ReadAsServer, Read, Policy];
const RATED: &[Operation] = &[Create, Delete, DeleteCreate, ReadAsServer, Read];
const OF_IDIM: &[Operation] = &[Create, Delete, DeleteCreate, ReadAsServer];
const OF_PEXIP: &[Operation] = &[Create, Delete, ReadAsServer, Read];
const OF_A_ROOM: &[Operation] = &[Delete, DeleteCreate, ReadAsServer, Read];

/// One request slot, and time limits long enough for a slow machine to send a second request while the first holds it.
const BUSY: &[(&str, &str)] =
    &[("MAX_CONCURRENT_REQUESTS", "1"), ("PEXIP_REQUEST_TIMEOUT_SECONDS", "20"), ("REQUEST_DEADLINE_SECONDS", "25")];

/// Short time limits, for rows that wait for them. All others have long ones, for slow machines.
const SHORT_LIMITS: &[(&str, &str)] = &[("PEXIP_REQUEST_TIMEOUT_SECONDS", "1"), ("REQUEST_DEADLINE_SECONDS", "3")];

/// How a row gets its answer.
#[derive(Clone, Copy)]
enum Way {
    /// By its caller, with a room and no fault.
    Properly,
    /// Without its credentials.
    Anonymously,
    /// With malformed or unknown credentials.
    WithInvalidCredentials,
    /// By a caller without permission for this operation.
    NotPermitted,
    /// With this query instead.
    WithQuery(fn() -> String),
    /// With this text after its headers.
    Ending(fn() -> String),
    /// Sent twice.
    Again,
    /// With this key, after this change.
    WithKey(&'static str, fn(&TestApp)),
    /// Sent twice with a key, the second time after this change.
    Repeated(fn(&TestApp)),
    /// About an instant room, after this change.
    OfAnInstantRoom(fn(&TestApp)),
    /// While all request slots are taken.
    WhileBusy,
    /// While the clock panics.
    WithoutAClock,
    /// After this change.
    After(fn(&TestApp)),
    /// The same, out of service hours.
    OutOfHours(fn(&TestApp)),
}

/// An answer, the operations that can give it, and how to get it.
struct Row {
    /// A problem's code, the type of another body, or nothing.
    answer: &'static str,
    operations: &'static [Operation],
    settings: &'static [(&'static str, &'static str)],
    way: Way,
}

const fn row(
    answer: &'static str,
    operations: &'static [Operation],
    settings: &'static [(&'static str, &'static str)],
    way: Way,
) -> Row {
    Row { answer, operations, settings, way }
}

const ROWS: &[Row] = &[
    row("application/json", &[Create, ReadAsServer, Read, Policy, Alive, Live, Ready, Document], &[], Way::Properly),
    row("", &[Delete, Event, Preflight], &[], Way::Properly),
    // Only a direct room has `Retry-After`.
    row("application/json", &[Create], &[("POOL_TARGET_SIZE", "0")], Way::Properly),
    row("application/json", &[Ready], &[], Way::After(|app| pexip_shows(app, Fault::Status(503)))),
    row("uui_data_missing", &[Create], &[], Way::WithQuery(String::new)),
    row("uui_data_invalid", &[Create], &[], Way::WithQuery(|| "uuiData=3".into())),
    row("uui_data_too_long", &[Create], &[], Way::WithQuery(|| format!("uuiData={}", "31".repeat(129)))),
    row("token_missing", GUARDED, &[], Way::Anonymously),
    row("token_invalid", GUARDED, &[], Way::WithInvalidCredentials),
    row("not_permitted", RATED, &[], Way::NotPermitted),
    row("rate_limited", RATED, &[("RATE_LIMIT_PER_MINUTE", "1"), ("PUBLIC_RATE_LIMIT_PER_MINUTE", "1")], Way::Again),
    row("room_not_found", OF_A_ROOM, &[], Way::After(|app| drop(app.pexip.remove(HANDED_OUT)))),
    row("not_found", &[Event], &[("PEXIP_EVENT_USERNAME", ""), ("PEXIP_EVENT_PASSWORD", "")], Way::Properly),
    row("not_found", &[Policy], &[("PEXIP_POLICY_USERNAME", ""), ("PEXIP_POLICY_PASSWORD", "")], Way::Properly),
    row("application/json", &[Create], &[("ROOM_SOURCE", "instant")], Way::Properly),
    row("validity_unsupported", &[Create], &[], Way::WithQuery(|| format!("uuiData={UUI_DATA}&validUntil=x"))),
    row(
        "validity_invalid",
        &[Create],
        &[("ROOM_SOURCE", "instant")],
        Way::WithQuery(|| format!("uuiData={UUI_DATA}&validUntil=x")),
    ),
    row("records_unavailable", OF_A_RECORD, &[], Way::OfAnInstantRoom(records_fail)),
    row("no_room", &[Create], &[("POOL_TARGET_SIZE", "0"), ("POOL_EMPTY", "refuse")], Way::Properly),
    row("idempotency_key_invalid", &[Create], &[], Way::WithKey("a b", |_| ())),
    row("application/json", &[Create], &[], Way::Repeated(|_| ())),
    row("idempotency_key_reused", &[Create], &[], Way::Repeated(|app| change_record(app, "fingerprint", "another"))),
    row("request_in_progress", &[Create], &[], Way::Repeated(|app| change_record(app, "state", "running"))),
    row(
        "room_ended",
        &[Create],
        &[],
        Way::Repeated(|app| app.pexip.rooms().iter().for_each(|room| drop(app.pexip.remove(&room.name)))),
    ),
    row("records_unavailable", &[Create], &[], Way::WithKey("k", records_fail)),
    row("pexip_refused", OF_PEXIP, &[], Way::After(|app| pexip_shows(app, Fault::Status(401)))),
    row("pexip_invalid", OF_PEXIP, &[], Way::After(|app| pexip_shows(app, Fault::Rubbish))),
    row("pexip_unavailable", OF_PEXIP, &[], Way::After(|app| pexip_shows(app, Fault::Status(503)))),
    row("service_closed", OF_PEXIP, &[], Way::OutOfHours(|app| pexip_shows(app, Fault::Status(503)))),
    row("pexip_timeout", OF_PEXIP, SHORT_LIMITS, Way::After(|app| pexip_shows(app, Fault::Stall))),
    row("entra_unavailable", OF_IDIM, &[("ENTRA_AUTHORITY_URL", NOWHERE)], Way::Properly),
    row("genesys_unavailable", &[Read], &[], Way::After(|app| genesys_shows(app, Fault::Status(503)))),
    row("genesys_invalid", &[Read], &[], Way::After(|app| genesys_shows(app, Fault::Rubbish))),
    row("overloaded", BOUNDED, BUSY, Way::WhileBusy),
    row("internal", WITH_A_CLOCK, &[("POOL_TARGET_SIZE", "0")], Way::WithoutAClock),
    row("request_invalid", WITH_A_BODY, &[], Way::Ending(|| "transfer-encoding: chunked\r\n\r\nx\r\n".into())),
    row("body_too_large", WITH_A_BODY, &[], Way::Ending(|| "content-length: 9999999\r\n\r\n".into())),
    row("deadline_exceeded", WITH_A_BODY, SHORT_LIMITS, Way::Ending(|| "content-length: 5\r\n\r\nabc".into())),
    row("", ALL, &[], Way::Ending(|| "x-one-of-many: 1\r\n".repeat(101) + "\r\n")),
];

fn pexip_shows(app: &TestApp, fault: Fault) {
    app.pexip.traffic().inject(Matching::any(), Times::Always, fault);
}

fn records_fail(app: &TestApp) {
    app.blobs.traffic().inject(Matching::any(), Times::Always, Fault::Status(503));
}

fn genesys_shows(app: &TestApp, fault: Fault) {
    app.genesys.traffic().inject(Matching::any(), Times::Always, fault);
}

/// Changes a member of the only key's record. A running one gets an end in the future.
fn change_record(app: &TestApp, member: &str, value: &str) {
    let mut records = app.blobs.blobs("room-records").into_iter().filter(|blob| blob.name.starts_with("requests/"));
    let StoredBlob { name, text } = records.next().expect("the record of a key");
    let mut record: Value = serde_json::from_str(&text).expect("JSON");
    record["until"] = record["window_ends"].clone();
    record[member] = value.into();
    app.blobs.put("room-records", &name, &record.to_string());
}

impl Operation {
    fn address(self) -> (Method, String) {
        match self {
            Create => (Method::POST, "/room/create".to_owned()),
            Delete => (Method::DELETE, format!("/room/{HANDED_OUT}")),
            DeleteCreate => (Method::DELETE, "/room/create".to_owned()),
            ReadAsServer => (Method::GET, format!("/room/{HANDED_OUT}")),
            Read => (Method::GET, format!("/public/room/{HANDED_OUT}")),
            Preflight => (Method::OPTIONS, format!("/public/room/{HANDED_OUT}")),
            Event => (Method::POST, "/public/event_sink".to_owned()),
            Policy => (Method::GET, "/policy/v1/service/configuration".to_owned()),
            Alive => (Method::GET, "/health".to_owned()),
            Live => (Method::GET, "/health/live".to_owned()),
            Ready => (Method::GET, "/health/ready".to_owned()),
            Document => (Method::GET, "/openapi.json".to_owned()),
        }
    }

    /// A request without credentials, from the widget's page.
    fn request(self, app: &TestApp) -> RequestBuilder {
        let (method, path) = self.address();
        let request = app.request(method, &path).header("origin", "https://agent.example.org");
        match self {
            Create => request.query(&[("uuiData", UUI_DATA)]),
            Policy => request.query(&[("local_alias", unknown())]),
            Preflight => request.header("access-control-request-method", "GET"),
            _ => request,
        }
    }

    fn by_its_caller(self, app: &TestApp) -> RequestBuilder {
        let request = self.request(app);
        match self {
            Create | Delete | DeleteCreate | ReadAsServer => request.bearer_auth(app.entra.token().build()),
            Read => {
                let token = GenesysToken::default().idles_in(Duration::from_secs(3600));
                request.header("x-auth-token", app.genesys.issue(token))
            }
            Event | Policy => request.basic_auth(NODES.0, Some(NODES.1)),
            Preflight | Alive | Live | Ready | Document => request,
        }
    }

    fn without_permission(self, app: &TestApp) -> RequestBuilder {
        let request = self.request(app);
        match self {
            Read => {
                let token = GenesysToken::default().organization_id(STRANGER);
                request.header("x-auth-token", app.genesys.issue(token))
            }
            _ => request.bearer_auth(app.entra.token().roles([]).build()),
        }
    }

    fn with_invalid_credentials(self, app: &TestApp) -> RequestBuilder {
        let request = self.request(app);
        match self {
            Read => request.header("x-auth-token", "unknown"),
            Event | Policy => request.basic_auth(NODES.0, Some("another")),
            _ => request.bearer_auth("a.b.c"),
        }
    }
}

/// A service with a pool and a handed-out room, and a switch that makes its clock panic.
async fn start(row: &Row) -> (TestApp, Arc<AtomicBool>) {
    let clock_is_broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&clock_is_broken);
    let mut service = TestApp::with()
        .clock(move || if is_broken.load(Ordering::Relaxed) { panic!("no clock") } else { SystemTime::now() })
        // Without a prefetch each request makes its calls itself.
        .set("POOL_PREFETCH", 0)
        .set("PEXIP_EVENT_USERNAME", NODES.0)
        .set("PEXIP_EVENT_PASSWORD", NODES.1)
        .set("PEXIP_POLICY_USERNAME", NODES.0)
        .set("PEXIP_POLICY_PASSWORD", NODES.1);
    if matches!(row.way, Way::OutOfHours(_)) {
        service = service.set("SERVICE_HOURS", opening_in(90).0);
    }
    for (name, value) in row.settings {
        service = service.set(name, value);
    }
    let app = service.start().await;
    app.insert_handed_out_room();
    app.fill_pool().await;
    (app, clock_is_broken)
}

/// The answer of an operation to a request of this row.
async fn answer(operation: Operation, row: &Row) -> Answer {
    let (app, clock_is_broken) = start(row).await;
    let properly = || operation.by_its_caller(&app);
    let request = match row.way {
        Way::Properly => properly(),
        Way::Anonymously => operation.request(&app),
        Way::WithInvalidCredentials => operation.with_invalid_credentials(&app),
        Way::NotPermitted => operation.without_permission(&app),
        Way::WithQuery(query) => {
            let request = properly().build().expect("a request");
            let mut url = request.url().clone();
            url.set_query(Some(&query()));
            app.http.request(request.method().clone(), url).headers(request.headers().clone())
        }
        Way::Ending(ending) => return app.send_raw(written(properly(), &ending())).await,
        Way::Again => {
            let request = properly();
            app.send(request.try_clone().expect("a request without a body")).await;
            request
        }
        Way::WithKey(key, cause) => {
            cause(&app);
            properly().header("idempotency-key", key)
        }
        Way::Repeated(cause) => {
            let request = properly().header("idempotency-key", "k");
            app.send(request.try_clone().expect("a request without a body")).await;
            cause(&app);
            request
        }
        Way::OfAnInstantRoom(cause) => {
            cause(&app);
            let request = properly().build().expect("a request");
            let mut url = request.url().clone();
            url.set_path(&url.path().replace(HANDED_OUT, &unknown()));
            app.http.request(request.method().clone(), url).headers(request.headers().clone())
        }
        Way::WhileBusy => {
            app.pexip.traffic().clear();
            pexip_shows(&app, Fault::Stall);
            tokio::spawn(Create.by_its_caller(&app).send());
            eventually("Pexip is called", async || !app.pexip.traffic().log().is_empty()).await;
            properly()
        }
        Way::WithoutAClock => {
            clock_is_broken.store(true, Ordering::Relaxed);
            properly()
        }
        Way::After(cause) | Way::OutOfHours(cause) => {
            cause(&app);
            properly()
        }
    };
    app.send(request).await
}

/// The request as bytes on the wire, with `ending` after its headers.
fn written(request: RequestBuilder, ending: &str) -> String {
    let request = request.build().expect("a request");
    let url = request.url();
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut head = format!("{} {}{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n", request.method(), url.path());
    for (name, value) in request.headers() {
        head += &format!("{name}: {}\r\n", value.to_str().expect("text"));
    }
    head + ending
}

#[tokio::test(flavor = "multi_thread")]
async fn every_promised_answer_occurs() {
    let promises = Promises::default();
    let rows = ROWS.iter().flat_map(|row| row.operations.iter().map(move |operation| (*operation, row)));
    let kept: Vec<_> = stream::iter(rows)
        .map(async |(operation, row)| {
            let answer = answer(operation, row).await;
            let (method, path) = operation.address();
            assert_eq!(promises.broken_by(&method, &path, &answer), None, "{operation:?}");
            let kept = promises.kept_by(&method, &path, &answer);
            let given = kept.iter().any(|one| one.split(' ').nth(2) == Some(row.answer));
            assert!(given, "{operation:?} did not answer {:?}: {answer:?}", row.answer);
            kept
        })
        .buffer_unordered(CONCURRENT_SERVICES)
        .collect()
        .await;
    let kept: BTreeSet<_> = kept.into_iter().flatten().collect();

    let is_never_given = |one: &&String| NEVER_GIVEN.iter().any(|answer| one.starts_with(answer));
    let all = promises.all();
    let missing: Vec<_> = all.difference(&kept).filter(|one| !is_never_given(one)).collect();
    assert!(missing.is_empty(), "the document promises answers that no request gets:\n{missing:#?}");
    let given: Vec<_> = all.intersection(&kept).filter(is_never_given).collect();
    assert!(given.is_empty(), "these do occur; remove them from NEVER_GIVEN: {given:?}");
    assert!(all.len() > 500, "the promises were found: {}", all.len());
}
