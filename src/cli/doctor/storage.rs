//! Examines the queue service, and the service's queues in it; with what both services of the account have in common.

use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::finding::{Finding, Findings};
use super::tls::Trust;
use super::{CALL_LIMIT, INVALID_SETTINGS, NO_ANSWER, host, in_time, no_client};
use crate::app;
use crate::config::{ConfigParts, QueueConfig, StorageAccess};
use crate::domain::Clock;
use crate::storage::StorageError;
use crate::storage::find_identity;
use crate::storage::queue::{Peeked, RoomQueue};

pub(super) const CHECKS: [&str; 8] =
    ["name", "connection", "certificate", "clock", "access", "queue", "other_queues", "writing"];

/// A signature (SAS) that expires within this many days is a warning.
const DAYS_TO_RENEW: i64 = 30;

/// What the service needs in one of the account's services.
/// Source of the letters: Azure Storage, "Create a service SAS" and "Create an account SAS".
pub(super) struct Rights {
    /// Letters of a signature's permissions.
    permissions: &'static [char],
    /// What they allow.
    allow: &'static str,
    /// The identity's roles.
    roles: &'static str,
}

const QUEUE_RIGHTS: Rights = Rights {
    permissions: &['r', 'a', 'p'],
    allow: "to read, add and process messages",
    roles: "roles Storage Queue Data Reader, Message Processor and Message Sender",
};

pub(super) const RECORDS_RIGHTS: Rights = Rights {
    permissions: &['r', 'c', 'w', 'd'],
    allow: "to read, create, write and delete records",
    roles: "role MaxConf Room Records",
};

pub(super) async fn examine(
    config: &QueueConfig,
    settings: &ConfigParts,
    clock: &Clock,
    findings: &mut Findings,
) -> Result<(), Finding> {
    let service = config.access.service();
    let http = app::storage_http(&config.access).map_err(no_client("access"))?;
    let (path, identity) =
        tokio::join!(host::examine(service, Trust::MACHINE, clock, findings), check_identity(&config.access, &http),);
    if let Err(step) = path {
        // The identity does not depend on the path to the queue.
        findings.extend(identity.err());
        return Err(step);
    }
    let rooms =
        identity.and_then(|()| settings.room.as_ref().map_err(|_| Finding::could_not_tell("access", INVALID_SETTINGS)));
    let rooms = match rooms {
        Ok(rooms) => rooms,
        Err(finding) => {
            findings.push(host::clock(service, &http, clock).await);
            return Err(finding);
        }
    };
    let queue = app::queue_client(config, &rooms.prefix).map_err(no_client("access"))?;
    let (clocks, messages) = tokio::join!(host::clock(service, &http, clock), count(&queue));
    findings.push(clocks);
    let messages = messages.map_err(|error| {
        Finding::not_fine("access", error.to_string(), remedy(&config.access, &error, &QUEUE_RIGHTS))
    })?;
    findings.push(check_access(&config.access, clock.now_utc()));
    let is_required = !settings.pool.as_ref().is_ok_and(|pool| pool.target == 0);
    let (in_queue, other_queues) = tokio::join!(check_queue(&queue, messages, is_required), check_other_queues(&queue));
    findings.extend([in_queue, other_queues]);
    findings.push(check_writing(&config.access, &QUEUE_RIGHTS));
    Ok(())
}

/// If the queue is used by managed identity: whether that gives a token.
pub(super) async fn check_identity(access: &StorageAccess, http: &reqwest::Client) -> Result<(), Finding> {
    let StorageAccess::ManagedIdentity { client_id, .. } = access else { return Ok(()) };
    let found = find_identity(client_id.as_deref(), http, CALL_LIMIT).await;
    found.map_err(|error| Finding::not_fine("access", error.to_string(), error.remedy()))
}

/// Source: Azure Storage, "Status and error codes" and "Authorize access to queues using Microsoft Entra ID".
pub(super) fn remedy(access: &StorageAccess, error: &StorageError, rights: &Rights) -> String {
    let StorageError::Credentials(code) = error else { return error.remedy().to_owned() };
    match (access, code.as_str()) {
        (_, "AuthorizationFailure") => {
            "allow this network in the storage account's firewall, and check the service's private endpoint and DNS name"
                .to_owned()
        }
        (StorageAccess::AccountKey { .. }, "KeyBasedAuthenticationNotPermitted") => {
            "the account no longer allows keys: use PoolStorage__accountName and a managed identity".to_owned()
        }
        (StorageAccess::AccountKey { .. }, _) => {
            "set PoolStorage to the account's name and a current key, and check that the clocks agree".to_owned()
        }
        (StorageAccess::SharedAccessSignature { .. }, _) => {
            "set PoolStorage to a new signature: this one has expired, does not cover what is needed here, or its key \
             was replaced"
                .to_owned()
        }
        (StorageAccess::ManagedIdentity { .. }, _) => {
            format!("give the app's identity the {}, and wait some minutes for that to apply", rights.roles)
        }
    }
}

/// Messages in the queue; `None` if it does not exist.
async fn count(queue: &RoomQueue) -> Result<Option<usize>, StorageError> {
    match in_time(CALL_LIMIT, queue.approximate_count()).await {
        Some(Ok(messages)) => Ok(Some(messages)),
        Some(Err(StorageError::NoSuchQueue)) => Ok(None),
        Some(Err(error)) => Err(error),
        None => Err(StorageError::Timeout),
    }
}

fn check_access(access: &StorageAccess, now: OffsetDateTime) -> Finding {
    let signature = match access {
        StorageAccess::AccountKey { .. } => return Finding::fine("access", "the account's key is accepted"),
        StorageAccess::ManagedIdentity { .. } => return Finding::fine("access", "the app's identity may read"),
        StorageAccess::SharedAccessSignature { signature, .. } => signature,
    };
    let end = parameter(signature, "se").and_then(|end| OffsetDateTime::parse(&end, &Rfc3339).ok());
    let Some(end) = end else {
        return Finding::fine("access", "the signature is accepted; it has no expiry");
    };
    let says = format!("the signature is accepted; it expires on {}", end.date());
    if (end - now).whole_days() < DAYS_TO_RENEW {
        return Finding::warning("access", says, "set PoolStorage to a new signature before that day");
    }
    Finding::fine("access", says)
}

/// Looks for another service's messages before this service moves them aside.
async fn check_queue(queue: &RoomQueue, messages: Option<usize>, is_required: bool) -> Finding {
    let (check, name) = ("queue", queue.name());
    let Some(messages) = messages else {
        if is_required {
            let to_do = "check POOL_QUEUE_NAME, and that function_pool_maintenance runs: it creates the queue";
            return Finding::not_fine(check, format!("{name} does not exist"), to_do);
        }
        return Finding::fine(check, format!("{name} does not exist; without a pool none is needed"));
    };
    match in_time(CALL_LIMIT, queue.peek()).await {
        Some(Ok(Peeked { foreign: 0, .. })) => {
            Finding::fine(check, format!("{name} exists, with about {messages} messages"))
        }
        Some(Ok(Peeked { rooms, foreign })) => Finding::not_fine(
            check,
            format!(
                "{foreign} of the first {} messages in {name} are not room names of this service",
                rooms.len() + foreign
            ),
            "set POOL_QUEUE_NAME to a queue that no other service uses: this service moves such messages to its poison \
             queue",
        ),
        Some(Err(error)) => Finding::not_fine(check, format!("the messages in {name}: {error}"), error.remedy()),
        None => Finding::not_fine(check, NO_ANSWER, "check the status of the storage account, and try again"),
    }
}

async fn check_other_queues(queue: &RoomQueue) -> Finding {
    let check = "other_queues";
    let ended = queue.of_ended_rooms();
    let counts = in_time(CALL_LIMIT, async { tokio::join!(queue.approximate_poison_count(), count(&ended)) });
    let Some((poison, ended)) = counts.await else {
        return Finding::not_fine(check, NO_ANSWER, "check the status of the storage account, and try again");
    };
    match (poison, ended) {
        (Ok(0), Ok(ended)) => {
            Finding::fine(check, format!("no poison messages; about {} ended rooms in line", ended.unwrap_or(0)))
        }
        (Ok(poison), Ok(_)) => Finding::warning(
            check,
            format!("about {poison} poison messages, which are not room names"),
            "find out who wrote them, then delete them",
        ),
        (Err(error), _) | (_, Err(error)) => Finding::not_fine(
            check,
            format!("the queues for poison messages and ended rooms: {error}"),
            "check that the credentials in PoolStorage are valid for all queues of the service",
        ),
    }
}

/// A signature states its permissions, and a key has all of them. A role cannot be read.
pub(super) fn check_writing(access: &StorageAccess, rights: &Rights) -> Finding {
    let check = "writing";
    let Rights { permissions, allow, roles } = rights;
    let signature = match access {
        StorageAccess::AccountKey { .. } => return Finding::fine(check, "the account's key allows everything"),
        StorageAccess::ManagedIdentity { .. } => {
            let says = format!("not tried: it would change something. The identity needs the {roles}");
            return Finding::could_not_tell(check, says);
        }
        StorageAccess::SharedAccessSignature { signature, .. } => signature,
    };
    match parameter(signature, "sp") {
        Some(allowed) if permissions.iter().all(|one| allowed.contains(*one)) => {
            Finding::fine(check, format!("the signature allows {allow}"))
        }
        Some(_) => Finding::not_fine(
            check,
            format!("the signature does not allow {allow}"),
            "set PoolStorage to a signature with these permissions",
        ),
        None => Finding::could_not_tell(check, "not tried, and the signature does not state its permissions"),
    }
}

fn parameter(signature: &SecretString, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(signature.expose_secret().as_bytes());
    pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}
