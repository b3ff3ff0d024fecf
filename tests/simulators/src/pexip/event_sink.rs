//! Event sinks: events of the Conferencing Nodes, posted to an HTTP receiver.

mod event;
mod outbox;
mod publisher;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;

use super::clock::Clock;
use outbox::Outbox;

pub(super) use event::Event;

/// An event sink as an operator has configured it. Changes take effect at once; clones share it.
///
/// Each node has its own publisher for each sink, which sends in order, one request at a time.
#[derive(Clone, Debug)]
pub struct EventSink {
    shared: Arc<Shared>,
}

/// A publisher's time-out and pauses, in real time: the platform's global settings, with the vendor's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkTimes {
    /// Time-out of one request (`es_connection_timeout`).
    pub timeout: Duration,
    /// Pause after the first failure; each pause is twice as long as the one before (`es_initial_retry_backoff`).
    pub first_pause: Duration,
    /// Longest pause (`es_maximum_retry_backoff`). The publisher stops if the request after it fails as well.
    pub longest_pause: Duration,
}

/// How a sink's events reach the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Once and in order.
    #[default]
    Once,
    /// Each request twice, as after a lost answer.
    Twice,
    /// A node's waiting events in reverse order, as production users report it.
    Backwards,
}

#[derive(Debug)]
struct Shared {
    http: Client,
    clock: Clock,
    settings: Mutex<Settings>,
    /// By the node's address.
    outboxes: Mutex<BTreeMap<String, Arc<Outbox>>>,
    /// Counts restarts; wakes the publishers.
    restarts: watch::Sender<u64>,
}

#[derive(Clone, Debug)]
struct Settings {
    url: Url,
    username: String,
    password: String,
    version: u8,
    bulk: bool,
    /// Names of the events that are sent; empty for all.
    events: Vec<String>,
    times: SinkTimes,
    delivery: Delivery,
    held: bool,
}

/// The platform's sinks and their publishers, which stop when this is dropped.
#[derive(Debug)]
pub(super) struct Sinks {
    clock: Clock,
    all: Vec<EventSink>,
    publishers: JoinSet<()>,
}

impl Default for SinkTimes {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(7),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(1_800),
        }
    }
}

impl Sinks {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, all: Vec::new(), publishers: JoinSet::new() }
    }

    /// A sink of version 2 without bulk.
    pub(super) fn add(&mut self, url: Url, username: &str, password: &str) -> EventSink {
        let http = Client::builder().no_proxy().redirect(Policy::none()).build();
        let shared = Shared {
            http: http.expect("a client without TLS settings of its own"),
            clock: self.clock.clone(),
            settings: Mutex::new(Settings {
                url,
                username: username.to_owned(),
                password: password.to_owned(),
                version: 2,
                bulk: false,
                events: Vec::new(),
                times: SinkTimes::default(),
                delivery: Delivery::default(),
                held: false,
            }),
            outboxes: Mutex::default(),
            restarts: watch::Sender::new(0),
        };
        let sink = EventSink { shared: Arc::new(shared) };
        self.all.push(sink.clone());
        sink
    }

    /// All sinks as the management API returns them.
    pub(super) fn records(&self, path: &str) -> Vec<Value> {
        (1..).zip(&self.all).map(|(id, sink)| sink.shared.settings().record(id, path)).collect()
    }

    /// Addresses of the nodes on which a publisher has stopped.
    pub(super) fn stopped_nodes(&self) -> Vec<String> {
        self.all.iter().flat_map(EventSink::stopped_nodes).collect()
    }

    /// Queues the event at each sink's publisher on the event's node. A publisher starts with its first event.
    pub(super) fn publish(&mut self, event: &Event) {
        for sink in &self.all {
            let mut outboxes = sink.shared.outboxes();
            let outbox = outboxes.entry(event.node.clone()).or_insert_with(|| {
                let outbox = Arc::new(Outbox::new(&event.node));
                self.publishers.spawn(publisher::publish(Arc::clone(&sink.shared), Arc::clone(&outbox)));
                outbox
            });
            let settings = sink.shared.settings();
            for event in event.clone().in_version(settings.version).into_iter().filter(|event| settings.sends(event)) {
                outbox.put(event);
            }
        }
    }
}

impl Settings {
    fn sends(&self, event: &Event) -> bool {
        self.events.is_empty() || self.events.iter().any(|name| name == event.name)
    }

    /// Contains the password in clear text: the service must not read it, whether real nodes return it or not.
    fn record(&self, id: u64, path: &str) -> Value {
        json!({
            "id": id, "name": format!("Sink {id}"), "description": "", "url": self.url, "username": self.username,
            "password": self.password, "verify_tls_certificate": true, "bulk_support": self.bulk,
            "version": self.version, "filter_events": !self.events.is_empty(),
            "events": self.events.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
            "restart_date": null, "resource_uri": format!("{path}{id}/"),
        })
    }
}

impl EventSink {
    /// Version of the events, 1 or 2; 2 by default.
    pub fn set_version(&self, version: u8) {
        self.change(|settings| settings.version = version);
    }

    /// Whether several waiting events are sent in one `eventsink_bulk`. A single one is sent by itself.
    pub fn set_bulk(&self, bulk: bool) {
        self.change(|settings| settings.bulk = bulk);
    }

    /// Sets time-out and pauses, so that tests of failures take no minutes.
    pub fn set_times(&self, times: SinkTimes) {
        self.change(|settings| settings.times = times);
    }

    /// Sets how events are delivered from now on.
    pub fn set_delivery(&self, delivery: Delivery) {
        self.change(|settings| settings.delivery = delivery);
    }

    /// Holds events until [`release`](Self::release).
    pub fn hold(&self) {
        self.change(|settings| settings.held = true);
    }

    /// Sends the held events.
    pub fn release(&self) {
        self.change(|settings| settings.held = false);
    }

    /// Restarts the sink on all nodes: `seq` starts from 1 again, and waiting events are sent.
    pub fn restart(&self) {
        self.shared.restarts.send_modify(|restarts| *restarts += 1);
    }

    /// Addresses of the nodes whose publisher has stopped. Each raises an alarm on the platform.
    pub fn stopped_nodes(&self) -> Vec<String> {
        let outboxes = self.shared.outboxes();
        outboxes.iter().filter(|(_, outbox)| outbox.has_stopped()).map(|(node, _)| node.clone()).collect()
    }

    /// Number of events, of all nodes, that the receiver has not accepted yet.
    pub fn undelivered(&self) -> usize {
        self.shared.outboxes().values().map(|outbox| outbox.len()).sum()
    }

    fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.settings.lock().unwrap_or_else(PoisonError::into_inner));
        for outbox in self.shared.outboxes().values() {
            outbox.wake();
        }
    }
}

impl Shared {
    fn settings(&self) -> Settings {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn outboxes(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Outbox>>> {
        self.outboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
