//! The end-to-end test with the emulator as the queue.

use crate::end_to_end::{
    MODES, assert_the_host_has_nothing_to_complain_of, citizens_meet_agents_and_the_pool_is_filled_again, service,
};
use crate::support::TestQueue;

#[tokio::test]
async fn a_pool_of_four_serves_twenty_four_citizens_and_is_filled_again() {
    // Without the emulator there is nothing to run; `TestQueue` has said so.
    let Some(queue) = TestQueue::on_azurite() else { return };
    let service = service().set("PoolStorage", &queue.connection_string).set("POOL_QUEUE_NAME", &queue.name);
    let app = service.start().await;

    citizens_meet_agents_and_the_pool_is_filled_again(&app, &queue.client()).await;

    assert_eq!(app.queue.traffic().log().len(), 0, "the simulator of the queue was not asked");
    drop(app);
    queue.remove().await;
}

#[tokio::test]
async fn the_same_holds_on_either_kind_of_functions_host() {
    for mode in MODES {
        let Some(queue) = TestQueue::on_azurite() else { return };
        let service = service().set("PoolStorage", &queue.connection_string).set("POOL_QUEUE_NAME", &queue.name);
        let app = service.start_on_host(mode).await;

        citizens_meet_agents_and_the_pool_is_filled_again(&app, &queue.client()).await;

        assert_the_host_has_nothing_to_complain_of(&app);
        drop(app);
        queue.remove().await;
    }
}
