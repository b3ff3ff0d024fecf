//! Examines the blob service, and the container of the room records in it.

use time::OffsetDateTime;

use super::finding::{Finding, Findings};
use super::storage::{RECORDS_RIGHTS, check_identity, check_writing, remedy};
use super::tls::Trust;
use super::{CALL_LIMIT, NO_ANSWER, host, in_time, no_client};
use crate::app;
use crate::config::RecordsConfig;
use crate::domain::Clock;
use crate::outbound::send;
use crate::storage::StorageError;
use crate::storage::records::{ListedRecord, RecordStore};

pub(super) const CHECKS: [&str; 10] = [
    "name",
    "connection",
    "certificate",
    "clock",
    "access",
    "container",
    "public_access",
    "lifecycle",
    "kept_copies",
    "writing",
];

/// A claim that is older was not removed. The lifecycle rule in `infra/` removes claims after 8 days, and Azure runs it
/// up to some days late.
const DAYS_TO_REMOVE: i64 = 12;

pub(super) async fn examine(config: &RecordsConfig, clock: &Clock, findings: &mut Findings) -> Result<(), Finding> {
    let (access, service) = (&config.access, config.access.service());
    host::examine(service, Trust::MACHINE, clock, findings).await?;
    let http = app::storage_http(access).map_err(no_client("access"))?;
    let records = app::record_store(config).map_err(no_client("access"))?;
    let (clocks, identity) = tokio::join!(host::clock(service, &http, clock), check_identity(access, &http));
    findings.push(clocks);
    // Reported as the queue's.
    identity.map_err(|no_token| Finding::could_not_tell("access", no_token.says))?;
    let exists = records.container_exists().await;
    let exists = exists
        .map_err(|error| Finding::not_fine("access", error.to_string(), remedy(access, &error, &RECORDS_RIGHTS)))?;
    findings.extend([Finding::fine("access", "the credentials are accepted"), check_writing(access, &RECORDS_RIGHTS)]);
    let name = records.name();
    if !exists {
        let to_do = "check RECORDS_CONTAINER, and deploy the templates: they make it; without it no room is claimed";
        return Err(Finding::not_fine("container", format!("{name} does not exist"), to_do));
    }
    findings.push(Finding::fine("container", format!("{name} exists")));
    let (public, old) = tokio::join!(check_public_access(config, &http), check_old_records(&records, clock.now_utc()));
    findings.push(public);
    findings.extend(old);
    Ok(())
}

/// Asks for a blob that is never there, without credentials.
/// Source: Azure Storage, "Configure anonymous read access for containers and blobs".
async fn check_public_access(config: &RecordsConfig, http: &reqwest::Client) -> Finding {
    let check = "public_access";
    let mut url = config.access.service().clone();
    url.set_path(&format!("{}{}/probe", url.path(), config.container));
    let Some(Ok(answer)) = in_time(CALL_LIMIT, send(http.get(url))).await else {
        return Finding::could_not_tell(check, "no answer to a request without credentials");
    };
    // A container that is not public does not tell whether there is such a blob.
    let code = answer.headers().get("x-ms-error-code").and_then(|code| code.to_str().ok());
    if answer.status().is_success() || code == Some("BlobNotFound") {
        let to_do = "set the container's public access to none, and the account's too, as the templates do";
        return Finding::not_fine(check, "whoever reaches the service may read the records", to_do);
    }
    Finding::fine(check, "a request without credentials is refused")
}

/// Looks at the oldest claims. Neither the lifecycle rule nor the service's settings can be read with the service's
/// rights; what they do can be seen.
async fn check_old_records(records: &RecordStore, now: OffsetDateTime) -> [Finding; 2] {
    let checks = ["lifecycle", "kept_copies"];
    match records.oldest_claims().await {
        Ok(listed) => [check_lifecycle(&listed, now), check_kept_copies(&listed)],
        Err(StorageError::Credentials(_)) => {
            checks.map(|check| Finding::could_not_tell(check, "the credentials do not allow to list the records"))
        }
        Err(StorageError::Timeout) => {
            checks.map(|check| Finding::not_fine(check, NO_ANSWER, StorageError::Timeout.remedy()))
        }
        Err(error) => checks.map(|check| Finding::not_fine(check, error.to_string(), error.remedy())),
    }
}

fn check_lifecycle(listed: &[ListedRecord], now: OffsetDateTime) -> Finding {
    let check = "lifecycle";
    let dates = listed.iter().filter(|record| !record.is_deleted).filter_map(|record| record.written_at);
    let Some(oldest) = dates.min().map(OffsetDateTime::date) else {
        return Finding::could_not_tell(check, "the rule cannot be read here, and no claim shows what it does");
    };
    if (now.date() - oldest).whole_days() > DAYS_TO_REMOVE {
        return Finding::warning(
            check,
            format!("a claim of {oldest} has not been removed"),
            "deploy the templates: they set the rule that removes old records; another one for the account replaces it",
        );
    }
    Finding::could_not_tell(check, format!("the rule cannot be read here; the oldest claim is of {oldest}"))
}

fn check_kept_copies(listed: &[ListedRecord]) -> Finding {
    let check = "kept_copies";
    let to_do = "turn it off, as the templates do: records have their own end, and kept copies outlive it";
    if listed.iter().any(|record| record.is_deleted) {
        return Finding::warning(check, "soft delete keeps deleted records", to_do);
    }
    if listed.iter().any(|record| record.is_version) {
        return Finding::warning(check, "versioning keeps earlier states of records", to_do);
    }
    match listed.len() {
        0 => Finding::could_not_tell(check, "there is no claim that would show it"),
        seen => Finding::fine(check, format!("neither deleted records nor versions among the first {seen} claims")),
    }
}
