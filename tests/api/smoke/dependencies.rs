//! Faults of each dependency, which the test must not attribute to the service.

use maxconf_simulators::entra::CLIENT_ID;
use maxconf_simulators::{Fault, GitHubSimulator, Matching, Times, github};

use super::{BROKEN, COULD_NOT_TELL, DEPENDENCY_DOWN, HEALTHY, Smoke, handed_out, healthy_service, outcomes, service};
use crate::support::{Call, Program, TestApp, World};

/// Runs the test, and checks that it attributes these checks to `dependency`.
async fn assert_attributed(app: &TestApp, dependency: &str, checks: &[&str]) {
    let ended = Smoke::of(app).with(&["--expect-pool"]).run().await;

    assert_eq!(ended.code, Some(DEPENDENCY_DOWN), "{ended:#?}");
    let outcomes = outcomes(&ended);
    for check in checks {
        assert_eq!(outcomes[*check], dependency, "{check}: {ended:#?}");
    }
    assert!(!outcomes.values().any(|outcome| outcome == "ours"), "{ended:#?}");
}

#[tokio::test]
async fn pexip_is_down() {
    let app = healthy_service().await;
    app.pexip.stop().await;

    assert_attributed(&app, "pexip", &["ready", "create"]).await;
}

#[tokio::test]
async fn pexip_refuses_the_services_account() {
    let app = healthy_service().await;
    app.pexip.set_password("another one since today");

    assert_attributed(&app, "pexip", &["ready", "create"]).await;
}

#[tokio::test]
async fn the_queue_is_down() {
    let app = service().start().await;
    app.queue.stop().await;

    assert_attributed(&app, "queue", &["ready", "pool"]).await;
    assert_eq!(handed_out(&app), Vec::<String>::new(), "the direct room is deleted");
}

#[tokio::test]
async fn the_room_records_are_down() {
    let app = service().start().await;
    app.blobs.stop().await;

    assert_attributed(&app, "records", &["ready", "create"]).await;
}

#[tokio::test]
async fn entras_keys_cannot_be_read() {
    let world = World::start().await;
    world.entra.traffic().inject(Call::EntraKeys.matching(), Times::Always, Fault::Status(503));
    let program = Program::start(&["serve"], world.settings());
    let app = TestApp::around(world, program.url().await);

    assert_attributed(&app, "entra", &["ready", "create", "create_with_altered_token"]).await;
}

#[tokio::test]
async fn genesys_is_down() {
    let app = healthy_service().await;
    app.genesys.stop().await;

    assert_attributed(&app, "genesys", &["public_with_unknown_token", "public_read"]).await;
    assert_eq!(handed_out(&app), Vec::<String>::new());
}

#[tokio::test]
async fn entra_gives_no_tokens() {
    let app = healthy_service().await;
    app.entra.traffic().inject(Matching::any().path_contains("/token"), Times::Always, Fault::Status(503));

    assert_attributed(&app, "entra", &["entra_token"]).await;
}

#[tokio::test]
async fn a_github_job_that_entra_trusts_needs_no_secret() {
    for (subject, faults, code, outcome) in [
        (github::SUBJECT, None, HEALTHY, "passed"),
        ("repo:example/maxconf-api:environment:prod", None, COULD_NOT_TELL, "unclear"),
        (github::SUBJECT, Some(Fault::Status(403)), COULD_NOT_TELL, "unclear"),
        (github::SUBJECT, Some(Fault::Rubbish), COULD_NOT_TELL, "unclear"),
        (github::SUBJECT, Some(Fault::HangUpBefore), COULD_NOT_TELL, "unclear"),
        (github::SUBJECT, Some(Fault::Echo(200)), COULD_NOT_TELL, "unclear"),
    ] {
        let (app, github) = (healthy_service().await, GitHubSimulator::start().await);
        app.entra.trust_github(CLIENT_ID, subject);
        if let Some(fault) = faults.clone() {
            github.traffic().inject(Matching::any(), Times::Always, fault);
        }

        let ended = Smoke::of(&app).in_job(&github).run().await;

        assert_eq!(ended.code, Some(code), "{subject} {faults:?}: {ended:#?}");
        assert_eq!(outcomes(&ended)["entra_token"], outcome, "{subject} {faults:?}: {ended:#?}");
        assert_eq!(handed_out(&app), Vec::<String>::new());
    }
}

#[tokio::test]
async fn without_a_token_the_verdict_is_could_not_tell() {
    let app = healthy_service().await;

    for smoke in [
        Smoke::of(&app).set("SMOKE_ENTRA_CLIENT_SECRET", "a wrong secret of the test"),
        Smoke::of(&app).set("SMOKE_ENTRA_TOKEN_URL", "http://127.0.0.1:1/token"),
    ] {
        let ended = smoke.run().await;

        assert_eq!(ended.code, Some(COULD_NOT_TELL), "{ended:#?}");
        assert_eq!(outcomes(&ended)["entra_token"], "unclear");
    }
}

#[tokio::test]
async fn with_an_expired_genesys_token_the_verdict_is_could_not_tell() {
    let app = healthy_service().await;

    let ended = Smoke::of(&app).set("SMOKE_GENESYS_TOKEN", "an-expired-token").run().await;

    assert_eq!(ended.code, Some(COULD_NOT_TELL), "{ended:#?}");
    assert_eq!(outcomes(&ended)["public_read"], "unclear");
}

#[tokio::test]
async fn a_request_that_pexip_refuses_while_everything_is_ready_is_the_services_fault() {
    let app = healthy_service().await;
    app.pexip.traffic().inject(Call::PexipTag.matching(), Times::Always, Fault::Status(400));

    let ended = Smoke::of(&app).run().await;

    assert_eq!(ended.code, Some(BROKEN), "{ended:#?}");
    assert_eq!(outcomes(&ended)["create"], "ours");
}
