//! Gets this test's tokens from Entra (client credentials grant).

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::check::{Dependency, Failure};
use super::github_job::GitHubJob;
use crate::outbound::{CallFailure, json, refusal_code, send};

const TOKEN_TIMEOUT: Duration = Duration::from_secs(15);

const LARGEST_ANSWER: usize = 64 * 1024;

/// RFC 7523 §2.2: the client authenticates by an assertion.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An Entra application that may create and delete rooms.
#[derive(Debug)]
pub(super) struct EntraClient {
    pub(super) token_url: Url,
    pub(super) client_id: String,
    pub(super) proof: Proof,
    pub(super) scope: String,
    pub(super) foreign_scope: String,
}

/// How the application authenticates.
#[derive(Debug)]
pub(super) enum Proof {
    Secret(SecretString),
    Job(GitHubJob),
}

impl EntraClient {
    /// A token for the room API.
    pub(super) async fn token(&self, http: &Client) -> Result<SecretString, Failure> {
        self.token_for(&self.scope, http).await
    }

    /// A valid token for another API.
    pub(super) async fn foreign_token(&self, http: &Client) -> Result<SecretString, Failure> {
        self.token_for(&self.foreign_scope, http).await
    }

    async fn token_for(&self, scope: &str, http: &Client) -> Result<SecretString, Failure> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.client_id)
            .append_pair("scope", scope);
        match &self.proof {
            Proof::Secret(secret) => form.append_pair("client_secret", secret.expose_secret()),
            Proof::Job(job) => {
                let assertion = job.assertion(http).await?;
                form.append_pair("client_assertion_type", JWT_BEARER)
                    .append_pair("client_assertion", assertion.expose_secret())
            }
        };
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let request = http.post(self.token_url.clone()).timeout(TOKEN_TIMEOUT).header(CONTENT_TYPE, form_type);
        let failed = |failure: CallFailure| Failure::unclear(format!("Entra {failure} (seen from this machine)"));
        let response = send(request.body(form.finish())).await.map_err(failed)?;
        let status = response.status();
        if status.is_success() {
            return json::<TokenAnswer>(response, LARGEST_ANSWER)
                .await
                .map(|answer| answer.access_token)
                .map_err(failed);
        }
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            let detail = format!("Entra issues no token ({})", status.as_u16());
            return Err(Failure::dependency(Dependency::Entra, detail));
        }
        Err(Failure::unclear(format!(
            "Entra issues no token ({} {}); check the SMOKE_ENTRA_ variables",
            status.as_u16(),
            refusal_code(response).await.unwrap_or("without an error code")
        )))
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
}
