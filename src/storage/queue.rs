//! The queue of ready rooms: one message for each, its text the room's name. The only module that uses the Storage
//! Queue SDK.

use std::sync::Arc;
use std::time::Duration;

use azure_core::error::ErrorKind;
use azure_core::http::headers::CONTENT_TYPE;
use azure_storage_queue::models::{
    QueueClientGetPropertiesResultHeaders, QueueClientPeekMessagesOptions, QueueClientReceiveMessagesOptions,
    QueueClientSendMessageOptions, QueueMessage, ReceivedMessage,
};
use azure_storage_queue::{QueueClient, QueueClientOptions};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::StorageError;
use super::access::{self, Access};
use crate::config::QueueConfig;
use crate::domain::{RoomName, RoomNamePrefix};
use crate::outbound::breaker::Breaker;
use crate::outbound::calls::System;

/// The most messages of one receive.
pub const LARGEST_BATCH: usize = 32;

/// Enough for 32 messages of 64 KiB in which each byte is escaped by six.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Limit of one call. The SDK's own limits (connect 20 s, read 60 s) are longer than a citizen waits.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Time to live of a message that stays until it is deleted.
const NEVER_EXPIRES: i32 = -1;

/// A lease is used up to this long before its end, because the response and the delete take time.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// The queue of ready rooms.
#[derive(Clone)]
pub struct RoomQueue {
    client: Arc<QueueClient>,
    /// Poison messages: those that are not room names.
    poison: Arc<QueueClient>,
    ended: Arc<QueueClient>,
    breaker: Arc<Breaker>,
    prefix: RoomNamePrefix,
    name: Arc<str>,
}

/// A received message, hidden from other receivers until its lease ends.
#[derive(Debug)]
pub struct LeasedMessage {
    id: String,
    /// A secret: it allows to delete the message.
    pop_receipt: SecretString,
    text: String,
    /// The room that it names; `None` for a poison message.
    pub room: Option<RoomName>,
    /// When the message expires.
    pub expires: OffsetDateTime,
    /// From then on another receiver may have it.
    pub lease_ends: Instant,
    /// How often it was received, including this receive.
    pub receives: i64,
}

impl LeasedMessage {
    /// Identifies the message across receives.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The text as it was put.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Messages at the front of the queue.
#[derive(Clone, Debug, Default)]
pub struct Peeked {
    /// What they name.
    pub rooms: Vec<RoomName>,
    /// Messages that are not room names of ours.
    pub foreign: usize,
}

/// Result of deleting a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The message was deleted by this call.
    Ours,
    /// Another receiver has or had the message. Its room must not be used.
    Lost,
}

impl RoomQueue {
    /// A client for the queue. Makes no call.
    pub fn new(config: &QueueConfig, prefix: RoomNamePrefix, http: reqwest::Client) -> Result<Self, StorageError> {
        let access = Access::new(&config.access, http, LARGEST_ANSWER)?;
        let client = |name: &str| {
            let client_options = access.options.clone();
            let options = QueueClientOptions { client_options, ..QueueClientOptions::default() };
            QueueClient::new(access.url(name), access.credential.clone(), Some(options)).map(Arc::new)
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

    /// The queue of ended rooms. Its messages give no claim: any number of them may name one room.
    #[must_use]
    pub fn of_ended_rooms(&self) -> Self {
        Self { client: Arc::clone(&self.ended), name: format!("{}-ended", self.name).into(), ..self.clone() }
    }

    /// The queue's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the circuit breaker of the queue service is open.
    pub fn is_circuit_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// Creates the queue if it does not exist.
    pub async fn ensure_exists(&self) -> Result<(), StorageError> {
        self.call("create_queue", self.client.create(None)).await?;
        Ok(())
    }

    /// Leases up to `count` messages (at most [`LARGEST_BATCH`]) for `lease`.
    ///
    /// If the call is cancelled, its messages stay hidden until the lease ends: run it in a task that owns the result.
    pub async fn receive(&self, count: usize, lease: Duration) -> Result<Vec<LeasedMessage>, StorageError> {
        // Measured from before the request, so that it ends before the service's own lease.
        let lease_ends = Instant::now() + lease.saturating_sub(LEASE_MARGIN.min(lease / 4));
        let options = QueueClientReceiveMessagesOptions {
            number_of_messages: i32::try_from(count.clamp(1, LARGEST_BATCH)).ok(),
            visibility_timeout: Some(whole_seconds(lease)),
            ..QueueClientReceiveMessagesOptions::default()
        };
        let messages = self
            .call("receive", async {
                let answer = self.client.receive_messages(Some(options)).await?;
                // The SDK would parse a proxy's error page as an empty list.
                match answer.headers().get_optional_str(&CONTENT_TYPE) {
                    Some(xml) if xml.starts_with("application/xml") => answer.into_model(),
                    _ => Err(azure_core::Error::with_message(ErrorKind::DataConversion, "not XML")),
                }
            })
            .await?;
        let items = messages.items.unwrap_or_default();
        Ok(items.into_iter().filter_map(|message| self.leased(message, lease_ends)).collect())
    }

    /// Deletes the message, which only the latest pop receipt allows. Repeats the call once with the same receipt if
    /// the answer was lost.
    pub async fn delete(&self, message: &LeasedMessage) -> Result<Deletion, StorageError> {
        match self.delete_once(message).await {
            Err(error) if error.is_ambiguous() => match self.delete_once(message).await {
                // Not asked again: it stays unknown.
                Err(StorageError::Suspended) => Err(error),
                settled => settled,
            },
            settled => settled,
        }
    }

    /// Deletes a message without a use. If that fails, it is received again.
    pub async fn discard(&self, message: &LeasedMessage) -> Result<(), StorageError> {
        self.delete_once(message).await.map(drop)
    }

    /// Puts the message for `room`: hidden for `hidden`, expiring after `lifetime`.
    ///
    /// Call it only once for a name, whatever the result: after a lost answer the message may exist, and a second one
    /// would give the room to a second citizen.
    pub async fn put(&self, room: &RoomName, hidden: Duration, lifetime: Duration) -> Result<(), StorageError> {
        self.put_text(room.as_str(), hidden, lifetime).await
    }

    /// Puts a message of any text: hidden for `hidden`, expiring after `lifetime`.
    pub async fn put_text(&self, text: &str, hidden: Duration, lifetime: Duration) -> Result<(), StorageError> {
        let message = QueueMessage { message_text: Some(text.to_owned()) };
        let options = QueueClientSendMessageOptions {
            // The default of seven days may be longer than the room's lifetime.
            message_time_to_live: Some(whole_seconds(lifetime)),
            visibility_timeout: Some(whole_seconds(hidden)),
            ..QueueClientSendMessageOptions::default()
        };
        self.call("put", async { self.client.send_message(message.try_into()?, Some(options)).await }).await?;
        Ok(())
    }

    /// Messages in the queue, including leased and hidden ones. The service's count may lag.
    pub async fn approximate_count(&self) -> Result<usize, StorageError> {
        self.count(&self.client).await
    }

    /// Messages in the poison queue, approximately; 0 if the queue does not exist.
    pub async fn approximate_poison_count(&self) -> Result<usize, StorageError> {
        match self.count(&self.poison).await {
            Err(StorageError::NoSuchQueue) => Ok(0),
            counted => counted,
        }
    }

    async fn count(&self, client: &QueueClient) -> Result<usize, StorageError> {
        let count =
            self.call("count", async { client.get_properties(None).await?.approximate_messages_count() }).await?;
        // Not 0: without the header the pool would appear empty and be filled.
        count.and_then(|count| usize::try_from(count).ok()).ok_or(StorageError::Unreadable)
    }

    /// Reads up to [`LARGEST_BATCH`] messages that nobody has leased, and changes nothing.
    pub async fn peek(&self) -> Result<Peeked, StorageError> {
        let options = QueueClientPeekMessagesOptions {
            number_of_messages: i32::try_from(LARGEST_BATCH).ok(),
            ..QueueClientPeekMessagesOptions::default()
        };
        let peeked = self.call("peek", async { self.client.peek_messages(Some(options)).await?.into_model() }).await?;
        let texts = peeked.items.unwrap_or_default().into_iter().map(|item| item.message_text.unwrap_or_default());
        let (named, foreign): (Vec<_>, Vec<_>) =
            texts.map(|text| room_in(&text, &self.prefix)).partition(Option::is_some);
        Ok(Peeked { rooms: named.into_iter().flatten().collect(), foreign: foreign.len() })
    }

    /// Moves a poison message to the poison queue, for an operator to look at.
    ///
    /// Put before delete: if the process stops in between, the message exists twice; in the other order it is lost.
    pub async fn set_aside(&self, message: &LeasedMessage) -> Result<(), StorageError> {
        self.call("create_queue", self.poison.create(None)).await?;
        let copy = QueueMessage { message_text: Some(message.text.clone()) };
        let options = QueueClientSendMessageOptions {
            message_time_to_live: Some(NEVER_EXPIRES),
            ..QueueClientSendMessageOptions::default()
        };
        self.call("put", async { self.poison.send_message(copy.try_into()?, Some(options)).await }).await?;
        self.delete_once(message).await?;
        Ok(())
    }

    async fn call<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = azure_core::Result<T>>,
    ) -> Result<T, StorageError> {
        let admission = self.breaker.admit()?;
        let result = access::call(System::Queue, name, CALL_TIMEOUT, call).await;
        match &result {
            Err(error) if error.is_service_failure() || error.retry_after().is_some() => {
                admission.failed(error.retry_after());
            }
            Ok(_) | Err(_) => admission.succeeded(),
        }
        result
    }

    async fn delete_once(&self, message: &LeasedMessage) -> Result<Deletion, StorageError> {
        match self
            .call("delete", self.client.delete_message(&message.id, message.pop_receipt.expose_secret(), None))
            .await
        {
            Ok(_) => Ok(Deletion::Ours),
            Err(error) if error.is_message_gone() => Ok(Deletion::Lost),
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
        // The SDK client's output has the URL, which may hold a signature.
        formatter.debug_struct("RoomQueue").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The room name in a message: plain, or in base64 as older writers and the bindings of the Functions host write it.
fn room_in(text: &str, prefix: &RoomNamePrefix) -> Option<RoomName> {
    let text = text.trim();
    prefix.parse_name(text).or_else(|| {
        let decoded = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        prefix.parse_name(decoded.trim())
    })
}

fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_name_is_read_in_plain_text_and_in_base64_only() {
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
