//! `infra/docs/sizing.md`: its rule for the pool's size is checked by a simulation, its calls per citizen by counting
//! them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use maxconf_simulators::{Exchange, Matching};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;

use crate::support::{POOL_QUEUE, TestApp, eventually};

/// From taking a room to its successor being put, in seconds: making it, behind others, at a slow node.
const REFILL_LAG: f64 = 5.0;

/// Rooms that an instance holds leased and does not need at that moment.
const HELD_BY_INSTANCES: f64 = 2.0;

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/infra/docs/sizing.md")).expect("infra/docs/sizing.md")
}

/// A row of the page's table: creates per minute at the peak, ready delay in seconds, target.
fn rows_of_the_page() -> Vec<(f64, f64, u32)> {
    let page = page();
    let table = page.split("<!-- sizing:begin -->").nth(1).and_then(|rest| rest.split("<!-- sizing:end -->").next());
    let rows: Vec<_> = table
        .expect("the sizing table's marks")
        .lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            Some((cells.get(1)?.parse().ok()?, cells.get(2)?.parse().ok()?, cells.get(3)?.parse().ok()?))
        })
        .collect();
    assert!(rows.len() >= 4, "{rows:?}");
    rows
}

/// The rule: what is taken while a successor becomes ready, three standard deviations for bursts, and what instances
/// hold.
fn target(per_minute: f64, ready_delay: f64) -> f64 {
    let on_the_way = per_minute * (ready_delay + REFILL_LAG) / 60.0;
    on_the_way + 3.0 * on_the_way.sqrt() + HELD_BY_INSTANCES
}

/// The share of creates that find the pool empty: arrivals at random, each room back after delay and lag.
fn share_of_direct_creates(per_minute: f64, ready_delay: f64, target: u32, seed: u64) -> f64 {
    const CREATES: u32 = 20_000;

    let mut rng = StdRng::seed_from_u64(seed);
    let mut ready = target - 2;
    let mut coming: BinaryHeap<Reverse<Duration>> = BinaryHeap::new();
    let (mut now, mut direct) = (Duration::ZERO, 0_u32);
    for _ in 0..CREATES {
        let random: f64 = rng.random_range(f64::EPSILON..1.0);
        now += Duration::from_secs_f64(-random.ln() * 60.0 / per_minute);
        while coming.peek().is_some_and(|Reverse(at)| *at <= now) {
            coming.pop();
            ready += 1;
        }
        if ready == 0 {
            direct += 1;
        } else {
            ready -= 1;
            coming.push(Reverse(now + Duration::from_secs_f64(ready_delay + REFILL_LAG)));
        }
    }
    f64::from(direct) / f64::from(CREATES)
}

#[test]
fn the_targets_on_the_page_follow_its_rule() {
    for (per_minute, ready_delay, on_the_page) in rows_of_the_page() {
        let rule = target(per_minute, ready_delay);
        let on_the_page = f64::from(on_the_page);
        assert!(rule <= on_the_page && on_the_page < rule + 5.0, "{per_minute} a minute: {rule:.1}");
    }
}

#[test]
fn a_pool_of_the_size_on_the_page_is_empty_for_less_than_one_citizen_in_a_hundred() {
    for (per_minute, ready_delay, on_the_page) in rows_of_the_page() {
        let share = share_of_direct_creates(per_minute, ready_delay, on_the_page, 1);
        assert!(share < 0.01, "{per_minute} a minute with {on_the_page} rooms: {share:.4}");
        // The rule is no waste either: three fifths of the size would not do.
        let smaller = share_of_direct_creates(per_minute, ready_delay, on_the_page * 3 / 5, 1);
        assert!(smaller > share, "{per_minute} a minute: {smaller:.4}");
    }
}

#[tokio::test]
async fn one_citizen_costs_the_node_no_more_calls_than_the_page_says() {
    let app = TestApp::start().await;
    app.warm_up().await;
    app.pexip.traffic().clear();

    let name = app.create_room().await.room();
    eventually("the room is replaced", async || app.queue.messages(POOL_QUEUE).len() == 4).await;
    app.public_room(&name).await;
    app.delete_room(&name).await;
    // The look-up of the next room to hand out belongs to this one's cost.
    eventually("the next room is looked up", async || {
        app.pexip.traffic().count(&Matching::method(Method::GET).query_contains("name__in")) >= 1
    })
    .await;

    // Of the whole pool, at most one in ten seconds.
    let is_count = |exchange: &&Exchange| exchange.query.starts_with("name__startswith");
    let calls = app.pexip.traffic().log().iter().filter(|exchange| !is_count(exchange)).count();
    assert!(page().contains(&format!("costs the node {calls} calls")), "one citizen costs {calls} calls");
}
