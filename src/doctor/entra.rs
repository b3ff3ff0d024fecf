use super::finding::{Finding, Section};
use super::{CALL, NO_ANSWER, SETTINGS_AT_FAULT, host, in_time};
use crate::app;
use crate::auth::{EntraKeysError, PublishedKeys};
use crate::clock::Clock;
use crate::config::{ConfigParts, EntraConfig};

const CHECKS: [&str; 6] = ["name", "connection", "certificate", "clock", "keys_v1", "keys_v2"];

/// Looks at Entra, and at the keys that tokens of either form are verified with.
pub(super) async fn examine(settings: &ConfigParts, clock: &Clock) -> Section {
    let Some(config) = &settings.entra else {
        return Section::unexamined("entra", &CHECKS, SETTINGS_AT_FAULT);
    };
    let mut findings = Vec::new();
    let ended = look(config, clock, &mut findings).await;
    Section::examined("entra", &CHECKS, findings, ended)
}

async fn look(config: &EntraConfig, clock: &Clock, findings: &mut Vec<Finding>) -> Result<(), Finding> {
    host::reach(&config.authority_url, &[], clock, findings).await?;
    let http = app::entra_http().map_err(|_| Finding::could_not_tell("keys_v1", "no client could be made"))?;
    let (clock, keys) = tokio::join!(
        host::clock(&config.authority_url, &http, clock),
        in_time(CALL, PublishedKeys::read(config, &http))
    );
    findings.push(clock);
    match keys {
        Some(keys) => findings.extend([judge("keys_v1", keys.v1), judge("keys_v2", keys.v2)]),
        None => findings.extend(["keys_v1", "keys_v2"].map(|check| Finding::not_fine(check, NO_ANSWER, "try again"))),
    }
    Ok(())
}

fn judge(check: &'static str, keys: Result<usize, EntraKeysError>) -> Finding {
    match keys {
        Ok(keys) => Finding::fine(check, format!("{keys} usable, and the issuer is our tenant's")),
        Err(error) => Finding::not_fine(check, error.to_string(), error.way_out()),
    }
}
