//! Examines Entra and the keys that tokens of either version are verified with.

use super::finding::{Finding, Findings};
use super::tls::Trust;
use super::{call, host, no_client};
use crate::app;
use crate::auth::{EntraKeysError, TokenVersion, published_keys};
use crate::config::EntraConfig;
use crate::domain::Clock;

pub(super) const CHECKS: [&str; 8] =
    ["name", "connection", "certificate", "clock", "keys_v1", "keys_v2", "audience", "roles"];

pub(super) async fn examine(config: &EntraConfig, clock: &Clock, findings: &mut Findings) -> Result<(), Finding> {
    findings.extend([check_audience(config), check_roles(config)]);
    host::examine(&config.authority_url, Trust::MACHINE, clock, findings).await?;
    let http = app::entra_http().map_err(no_client("keys_v1"))?;
    let (difference, v1, v2) = tokio::join!(
        host::clock(&config.authority_url, &http, clock),
        keys("keys_v1", TokenVersion::V1, config, &http, clock),
        keys("keys_v2", TokenVersion::V2, config, &http, clock),
    );
    findings.extend([difference, Finding::of(v1), Finding::of(v2)]);
    Ok(())
}

/// What `own` gives up.
fn check_audience(config: &EntraConfig) -> Finding {
    if !config.audiences.own {
        return Finding::fine("audience", "tokens must be issued for a listed audience");
    }
    Finding::warning(
        "audience",
        "ENTRA_AUDIENCE holds own: a caller can give itself any role, and a token that a listed client got by the same \
         registration for something else is accepted",
        "give the API a registration of its own, and list its client id and App ID URI",
    )
}

/// What role `none` gives up.
fn check_roles(config: &EntraConfig) -> Finding {
    let routes = [("create", &config.create_role), ("delete", &config.delete_role), ("read", &config.read_role)];
    let without: Vec<_> = routes.iter().filter(|(_, role)| role.is_none()).map(|(action, _)| *action).collect();
    if without.is_empty() {
        return Finding::fine("roles", "each route requires an app role");
    }
    Finding::warning(
        "roles",
        format!("no role is required: every client in ENTRA_ALLOWED_CLIENT_IDS may {} every room", without.join(", ")),
        "give IDIM's client app roles, and set ENTRA_CREATE_ROLE, ENTRA_DELETE_ROLE and ENTRA_READ_ROLE to them",
    )
}

async fn keys(
    check: &'static str,
    version: TokenVersion,
    config: &EntraConfig,
    http: &reqwest::Client,
    clock: &Clock,
) -> Result<Finding, Finding> {
    let silent = "check the status of Microsoft Entra ID, and try again";
    let keys = call(check, published_keys(version, config, http, clock), EntraKeysError::remedy, silent).await?;
    Ok(Finding::fine(check, format!("usable keys: {keys}; the issuer is that of ENTRA_TENANT_ID")))
}
