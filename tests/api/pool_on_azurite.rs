//! The end-to-end test with the emulator as the queue.

use crate::end_to_end::{citizens_meet_agents_and_the_pool_is_filled_again, service};
use crate::support::{Azurite, TestQueue, on_every_host};

#[tokio::test]
async fn a_pool_of_four_serves_twenty_four_citizens_and_is_filled_again() {
    // Without the emulator there is nothing to run; that has been said.
    if Azurite::get().is_none() {
        return;
    }
    let service = || service().emulated_queue(TestQueue::on_azurite().expect("the emulator"));
    on_every_host(service, citizens_meet_agents_and_the_pool_is_filled_again).await;
}
