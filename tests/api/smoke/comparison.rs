//! `--compare`: the exit code of a change, given the faults before it.

use maxconf_simulators::{Fault, Times};
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use super::proxy::Proxy;
use super::{BROKEN, COULD_NOT_TELL, DEPENDENCY_DOWN, HEALTHY, Smoke, healthy_service, result};
use crate::support::{Call, Ended, TestApp, eventually};

/// The state of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Healthy,
    /// Create answers with another tag.
    WrongTag,
    /// Every origin gets CORS headers.
    OpenCors,
    GenesysDown,
}

/// Runs the test against a service in this state, compared with an earlier result.
async fn run(app: &TestApp, state: State, before: Option<&Ended>) -> Ended {
    let proxy = Proxy::tampering(app, move |request, answer| match state {
        State::WrongTag if request.is(&Method::POST, "/room/create") && answer.status == 200 => {
            answer.set_member("tag", "https://id.gov.bc.ca/idcheck/another");
        }
        State::OpenCors if request.has("origin") => answer.set("access-control-allow-origin", "*"),
        _ => {}
    })
    .await;
    if state == State::GenesysDown {
        for call in [Call::GenesysToken, Call::GenesysUser] {
            call.traffic(app).inject(call.matching(), Times::Always, Fault::Status(503));
        }
    }
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("before.json");
    let mut smoke = Smoke::of(app).at(proxy.url());
    if let Some(before) = before {
        // In this test every run has a proxy with another port.
        let mut result = result(before);
        result["url"] = proxy.url().as_str().into();
        std::fs::write(&file, result.to_string()).expect("a file");
        smoke = smoke.with(&["--compare", file.to_str().expect("a path")]);
    }
    let ended = smoke.run().await;
    app.genesys.traffic().heal();
    ended
}

/// Both runs, each against its own service: verdicts that one has cached do not reach the other.
async fn change(before: State, now: State) -> (Ended, Ended) {
    let earlier = run(&healthy_service().await, before, None).await;
    let later = run(&healthy_service().await, now, Some(&earlier)).await;
    (earlier, later)
}

#[track_caller]
fn novelty(ended: &Ended, check: &str) -> Value {
    let result = result(ended);
    let checks = result["checks"].as_array().expect("checks");
    checks.iter().find(|done| done["name"] == check).expect("the check")["novelty"].clone()
}

#[tokio::test]
async fn only_new_faults_of_the_service_count_for_the_exit_code() {
    for (before, now, code, check, new) in [
        (State::Healthy, State::Healthy, HEALTHY, "tag", Value::Null),
        (State::Healthy, State::WrongTag, BROKEN, "tag", "new".into()),
        // Undoing the change would not help.
        (State::WrongTag, State::WrongTag, HEALTHY, "tag", "old".into()),
        (State::WrongTag, State::OpenCors, BROKEN, "foreign_origin", "new".into()),
        (State::Healthy, State::GenesysDown, DEPENDENCY_DOWN, "public_read", "new".into()),
        (State::GenesysDown, State::GenesysDown, DEPENDENCY_DOWN, "public_read", "old".into()),
        (State::GenesysDown, State::Healthy, HEALTHY, "public_read", Value::Null),
    ] {
        let (earlier, later) = change(before, now).await;

        assert_eq!(later.code, Some(code), "{before:?}, then {now:?}: {earlier:#?} {later:#?}");
        assert_eq!(result(&later)["exit_code"], code, "{before:?}, then {now:?}");
        assert_eq!(novelty(&later, check), new, "{before:?}, then {now:?}: {later:#?}");
        let verdict = result(&later)["verdict"].clone();
        let absolute = match now {
            State::Healthy => "healthy",
            State::WrongTag | State::OpenCors => "broken",
            State::GenesysDown => "dependency_down",
        };
        assert_eq!(verdict, absolute, "the verdict is on the service as it is");
    }
}

#[tokio::test]
async fn a_fault_of_a_check_that_was_not_made_before_is_unknown() {
    let app = healthy_service().await;
    app.pexip.stop().await;
    let earlier = Smoke::of(&app).run().await;
    assert_eq!(earlier.code, Some(DEPENDENCY_DOWN), "{earlier:#?}");
    app.pexip.restart().await;
    let ready = async || app.send(app.request(Method::GET, "health/ready")).await.status == 200;
    eventually("the service is ready again", ready).await;

    let later = run(&app, State::WrongTag, Some(&earlier)).await;

    assert_eq!(later.code, Some(COULD_NOT_TELL), "{later:#?}");
    assert_eq!(novelty(&later, "tag"), "unknown");
}
