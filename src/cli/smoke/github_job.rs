//! Who a GitHub job is, by GitHub's word for a few minutes: Entra takes it in place of a secret that would have to be
//! kept.

use std::time::Duration;

use reqwest::Client;
use reqwest::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::check::Finding;
use super::refusals::secret_header;
use crate::config::secure_url;
use crate::outbound::{CallFailure, json};

/// Where a job asks, and with which token. GitHub sets both in jobs that have the permission `id-token: write`.
pub(super) const VARIABLES: [&str; 2] = ["ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"];

/// Whom the word is for: Entra, in a federated credential's default.
const AUDIENCE: &str = "api://AzureADTokenExchange";

const TIMEOUT: Duration = Duration::from_secs(15);

const LARGEST_ANSWER: usize = 64 * 1024;

/// The job that runs this.
#[derive(Debug)]
pub(super) struct GitHubJob {
    url: Url,
    token: SecretString,
}

impl GitHubJob {
    /// By the values of its [`VARIABLES`]. Fails if the token would not travel by https.
    pub(super) fn new(url: &str, token: String) -> Result<Self, String> {
        let mut url = secure_url(url)?;
        url.query_pairs_mut().append_pair("audience", AUDIENCE);
        Ok(Self { url, token: token.into() })
    }

    /// A new one each time: a test may have waited longer than one is good for.
    pub(super) async fn assertion(&self, http: &Client) -> Result<SecretString, Finding> {
        let authorization = secret_header(&format!("Bearer {}", self.token.expose_secret()));
        let request = http.get(self.url.clone()).timeout(TIMEOUT).header(AUTHORIZATION, authorization);
        let failed = |failure: CallFailure| Finding::unclear(format!("GitHub {failure}"));
        let response = request.send().await.map_err(|error| failed(error.into()))?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            return Err(Finding::unclear(format!("GitHub does not say who this job is ({status})")));
        }
        json::<Word>(response, LARGEST_ANSWER).await.map(|word| word.value).map_err(failed)
    }
}

#[derive(Deserialize)]
struct Word {
    value: SecretString,
}
