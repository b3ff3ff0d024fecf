//! The queue of claim tickets: one message for each ready room, its text the room's name.
//!
//! The only module that uses the Storage Queue library.

mod error;
mod shared_key;

use std::sync::Arc;
use std::time::Duration;

use azure_core::http::{ClientOptions, RetryOptions, Transport, Url};
use azure_identity::{ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use azure_storage_queue::models::{
    QueueClientGetPropertiesResultHeaders, QueueClientReceiveMessagesOptions, QueueClientSendMessageOptions,
    QueueMessage, ReceivedMessage,
};
use azure_storage_queue::{QueueClient, QueueClientOptions};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::config::{QueueConfig, StorageAccess};
use crate::room::{RoomName, RoomNamePrefix};
use shared_key::SharedKey;

pub use error::QueueError;

/// The most messages that one receive gives.
pub const LARGEST_BATCH: usize = 32;

/// Longest time for one call. The SDK's own limits (connect 20 s, read 60 s) are far beyond a citizen's patience.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Kept off the end of each lease for the way back of the answer and the way out of the delete.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// The queue of ready rooms.
#[derive(Clone)]
pub struct RoomQueue {
    client: Arc<QueueClient>,
    prefix: RoomNamePrefix,
    name: Arc<str>,
}

/// A message that nobody else sees until its lease ends.
#[derive(Debug)]
pub struct LeasedMessage {
    id: String,
    pop_receipt: String,
    /// The room it stands for; `None` if the text is no name of ours.
    pub room: Option<RoomName>,
    /// When the message vanishes by itself.
    pub expires: OffsetDateTime,
    /// From here on somebody else may have received it.
    pub lease_ends: Instant,
    /// How often it was received, this time included.
    pub receives: i64,
}

/// What a claim came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The message is deleted, by us and nobody else.
    Ours,
    /// Somebody else has it, had it, or we cannot know: hands off the room.
    Lost,
}

impl RoomQueue {
    /// A client for the queue; no call is made yet.
    pub fn new(config: &QueueConfig, prefix: RoomNamePrefix, http: reqwest::Client) -> Result<Self, QueueError> {
        let mut options = ClientOptions {
            // A repeated Put makes two messages with one name, a repeated Delete hides who won: never by itself.
            retry: RetryOptions::none(),
            transport: Some(Transport::new(Arc::new(http))),
            ..ClientOptions::default()
        };
        let (service, credential) = match &config.access {
            StorageAccess::AccountKey { service, account, key } => {
                options.per_try_policies.push(Arc::new(SharedKey::new(account, key)?));
                (service.clone(), None)
            }
            StorageAccess::SharedAccessSignature { service, signature } => {
                let mut service = service.clone();
                service.set_query(Some(signature.expose_secret()));
                (service, None)
            }
            StorageAccess::ManagedIdentity { service, client_id } => {
                let identity = ManagedIdentityCredentialOptions {
                    user_assigned_id: client_id.clone().map(UserAssignedId::ClientId),
                    client_options: ClientOptions { transport: options.transport.clone(), ..ClientOptions::default() },
                };
                let credential = ManagedIdentityCredential::new(Some(identity))?;
                (service.clone(), Some(credential as _))
            }
        };
        let options = QueueClientOptions { client_options: options, ..QueueClientOptions::default() };
        let client = QueueClient::new(queue_url(service, &config.name), credential, Some(options))?;
        Ok(Self { client: Arc::new(client), prefix, name: config.name.as_str().into() })
    }

    /// The queue's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes the queue if it is missing.
    pub async fn ensure_exists(&self) -> Result<(), QueueError> {
        within_limit(self.client.create(None)).await?;
        Ok(())
    }

    /// Leases up to `count` messages (at most [`LARGEST_BATCH`]) for `lease`.
    ///
    /// Dropped midway, the messages stay invisible until the lease ends: run it in a task that owns what comes back.
    pub async fn receive(&self, count: usize, lease: Duration) -> Result<Vec<LeasedMessage>, QueueError> {
        // From before the request: the service's own count starts later, so ours ends first.
        let lease_ends = Instant::now() + lease.saturating_sub(LEASE_MARGIN.min(lease / 4));
        let options = QueueClientReceiveMessagesOptions {
            number_of_messages: i32::try_from(count.clamp(1, LARGEST_BATCH)).ok(),
            visibility_timeout: Some(whole_seconds(lease)),
            ..QueueClientReceiveMessagesOptions::default()
        };
        let messages = within_limit(async { self.client.receive_messages(Some(options)).await?.into_model() }).await?;
        let items = messages.items.unwrap_or_default();
        Ok(items.into_iter().filter_map(|message| self.leased(message, lease_ends)).collect())
    }

    /// Deletes the message: what makes its room ours, for only the latest receipt can do it.
    ///
    /// Asks once more with the same receipt where the answer was lost. Anything but the service's clear word is
    /// [`Claim::Lost`]: a room that nobody takes is swept, a room that two take is an identity mixed up.
    pub async fn claim(&self, message: &LeasedMessage) -> Result<Claim, QueueError> {
        match self.delete(message).await {
            Err(error) if error.is_ambiguous() => self.delete(message).await,
            settled => settled,
        }
    }

    /// Puts a ticket for `room`, hidden for `hidden`, gone after `lifetime`.
    ///
    /// Call it once for a name, whatever comes back: after a lost answer the message may be there, and a second one
    /// would give the room to a second citizen.
    pub async fn put(&self, room: &RoomName, hidden: Duration, lifetime: Duration) -> Result<(), QueueError> {
        let message = QueueMessage { message_text: Some(room.as_str().to_owned()) };
        let options = QueueClientSendMessageOptions {
            // Without it Azure takes seven days, whatever the room's own lifetime is.
            message_time_to_live: Some(whole_seconds(lifetime)),
            visibility_timeout: Some(whole_seconds(hidden)),
            ..QueueClientSendMessageOptions::default()
        };
        within_limit(async { self.client.send_message(message.try_into()?, Some(options)).await }).await?;
        Ok(())
    }

    /// Messages in the queue: leased and hidden ones count too, and it may lag.
    pub async fn approximate_count(&self) -> Result<usize, QueueError> {
        let count =
            within_limit(async { self.client.get_properties(None).await?.approximate_messages_count() }).await?;
        Ok(count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0))
    }

    async fn delete(&self, message: &LeasedMessage) -> Result<Claim, QueueError> {
        match within_limit(self.client.delete_message(&message.id, &message.pop_receipt, None)).await {
            Ok(_) => Ok(Claim::Ours),
            Err(error) if error.says_message_is_not_ours() => Ok(Claim::Lost),
            Err(error) => Err(error),
        }
    }

    fn leased(&self, message: ReceivedMessage, lease_ends: Instant) -> Option<LeasedMessage> {
        let text = message.message_text.unwrap_or_default();
        Some(LeasedMessage {
            id: message.message_id?,
            pop_receipt: message.pop_receipt?,
            room: room_in(&text, &self.prefix),
            expires: message.expiration_time?,
            lease_ends,
            receives: message.dequeue_count.unwrap_or(0),
        })
    }
}

impl std::fmt::Debug for RoomQueue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client's own output holds its address, and with that a signature.
        formatter.debug_struct("RoomQueue").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The name in a message: plain, or in base64 as older writers and the Functions host's bindings put it.
fn room_in(text: &str, prefix: &RoomNamePrefix) -> Option<RoomName> {
    let text = text.trim();
    prefix.own(text).or_else(|| {
        let decoded = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        prefix.own(decoded.trim())
    })
}

fn queue_url(mut service: Url, name: &str) -> Url {
    service.set_path(&format!("{}{name}", service.path()));
    service
}

fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

async fn within_limit<T>(call: impl Future<Output = azure_core::Result<T>>) -> Result<T, QueueError> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(QueueError::from),
        Err(_) => Err(QueueError::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_plain_and_in_base64_and_nothing_else_is_one() {
        let prefix = RoomNamePrefix::parse("vbv-").unwrap();
        let name = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";
        for text in [name.to_owned(), format!(" {name}\n"), STANDARD.encode(name)] {
            assert_eq!(room_in(&text, &prefix), prefix.own(name), "{text:?}");
        }
        for text in ["", "junk", "{\"room\":\"vbv-01jd5p3xk8qqqqqqqqqqqqqqqq\"}", &STANDARD.encode("junk")] {
            assert_eq!(room_in(text, &prefix), None, "{text:?}");
        }
    }
}
