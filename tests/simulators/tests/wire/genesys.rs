use std::time::Duration;

use maxconf_simulators::{GenesysSimulator, GenesysToken};
use serde_json::Value;

use crate::client;

async fn ask(genesys: &GenesysSimulator, path: &str, token: &str) -> (u16, Value) {
    let url = genesys.api_url().join(path).expect("a path");
    let answer = client().get(url).bearer_auth(token).send().await.expect("an answer");
    assert!(answer.headers().contains_key("inin-correlation-id"));
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn a_token_has_its_organisation_client_and_user() {
    let genesys = GenesysSimulator::start().await;
    let token = genesys.issue_token();

    let (_, info) = ask(&genesys, "api/v2/tokens/me?preserveIdleTTL=true", &token).await;
    let (_, user) = ask(&genesys, "api/v2/users/me?expand=authorization", &token).await;

    assert_eq!(info["organization"]["id"], genesys.organization_id());
    assert_eq!(info["OAuthClient"]["id"], genesys.oauth_client_id());
    assert_eq!(info.get("clonedUser"), None);
    assert_eq!(user["state"], "active");
    assert!(user["authorization"]["permissions"].is_array());
    assert_eq!(genesys.idle_timer_resets(&token), 0);
    ask(&genesys, "api/v2/tokens/me", &token).await;
    assert_eq!(genesys.idle_timer_resets(&token), 1);
}

#[tokio::test]
async fn members_can_be_omitted_and_tokens_end() {
    let genesys = GenesysSimulator::start().await;
    let bare = genesys.issue(GenesysToken::default().omit("OAuthClient.id").omit("homeOrganization").omit("state"));
    let idle = genesys.issue(GenesysToken { idles_in: Some(Duration::ZERO), ..GenesysToken::default() });

    let (_, info) = ask(&genesys, "api/v2/tokens/me", &bare).await;
    assert_eq!((info["OAuthClient"].get("id"), info.get("homeOrganization")), (None, None));
    assert!(info["OAuthClient"]["name"].is_string());
    assert_eq!(ask(&genesys, "api/v2/users/me", &bare).await.1.get("state"), None);
    assert_eq!(ask(&genesys, "api/v2/tokens/me", &idle).await.1["code"], "credentials.expired");
    genesys.revoke(&bare);
    let (status, body) = ask(&genesys, "api/v2/tokens/me", &bare).await;
    assert_eq!((status, body["code"].as_str()), (401, Some("bad.credentials")));
}

#[tokio::test]
async fn a_clients_own_token_has_no_user() {
    let genesys = GenesysSimulator::start().await;
    let own = genesys.issue(GenesysToken::default().client_credentials());
    let (status, info) = ask(&genesys, "api/v2/tokens/me", &own).await;
    assert_eq!((status, &info["OAuthClient"]["authorizedGrantType"]), (200, &"CLIENT-CREDENTIALS".into()));
    let (status, refusal) = ask(&genesys, "api/v2/users/me", &own).await;
    assert_eq!((status, refusal["status"].as_u64()), (400, Some(400)));
}
