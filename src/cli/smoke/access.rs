use std::ffi::OsString;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::check::{Dependency, Finding};
use super::github_job::{self, GitHubJob};
use crate::config::secure_url;
use crate::outbound::{CallFailure, json};

/// Azure Resource Manager: every application can have a token for it, signed with the same keys as ours. (Microsoft
/// Graph's tokens are signed in a way that only Graph can verify, so their audience would not be looked at.)
const FOREIGN_SCOPE: &str = "https://management.azure.com/.default";

/// The longest that Entra may take for a token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(15);

const LARGEST_ANSWER: usize = 64 * 1024;

/// RFC 7523 §2.2: an assertion proves who the client is.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What RFC 6749 §5.2 lets a token endpoint say; anything else is not repeated.
const OAUTH_ERRORS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// Environment variables, with their meaning.
pub(super) const VARIABLES: [(&str, &str); 7] = [
    (
        "SMOKE_ENTRA_TOKEN_URL",
        "Where Entra gives tokens: https://login.microsoftonline.com/<tenant>/oauth2/v2.0/token.",
    ),
    ("SMOKE_ENTRA_CLIENT_ID", "Client id of an application that may create and delete rooms."),
    (
        "SMOKE_ENTRA_CLIENT_SECRET",
        "Secret of that application; not needed in a GitHub job with the permission id-token: write, which the application \
         trusts by a federated credential.",
    ),
    ("SMOKE_ENTRA_SCOPE", "Scope of the room API: <App ID URI>/.default."),
    ("SMOKE_ENTRA_FOREIGN_SCOPE", "Scope of any other API; Azure Resource Manager's by default."),
    ("SMOKE_GENESYS_TOKEN", "Token of an agent; without it the public read is reported as not checked."),
    ("SMOKE_ORIGIN", "Origin of the widget's page; without it the widget's CORS headers are reported as not checked."),
];

/// What this test may show the service. From the environment, for arguments can be seen by everybody on the machine.
#[derive(Debug)]
pub struct Access {
    pub(super) entra: Option<EntraCredentials>,
    pub(super) genesys_token: Option<SecretString>,
    pub(super) origin: Option<String>,
}

/// An application that can get tokens from Entra.
#[derive(Debug)]
pub(super) struct EntraCredentials {
    token_url: Url,
    client_id: String,
    proof: Proof,
    scope: String,
    foreign_scope: String,
}

/// How the application shows that it is the one.
#[derive(Debug)]
enum Proof {
    Secret(SecretString),
    Job(GitHubJob),
}

/// The environment cannot be used. Names variables, never values.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAccess {
    #[error("{0} cannot be used: {1}")]
    Unusable(&'static str, String),
    #[error("{0} is missing: the SMOKE_ENTRA_ variables are set all together or not at all")]
    Missing(&'static str),
}

impl Access {
    /// Reads the environment of the process.
    pub fn from_env() -> Result<Self, InvalidAccess> {
        #[expect(clippy::disallowed_methods, reason = "a client of the service, which has no settings of the service")]
        Self::read(std::env::var_os)
    }

    /// Reads it from `source`. What is empty is not set: pipelines pass a secret that they do not have as nothing.
    fn read(source: impl Fn(&'static str) -> Option<OsString>) -> Result<Self, InvalidAccess> {
        let value = |name| match source(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) if text.trim().is_empty() => Ok(None),
            // Whatever is sent in a header is sent as it stands here.
            Some(Ok(text)) if text.trim().bytes().all(|byte| (b' '..=b'~').contains(&byte)) => {
                Ok(Some(text.trim().to_owned()))
            }
            Some(_) => Err(InvalidAccess::Unusable(name, "it has characters that are not ASCII".to_owned())),
        };
        Ok(Self {
            entra: EntraCredentials::read(value)?,
            genesys_token: value("SMOKE_GENESYS_TOKEN")?.map(Into::into),
            origin: value("SMOKE_ORIGIN")?,
        })
    }
}

impl EntraCredentials {
    fn read(
        value: impl Fn(&'static str) -> Result<Option<String>, InvalidAccess>,
    ) -> Result<Option<Self>, InvalidAccess> {
        const SECRET: &str = "SMOKE_ENTRA_CLIENT_SECRET";
        const TOGETHER: [&str; 3] = ["SMOKE_ENTRA_TOKEN_URL", "SMOKE_ENTRA_CLIENT_ID", "SMOKE_ENTRA_SCOPE"];

        let mut given = Vec::new();
        let mut missing = None;
        for name in TOGETHER {
            match value(name)? {
                Some(value) => given.push(value),
                None => missing = missing.or(Some(name)),
            }
        }
        let secret = value(SECRET)?;
        if given.is_empty() && secret.is_none() {
            return Ok(None);
        }
        let Ok([token_url, client_id, scope]) = <[String; 3]>::try_from(given) else {
            return Err(InvalidAccess::Missing(missing.unwrap_or(TOGETHER[0])));
        };
        let [request_url, request_token] = github_job::VARIABLES;
        let proof = match (secret, value(request_url)?, value(request_token)?) {
            (Some(secret), _, _) => Proof::Secret(secret.into()),
            (None, Some(url), Some(token)) => {
                Proof::Job(GitHubJob::new(&url, token).map_err(|fault| InvalidAccess::Unusable(request_url, fault))?)
            }
            (None, _, _) => return Err(InvalidAccess::Missing(SECRET)),
        };
        Ok(Some(Self {
            token_url: secure_url(&token_url).map_err(|fault| InvalidAccess::Unusable(TOGETHER[0], fault))?,
            client_id,
            proof,
            scope,
            foreign_scope: value("SMOKE_ENTRA_FOREIGN_SCOPE")?.unwrap_or_else(|| FOREIGN_SCOPE.to_owned()),
        }))
    }

    /// A token for the room API.
    pub(super) async fn token(&self, http: &Client) -> Result<SecretString, Finding> {
        self.token_for(&self.scope, http).await
    }

    /// A good token, but for another API.
    pub(super) async fn foreign_token(&self, http: &Client) -> Result<SecretString, Finding> {
        self.token_for(&self.foreign_scope, http).await
    }

    /// Client credentials, as the Microsoft identity platform takes them.
    async fn token_for(&self, scope: &str, http: &Client) -> Result<SecretString, Finding> {
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
        let response = request.body(form.finish()).send().await.map_err(|error| {
            let failure = CallFailure::from(error);
            Finding::unclear(format!("Entra {failure}, seen from here"))
        })?;
        let status = response.status();
        if status.is_success() {
            let answer = json::<TokenAnswer>(response, LARGEST_ANSWER).await;
            let answer = answer.map_err(|failure| Finding::unclear(format!("Entra {failure}")))?;
            return Ok(answer.access_token);
        }
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Finding::dependency(Dependency::Entra, format!("Entra gives no token ({})", status.as_u16())));
        }
        let error = json::<TokenRefusal>(response, LARGEST_ANSWER).await.map(|refusal| refusal.error);
        let error = error.ok().and_then(|error| OAUTH_ERRORS.into_iter().find(|known| *known == error));
        Err(Finding::unclear(format!(
            "Entra gives no token ({} {}); check SMOKE_ENTRA_…",
            status.as_u16(),
            error.unwrap_or("without a reason")
        )))
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
}

#[derive(Deserialize)]
struct TokenRefusal {
    error: String,
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn read(values: &[(&'static str, &str)]) -> Result<Access, InvalidAccess> {
        let values: HashMap<_, _> = values.iter().copied().collect();
        Access::read(|name| values.get(name).map(OsString::from))
    }

    const ENTRA: [(&str, &str); 4] = [
        ("SMOKE_ENTRA_TOKEN_URL", "https://login.example.org/tenant/oauth2/v2.0/token"),
        ("SMOKE_ENTRA_CLIENT_ID", "client"),
        ("SMOKE_ENTRA_CLIENT_SECRET", "a secret that nobody sees"),
        ("SMOKE_ENTRA_SCOPE", "api://rooms/.default"),
    ];

    #[test]
    fn what_is_empty_is_not_set() {
        let access = read(&[("SMOKE_GENESYS_TOKEN", ""), ("SMOKE_ENTRA_SCOPE", " ")]).expect("nothing is set");
        assert!(access.entra.is_none() && access.genesys_token.is_none());
    }

    #[test]
    fn entras_variables_are_set_together_or_not_at_all() {
        assert!(read(&ENTRA).expect("all are there").entra.is_some());
        for missing in 0..4 {
            let mut some = ENTRA.to_vec();
            let (name, _) = some.remove(missing);
            assert_eq!(read(&some).err(), Some(InvalidAccess::Missing(name)));
        }
    }

    const GITHUB: [(&str, &str); 2] = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://actions.example.org/token?api-version=2.0"),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "a token that nobody sees"),
    ];

    #[test]
    fn in_a_github_job_no_secret_is_needed_and_one_that_is_given_is_used() {
        let without_secret: Vec<_> = ENTRA.into_iter().filter(|(name, _)| !name.ends_with("SECRET")).collect();
        let proof = |values: &[_]| read(values).expect("all is there").entra.expect("a client").proof;
        assert!(matches!(proof(&[&without_secret[..], &GITHUB].concat()), Proof::Job(_)));
        assert!(matches!(proof(&[&ENTRA[..], &GITHUB].concat()), Proof::Secret(_)));
        for half in GITHUB {
            let some = [&without_secret[..], &[half]].concat();
            assert_eq!(read(&some).err(), Some(InvalidAccess::Missing("SMOKE_ENTRA_CLIENT_SECRET")));
        }
        // Every job of a pipeline may have them.
        assert!(read(&GITHUB).expect("nothing of ours is set").entra.is_none());
    }

    #[test]
    fn a_secret_travels_by_https_only() {
        let mut plain = ENTRA;
        plain[0].1 = "http://login.example.org/tenant/oauth2/v2.0/token";
        assert!(matches!(read(&plain), Err(InvalidAccess::Unusable("SMOKE_ENTRA_TOKEN_URL", _))));
        let mut plain = [&ENTRA[..2], &ENTRA[3..], &GITHUB].concat();
        plain[3].1 = "http://actions.example.org/token";
        assert!(matches!(read(&plain), Err(InvalidAccess::Unusable("ACTIONS_ID_TOKEN_REQUEST_URL", _))));
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let job = [&ENTRA[..2], &ENTRA[3..], &GITHUB].concat();
        for values in [&ENTRA[..], &job] {
            let shown = format!("{:?}", read(&[values, &[("SMOKE_GENESYS_TOKEN", "nobody sees")]].concat()));
            assert!(shown.contains("client") && !shown.contains("nobody sees"), "{shown}");
        }
    }
}
