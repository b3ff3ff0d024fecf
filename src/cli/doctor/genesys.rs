use super::finding::{Finding, Section};
use super::tls::Trust;
use super::{CALL, NO_ANSWER, SETTINGS_AT_FAULT, host, in_time};
use crate::app;
use crate::auth::find_genesys;
use crate::config::{ConfigParts, GenesysConfig};
use crate::domain::Clock;

const CHECKS: [&str; 5] = ["name", "connection", "certificate", "clock", "api"];

/// Looks at Genesys Cloud, as far as that goes without a user's token.
pub(super) async fn examine(settings: &ConfigParts, clock: &Clock) -> Section {
    let Ok(config) = &settings.genesys else {
        return Section::unexamined("genesys", &CHECKS, SETTINGS_AT_FAULT);
    };
    let mut findings = Vec::new();
    let ended = look(config, clock, &mut findings).await;
    Section::examined("genesys", &CHECKS, findings, ended)
}

async fn look(config: &GenesysConfig, clock: &Clock, findings: &mut Vec<Finding>) -> Result<(), Finding> {
    host::reach(&config.api_url, Trust::OF_THIS_MACHINE, clock, findings).await?;
    let http = app::genesys_http().map_err(|_| Finding::could_not_tell("api", "no client could be made"))?;
    let (clock, api) =
        tokio::join!(host::clock(&config.api_url, &http, clock), in_time(CALL, find_genesys(&config.api_url, &http)));
    findings.push(clock);
    findings.push(match api {
        Some(Ok(())) => Finding::fine("api", "it answers as Genesys Cloud does to a call without a token"),
        Some(Err(error)) => Finding::not_fine("api", error.to_string(), error.remedy()),
        None => Finding::not_fine("api", NO_ANSWER, "look at the state of Genesys Cloud, and try again"),
    });
    Ok(())
}
