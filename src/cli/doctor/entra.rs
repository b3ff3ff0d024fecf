//! Examines Entra and the keys that tokens of either version are verified with.

use super::finding::{Finding, Findings};
use super::tls::Trust;
use super::{call, host, no_client};
use crate::app;
use crate::auth::{EntraKeysError, TokenVersion, published_keys};
use crate::config::EntraConfig;
use crate::domain::Clock;

pub(super) const CHECKS: [&str; 6] = ["name", "connection", "certificate", "clock", "keys_v1", "keys_v2"];

pub(super) async fn examine(config: &EntraConfig, clock: &Clock, findings: &mut Findings) -> Result<(), Finding> {
    host::examine(&config.authority_url, Trust::MACHINE, clock, findings).await?;
    let http = app::entra_http().map_err(no_client("keys_v1"))?;
    let (clock, v1, v2) = tokio::join!(
        host::clock(&config.authority_url, &http, clock),
        keys("keys_v1", TokenVersion::V1, config, &http),
        keys("keys_v2", TokenVersion::V2, config, &http),
    );
    findings.extend([clock, Finding::of(v1), Finding::of(v2)]);
    Ok(())
}

async fn keys(
    check: &'static str,
    version: TokenVersion,
    config: &EntraConfig,
    http: &reqwest::Client,
) -> Result<Finding, Finding> {
    let silent = "check the status of Microsoft Entra ID, and try again";
    let keys = call(check, published_keys(version, config, http), EntraKeysError::remedy, silent).await?;
    Ok(Finding::fine(check, format!("usable keys: {keys}; the issuer is that of ENTRA_TENANT_ID")))
}
