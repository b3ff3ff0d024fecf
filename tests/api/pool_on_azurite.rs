//! The end-to-end test with the emulator as the queue.

use crate::end_to_end::{citizens_meet_agents_and_the_pool_is_filled_again, service};
use crate::support::{HOSTS, TestQueue};

#[tokio::test]
async fn a_pool_of_four_serves_twenty_four_citizens_and_is_filled_again() {
    for host in HOSTS {
        // Without the emulator there is nothing to run; `TestQueue` has said so.
        let Some(queue) = TestQueue::on_azurite() else { return };
        let service = service().set("PoolStorage", &queue.connection_string).set("POOL_QUEUE_NAME", &queue.name);
        let app = service.start_on(host).await;

        citizens_meet_agents_and_the_pool_is_filled_again(&app, &queue.client()).await;

        assert_eq!(app.queue.traffic().log().len(), 0, "the simulator of the queue was not asked");
        drop(app);
        queue.remove().await;
    }
}
