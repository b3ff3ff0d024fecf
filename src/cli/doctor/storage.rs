use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::finding::{Finding, Section};
use super::tls::Trust;
use super::{CALL, NO_ANSWER, SETTINGS_AT_FAULT, host, in_time};
use crate::app;
use crate::config::{ConfigParts, QueueConfig, StorageAccess};
use crate::domain::Clock;
use crate::storage::queue::{QueueError, RoomQueue, find_identity};

const CHECKS: [&str; 8] = ["name", "connection", "certificate", "clock", "access", "queue", "other_queues", "writing"];

/// A signature that ends within this many days is to be replaced.
const DAYS_TO_RENEW: i64 = 30;

/// What the service does to messages, by the letters of a signature's permissions: read, add, process.
/// Source: Azure Storage, "Create a service SAS" and "Create an account SAS".
const PERMISSIONS: [char; 3] = ['r', 'a', 'p'];

/// Looks at the queue service, the queue and those beside it.
pub(super) async fn examine(settings: &ConfigParts, clock: &Clock) -> Section {
    let Ok(config) = &settings.queue else {
        return Section::unexamined("storage", &CHECKS, SETTINGS_AT_FAULT);
    };
    let mut findings = Vec::new();
    let ended = look(config, settings, clock, &mut findings).await;
    Section::examined("storage", &CHECKS, findings, ended)
}

async fn look(
    config: &QueueConfig,
    settings: &ConfigParts,
    clock: &Clock,
    findings: &mut Vec<Finding>,
) -> Result<(), Finding> {
    let service = config.access.service();
    let no_client = |_| Finding::could_not_tell("access", "no client could be made");
    let http = app::queue_http(config).map_err(no_client)?;
    let (reached, identity) =
        tokio::join!(host::reach(service, Trust::OF_THIS_MACHINE, clock, findings), identity(&config.access, &http));
    match (reached, identity) {
        (Ok(()), Ok(())) => {}
        (Ok(()), Err(no_token)) => {
            findings.push(host::clock(service, &http, clock).await);
            return Err(no_token);
        }
        // Worth knowing wherever else the way ends.
        (Err(step), identity) => {
            findings.extend(identity.err());
            return Err(step);
        }
    }
    let Ok(rooms) = &settings.room else {
        findings.push(host::clock(service, &http, clock).await);
        return Err(Finding::could_not_tell("access", SETTINGS_AT_FAULT));
    };
    let queue = app::queue_client(config, &rooms.prefix).map_err(no_client)?;
    let (clocks, messages) = tokio::join!(host::clock(service, &http, clock), count(&queue));
    findings.push(clocks);
    let messages =
        messages.map_err(|error| Finding::not_fine("access", error.to_string(), remedy(&config.access, &error)))?;
    findings.push(access(&config.access, clock.now_utc()));
    let is_wanted = !settings.pool.as_ref().is_ok_and(|pool| pool.target == 0);
    findings.push(judge_queue(&config.name, messages, is_wanted));
    findings.push(other_queues(&queue).await);
    findings.push(writing(&config.access));
    Ok(())
}

/// Where the queue is used by managed identity: whether it gives a token.
pub(super) async fn identity(access: &StorageAccess, http: &reqwest::Client) -> Result<(), Finding> {
    let StorageAccess::ManagedIdentity { client_id, .. } = access else { return Ok(()) };
    let found = find_identity(client_id.as_deref(), http, CALL).await;
    found.map_err(|error| Finding::not_fine("access", error.to_string(), error.remedy()))
}

/// What to do about storage that does not let us read, by what we show it.
/// Source: Azure Storage, "Status and error codes" and "Authorize access to queues using Microsoft Entra ID".
fn remedy(access: &StorageAccess, error: &QueueError) -> &'static str {
    let QueueError::Credentials(code) = error else { return error.remedy() };
    match (access, code.as_str()) {
        (_, "AuthorizationFailure") => "let this network through the storage account's firewall",
        (StorageAccess::AccountKey { .. }, "KeyBasedAuthenticationNotPermitted") => {
            "the account takes no keys any more: use PoolStorage__accountName and a managed identity"
        }
        (StorageAccess::AccountKey { .. }, _) => {
            "put the account's name and one of its present keys into PoolStorage; see that the clocks agree"
        }
        (StorageAccess::SharedAccessSignature { .. }, _) => {
            "put a new signature into PoolStorage: this one has ended, is for something else, or its key was replaced"
        }
        (StorageAccess::ManagedIdentity { .. }, _) => {
            "give the app's identity the role Storage Queue Data Contributor; that takes some minutes to work"
        }
    }
}

/// Messages in the queue; `None` if it does not exist.
async fn count(queue: &RoomQueue) -> Result<Option<usize>, QueueError> {
    match in_time(CALL, queue.approximate_count()).await {
        Some(Ok(messages)) => Ok(Some(messages)),
        Some(Err(QueueError::NoSuchQueue)) => Ok(None),
        Some(Err(error)) => Err(error),
        None => Err(QueueError::Timeout),
    }
}

fn access(access: &StorageAccess, now: OffsetDateTime) -> Finding {
    let signature = match access {
        StorageAccess::AccountKey { .. } => return Finding::fine("access", "the account's key is taken"),
        StorageAccess::ManagedIdentity { .. } => return Finding::fine("access", "the app's identity may read"),
        StorageAccess::SharedAccessSignature { signature, .. } => signature,
    };
    let end = parameter(signature, "se").and_then(|end| OffsetDateTime::parse(&end, &Rfc3339).ok());
    let Some(end) = end else {
        return Finding::fine("access", "the signature is taken; it does not tell when it ends");
    };
    let says = format!("the signature is taken, until {}", end.date());
    if (end - now).whole_days() < DAYS_TO_RENEW {
        return Finding::warning("access", says, "put a new signature into PoolStorage before that day");
    }
    Finding::fine("access", says)
}

fn judge_queue(name: &str, messages: Option<usize>, is_wanted: bool) -> Finding {
    match messages {
        Some(messages) => Finding::fine("queue", format!("{name} is there, with about {messages} messages")),
        None if is_wanted => Finding::not_fine(
            "queue",
            format!("{name} does not exist"),
            "see that POOL_QUEUE_NAME is right and function_pool_maintenance runs: it makes the queue",
        ),
        None => Finding::fine("queue", format!("{name} does not exist; without a pool none is wanted")),
    }
}

async fn other_queues(queue: &RoomQueue) -> Finding {
    let check = "other_queues";
    let ended = queue.of_ended_rooms();
    let Some((poison, ended)) =
        in_time(CALL, async { tokio::join!(queue.approximate_poison_count(), count(&ended)) }).await
    else {
        return Finding::not_fine(check, NO_ANSWER, "look at the state of the storage account, and try again");
    };
    match (poison, ended) {
        (Ok(0), Ok(ended)) => {
            Finding::fine(check, format!("no poison messages; about {} ended rooms to look at", ended.unwrap_or(0)))
        }
        (Ok(poison), Ok(_)) => Finding::warning(
            check,
            format!("about {poison} poison messages: no room names of ours"),
            "find out who wrote them, then delete them",
        ),
        (Err(error), _) | (_, Err(error)) => Finding::not_fine(
            check,
            format!("the queues for poison messages and ended rooms: {error}"),
            "see that what PoolStorage gives is good for all queues of the service",
        ),
    }
}

/// A signature says what it allows; of a key nothing need be asked; of an identity nothing can be.
fn writing(access: &StorageAccess) -> Finding {
    let check = "writing";
    let signature = match access {
        StorageAccess::AccountKey { .. } => return Finding::fine(check, "an account's key allows everything"),
        StorageAccess::ManagedIdentity { .. } => {
            let says = "not tried, since it would change the queue: the identity needs the role Storage Queue Data Contributor";
            return Finding::could_not_tell(check, says);
        }
        StorageAccess::SharedAccessSignature { signature, .. } => signature,
    };
    match parameter(signature, "sp") {
        Some(allowed) if PERMISSIONS.iter().all(|one| allowed.contains(*one)) => {
            Finding::fine(check, "the signature allows to read, add and process messages")
        }
        Some(_) => Finding::not_fine(
            check,
            "the signature does not allow to read, add and process messages",
            "put a signature with these permissions into PoolStorage",
        ),
        None => Finding::could_not_tell(check, "not tried, and the signature does not say what it allows"),
    }
}

fn parameter(signature: &SecretString, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(signature.expose_secret().as_bytes());
    pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}
