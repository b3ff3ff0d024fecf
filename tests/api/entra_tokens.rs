//! Entra tokens that are accepted, and requests that are refused before their token is verified.

use maxconf_simulators::entra::{API_CLIENT_ID, APP_ID_URI, CLIENT_ID, CLIENT_SECRET, TokenBuilder, Version};

use crate::support::{Ahead, Answer, IDIM_CREATE, IDIM_DELETE, TestApp, v1_key_fetches, v2_key_fetches, within};

/// The valid token of each version.
fn both_versions(app: &TestApp) -> [TokenBuilder; 2] {
    [app.entra.token(), app.entra.token().v1()]
}

fn bearer(token: impl std::fmt::Display) -> Vec<u8> {
    format!("Bearer {token}").into_bytes()
}

async fn assert_accepted(app: &TestApp, name: &str, authorization: impl AsRef<[u8]>) {
    let created = app.ask_idim(&IDIM_CREATE, &authorization).await;
    assert_eq!(created.status, 200, "{name}: {created:?}");
    let deleted = app.ask_idim(&IDIM_DELETE, &authorization).await;
    deleted.assert_problem(404, "room_not_found");
}

#[tokio::test]
async fn valid_tokens_of_both_versions_are_accepted_repeatedly_on_both_routes() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    for valid in both_versions(&app) {
        let now = unix_now();
        let token = valid.clone().build();
        assert_accepted(&app, "as Entra issues it", bearer(&token)).await;
        assert_accepted(&app, "a second time", bearer(&token)).await;
        for scheme in ["bearer", "BEARER", "Bearer "] {
            assert_accepted(&app, scheme, format!("{scheme} {token}")).await;
        }
        for (name, token) in [
            ("without typ", valid.clone().without_header("typ")),
            ("without idtyp", valid.clone().without("idtyp")),
            ("without oid and uti", valid.clone().without("oid").without("uti")),
            ("with more roles", valid.clone().roles(["Other", "Room.Delete", "Room.Create"])),
            ("of a client with a certificate", valid.clone().claim("azpacr", "2").claim("appidacr", "2")),
            ("of 20 hours", valid.clone().expires_in(20 * 3600)),
            ("valid from 55 s on", valid.clone().claim("nbf", now + 55).claim("iat", now + 55)),
            ("of 8,000 bytes", valid.clone().claim("x", "a".repeat(5_000))),
        ] {
            assert_accepted(&app, name, bearer(token.build())).await;
        }
    }
    assert_eq!((v1_key_fetches(&app.entra), v2_key_fetches(&app.entra)), (1, 1));
}

#[tokio::test]
async fn tokens_that_the_token_endpoint_issues_are_accepted_in_both_versions() {
    let app = TestApp::without_pool().await;
    for (version, scope) in [(Version::V2, APP_ID_URI), (Version::V1, APP_ID_URI), (Version::V1, API_CLIENT_ID)] {
        app.entra.issue_version(version);
        let body = format!(
            "grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}&scope={scope}/.default"
        );
        let asked = app.http.post(app.entra.token_url()).body(body).send();
        let issued = Answer::read(within("a token", asked).await.expect("an answer")).await.json();
        let token = issued["access_token"].as_str().expect("a token");
        assert_accepted(&app, &format!("{version:?} for {scope}"), bearer(token)).await;
    }
}

#[tokio::test]
async fn an_accepted_token_is_checked_again_with_each_request() {
    let clock = Ahead::default();
    let app = clock.builder().start().await;
    app.entra_keys_are_read().await;
    let token = app.entra.token().expires_in(600);
    let accepted = token.clone().build();
    assert_accepted(&app, "its first request", bearer(&accepted)).await;

    let (signed, _) = accepted.rsplit_once('.').expect("three segments");
    let of_another = app.entra.token().expires_in(601).build();
    let (_, signature_of_another) = of_another.rsplit_once('.').expect("three segments");
    app.create_with(&format!("{signed}.{signature_of_another}")).await.assert_problem(401, "token_invalid");
    let unsigned = app.create_with(&format!("{signed}.")).await;
    unsigned.assert_problem(401, "token_invalid");
    app.create_with(&accepted).await.room();

    clock.set_ours(661);
    let expired = app.create_with(&accepted).await;
    expired.assert_problem(401, "token_invalid");
    assert_eq!(expired.json()["detail"], "the token has expired");
}

#[tokio::test]
async fn the_settings_name_the_roles() {
    let app = TestApp::with()
        .set("POOL_TARGET_SIZE", 0)
        .set("ENTRA_CREATE_ROLE", "Zimmer.Neu")
        .set("ENTRA_DELETE_ROLE", "Zimmer.Neu")
        .start()
        .await;
    assert_accepted(&app, "the role", bearer(app.entra.token().roles(["Zimmer.Neu"]).build())).await;
    let answer = app.create_room().await;
    answer.assert_problem(403, "not_permitted");
    assert!(answer.header("www-authenticate").ends_with(r#"scope="Zimmer.Neu""#), "{answer:?}");
}

#[tokio::test]
async fn control_characters_in_a_header_are_answered_400() {
    let app = TestApp::without_pool().await;
    let token = app.entra.token().build();
    for control in (0..=31).chain([127]).filter(|control| !b"\t\r\n".contains(control)) {
        let mut request =
            format!("POST /{} HTTP/1.1\r\nhost: maxconf\r\nconnection: close\r\n", IDIM_CREATE.path).into_bytes();
        request.extend([b"authorization: Bearer ", token.as_bytes(), &[control], b"\r\n\r\n"].concat());
        let answer = app.send_raw(request).await;
        assert_eq!(answer.status, 400, "{control}: {answer:?}");
    }
    app.assert_no_outside_calls("control characters");
}

#[tokio::test]
async fn a_token_longer_than_the_header_limit_is_answered_431() {
    let app = TestApp::without_pool().await;
    let token = app.entra.token().claim("x", "a".repeat(600_000)).build();
    let answer = app.create_with(&token).await;
    assert_eq!(answer.status, 431, "{answer:?}");
    app.assert_no_outside_calls("huge token");
}

fn unix_now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}
