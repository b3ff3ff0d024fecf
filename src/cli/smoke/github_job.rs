//! Identity of the GitHub job that runs this test: GitHub signs an assertion that Entra accepts in place of a secret.

use std::time::Duration;

use reqwest::Client;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::check::Failure;
use super::service::bearer;
use crate::config::secure_url;
use crate::outbound::{CallFailure, json, send};

/// URL and token of GitHub's endpoint. GitHub sets both in jobs with the permission `id-token: write`.
pub(super) const VARIABLES: [&str; 2] = ["ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"];

/// Default audience of a federated credential.
const AUDIENCE: &str = "api://AzureADTokenExchange";

const TIMEOUT: Duration = Duration::from_secs(15);

const LARGEST_ANSWER: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct GitHubJob {
    url: Url,
    token: SecretString,
}

impl GitHubJob {
    /// From the values of [`VARIABLES`]. Fails unless the URL is https, since the token is sent there.
    pub(super) fn new(url: &str, token: String) -> Result<Self, String> {
        let mut url = secure_url(url)?;
        url.query_pairs_mut().append_pair("audience", AUDIENCE);
        Ok(Self { url, token: token.into() })
    }

    /// Requests a new assertion. An earlier one may have expired while the test was waiting.
    pub(super) async fn assertion(&self, http: &Client) -> Result<SecretString, Failure> {
        let request = bearer(http.get(self.url.clone()), &self.token).timeout(TIMEOUT);
        let failed = |failure: CallFailure| Failure::unclear(format!("GitHub {failure}"));
        let response = send(request).await.map_err(failed)?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            return Err(Failure::unclear(format!("GitHub issues no assertion for this job ({status})")));
        }
        json::<Assertion>(response, LARGEST_ANSWER).await.map(|assertion| assertion.value).map_err(failed)
    }
}

#[derive(Deserialize)]
struct Assertion {
    value: SecretString,
}
