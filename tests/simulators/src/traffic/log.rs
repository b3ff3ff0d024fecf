//! The log of received requests.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use tokio::sync::broadcast;

use super::Matching;

/// Size of the log: a sandbox runs for hours, so older exchanges are dropped.
const CAPACITY: usize = 100_000;

/// Size of the broadcast: a slow reader loses older exchanges.
const BROADCAST_CAPACITY: usize = 1_024;

/// One request and how it ended.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Arrival of the request's head.
    pub at: Instant,
    /// Method of the request.
    pub method: Method,
    /// Path of the request, undecoded.
    pub path: String,
    /// Query of the request without the question mark, undecoded; empty if there was none.
    pub query: String,
    /// Headers of the request.
    pub headers: HeaderMap,
    /// Status of the answer; `None` before it and if the connection ended without one.
    pub status: Option<u16>,
}

/// An exchange with its bodies: once when its request has arrived, once when it has ended.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The same for both; grows in the order of arrival.
    pub number: u64,
    /// The request, and the status of the answer.
    pub exchange: Exchange,
    /// Body of the request.
    pub body: Bytes,
    /// How it ended; `None` while it is in progress.
    pub end: Option<End>,
}

/// How an exchange ended.
#[derive(Clone, Debug)]
pub struct End {
    /// Time since the arrival of the request's head.
    pub took: Duration,
    /// Headers of the answer; empty if the connection ended without one.
    pub headers: HeaderMap,
    /// Body of the answer; empty if it is a stream of events.
    pub body: Bytes,
}

#[derive(Debug)]
pub(super) struct Log {
    kept: Mutex<Kept>,
    ended: broadcast::Sender<Exchange>,
    followed: broadcast::Sender<Followed>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Number of the first exchange in the ring; exchanges are numbered in the order of their arrival.
    first: u64,
    exchanges: VecDeque<Exchange>,
}

/// An exchange in progress. Dropping it ends the exchange, also when the connection breaks.
#[derive(Debug)]
pub(super) struct Logged<'a> {
    log: &'a Log,
    number: u64,
    exchange: Exchange,
    body: Bytes,
    answer: (HeaderMap, Bytes),
}

impl Default for Log {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            ended: broadcast::Sender::new(BROADCAST_CAPACITY),
            followed: broadcast::Sender::new(BROADCAST_CAPACITY),
        }
    }
}

impl Log {
    pub(super) fn arrived(&self, request: &Parts) -> Logged<'_> {
        let exchange = Exchange {
            at: Instant::now(),
            method: request.method.clone(),
            path: request.uri.path().to_owned(),
            query: request.uri.query().unwrap_or_default().to_owned(),
            headers: request.headers.clone(),
            status: None,
        };
        let mut kept = self.kept();
        if kept.exchanges.len() == CAPACITY {
            kept.exchanges.pop_front();
            kept.first += 1;
        }
        let number = kept.first + kept.exchanges.len() as u64;
        kept.exchanges.push_back(exchange.clone());
        Logged { log: self, number, exchange, body: Bytes::new(), answer: (HeaderMap::new(), Bytes::new()) }
    }

    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        self.kept().exchanges.iter().cloned().collect()
    }

    pub(super) fn count(&self, matching: &Matching) -> usize {
        self.kept().exchanges.iter().filter(|exchange| matching.matches(exchange)).count()
    }

    pub(super) fn clear(&self) {
        let mut kept = self.kept();
        // Numbers are not reused: an exchange in progress cannot end a later one.
        kept.first += kept.exchanges.len() as u64;
        kept.exchanges.clear();
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Exchange> {
        self.ended.subscribe()
    }

    pub(super) fn follow(&self) -> broadcast::Receiver<Followed> {
        self.followed.subscribe()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logged<'_> {
    pub(super) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    pub(super) fn is_followed(&self) -> bool {
        self.log.followed.receiver_count() > 0
    }

    /// The whole request has been read.
    pub(super) fn set_body(&mut self, body: &Bytes) {
        self.body = body.clone();
        self.tell(None);
    }

    /// What the answer holds.
    pub(super) fn holds(&mut self, headers: &HeaderMap, body: &Bytes) {
        self.answer = (headers.clone(), body.clone());
    }

    fn tell(&self, end: Option<End>) {
        if self.is_followed() {
            let (number, exchange, body) = (self.number, self.exchange.clone(), self.body.clone());
            // All receivers may have been dropped.
            let _heard = self.log.followed.send(Followed { number, exchange, body, end });
        }
    }

    pub(super) fn answered(&mut self, status: StatusCode) {
        self.exchange.status = Some(status.as_u16());
        let mut kept = self.log.kept();
        let place = self.number.checked_sub(kept.first).and_then(|at| usize::try_from(at).ok());
        if let Some(exchange) = place.and_then(|at| kept.exchanges.get_mut(at)) {
            exchange.status = self.exchange.status;
        }
    }
}

impl Drop for Logged<'_> {
    fn drop(&mut self) {
        let (headers, body) = std::mem::take(&mut self.answer);
        self.tell(Some(End { took: self.exchange.at.elapsed(), headers, body }));
        if self.log.ended.receiver_count() > 0 {
            // All receivers may have been dropped.
            let _heard = self.log.ended.send(self.exchange.clone());
        }
    }
}
