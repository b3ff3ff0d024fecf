//! Sends the events of one node to one sink.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use super::outbox::Outbox;
use super::{Delivery, Shared};

/// Runs until the platform is dropped.
pub(super) async fn publish(sink: Arc<Shared>, outbox: Arc<Outbox>) {
    let mut restarts = sink.restarts.subscribe();
    outbox.start(sink.clock.now());
    loop {
        if let Some(body) = outbox.take(&sink.settings(), sink.clock.now()) {
            sink.deliver(&outbox, &body, &mut restarts).await;
            continue;
        }
        tokio::select! {
            () = outbox.woken() => {}
            () = restarted(&mut restarts) => outbox.start(sink.clock.now()),
        }
    }
}

/// Waits for a restart. The publisher shares ownership of the sink and its sender, so waiting cannot fail.
async fn restarted(restarts: &mut watch::Receiver<u64>) {
    let _changed = restarts.changed().await;
}

impl Shared {
    /// Retries until the receiver accepts, the sink is restarted, or the request after the longest pause fails.
    async fn deliver(&self, outbox: &Outbox, body: &Value, restarts: &mut watch::Receiver<u64>) {
        let mut paused = None;
        loop {
            if self.post(body).await {
                return outbox.accept();
            }
            let times = self.settings().times;
            let pause = match paused {
                None => times.first_pause,
                Some(last) if last >= times.longest_pause => return outbox.stop(),
                Some(last) => times.longest_pause.min(last * 2),
            };
            tokio::select! {
                () = sleep(pause) => paused = Some(pause),
                () = restarted(restarts) => return outbox.start(self.clock.now()),
            }
        }
    }

    /// Sends one request; true if the receiver has accepted it.
    async fn post(&self, body: &Value) -> bool {
        let settings = self.settings();
        let mut accepted = false;
        let times = if settings.delivery == Delivery::Twice { 2 } else { 1 };
        for _ in 0..times {
            let request = self.http.post(settings.url.clone()).timeout(settings.times.timeout).json(body);
            let request = match settings.username.as_str() {
                "" => request,
                username => request.basic_auth(username, Some(&settings.password)),
            };
            let answer = request.send().await;
            accepted |= answer.is_ok_and(|answer| answer.status().is_success());
        }
        accepted
    }
}
