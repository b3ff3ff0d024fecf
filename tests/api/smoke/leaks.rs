//! The smoke test holds credentials and receives PINs and tags. None of them appears in its output, whatever fails.

use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use maxconf_simulators::entra::CLIENT_ID;
use maxconf_simulators::{Fault, GitHubSimulator, Matching, Times, github};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value};

use super::instant::{instant_service, with_account};
use super::proxy::{ProxiedAnswer, ProxiedRequest, Proxy};
use super::{Smoke, healthy_service};
use crate::support::{Secrets, TestApp};

/// Runs that mostly wait for a fresh readiness.
const CONCURRENT_RUNS: usize = 4;

/// The calls that fail.
type FailingCalls = (&'static str, fn(&ProxiedRequest, &ProxiedAnswer) -> bool);

const CALLS: [FailingCalls; 6] = [
    ("nothing", |_, _| false),
    ("readiness", |request, _| request.path == "/health/ready"),
    ("create", |request, answer| request.method == Method::POST && answer.status == 200),
    ("refused create", |request, answer| request.method == Method::POST && answer.status != 200),
    ("public read", |request, _| request.is(&Method::GET, "/public/room/vbv-")),
    ("delete", |request, _| request.is(&Method::DELETE, "/room/vbv-")),
];

/// The secrets that a run sends and receives.
#[derive(Clone, Default)]
struct SeenSecrets(Arc<Mutex<Secrets>>);

impl SeenSecrets {
    fn note(&self, request: &ProxiedRequest, answer: &ProxiedAnswer) {
        let mut secrets = self.0.lock().expect("no panic while locked");
        for name in ["authorization", "x-auth-token"] {
            let value = request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            // Each part of a token separately.
            for part in value.split(['.', ' ']).filter(|part| part.len() >= 16) {
                secrets.plant(name, part);
            }
        }
        if let Some(uui_data) = request.query.strip_prefix("uuiData=").filter(|value| value.len() >= 32) {
            secrets.plant("uuiData", uui_data);
        }
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        // A look-up's room is one level below.
        let room = if body["result"].is_object() { &body["result"] } else { &body };
        for name in ["pin", "guest_pin", "tag", "service_tag"] {
            if let Some(value) = room[name].as_str().filter(|value| value.len() >= 8) {
                secrets.plant(name, value.trim_end_matches('#'));
            }
        }
    }

    fn secrets(&self) -> Secrets {
        self.0.lock().expect("no panic while locked").clone()
    }
}

/// Repeats the request and the answer in every header and member that a client might read.
fn repeat_everything(request: &ProxiedRequest, answer: &mut ProxiedAnswer, status: u16) {
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    let mut said = format!("{} {} {}", request.path, request.query, body);
    for value in request.headers.values() {
        said += &format!(" {}", value.to_str().unwrap_or_default().trim_start_matches("Bearer "));
    }
    let bare = said.split(' ').rfind(|part| part.len() >= 16).unwrap_or_default().to_owned();
    answer.status = StatusCode::from_u16(status).expect("a status");
    for header in ["maxconf-version", "room-source", "www-authenticate", "location", "retry-after", "x-request-id"] {
        answer.set(header, &bare);
    }
    let members = ["code", "status", "name", "title", "detail", "tag", "pin", "version", "access_token", "error"];
    let body: Map<String, Value> = members.into_iter().map(|name| (name.to_owned(), said.as_str().into())).collect();
    answer.body = Value::Object(body).to_string().into_bytes();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_output_holds_a_secret_whatever_call_fails() {
    let statuses = [200, 302, 401, 500];
    let rows = CALLS.into_iter().flat_map(|call| {
        let some = if call.0 == "nothing" { &statuses[..1] } else { &statuses };
        some.iter().map(move |&status| (call, status))
    });
    stream::iter(rows)
        .map(async |(call, status)| {
            let app = healthy_service().await;
            assert_no_secret_in_output(&app, &Smoke::of(&app), call, status).await;
        })
        .buffer_unordered(CONCURRENT_RUNS)
        .collect::<()>()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_output_holds_a_secret_whatever_a_look_up_is_answered() {
    let look_up: FailingCalls = ("look-up", |request, _| request.path.starts_with("/policy/"));
    stream::iter([200, 302, 401, 500])
        .map(async |status| {
            let app = instant_service().await;
            assert_no_secret_in_output(&app, &with_account(&app), look_up, status).await;
        })
        .buffer_unordered(CONCURRENT_RUNS)
        .collect::<()>()
        .await;
}

async fn assert_no_secret_in_output(app: &TestApp, smoke: &Smoke, (what, fails): FailingCalls, status: u16) {
    let shown = SeenSecrets::default();
    let seen = shown.clone();
    let proxy = Proxy::tampering(app, move |request, answer| {
        seen.note(request, answer);
        if fails(request, answer) {
            repeat_everything(request, answer, status);
        }
    })
    .await;

    let smoke = smoke.clone().at(proxy.url());
    assert_writes_none_of(&shown, &smoke, &format!("{what}, answered with {status}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_output_holds_a_secret_whatever_issues_the_token() {
    let repeats = |status| async move {
        let (app, github) = (healthy_service().await, GitHubSimulator::start().await);
        app.entra.trust_github(CLIENT_ID, github::SUBJECT);
        for traffic in [app.entra.traffic(), github.traffic()] {
            let token = Matching::any().path_contains("token");
            traffic.inject(token, Times::Always, Fault::Echo(status));
            for smoke in [Smoke::of(&app), Smoke::of(&app).in_job(&github)] {
                let (shown, proxy) = watching_proxy(&app).await;
                let case = format!("a token endpoint repeats the request with {status}");
                assert_writes_none_of(&shown, &smoke.at(proxy.url()), &case).await;
            }
            traffic.heal();
        }
    };
    join_all([200, 302, 400, 500].map(repeats)).await;
}

async fn watching_proxy(app: &TestApp) -> (SeenSecrets, Proxy) {
    let shown = SeenSecrets::default();
    let seen = shown.clone();
    (shown, Proxy::tampering(app, move |request, answer| seen.note(request, answer)).await)
}

/// In text, JSON, JUnit report and errors.
async fn assert_writes_none_of(shown: &SeenSecrets, smoke: &Smoke, case: &str) {
    for readable in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let junit = folder.path().join("smoke.xml");
        let smoke = smoke.clone().with(&["--junit", junit.to_str().expect("a path")]);
        let smoke = if readable { smoke.readable() } else { smoke };

        let ended = smoke.run().await;

        let report = std::fs::read_to_string(&junit).expect("a report");
        assert!(report.contains("<testsuite") && !ended.stdout.is_empty(), "{case}: {ended:#?}");
        let all = [&ended.stdout[..], &ended.stderr, &[report]].concat().join("\n");
        smoke.secrets().assert_not_in(case, &all);
        shown.secrets().assert_not_in(case, &all);
    }
}
