//! The queue of claim tickets: one message for each ready room, its text the room's name.
//!
//! The only module that uses the Storage Queue library.

mod error;
mod identity;
mod shared_key;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::headers::CONTENT_TYPE;
use azure_core::http::{ClientOptions, RetryOptions, Url};
use azure_storage_queue::models::{
    QueueClientGetPropertiesResultHeaders, QueueClientReceiveMessagesOptions, QueueClientSendMessageOptions,
    QueueMessage, ReceivedMessage,
};
use azure_storage_queue::{QueueClient, QueueClientOptions};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use crate::config::{QueueConfig, StorageAccess};
use crate::domain::{RoomName, RoomNamePrefix};
use crate::outbound::breaker::Breaker;
use crate::outbound::calls::{System, upstream};
use identity::managed_identity;
use shared_key::SharedKey;
use transport::transport;

pub use error::QueueError;
pub use identity::{IdentityError, find_identity};

/// The most messages that one receive gives.
pub const LARGEST_BATCH: usize = 32;

/// Longest time for one call. The SDK's own limits (connect 20 s, read 60 s) are far beyond a citizen's patience.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The time to live of a message that stays until it is deleted.
const NEVER_EXPIRES: i32 = -1;

/// Kept off the end of each lease for the way back of the answer and the way out of the delete.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// The queue of ready rooms.
#[derive(Clone)]
pub struct RoomQueue {
    client: Arc<QueueClient>,
    /// Where messages go that are no room names.
    poison: Arc<QueueClient>,
    ended: Arc<QueueClient>,
    breaker: Arc<Breaker>,
    prefix: RoomNamePrefix,
    name: Arc<str>,
}

/// A message that nobody else sees until its lease ends.
#[derive(Debug)]
pub struct LeasedMessage {
    id: String,
    /// Who knows it can delete the message, and so take the room.
    pop_receipt: SecretString,
    text: String,
    /// The room it stands for; `None` if the text is no name of ours.
    pub room: Option<RoomName>,
    /// When the message vanishes by itself.
    pub expires: OffsetDateTime,
    /// From here on somebody else may have received it.
    pub lease_ends: Instant,
    /// How often it was received, this time included.
    pub receives: i64,
}

impl LeasedMessage {
    /// Tells the message from all others, however often it is received.
    pub fn id(&self) -> &str {
        &self.id
    }
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
        let transport = transport(http);
        let mut options = ClientOptions {
            // A repeated Put makes two messages with one name, a repeated Delete hides who won: never by itself.
            retry: RetryOptions::none(),
            transport: Some(transport.clone()),
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
                let identity = managed_identity(client_id.clone(), transport)?;
                (service.clone(), Some(identity as _))
            }
        };
        let options = QueueClientOptions { client_options: options, ..QueueClientOptions::default() };
        let client = |name: &str| {
            let url = queue_url(service.clone(), name);
            QueueClient::new(url, credential.clone(), Some(options.clone())).map(Arc::new)
        };
        Ok(Self {
            client: client(&config.name)?,
            poison: client(&format!("{}-poison", config.name))?,
            ended: client(&format!("{}-ended", config.name))?,
            breaker: Breaker::new(),
            prefix,
            name: config.name.as_str().into(),
        })
    }

    /// The queue of rooms whose conference has ended, beside this one. Its messages are hints, not claim tickets: any
    /// number of them may name one room.
    #[must_use]
    pub fn of_ended_rooms(&self) -> Self {
        Self { client: Arc::clone(&self.ended), name: format!("{}-ended", self.name).into(), ..self.clone() }
    }

    /// The queue's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the queue service is left alone after failures.
    pub fn is_circuit_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// Makes the queue if it is missing.
    pub async fn ensure_exists(&self) -> Result<(), QueueError> {
        self.call("create_queue", self.client.create(None)).await?;
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
        let messages = self
            .call("receive", async {
                let answer = self.client.receive_messages(Some(options)).await?;
                // The SDK reads a proxy's page as a list of no messages.
                match answer.headers().get_optional_str(&CONTENT_TYPE) {
                    Some(xml) if xml.starts_with("application/xml") => answer.into_model(),
                    _ => Err(azure_core::Error::with_message(ErrorKind::DataConversion, "not XML")),
                }
            })
            .await?;
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

    /// Deletes a message that stands for nothing any more, as far as that works: if not, it is received again.
    pub async fn discard(&self, message: &LeasedMessage) -> Result<(), QueueError> {
        self.delete(message).await.map(drop)
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
        self.call("put", async { self.client.send_message(message.try_into()?, Some(options)).await }).await?;
        Ok(())
    }

    /// Messages in the queue: leased and hidden ones count too, and it may lag.
    pub async fn approximate_count(&self) -> Result<usize, QueueError> {
        self.count(&self.client).await
    }

    /// Messages that were [set aside](Self::set_aside), as far as is known; none if there is no queue for them yet.
    pub async fn approximate_poison_count(&self) -> Result<usize, QueueError> {
        match self.count(&self.poison).await {
            Err(QueueError::NoSuchQueue) => Ok(0),
            counted => counted,
        }
    }

    async fn count(&self, client: &QueueClient) -> Result<usize, QueueError> {
        let count =
            self.call("count", async { client.get_properties(None).await?.approximate_messages_count() }).await?;
        // Not 0: an answer without the header would look like an empty pool, and be filled.
        count.and_then(|count| usize::try_from(count).ok()).ok_or(QueueError::Unreadable)
    }

    /// Puts a message that is no room name aside, where an operator finds it.
    ///
    /// Put first, deleted then: stopped in between it is there twice, and so is noticed; the other way it is lost.
    pub async fn set_aside(&self, message: &LeasedMessage) -> Result<(), QueueError> {
        self.call("create_queue", self.poison.create(None)).await?;
        let copy = QueueMessage { message_text: Some(message.text.clone()) };
        // Kept until somebody has looked at it.
        let options = QueueClientSendMessageOptions {
            message_time_to_live: Some(NEVER_EXPIRES),
            ..QueueClientSendMessageOptions::default()
        };
        self.call("put", async { self.poison.send_message(copy.try_into()?, Some(options)).await }).await?;
        self.delete(message).await?;
        Ok(())
    }

    async fn call<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = azure_core::Result<T>>,
    ) -> Result<T, QueueError> {
        let admission = self.breaker.admit()?;
        let work = async {
            match timeout(CALL_TIMEOUT, call).await {
                Ok(answer) => answer.map_err(QueueError::from),
                Err(_) => Err(QueueError::Timeout),
            }
        };
        let result = upstream(System::Queue, name, work).await;
        match &result {
            Err(error) if error.is_the_services_trouble() => admission.failed(None),
            Ok(_) | Err(_) => admission.succeeded(),
        }
        result
    }

    async fn delete(&self, message: &LeasedMessage) -> Result<Claim, QueueError> {
        match self
            .call("delete", self.client.delete_message(&message.id, message.pop_receipt.expose_secret(), None))
            .await
        {
            Ok(_) => Ok(Claim::Ours),
            Err(error) if error.says_message_is_not_ours() => Ok(Claim::Lost),
            Err(error) => Err(error),
        }
    }

    fn leased(&self, message: ReceivedMessage, lease_ends: Instant) -> Option<LeasedMessage> {
        let text = message.message_text.unwrap_or_default();
        Some(LeasedMessage {
            id: message.message_id?,
            pop_receipt: message.pop_receipt?.into(),
            room: room_in(&text, &self.prefix),
            text,
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
    prefix.parse_name(text).or_else(|| {
        let decoded = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        prefix.parse_name(decoded.trim())
    })
}

fn queue_url(mut service: Url, name: &str) -> Url {
    service.set_path(&format!("{}{name}", service.path()));
    service
}

fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_plain_and_in_base64_and_nothing_else_is_one() {
        let prefix = RoomNamePrefix::parse("vbv-").unwrap();
        let name = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";
        for text in [name.to_owned(), format!(" {name}\n"), STANDARD.encode(name)] {
            assert_eq!(room_in(&text, &prefix), prefix.parse_name(name), "{text:?}");
        }
        for text in ["", "junk", "{\"room\":\"vbv-01jd5p3xk8qqqqqqqqqqqqqqqq\"}", &STANDARD.encode("junk")] {
            assert_eq!(room_in(text, &prefix), None, "{text:?}");
        }
    }
}
