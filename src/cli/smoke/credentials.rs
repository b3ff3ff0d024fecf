//! The test's own credentials, from environment variables: every process on a machine can see arguments.

use std::ffi::OsString;

use reqwest::Client;
use secrecy::SecretString;

use super::check::Failure;
use super::entra::{EntraClient, Proof};
use super::github_job::{self, GitHubJob};
use crate::config::{BasicAccount, secure_url};

/// Azure Resource Manager: every application can get a token for it, and Entra signs it with the same keys as ours. A
/// token for Microsoft Graph is signed otherwise, so the service would refuse it before it reads the audience.
const FOREIGN_SCOPE: &str = "https://management.azure.com/.default";

const CLIENT_SECRET: &str = "SMOKE_ENTRA_CLIENT_SECRET";
const POLICY_USERNAME: &str = "SMOKE_POLICY_USERNAME";
const POLICY_PASSWORD: &str = "SMOKE_POLICY_PASSWORD";

/// Environment variables, with their meaning.
pub(super) const VARIABLES: [(&str, &str); 10] = [
    ("SMOKE_ENTRA_TOKEN_URL", "Entra's token endpoint: https://login.microsoftonline.com/<tenant>/oauth2/v2.0/token."),
    ("SMOKE_ENTRA_CLIENT_ID", "Client id of an application that may create and delete rooms."),
    (
        CLIENT_SECRET,
        "Secret of that application. Not needed in a GitHub job with the permission id-token: write if the application \
         has a federated credential for it.",
    ),
    ("SMOKE_ENTRA_SCOPE", "Scope of the room API: <App ID URI>/.default."),
    ("SMOKE_ENTRA_FOREIGN_SCOPE", "Scope of any other API. Default: that of Azure Resource Manager."),
    ("SMOKE_GENESYS_TOKEN", "Token of an agent. Without it the public read is reported as not checked."),
    ("SMOKE_SUBSCRIPTION_KEY", "Subscription key of the gateway, if it asks for one."),
    ("SMOKE_ORIGIN", "Origin of the widget. Without it the widget's CORS headers are reported as not checked."),
    (
        POLICY_USERNAME,
        "Account of the Conferencing Nodes for external policy. Without it look-ups of instant rooms are reported as not \
         checked.",
    ),
    (POLICY_PASSWORD, "Password of that account."),
];

#[derive(Debug)]
pub struct Credentials {
    entra: Option<EntraClient>,
    pub(super) genesys_token: Option<SecretString>,
    pub(super) subscription_key: Option<SecretString>,
    pub(super) origin: Option<String>,
    /// With which Conferencing Nodes look up rooms.
    pub(super) policy: Option<BasicAccount>,
}

/// The environment cannot be used. Names variables, never values.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentials {
    #[error("{0} cannot be used: {1}")]
    Unusable(&'static str, String),
    #[error("{0} is missing. Set all SMOKE_ENTRA_ variables or none")]
    Missing(&'static str),
    #[error("{0} is missing. Set SMOKE_POLICY_USERNAME and SMOKE_POLICY_PASSWORD, or neither")]
    HalfAnAccount(&'static str),
}

impl Credentials {
    /// Reads the environment of the process.
    pub fn from_env() -> Result<Self, InvalidCredentials> {
        #[expect(clippy::disallowed_methods, reason = "a client of the service, which has no settings of the service")]
        Self::read(std::env::var_os)
    }

    /// An empty value counts as not set: a pipeline passes a secret that it does not have as an empty value.
    fn read(source: impl Fn(&'static str) -> Option<OsString>) -> Result<Self, InvalidCredentials> {
        let value = |name| match source(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) if text.trim().is_empty() => Ok(None),
            // Printable ASCII, so that it can be sent in a header.
            Some(Ok(text)) if text.trim().bytes().all(|byte| (b' '..=b'~').contains(&byte)) => {
                Ok(Some(text.trim().to_owned()))
            }
            Some(_) => Err(InvalidCredentials::Unusable(name, "it has characters that are not ASCII".to_owned())),
        };
        Ok(Self {
            entra: read_entra(value)?,
            genesys_token: value("SMOKE_GENESYS_TOKEN")?.map(Into::into),
            subscription_key: value("SMOKE_SUBSCRIPTION_KEY")?.map(Into::into),
            origin: value("SMOKE_ORIGIN")?,
            policy: match (value(POLICY_USERNAME)?, value(POLICY_PASSWORD)?) {
                (Some(username), Some(password)) => Some(BasicAccount { username, password: password.into() }),
                (Some(_), None) => return Err(InvalidCredentials::HalfAnAccount(POLICY_PASSWORD)),
                (None, Some(_)) => return Err(InvalidCredentials::HalfAnAccount(POLICY_USERNAME)),
                (None, None) => None,
            },
        })
    }

    /// A token for the room API.
    pub(super) async fn token(&self, http: &Client) -> Result<SecretString, Failure> {
        match &self.entra {
            Some(entra) => entra.token(http).await,
            None => Err(Failure::unclear("the SMOKE_ENTRA_ variables are not set, so no room can be created")),
        }
    }

    /// A valid token for another API. That Entra refuses it says nothing about the service.
    pub(super) async fn foreign_token(&self, http: &Client) -> Result<SecretString, Failure> {
        let refused = |_| Failure::not_checked("Entra issues no token for SMOKE_ENTRA_FOREIGN_SCOPE");
        match &self.entra {
            Some(entra) => entra.foreign_token(http).await.map_err(refused),
            None => Err(Failure::not_checked("the SMOKE_ENTRA_ variables are not set")),
        }
    }
}

/// `None` if none of the variables is set.
fn read_entra(
    value: impl Fn(&'static str) -> Result<Option<String>, InvalidCredentials>,
) -> Result<Option<EntraClient>, InvalidCredentials> {
    const REQUIRED: [&str; 3] = ["SMOKE_ENTRA_TOKEN_URL", "SMOKE_ENTRA_CLIENT_ID", "SMOKE_ENTRA_SCOPE"];

    let mut given = Vec::new();
    let mut missing = None;
    for name in REQUIRED {
        match value(name)? {
            Some(value) => given.push(value),
            None => missing = missing.or(Some(name)),
        }
    }
    let secret = value(CLIENT_SECRET)?;
    if given.is_empty() && secret.is_none() {
        return Ok(None);
    }
    let Ok([token_url, client_id, scope]) = <[String; 3]>::try_from(given) else {
        return Err(InvalidCredentials::Missing(missing.unwrap_or(REQUIRED[0])));
    };
    let [request_url, request_token] = github_job::VARIABLES;
    let unusable = |name| move |fault| InvalidCredentials::Unusable(name, fault);
    let proof = match (secret, value(request_url)?, value(request_token)?) {
        (Some(secret), _, _) => Proof::Secret(secret.into()),
        (None, Some(url), Some(token)) => Proof::Job(GitHubJob::new(&url, token).map_err(unusable(request_url))?),
        (None, _, _) => return Err(InvalidCredentials::Missing(CLIENT_SECRET)),
    };
    Ok(Some(EntraClient {
        token_url: secure_url(&token_url).map_err(unusable(REQUIRED[0]))?,
        client_id,
        proof,
        scope,
        foreign_scope: value("SMOKE_ENTRA_FOREIGN_SCOPE")?.unwrap_or_else(|| FOREIGN_SCOPE.to_owned()),
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn read(values: &[(&'static str, &str)]) -> Result<Credentials, InvalidCredentials> {
        let values: HashMap<_, _> = values.iter().copied().collect();
        Credentials::read(|name| values.get(name).map(OsString::from))
    }

    const ENTRA: [(&str, &str); 4] = [
        ("SMOKE_ENTRA_TOKEN_URL", "https://login.example.org/tenant/oauth2/v2.0/token"),
        ("SMOKE_ENTRA_CLIENT_ID", "client"),
        ("SMOKE_ENTRA_CLIENT_SECRET", "a hidden secret"),
        ("SMOKE_ENTRA_SCOPE", "api://rooms/.default"),
    ];

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let credentials = read(&[("SMOKE_GENESYS_TOKEN", ""), ("SMOKE_ENTRA_SCOPE", " ")]).expect("nothing is set");
        assert!(credentials.entra.is_none() && credentials.genesys_token.is_none());
    }

    #[test]
    fn the_entra_variables_are_required_together() {
        assert!(read(&ENTRA).expect("all are set").entra.is_some());
        for missing in 0..4 {
            let mut some = ENTRA.to_vec();
            let (name, _) = some.remove(missing);
            assert_eq!(read(&some).err(), Some(InvalidCredentials::Missing(name)));
        }
    }

    #[test]
    fn the_account_for_policy_needs_both_variables() {
        let account = [("SMOKE_POLICY_USERNAME", "nodes"), ("SMOKE_POLICY_PASSWORD", "a hidden password")];
        assert!(read(&account).expect("both are set").policy.is_some());
        for (given, missing) in [(0, "SMOKE_POLICY_PASSWORD"), (1, "SMOKE_POLICY_USERNAME")] {
            assert_eq!(read(&account[given..=given]).err(), Some(InvalidCredentials::HalfAnAccount(missing)));
        }
    }

    const GITHUB: [(&str, &str); 2] = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://actions.example.org/token?api-version=2.0"),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "a hidden token"),
    ];

    #[test]
    fn a_github_job_replaces_the_secret_but_a_given_secret_wins() {
        let without_secret: Vec<_> = ENTRA.into_iter().filter(|(name, _)| !name.ends_with("SECRET")).collect();
        let proof = |values: &[_]| read(values).expect("all are set").entra.expect("a client").proof;
        assert!(matches!(proof(&[&without_secret[..], &GITHUB].concat()), Proof::Job(_)));
        assert!(matches!(proof(&[&ENTRA[..], &GITHUB].concat()), Proof::Secret(_)));
        for half in GITHUB {
            let some = [&without_secret[..], &[half]].concat();
            assert_eq!(read(&some).err(), Some(InvalidCredentials::Missing("SMOKE_ENTRA_CLIENT_SECRET")));
        }
        // Any job of a pipeline may have these variables.
        assert!(read(&GITHUB).expect("no SMOKE_ variable is set").entra.is_none());
    }

    #[test]
    fn a_secret_is_sent_over_https_only() {
        let mut plain = ENTRA;
        plain[0].1 = "http://login.example.org/tenant/oauth2/v2.0/token";
        assert!(matches!(read(&plain), Err(InvalidCredentials::Unusable("SMOKE_ENTRA_TOKEN_URL", _))));
        let mut plain = [&ENTRA[..2], &ENTRA[3..], &GITHUB].concat();
        plain[3].1 = "http://actions.example.org/token";
        assert!(matches!(read(&plain), Err(InvalidCredentials::Unusable("ACTIONS_ID_TOKEN_REQUEST_URL", _))));
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let job = [&ENTRA[..2], &ENTRA[3..], &GITHUB].concat();
        let hidden = [
            ("SMOKE_GENESYS_TOKEN", "hidden"),
            ("SMOKE_POLICY_USERNAME", "nodes"),
            ("SMOKE_POLICY_PASSWORD", "hidden"),
        ];
        for values in [&ENTRA[..], &job] {
            let shown = format!("{:?}", read(&[values, &hidden].concat()));
            assert!(shown.contains("client") && !shown.contains("hidden"), "{shown}");
        }
    }
}
