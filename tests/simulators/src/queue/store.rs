//! Queues, messages, and the clock of leases and lifetimes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use time::OffsetDateTime;
use time::macros::datetime;

use super::StoredMessage;
use super::error::StorageError;
use crate::identifier::{guid_number, hyphenated, random};

/// Expiry of a message that never expires.
const NEVER: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);

/// All queues of the account.
#[derive(Debug, Default)]
pub(super) struct Store {
    queues: HashMap<String, Queue>,
    advanced: Duration,
}

/// A queue without the messages that have expired.
#[derive(Debug)]
pub(super) struct OpenQueue<'a> {
    queue: &'a mut Queue,
    now: OffsetDateTime,
}

/// A message in an operation's answer.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) pop_receipt: String,
    pub(super) dequeue_count: u32,
    pub(super) inserted_at: OffsetDateTime,
    pub(super) expires_at: OffsetDateTime,
    pub(super) visible_at: OffsetDateTime,
}

/// Result of a create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Created {
    New,
    AlreadyThere,
}

/// Names and values of a queue's metadata.
pub(super) type Metadata = BTreeMap<String, String>;

#[derive(Debug, Default)]
struct Queue {
    metadata: Metadata,
    messages: HashMap<u128, Message>,
    /// Ordered by time, then by number, so that messages of the same instant keep their order.
    by_visibility: BTreeSet<(OffsetDateTime, u64, u128)>,
    by_expiry: BTreeSet<(OffsetDateTime, u128)>,
    put_so_far: u64,
}

#[derive(Debug)]
struct Message {
    number: u64,
    text: String,
    pop_receipt: String,
    dequeue_count: u32,
    inserted_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    visible_at: OffsetDateTime,
}

impl Store {
    pub(super) fn advance(&mut self, by: Duration) {
        self.advanced += by;
    }

    pub(super) fn create(&mut self, name: &str, metadata: Metadata) -> Result<Created, StorageError> {
        match self.queues.get(name) {
            Some(queue) if queue.metadata == metadata => Ok(Created::AlreadyThere),
            Some(_) => Err(StorageError::QueueAlreadyExists),
            None => {
                let queue = Queue { metadata, ..Queue::default() };
                self.queues.insert(name.to_owned(), queue);
                Ok(Created::New)
            }
        }
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<(), StorageError> {
        self.queues.remove(name).map(drop).ok_or(StorageError::QueueNotFound)
    }

    pub(super) fn open(&mut self, name: &str) -> Result<OpenQueue<'_>, StorageError> {
        let now = self.now();
        let queue = self.queues.get_mut(name).ok_or(StorageError::QueueNotFound)?;
        Ok(OpenQueue::at(queue, now))
    }

    /// Opens a queue; creates it if it does not exist.
    pub(super) fn ensure(&mut self, name: &str) -> OpenQueue<'_> {
        let now = self.now();
        OpenQueue::at(self.queues.entry(name.to_owned()).or_default(), now)
    }

    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() + self.advanced
    }
}

impl<'a> OpenQueue<'a> {
    fn at(queue: &'a mut Queue, now: OffsetDateTime) -> Self {
        while let Some(&(expires_at, id)) = queue.by_expiry.first()
            && expires_at <= now
        {
            queue.remove(id);
        }
        Self { queue, now }
    }

    /// Without a time to live the message never expires.
    pub(super) fn put(&mut self, text: String, hidden: Duration, time_to_live: Option<Duration>) -> Delivery {
        let id = guid_number();
        let message = Message {
            number: self.queue.put_so_far,
            text,
            pop_receipt: new_receipt(),
            dequeue_count: 0,
            inserted_at: self.now,
            expires_at: time_to_live.map_or(NEVER, |lifetime| (self.now + lifetime).min(NEVER)),
            visible_at: self.now + hidden,
        };
        let delivery = message.delivery(id);
        self.queue.put_so_far += 1;
        self.queue.insert(id, message);
        delivery
    }

    /// Leases up to `most` messages for `visibility`.
    pub(super) fn receive(&mut self, most: usize, visibility: Duration) -> Vec<Delivery> {
        let mut received = Vec::new();
        for id in self.visible(most) {
            let Some(mut message) = self.queue.remove(id) else {
                continue;
            };
            message.dequeue_count += 1;
            message.pop_receipt = new_receipt();
            message.visible_at = self.now + visibility;
            received.push(message.delivery(id));
            self.queue.insert(id, message);
        }
        received
    }

    pub(super) fn peek(&self, most: usize) -> Vec<Delivery> {
        self.visible(most).into_iter().filter_map(|id| Some(self.queue.messages.get(&id)?.delivery(id))).collect()
    }

    /// The receipt stays valid after the lease has ended, until another receive or update of the message.
    pub(super) fn delete(&mut self, id: &str, pop_receipt: &str) -> Result<(), StorageError> {
        let id = self.held(id, pop_receipt)?;
        self.queue.remove(id);
        Ok(())
    }

    /// Changes the visibility and, if there is a new text, the text.
    pub(super) fn update(
        &mut self,
        id: &str,
        pop_receipt: &str,
        visibility: Duration,
        text: Option<String>,
    ) -> Result<Delivery, StorageError> {
        let id = self.held(id, pop_receipt)?;
        let mut message = self.queue.remove(id).ok_or(StorageError::MessageNotFound)?;
        message.pop_receipt = new_receipt();
        message.visible_at = self.now + visibility;
        if let Some(text) = text {
            message.text = text;
        }
        let delivery = message.delivery(id);
        self.queue.insert(id, message);
        Ok(delivery)
    }

    pub(super) fn clear(&mut self) {
        self.queue.messages.clear();
        self.queue.by_visibility.clear();
        self.queue.by_expiry.clear();
    }

    /// Includes hidden and leased messages, as the real approximate count does.
    pub(super) fn count(&self) -> usize {
        self.queue.messages.len()
    }

    pub(super) fn metadata(&self) -> &Metadata {
        &self.queue.metadata
    }

    pub(super) fn stored(&self) -> Vec<StoredMessage> {
        self.queue
            .by_visibility
            .iter()
            .filter_map(|(_, _, id)| self.queue.messages.get(id))
            .map(|message| StoredMessage {
                text: message.text.clone(),
                dequeue_count: message.dequeue_count,
                visible: message.visible_at <= self.now,
                expires_at: message.expires_at,
                visible_at: message.visible_at,
            })
            .collect()
    }

    fn visible(&self, most: usize) -> Vec<u128> {
        self.queue
            .by_visibility
            .iter()
            .take_while(|(visible_at, _, _)| *visible_at <= self.now)
            .take(most)
            .map(|(_, _, id)| *id)
            .collect()
    }

    /// Finds the message of a receipt.
    fn held(&self, id: &str, pop_receipt: &str) -> Result<u128, StorageError> {
        let wanted = id.to_ascii_lowercase();
        let number = u128::from_str_radix(&wanted.replace('-', ""), 16).map_err(|_| StorageError::MessageNotFound)?;
        let message = self.queue.messages.get(&number).ok_or(StorageError::MessageNotFound)?;
        if message.pop_receipt == pop_receipt { Ok(number) } else { Err(StorageError::PopReceiptMismatch) }
    }
}

impl Queue {
    fn insert(&mut self, id: u128, message: Message) {
        self.by_visibility.insert((message.visible_at, message.number, id));
        self.by_expiry.insert((message.expires_at, id));
        self.messages.insert(id, message);
    }

    fn remove(&mut self, id: u128) -> Option<Message> {
        let message = self.messages.remove(&id)?;
        self.by_visibility.remove(&(message.visible_at, message.number, id));
        self.by_expiry.remove(&(message.expires_at, id));
        Some(message)
    }
}

impl Message {
    fn delivery(&self, id: u128) -> Delivery {
        Delivery {
            id: hyphenated(id),
            text: self.text.clone(),
            pop_receipt: self.pop_receipt.clone(),
            dequeue_count: self.dequeue_count,
            inserted_at: self.inserted_at,
            expires_at: self.expires_at,
            visible_at: self.visible_at,
        }
    }
}

/// Base64 with padding: like real receipts, these need percent-encoding in a query.
fn new_receipt() -> String {
    BASE64_STANDARD.encode(random::<16>())
}
