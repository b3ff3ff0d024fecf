//! Many creates at once, and what they took.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Shared;
use super::actions::{Outcome, new_case};

/// Creates at once, at most.
const MOST: usize = 200;

/// Time between two pictures of a load that runs.
const PICTURE: Duration = Duration::from_millis(100);

impl Shared {
    /// As many citizens at once; nobody joins.
    pub(super) async fn load(self: &Arc<Self>, creates: usize) -> Outcome {
        if !(1..=MOST).contains(&creates) {
            return Outcome::failed(format!("from 1 to {MOST} creates"));
        }
        if self.is_loading.swap(true, Ordering::SeqCst) {
            return Outcome::failed("a load is running");
        }
        self.faults.prepare(&self.world, creates).await;
        let start = Instant::now();
        let mut creating = JoinSet::new();
        for number in 0..creates {
            let shared = Arc::clone(self);
            creating.spawn(async move { shared.one(number, start).await });
        }
        let mut results = Vec::new();
        let mut shown = start;
        while let Some(result) = creating.join_next().await {
            results.push(result.unwrap_or(Value::Null));
            if shown.elapsed() >= PICTURE {
                shown = Instant::now();
                self.feed.tell_load(picture(creates, &results, true));
            }
        }
        self.feed.tell_load(picture(creates, &results, false));
        self.is_loading.store(false, Ordering::SeqCst);
        let failed = results.iter().filter(|result| result["source"].is_null()).count();
        let took = start.elapsed().as_millis();
        let text = format!("{} of {creates} have a room after {took} ms", creates - failed);
        if failed == creates { Outcome::failed(text) } else { Outcome::done(text) }
    }

    async fn one(&self, number: usize, start: Instant) -> Value {
        let wanted = json!({ "case": new_case() });
        let (status, answer) = self.send(self.idim_request(Method::POST, "").json(&wanted)).await;
        let ms = u32::try_from(start.elapsed().as_micros() / 100).unwrap_or(u32::MAX);
        json!({
            "number": number, "ms": f64::from(ms) / 10.0, "status": status, "source": answer["source"],
            "code": answer["code"], "instance": answer["instance"],
        })
    }
}

fn picture(creates: usize, results: &[Value], is_running: bool) -> Value {
    json!({ "creates": creates, "results": results, "is_running": is_running })
}
