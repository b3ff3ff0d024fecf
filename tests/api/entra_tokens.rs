//! Every way in which an Entra token is refused, and the ways in which one is accepted.

mod forgeries;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use maxconf_simulators::entra::{API_CLIENT_ID, APP_ID_URI, CLIENT_ID, CLIENT_SECRET, TokenBuilder, Version};
use serde_json::{Value, json};

use crate::support::{
    Answer, IDIM_CREATE, IDIM_DELETE, IDIM_ROUTES, INVALID_ENTRA_TOKEN, TestApp, eventually, v1_key_fetches,
    v2_key_fetches,
};

const NO_TOKEN: &str = r#"Bearer realm="maxconf""#;
const EXPIRED: &str = r#"Bearer realm="maxconf", error="invalid_token", error_description="the token has expired""#;

/// The valid token of each version.
fn both_versions(app: &TestApp) -> [TokenBuilder; 2] {
    [app.entra.token(), app.entra.token().v1()]
}

/// Asserts that both of IDIM's routes answer this header so, and that nobody outside was asked because of it.
async fn assert_refused(app: &TestApp, name: &str, authorization: &[u8], refusal: (u16, &str, &str)) {
    let other = other_than_refused(app, name, authorization, refusal).await;
    assert!(other.is_empty(), "{other:?}");
}

/// What is not as it should be when both of IDIM's routes are asked with this header.
async fn other_than_refused(
    app: &TestApp,
    name: &str,
    authorization: &[u8],
    (status, code, challenge): (u16, &str, &str),
) -> Vec<String> {
    let mut faults = Vec::new();
    for route in &IDIM_ROUTES {
        let answer = app.ask_idim(route, authorization).await;
        if answer.status != status || answer.json()["code"] != code {
            faults.push(format!("{name}, {} {}: {answer:?}", route.method, route.path));
            app.pexip.traffic().clear();
            continue;
        }
        answer.assert_problem(status, code);
        assert_eq!(answer.header("www-authenticate"), challenge.replace("{role}", route.role), "{name}");
        app.assert_nobody_was_asked(name);
        assert_says_nothing_of(&answer, authorization);
    }
    faults
}

/// No part of what was sent comes back.
fn assert_says_nothing_of(answer: &Answer, authorization: &[u8]) {
    let sent = String::from_utf8_lossy(authorization);
    for part in sent.split([' ', '.']).filter(|part| part.len() > 12) {
        assert!(!format!("{answer:?}").contains(part), "{answer:?}");
    }
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
async fn valid_tokens_of_both_versions_open_both_routes_as_often_as_they_are_sent() {
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
        let with_unknown_twice = r#"{"x":1,"x":2,"#.to_owned() + &payload(&token)[1..];
        assert_accepted(&app, "unknown claim twice", bearer(valid.clone().raw_payload(with_unknown_twice).build()))
            .await;
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
        let issued = app.send(app.http.post(app.entra.token_url()).body(body)).await.json();
        let token = issued["access_token"].as_str().expect("a token");
        assert_accepted(&app, &format!("{version:?} for {scope}"), bearer(token)).await;
    }
}

#[tokio::test]
async fn requests_without_a_bearer_token_are_challenged_without_an_error() {
    let app = TestApp::without_pool().await;
    for route in &IDIM_ROUTES {
        let answer = app.send(app.request(route.method.clone(), route.path)).await;
        answer.assert_problem(401, "token_missing");
        assert_eq!(answer.header("www-authenticate"), NO_TOKEN);
        let elsewhere = app.request(route.method.clone(), route.path).header("x-auth-token", app.entra.token().build());
        app.send(elsewhere.header("cookie", "token=a.b.c")).await.assert_problem(401, "token_missing");
        let in_query = format!("{}{}access_token=a.b.c", route.path, if route.path.contains('?') { '&' } else { '?' });
        let answer = app.send(app.request(route.method.clone(), &in_query)).await;
        answer.assert_problem(401, "token_missing");
    }
    for header in ["", "Basic aWRpbTpzZWNyZXQ=", "Bearertoken", "Token a.b.c", "DPoP a.b.c", "a.b.c"] {
        assert_refused(&app, header, header.as_bytes(), (401, "token_missing", NO_TOKEN)).await;
    }
}

#[tokio::test]
async fn two_tokens_are_no_request_at_all() {
    let app = TestApp::without_pool().await;
    let token = app.entra.token().build();
    for route in &IDIM_ROUTES {
        let ask = |path: &str| app.request(route.method.clone(), path).bearer_auth(&token);
        let mark = if route.path.contains('?') { '&' } else { '?' };
        for request in [
            ask(route.path).bearer_auth(&token),
            ask(route.path).header("authorization", "Basic aWRpbTpzZWNyZXQ="),
            ask(route.path).header("authorization", ""),
            ask(&format!("{}{mark}access_token={token}", route.path)),
            ask(&format!("{}{mark}%61ccess_token=", route.path)),
        ] {
            let answer = app.send(request).await;
            answer.assert_problem(400, "request_invalid");
            assert!(!answer.headers.contains_key("www-authenticate"), "{answer:?}");
        }
    }
    app.assert_nobody_was_asked("two tokens");
}

#[tokio::test]
async fn headers_that_hold_no_token_of_the_agreed_alphabet_are_refused() {
    let app = TestApp::without_pool().await;
    let token = app.entra.token().build();
    let refusal = (401, "token_invalid", INVALID_ENTRA_TOKEN);
    for header in ["Bearer".to_owned(), "Bearer ".to_owned(), "Bearer    ".to_owned(), "Bearer =".to_owned()] {
        assert_refused(&app, &header, header.as_bytes(), refusal).await;
    }
    for wrong in [
        format!("{token} {token}"),
        format!("{token},{token}"),
        format!("{token} , Basic aWRpbTpzZWNyZXQ="),
        format!("\"{token}\""),
        format!("\t{token}"),
        format!("{token}\t{token}"),
        token.replacen('.', ". ", 1),
        token.replacen('.', "%2e", 1),
        format!("{token}é"),
        format!("{token}={token}"),
    ] {
        assert_refused(&app, &wrong, &bearer(&wrong), refusal).await;
    }
    assert_refused(&app, "not UTF-8", &[b"Bearer ", token.as_bytes(), b"\xff"].concat(), refusal).await;
}

#[tokio::test]
async fn forged_tokens_are_refused_alike_and_without_a_look_at_entra() {
    let app = TestApp::without_pool().await;
    app.entra_keys_are_read().await;
    let asked = app.entra.traffic().log().len();

    let mut passed = Vec::new();
    for valid in both_versions(&app) {
        for (name, token) in forgeries::all(&app.entra, &valid) {
            let refusal = (401, "token_invalid", INVALID_ENTRA_TOKEN);
            passed.extend(other_than_refused(&app, &name, &bearer(token), refusal).await);
        }
    }

    assert!(passed.is_empty(), "{passed:#?}");

    assert_eq!(app.entra.traffic().log().len(), asked, "{:?}", app.entra.traffic().log());
    assert_eq!((v1_key_fetches(&app.entra), v2_key_fetches(&app.entra)), (1, 1));
}

#[tokio::test]
async fn the_clocks_may_differ_by_a_minute_and_no_more() {
    for version in 0..2 {
        let app = TestApp::without_pool().await;
        let valid = both_versions(&app)[version].clone();
        for seconds in [62, 3_600, 86_400 * 400] {
            let token =
                valid.clone().claim("iat", 1_000_000_000).claim("nbf", 1_000_000_000).expires_in(-seconds).build();
            assert_refused(&app, "expired", &bearer(token), (401, "token_invalid", EXPIRED)).await;
        }
        // Of these, only the ones that are answered within the second count; under load that takes some tries.
        eventually("a token that expired 59 s ago is accepted", async || {
            app.create_with(&valid.clone().expires_in(-59).build()).await.status == 200
        })
        .await;
        eventually("a token that is valid in 62 s is refused", async || {
            let token = valid.clone().claim("nbf", unix_now() + 62).build();
            app.create_with(&token).await.status == 401
        })
        .await;
    }
}

#[tokio::test]
async fn a_proven_caller_without_the_routes_role_is_not_permitted() {
    let app = TestApp::with()
        .set("POOL_TARGET_SIZE", 0)
        .set("ENTRA_ALLOWED_CLIENT_IDS", format!("99999999-2222-4333-8444-555555555555, {}", CLIENT_ID.to_uppercase()))
        .start()
        .await;
    let stranger = "22222222-2222-4333-8444-555555555555";
    let refusal = (403, "not_permitted", r#"Bearer realm="maxconf", error="insufficient_scope", scope="{role}""#);
    for (valid, client) in both_versions(&app).into_iter().zip(["azp", "appid"]) {
        assert_accepted(&app, "a client on the list", bearer(valid.clone().build())).await;
        app.pexip.traffic().clear();
        for (name, token) in [
            ("no roles", valid.clone().without("roles")),
            ("empty roles", valid.clone().roles([])),
            (
                "other roles",
                valid.clone().roles(["Room.Read", "room.create", "room.delete", "Room.Create Room.Delete"]),
            ),
            ("roles with blanks", valid.clone().roles([" Room.Create", "Room.Delete "])),
            ("client not on the list", valid.clone().claim(client, stranger)),
            ("no client", valid.clone().without(client)),
            (
                "client in the other version's claim",
                valid.clone().without(client).claim("azp", CLIENT_ID).claim("appid", CLIENT_ID).claim(client, stranger),
            ),
            ("scp", valid.clone().claim("scp", "Room.Create")),
            ("empty scp", valid.clone().claim("scp", "")),
            ("scp null", valid.clone().claim("scp", Value::Null)),
            ("scp array", valid.clone().claim("scp", json!([]))),
            ("idtyp user", valid.clone().claim("idtyp", "user")),
            ("idtyp App", valid.clone().claim("idtyp", "App")),
            ("public client", valid.clone().claim("azpacr", "0").claim("appidacr", "0")),
        ] {
            assert_refused(&app, name, &bearer(token.build()), refusal).await;
        }
    }
    assert_eq!((v1_key_fetches(&app.entra), v2_key_fetches(&app.entra)), (1, 1));
}

#[tokio::test]
async fn each_route_asks_for_its_own_role() {
    let app = TestApp::without_pool().await;
    for (held, other) in [(&IDIM_CREATE, &IDIM_DELETE), (&IDIM_DELETE, &IDIM_CREATE)] {
        for valid in both_versions(&app) {
            let token = bearer(valid.roles([held.role]).build());
            let answer = app.ask_idim(other, &token).await;
            answer.assert_problem(403, "not_permitted");
            let challenge = format!(r#"Bearer realm="maxconf", error="insufficient_scope", scope="{}""#, other.role);
            assert_eq!(answer.header("www-authenticate"), challenge);
            assert_ne!(app.ask_idim(held, &token).await.status, 403);
        }
    }
}

#[tokio::test]
async fn roles_are_what_the_settings_name() {
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
async fn a_deeply_nested_claim_does_no_harm() {
    let app = TestApp::without_pool().await;
    let token = app.entra.token().build();
    let nested = format!(r#"{{"x":{}{},"#, "[".repeat(200), "]".repeat(200)) + &payload(&token)[1..];
    let answer = app.create_with(&app.entra.token().raw_payload(nested).build()).await;
    assert!([200, 401].contains(&answer.status.as_u16()), "{answer:?}");
    assert_accepted(&app, "the next token", bearer(token)).await;
}

#[tokio::test]
async fn tokens_longer_than_any_header_may_be_never_reach_the_service() {
    let app = TestApp::without_pool().await;
    let token = app.entra.token().claim("x", "a".repeat(600_000)).build();
    let answer = app.create_with(&token).await;
    assert_eq!(answer.status, 431, "{answer:?}");
    app.assert_nobody_was_asked("huge token");
}

fn payload(token: &str) -> String {
    let segment = token.split('.').nth(1).expect("three segments");
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(segment).expect("base64url")).expect("text")
}

fn unix_now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}
