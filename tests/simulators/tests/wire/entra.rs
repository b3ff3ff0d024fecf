use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use maxconf_simulators::entra::{CLIENT_ID, CLIENT_SECRET, SigningKey, Version};
use maxconf_simulators::github::{self, SUBJECT};
use maxconf_simulators::{EntraSimulator, GitHubSimulator};
use serde_json::{Value, json};

use crate::client;

fn part(token: &str, at: usize) -> Value {
    let encoded = token.split('.').nth(at).expect("three parts");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}

async fn get(url: &str) -> Value {
    client().get(url).send().await.expect("an answer").json().await.expect("JSON")
}

async fn ask(entra: &EntraSimulator, secret: &str, scope: &str) -> (u16, Value) {
    let body = format!("grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={secret}&scope={scope}");
    let answer = client().post(entra.token_url()).body(body).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn discovery_leads_to_the_signing_key() {
    let entra = EntraSimulator::start().await;
    let rotated = entra.rotate_key();
    let authority = entra.authority_url();

    let metadata = get(&format!("{authority}{}/v2.0/.well-known/openid-configuration", entra.tenant_id())).await;
    assert_eq!(metadata["issuer"], format!("{authority}{}/v2.0", entra.tenant_id()));
    let keys = get(metadata["jwks_uri"].as_str().expect("an address")).await;
    let token = entra.token().build();

    assert_eq!(part(&token, 0)["kid"], rotated.kid);
    assert_eq!(keys["keys"][1]["kid"], rotated.kid);
    assert_eq!(keys["keys"][1], entra.jwk_json(&rotated));
    assert_eq!(keys["keys"][1]["issuer"], format!("{authority}{{tenantid}}/v2.0"));
    let modulus = keys["keys"][1]["n"].as_str().expect("a modulus");
    assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(modulus).expect("base64url").len(), 256);
    assert_ne!(SigningKey::unpublished().kid, rotated.kid);

    let v1 = get(&format!("{authority}{}/.well-known/openid-configuration", entra.tenant_id())).await;
    let v1_keys = get(v1["jwks_uri"].as_str().expect("an address")).await;
    assert_eq!(v1["issuer"], format!("https://sts.windows.net/{}/", entra.tenant_id()));
    assert_eq!(v1_keys["keys"][1].get("issuer"), None);
}

#[tokio::test]
async fn the_token_endpoint_issues_both_versions_and_refuses_wrong_secrets() {
    let entra = EntraSimulator::start().await;
    let scope = format!("{}/.default", entra.app_id_uri());

    let (status, v2) = ask(&entra, CLIENT_SECRET, &scope).await;
    let claims = part(v2["access_token"].as_str().expect("a token"), 1);
    assert_eq!(status, 200);
    assert_eq!((&claims["ver"], &claims["aud"]), (&json!("2.0"), &json!(entra.audience())));
    assert_eq!(claims["roles"], json!(["Room.Create", "Room.Delete", "Room.Read"]));

    entra.issue_version(Version::V1);
    let (_, v1) = ask(&entra, CLIENT_SECRET, &scope).await;
    let claims = part(v1["access_token"].as_str().expect("a token"), 1);
    assert_eq!((&claims["ver"], &claims["aud"]), (&json!("1.0"), &json!(entra.app_id_uri())));
    assert_eq!((&claims["appid"], claims.get("azp")), (&json!(CLIENT_ID), None));

    assert_eq!(ask(&entra, "wrong", &scope).await.1["error"], "invalid_client");
    assert_eq!(ask(&entra, CLIENT_SECRET, entra.app_id_uri()).await.1["error"], "invalid_scope");
}

#[tokio::test]
async fn callers_that_are_the_api_get_tokens_for_themselves_without_roles() {
    let entra = EntraSimulator::start().await;
    assert_eq!(entra.scope(), format!("{}/.default", entra.app_id_uri()));
    entra.make_callers_the_api();
    assert_eq!(entra.scope(), format!("api://{CLIENT_ID}/.default"));

    let (status, issued) = ask(&entra, CLIENT_SECRET, &entra.scope()).await;

    assert_eq!(status, 200);
    for token in [issued["access_token"].as_str().expect("a token"), &entra.token().build()] {
        let claims = part(token, 1);
        assert_eq!((&claims["aud"], &claims["azp"]), (&json!(CLIENT_ID), &json!(CLIENT_ID)));
        assert_eq!((claims.get("roles"), &claims["idtyp"]), (None, &json!("app")));
    }
}

#[tokio::test]
async fn githubs_assertion_is_accepted_if_the_client_has_a_federated_credential() {
    const AUDIENCE: &str = "api://AzureADTokenExchange";
    const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let github = GitHubSimulator::start().await;
    let [(_, url), (_, token)] = github.environment();
    let asked = client().get(format!("{url}&audience={AUDIENCE}"));
    assert_eq!(asked.try_clone().expect("no body").send().await.expect("an answer").status(), 401);
    let assertion: Value = asked.bearer_auth(token).send().await.expect("an answer").json().await.expect("JSON");
    let assertion = assertion["value"].as_str().expect("a token");
    let (signed, signature) = assertion.rsplit_once('.').expect("three parts");
    let altered = format!("{signed}.{}", signature.chars().rev().collect::<String>());

    for (trusted, kind, assertion, error) in [
        (Some(SUBJECT), JWT_BEARER, assertion, None),
        (Some("repo:example/maxconf-api:environment:prod"), JWT_BEARER, assertion, Some("invalid_client")),
        (None, JWT_BEARER, assertion, Some("invalid_client")),
        (Some(SUBJECT), "saml2-bearer", assertion, Some("invalid_request")),
        (Some(SUBJECT), JWT_BEARER, &altered, Some("invalid_client")),
        (Some(SUBJECT), JWT_BEARER, &github::assertion("https://github.com/example", 300), Some("invalid_client")),
        (Some(SUBJECT), JWT_BEARER, &github::assertion(AUDIENCE, -1), Some("invalid_client")),
    ] {
        let entra = EntraSimulator::start().await;
        if let Some(subject) = trusted {
            entra.trust_github(CLIENT_ID, subject);
        }
        let scope = format!("{}/.default", entra.app_id_uri());
        let body = format!(
            "grant_type=client_credentials&client_id={CLIENT_ID}&scope={scope}&client_assertion_type={kind}&client_assertion={assertion}"
        );
        let answer = client().post(entra.token_url()).body(body).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");

        assert_eq!(answer["error"].as_str(), error, "{trusted:?} {kind} {assertion}: {answer}");
        assert_eq!(answer["access_token"].is_string(), error.is_none(), "{answer}");
    }
}

#[tokio::test]
async fn keys_can_be_removed_or_replaced_by_any_text() {
    let entra = EntraSimulator::start().await;
    let url = format!("{}{}/discovery/v2.0/keys", entra.authority_url(), entra.tenant_id());

    entra.rotate_key();
    entra.remove_key(&entra.keys()[0].kid);
    assert_eq!(get(&url).await["keys"].as_array().map(Vec::len), Some(1));
    entra.publish_raw_jwks(Some(r#"{"keys":[{"kty":"oct"}]}"#.to_owned()));
    assert_eq!(get(&url).await["keys"][0]["kty"], "oct");
}
