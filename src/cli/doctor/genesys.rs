//! Examines Genesys Cloud, as far as that is possible without a user's token.

use super::finding::{Finding, Findings};
use super::tls::Trust;
use super::{call, host, no_client};
use crate::app;
use crate::auth::{GenesysFailure, find_genesys};
use crate::config::GenesysConfig;
use crate::domain::Clock;

pub(super) const CHECKS: [&str; 5] = ["name", "connection", "certificate", "clock", "api"];

pub(super) async fn examine(config: &GenesysConfig, clock: &Clock, findings: &mut Findings) -> Result<(), Finding> {
    host::examine(&config.api_url, Trust::MACHINE, clock, findings).await?;
    let http = app::genesys_http().map_err(no_client("api"))?;
    let silent = "check the status of Genesys Cloud, and try again";
    let (clock, api) = tokio::join!(
        host::clock(&config.api_url, &http, clock),
        call("api", find_genesys(&config.api_url, &http), GenesysFailure::remedy, silent),
    );
    let api = api.map(|()| Finding::fine("api", "refuses a call without a token, as Genesys Cloud does"));
    findings.extend([clock, Finding::of(api)]);
    Ok(())
}
