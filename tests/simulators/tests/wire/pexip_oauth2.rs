//! OAuth2 of the management API: assertions, tokens, and the ways in which the API refuses a client.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use maxconf_simulators::PexipSimulator;
use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::client;

const CLIENT_ID: &str = "room-service";
const ROOMS: &str = "api/admin/configuration/v1/conference/";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A node with one OAuth2 client, whose private key the test has.
struct Node {
    pexip: PexipSimulator,
    key: EcdsaKeyPair,
    client: Client,
}

impl Node {
    async fn start() -> Self {
        let pexip = PexipSimulator::start().await;
        let key = key_of(&pexip.add_oauth2_client(CLIENT_ID));
        Self { pexip, key, client: client() }
    }

    fn token_endpoint(&self) -> String {
        self.pexip.management_url().join("oauth/token/").expect("a path").to_string()
    }

    /// The claims that the contract asks for.
    fn claims(&self) -> Value {
        json!({
            "iss": CLIENT_ID, "sub": CLIENT_ID, "aud": self.token_endpoint(), "iat": now(), "exp": now() + 3600,
            "jti": format!("{:?}", std::time::Instant::now()),
        })
    }

    fn assertion(&self, claims: &Value) -> String {
        signed(&self.key, &json!({"alg": "ES256", "typ": "JWT"}), claims)
    }

    async fn ask(&self, form: &[(&str, &str)]) -> Response {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.client.post(self.token_endpoint());
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        request.send().await.expect("an answer")
    }

    async fn ask_with(&self, assertion: &str) -> Response {
        let form = [("grant_type", "client_credentials"), ("client_assertion_type", ASSERTION_TYPE)];
        self.ask(&[form[0], form[1], ("client_assertion", assertion)]).await
    }

    async fn token(&self) -> String {
        let answer = self.ask_with(&self.assertion(&self.claims())).await;
        assert_eq!(answer.status(), 200);
        let token: Value = answer.json().await.expect("JSON");
        token["access_token"].as_str().expect("a token").to_owned()
    }

    /// Status of a list of rooms with this token.
    async fn list(&self, token: &str) -> u16 {
        let url = self.pexip.management_url().join(ROOMS).expect("a path");
        self.client.get(url).bearer_auth(token).send().await.expect("an answer").status().as_u16()
    }

    /// Status of a list of rooms with the account's password.
    async fn list_with_password(&self) -> u16 {
        let url = self.pexip.management_url().join(ROOMS).expect("a path");
        let request = self.client.get(url).basic_auth(self.pexip.username(), Some(self.pexip.password()));
        request.send().await.expect("an answer").status().as_u16()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

fn key_of(pem: &str) -> EcdsaKeyPair {
    let encoded: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let key = BASE64_STANDARD.decode(encoded).expect("Base64");
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key).expect("a P-256 key")
}

fn signed(key: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let encoded = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    let text = format!("{}.{}", encoded(header), encoded(claims));
    let signature = key.sign(&SystemRandom::new(), text.as_bytes()).expect("a signature");
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

#[tokio::test]
async fn an_assertion_gets_a_token_that_the_api_accepts() {
    let node = Node::start().await;

    let answer = node.ask_with(&node.assertion(&node.claims())).await;

    assert_eq!(answer.status(), 200);
    let token: Value = answer.json().await.expect("JSON");
    assert_eq!((&token["expires_in"], &token["token_type"]), (&json!(3600), &json!("Bearer")));
    assert_eq!(node.list(token["access_token"].as_str().expect("a token")).await, 200);
    assert_eq!(node.list("unknown").await, 401);
    assert_eq!(node.list_with_password().await, 200, "Basic stays on beside OAuth2");
    assert_eq!(node.pexip.oauth2_tokens_issued(), 1);
}

#[tokio::test]
async fn the_node_is_known_by_both_names_of_this_machine() {
    let node = Node::start().await;
    for name in ["127.0.0.1", "localhost"] {
        let mut claims = node.claims();
        claims["aud"] = json!(node.token_endpoint().replace("127.0.0.1", name));
        assert_eq!(node.ask_with(&node.assertion(&claims)).await.status(), 200, "{name}");
    }
}

#[tokio::test]
async fn each_claim_of_an_assertion_is_checked() {
    let node = Node::start().await;
    let wrong = [
        ("iss", json!("another-client")),
        ("sub", json!("another-client")),
        ("aud", json!("https://pexip.example.org/oauth/token/")),
        ("aud", json!(node.pexip.management_url())),
        ("iat", json!(now() + 60)),
        ("exp", json!(now())),
        ("exp", json!(now() + 3700)),
        ("jti", Value::Null),
    ];
    for (claim, value) in wrong {
        let mut claims = node.claims();
        claims[claim] = value;
        let answer = node.ask_with(&node.assertion(&claims)).await;
        assert_eq!(answer.status(), 401, "{claims}");
        assert_eq!(answer.json::<Value>().await.expect("JSON"), json!({"error": "invalid_client"}), "{claims}");
    }

    let other_key = key_of(&PexipSimulator::start().await.add_oauth2_client(CLIENT_ID));
    let foreign = signed(&other_key, &json!({"alg": "ES256"}), &node.claims());
    assert_eq!(node.ask_with(&foreign).await.status(), 401, "the key of another client");
    let other_algorithm = signed(&node.key, &json!({"alg": "ES384"}), &node.claims());
    assert_eq!(node.ask_with(&other_algorithm).await.status(), 401, "an algorithm other than ES256");
    assert_eq!(node.ask_with("no.assertion").await.status(), 401);
    assert_eq!(node.pexip.oauth2_tokens_issued(), 0);

    let assertion = node.assertion(&node.claims());
    assert_eq!(node.ask_with(&assertion).await.status(), 200);
    assert_eq!(node.ask_with(&assertion).await.status(), 401, "an assertion is accepted once");
}

#[tokio::test]
async fn the_token_endpoint_refuses_other_grants_and_other_clients() {
    let node = Node::start().await;
    let assertion = node.assertion(&node.claims());
    let refused = [
        (["password", ASSERTION_TYPE, &assertion], 400, "unsupported_grant_type"),
        (
            ["client_credentials", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", &assertion],
            400,
            "invalid_request",
        ),
        (["client_credentials", ASSERTION_TYPE, ""], 401, "invalid_client"),
    ];
    for ([grant, kind, assertion], status, error) in refused {
        let answer =
            node.ask(&[("grant_type", grant), ("client_assertion_type", kind), ("client_assertion", assertion)]).await;
        assert_eq!(answer.status(), status, "{grant} {kind}");
        assert_eq!(answer.json::<Value>().await.expect("JSON"), json!({ "error": error }), "{grant} {kind}");
    }
    let without = node.ask(&[("grant_type", "client_credentials"), ("client_assertion_type", ASSERTION_TYPE)]).await;
    assert_eq!(without.status(), 400, "no assertion");

    node.pexip.remove_oauth2_client(CLIENT_ID);
    assert_eq!(node.ask_with(&assertion).await.status(), 401, "a client that was removed");
}

#[tokio::test]
async fn tokens_expire_by_the_platforms_clock() {
    let node = Node::start().await;
    node.pexip.set_oauth2_token_lifetime(Duration::from_secs(600));
    let token = node.token().await;

    node.pexip.advance(Duration::from_secs(590));
    assert_eq!(node.list(&token).await, 200);
    node.pexip.advance(Duration::from_secs(10));
    assert_eq!(node.list(&token).await, 401);
}

#[tokio::test]
async fn revoked_tokens_are_refused_and_new_ones_are_accepted() {
    let node = Node::start().await;
    let revoked = [node.token().await, node.token().await];

    node.pexip.revoke_oauth2_tokens();

    for token in &revoked {
        assert_eq!(node.list(token).await, 401);
    }
    assert_eq!(node.list(&node.token().await).await, 200);
    assert_eq!(node.pexip.oauth2_tokens_issued(), 3);
}

#[tokio::test]
async fn basic_can_be_switched_off_beside_oauth2() {
    let node = Node::start().await;

    node.pexip.accept_basic(false);

    assert_eq!(node.list_with_password().await, 401);
    let token = node.token().await;
    assert_eq!(node.list(&token).await, 200);
    node.pexip.accept_basic(true);
    assert_eq!(node.list_with_password().await, 200);
}

#[tokio::test]
async fn a_demanded_client_certificate_refuses_passwords_and_tokens() {
    let node = Node::start().await;
    let token = node.token().await;

    node.pexip.demand_client_certificate(true);

    assert_eq!((node.list_with_password().await, node.list(&token).await), (401, 401));
    node.pexip.demand_client_certificate(false);
    assert_eq!(node.list(&token).await, 200);
}
