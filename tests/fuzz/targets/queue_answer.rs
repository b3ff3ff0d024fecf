//! Any answer of the queue service. The SDK parses the XML; the service handles the message.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use maxconf::domain::RoomNamePrefix;
use maxconf::storage::StorageError;
use maxconf::storage::queue::RoomQueue;
use maxconf_fuzz::{Outside, assert_harmless, config, http, runtime};

fuzz_target!(|input: &[u8]| {
    let Some(outside) = Outside::read(input) else { return };
    let config = config(&[]);
    let prefix = config.room.prefix;
    // A new one for each input: its breaker remembers what went wrong.
    let queue = RoomQueue::new(&config.queue, prefix.clone(), http().clone()).expect("a queue client");
    outside.answers_with(if outside.call == 1 { "x-ms-approximate-messages-count" } else { "x-ms-error-code" });
    if let Err(error) = runtime().block_on(Box::pin(call(outside.call, &queue, &prefix))) {
        assert_harmless(&error);
    }
});

async fn call(choice: u8, queue: &RoomQueue, prefix: &RoomNamePrefix) -> Result<(), StorageError> {
    match choice {
        0 => {
            for message in queue.receive(32, Duration::from_secs(60)).await? {
                assert!(
                    message.room.as_ref().is_none_or(|room| prefix.parse_name(room.as_str()).is_some()),
                    "{message:?}"
                );
                let claimed = queue.delete(&message).await;
                if message.room.is_none() && claimed.is_ok() {
                    queue.set_aside(&message).await?;
                }
            }
            Ok(())
        }
        1 => queue.approximate_count().await.map(drop),
        2 => queue.approximate_poison_count().await.map(drop),
        _ => queue.ensure_exists().await,
    }
}
