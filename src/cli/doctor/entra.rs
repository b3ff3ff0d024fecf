use super::finding::{Finding, Section};
use super::tls::Trust;
use super::{CALL, NO_ANSWER, SETTINGS_AT_FAULT, host, in_time};
use crate::app;
use crate::auth::{TokenVersion, published_keys};
use crate::config::{ConfigParts, EntraConfig};
use crate::domain::Clock;

const CHECKS: [&str; 6] = ["name", "connection", "certificate", "clock", "keys_v1", "keys_v2"];

/// Looks at Entra, and at the keys that tokens of either form are verified with.
pub(super) async fn examine(settings: &ConfigParts, clock: &Clock) -> Section {
    let Ok(config) = &settings.entra else {
        return Section::unexamined("entra", &CHECKS, SETTINGS_AT_FAULT);
    };
    let mut findings = Vec::new();
    let ended = look(config, clock, &mut findings).await;
    Section::examined("entra", &CHECKS, findings, ended)
}

async fn look(config: &EntraConfig, clock: &Clock, findings: &mut Vec<Finding>) -> Result<(), Finding> {
    host::reach(&config.authority_url, Trust::OF_THIS_MACHINE, clock, findings).await?;
    let http = app::entra_http().map_err(|_| Finding::could_not_tell("keys_v1", "no client could be made"))?;
    let (clock, v1, v2) = tokio::join!(
        host::clock(&config.authority_url, &http, clock),
        keys("keys_v1", TokenVersion::V1, config, &http),
        keys("keys_v2", TokenVersion::V2, config, &http),
    );
    findings.extend([clock, v1, v2]);
    Ok(())
}

async fn keys(check: &'static str, profile: TokenVersion, config: &EntraConfig, http: &reqwest::Client) -> Finding {
    match in_time(CALL, published_keys(profile, config, http)).await {
        Some(Ok(keys)) => Finding::fine(check, format!("{keys} usable, and the issuer is our tenant's")),
        Some(Err(error)) => Finding::not_fine(check, error.to_string(), error.remedy()),
        None => Finding::not_fine(check, NO_ANSWER, "look at the state of Microsoft Entra ID, and try again"),
    }
}
