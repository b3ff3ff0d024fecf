//! The queue as the service uses it: each test once against the emulator and once against the simulator, so that
//! everything else that is tested on the simulator rests on what the emulator does.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maxconf::storage::StorageError;
use maxconf::storage::queue::{Deletion, LeasedMessage, RoomQueue};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::support::{TestQueue, a_name, eventually, within};

const NOT_HIDDEN: Duration = Duration::ZERO;
const AN_HOUR: Duration = Duration::from_secs(3600);
const LONG_LEASE: Duration = Duration::from_secs(60);
/// The shortest that there is.
const SHORT_LEASE: Duration = Duration::from_secs(1);
/// The services keep milliseconds at best, and by a clock of their own.
const CLOCK_GRAIN: Duration = Duration::from_millis(50);

/// Puts each test into two modules, one for each service.
macro_rules! on_both_services {
    ($($test:ident,)+) => {
        mod on_azurite {
            $(#[tokio::test]
            async fn $test() {
                // Without the emulator there is nothing to run; `TestQueue` has said so.
                if let Some(queue) = super::TestQueue::on_azurite() {
                    super::$test(&queue).await;
                    queue.remove().await;
                }
            })+
        }

        mod on_the_simulator {
            $(#[tokio::test]
            async fn $test() {
                super::$test(&super::TestQueue::on_the_simulator().await).await;
            })+
        }
    };
}

on_both_services! {
    making_the_queue_again_changes_nothing,
    what_is_put_is_received_once,
    a_hidden_message_is_received_no_earlier_than_its_time,
    a_message_lives_as_long_as_it_was_given_and_not_seven_days,
    an_empty_queue_gives_nothing,
    one_receive_gives_no_more_than_a_batch,
    a_leased_message_is_invisible_to_another_instance,
    after_its_lease_a_message_is_received_again_and_only_the_new_receipt_counts,
    of_two_claims_exactly_one_is_ours,
    of_claims_by_two_instances_at_once_exactly_one_is_ours,
    a_claim_after_the_lease_succeeds_if_the_message_was_not_received_again,
    a_missing_queue_is_distinguished_from_a_lost_message,
    the_count_includes_leased_and_hidden_messages,
    a_wrong_key_is_refused_as_credentials,
    a_shared_access_signature_is_enough_for_everything,
    text_that_is_no_name_of_ours_gives_no_room,
    what_is_no_name_can_be_set_aside_for_an_operator,
    names_in_base64_are_read,
    one_name_put_twice_is_two_messages,
}

/// One instance of the service, and its queue made.
async fn instance(queue: &TestQueue) -> RoomQueue {
    let client = queue.client();
    client.ensure_exists().await.expect("a queue that can be made");
    client
}

/// The only message of the queue, leased for so long.
async fn only_message(client: &RoomQueue, lease: Duration) -> LeasedMessage {
    let mut messages = client.receive(2, lease).await.expect("messages");
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages.pop().expect("a message")
}

/// Waits until there is something to receive.
async fn received_at_last(client: &RoomQueue, lease: Duration) -> LeasedMessage {
    let receive = async {
        loop {
            if let Some(message) = client.receive(1, lease).await.expect("messages").pop() {
                return message;
            }
        }
    };
    within("a message to be received", receive).await
}

async fn making_the_queue_again_changes_nothing(queue: &TestQueue) {
    let client = instance(queue).await;
    client.put(&a_name(), NOT_HIDDEN, AN_HOUR).await.expect("a put");

    client.ensure_exists().await.expect("nothing to do");

    assert_eq!(client.approximate_count().await, Ok(1));
}

async fn what_is_put_is_received_once(queue: &TestQueue) {
    let client = instance(queue).await;
    let name = a_name();
    client.put(&name, NOT_HIDDEN, AN_HOUR).await.expect("a put");

    let message = only_message(&client, LONG_LEASE).await;

    assert_eq!(message.room, Some(name));
    assert_eq!(message.receives, 1);
    assert_eq!(client.delete(&message).await, Ok(Deletion::Ours));
    assert_eq!(client.approximate_count().await, Ok(0));
}

async fn a_hidden_message_is_received_no_earlier_than_its_time(queue: &TestQueue) {
    let client = instance(queue).await;
    let hidden = Duration::from_secs(2);
    let name = a_name();
    let before = Instant::now();
    client.put(&name, hidden, AN_HOUR).await.expect("a put");

    let message = received_at_last(&client, LONG_LEASE).await;

    assert!(before.elapsed() + CLOCK_GRAIN > hidden, "received after {:?}", before.elapsed());
    assert_eq!(message.room, Some(name));
}

async fn a_message_lives_as_long_as_it_was_given_and_not_seven_days(queue: &TestQueue) {
    let client = instance(queue).await;
    for lifetime in [Duration::from_secs(90), Duration::from_secs(30 * 86_400)] {
        let before = OffsetDateTime::now_utc();
        client.put(&a_name(), NOT_HIDDEN, lifetime).await.expect("a put");
        let after = OffsetDateTime::now_utc();

        let message = only_message(&client, LONG_LEASE).await;

        // Times are answered in whole seconds.
        let second = Duration::from_secs(1);
        assert!(message.expires >= before + lifetime - second, "{lifetime:?}: expires {}", message.expires);
        assert!(message.expires <= after + lifetime + second, "{lifetime:?}: expires {}", message.expires);
    }
}

async fn an_empty_queue_gives_nothing(queue: &TestQueue) {
    let client = instance(queue).await;

    let messages = client.receive(32, LONG_LEASE).await.expect("an answer");

    assert!(messages.is_empty(), "{messages:?}");
}

async fn one_receive_gives_no_more_than_a_batch(queue: &TestQueue) {
    let client = instance(queue).await;
    let mut put = HashSet::new();
    for _ in 0..33 {
        let name = a_name();
        client.put(&name, NOT_HIDDEN, AN_HOUR).await.expect("a put");
        put.insert(name);
    }

    // The client lowers the number to 32, the most that the service allows.
    let batch = client.receive(100, LONG_LEASE).await.expect("a batch");
    let rest = client.receive(32, LONG_LEASE).await.expect("the rest");

    assert_eq!((batch.len(), rest.len()), (32, 1));
    let received: HashSet<_> = batch.into_iter().chain(rest).filter_map(|message| message.room).collect();
    assert_eq!(received, put);
}

async fn a_leased_message_is_invisible_to_another_instance(queue: &TestQueue) {
    let (one, other) = (instance(queue).await, instance(queue).await);
    one.put(&a_name(), NOT_HIDDEN, AN_HOUR).await.expect("a put");
    let _leased = only_message(&one, LONG_LEASE).await;

    let messages = other.receive(32, LONG_LEASE).await.expect("an answer");

    assert!(messages.is_empty(), "{messages:?}");
}

async fn after_its_lease_a_message_is_received_again_and_only_the_new_receipt_counts(queue: &TestQueue) {
    let (one, other) = (instance(queue).await, instance(queue).await);
    let name = a_name();
    one.put(&name, NOT_HIDDEN, AN_HOUR).await.expect("a put");
    let before = Instant::now();
    let first = only_message(&one, SHORT_LEASE).await;

    let second = received_at_last(&other, LONG_LEASE).await;

    assert!(before.elapsed() + CLOCK_GRAIN > SHORT_LEASE, "again after {:?}", before.elapsed());
    assert!(first.lease_ends < Instant::now(), "our own count of the lease ends first");
    assert_eq!((second.room.as_ref(), second.receives), (Some(&name), 2));
    assert_eq!(one.delete(&first).await, Ok(Deletion::Lost));
    assert_eq!(other.approximate_count().await, Ok(1), "a lost claim deletes nothing");
    assert_eq!(other.delete(&second).await, Ok(Deletion::Ours));
}

async fn of_two_claims_exactly_one_is_ours(queue: &TestQueue) {
    let client = instance(queue).await;
    client.put(&a_name(), NOT_HIDDEN, AN_HOUR).await.expect("a put");
    let message = only_message(&client, LONG_LEASE).await;

    assert_eq!(client.delete(&message).await, Ok(Deletion::Ours));
    assert_eq!(client.delete(&message).await, Ok(Deletion::Lost));
}

async fn of_claims_by_two_instances_at_once_exactly_one_is_ours(queue: &TestQueue) {
    let (one, other) = (instance(queue).await, instance(queue).await);
    for _ in 0..16 {
        one.put(&a_name(), NOT_HIDDEN, AN_HOUR).await.expect("a put");
    }
    let messages = one.receive(16, LONG_LEASE).await.expect("a batch");
    assert_eq!(messages.len(), 16);

    for message in &messages {
        let (first, second) = tokio::join!(one.delete(message), other.delete(message));

        let claims = [first.expect("an answer"), second.expect("an answer")];
        assert!(claims == [Deletion::Ours, Deletion::Lost] || claims == [Deletion::Lost, Deletion::Ours], "{claims:?}");
    }
    assert_eq!(one.approximate_count().await, Ok(0));
}

async fn a_claim_after_the_lease_succeeds_if_the_message_was_not_received_again(queue: &TestQueue) {
    let client = instance(queue).await;
    client.put(&a_name(), NOT_HIDDEN, AN_HOUR).await.expect("a put");
    let message = only_message(&client, SHORT_LEASE).await;
    eventually("the lease has run out", async || queue.visible().await == 1).await;

    assert_eq!(client.delete(&message).await, Ok(Deletion::Ours));
    assert_eq!(client.approximate_count().await, Ok(0));
}

async fn a_missing_queue_is_distinguished_from_a_lost_message(queue: &TestQueue) {
    let client = instance(queue).await;
    client.put(&a_name(), NOT_HIDDEN, AN_HOUR).await.expect("a put");
    let message = only_message(&client, LONG_LEASE).await;
    queue.remove().await;

    assert_eq!(client.receive(1, LONG_LEASE).await.expect_err("no queue"), StorageError::NoSuchQueue);
    assert_eq!(client.put(&a_name(), NOT_HIDDEN, AN_HOUR).await, Err(StorageError::NoSuchQueue));
    assert_eq!(client.approximate_count().await, Err(StorageError::NoSuchQueue));
    assert_eq!(client.delete(&message).await, Err(StorageError::NoSuchQueue));
}

async fn the_count_includes_leased_and_hidden_messages(queue: &TestQueue) {
    let client = instance(queue).await;
    assert_eq!(client.approximate_count().await, Ok(0));
    client.put(&a_name(), NOT_HIDDEN, AN_HOUR).await.expect("a put");
    let _leased = only_message(&client, LONG_LEASE).await;
    client.put(&a_name(), LONG_LEASE, AN_HOUR).await.expect("a put");
    client.put(&a_name(), NOT_HIDDEN, AN_HOUR).await.expect("a put");

    assert_eq!(queue.visible().await, 1);
    assert_eq!(client.approximate_count().await, Ok(3));
}

async fn a_wrong_key_is_refused_as_credentials(queue: &TestQueue) {
    let owner = instance(queue).await;
    owner.put(&a_name(), NOT_HIDDEN, AN_HOUR).await.expect("a put");
    let message = only_message(&owner, LONG_LEASE).await;
    // One for each call: after some refusals in a row the client asks no more.
    let stranger = || queue.client_with_wrong_key();

    for refusal in [
        stranger().ensure_exists().await.expect_err("a refusal"),
        stranger().put(&a_name(), NOT_HIDDEN, AN_HOUR).await.expect_err("a refusal"),
        stranger().receive(1, LONG_LEASE).await.expect_err("a refusal"),
        stranger().delete(&message).await.expect_err("a refusal"),
        stranger().approximate_count().await.expect_err("a refusal"),
    ] {
        assert!(matches!(refusal, StorageError::Credentials(_)), "{refusal:?}");
    }
    assert_eq!(owner.delete(&message).await, Ok(Deletion::Ours));
}

async fn a_shared_access_signature_is_enough_for_everything(queue: &TestQueue) {
    let client = queue.client_with_signature();
    let name = a_name();

    client.ensure_exists().await.expect("a queue that can be made");
    client.put(&name, NOT_HIDDEN, AN_HOUR).await.expect("a put");
    assert_eq!(client.approximate_count().await, Ok(1));
    let message = only_message(&client, LONG_LEASE).await;

    assert_eq!(message.room, Some(name));
    assert_eq!(client.delete(&message).await, Ok(Deletion::Ours));
}

async fn text_that_is_no_name_of_ours_gives_no_room(queue: &TestQueue) {
    let client = instance(queue).await;
    let junk = ["junk", "a < b & c", "{\"room\":1}", "vbv-not-a-ulid", "edge-01jd5p3xk8qqqqqqqqqqqqqqqq", "anVuaw=="];
    for text in junk {
        queue.put_text(text).await;
    }

    let messages = client.receive(32, LONG_LEASE).await.expect("messages");

    assert_eq!(messages.len(), junk.len());
    for message in messages {
        assert_eq!(message.room, None, "{message:?}");
        assert_eq!(client.delete(&message).await, Ok(Deletion::Ours), "junk can be removed");
    }
}

async fn what_is_no_name_can_be_set_aside_for_an_operator(queue: &TestQueue) {
    let client = instance(queue).await;
    let junk = ["a < b & c", "{\"room\":1}"];
    for text in junk {
        queue.put_text(text).await;
    }

    for message in client.receive(32, LONG_LEASE).await.expect("messages") {
        client.set_aside(&message).await.expect("a queue for such messages is made");
    }

    assert_eq!(client.approximate_count().await, Ok(0));
    let mut set_aside = queue.set_aside().await;
    set_aside.sort();
    assert_eq!(set_aside, junk);
}

async fn names_in_base64_are_read(queue: &TestQueue) {
    let client = instance(queue).await;
    let name = a_name();
    queue.put_text(&STANDARD.encode(name.as_str())).await;

    let message = only_message(&client, LONG_LEASE).await;

    assert_eq!(message.room, Some(name));
}

/// Why the service never puts a name again: the claim decides on a message, not on a name.
async fn one_name_put_twice_is_two_messages(queue: &TestQueue) {
    let client = instance(queue).await;
    let name = a_name();
    client.put(&name, NOT_HIDDEN, AN_HOUR).await.expect("a put");
    client.put(&name, NOT_HIDDEN, AN_HOUR).await.expect("another");

    let messages = client.receive(32, LONG_LEASE).await.expect("messages");

    assert_eq!(messages.iter().map(|message| message.room.as_ref()).collect::<Vec<_>>(), [Some(&name), Some(&name)]);
    for message in &messages {
        assert_eq!(client.delete(message).await, Ok(Deletion::Ours));
    }
}
