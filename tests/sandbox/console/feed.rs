//! The events of the page: a stream, after those from before the page was opened.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

/// Exchanges and notes that a page gets when it comes.
const KEPT: usize = 400;

/// Exchanges whose details can be read.
const KEPT_DETAILS: usize = 2_000;

/// Events that a slow page may be behind; then it gets everything anew.
const BEHIND: usize = 1_024;

/// Pages at a time: fewer than the connections that a browser makes to one host, of which each page keeps one.
const PAGES: usize = 4;

/// Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Tells a page whether it still looks at the same console: after a restart ids begin anew.
    run: u32,
    start: Instant,
    kept: Mutex<Kept>,
    news: broadcast::Sender<News>,
    pages: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Exchanges and notes by their id, oldest first.
    lines: VecDeque<(u64, &'static str, Value)>,
    details: VecDeque<(u64, Value)>,
    state: Value,
    load: Value,
    next_id: u64,
}

#[derive(Clone, Debug)]
struct News {
    name: &'static str,
    data: Arc<str>,
}

impl Feed {
    pub(super) fn new() -> Self {
        let shared = Shared {
            run: rand::random(),
            start: Instant::now(),
            kept: Mutex::default(),
            news: broadcast::Sender::new(BEHIND),
            pages: Arc::new(Semaphore::new(PAGES)),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Milliseconds from the console's start to this moment.
    pub(super) fn at(&self, moment: Instant) -> f64 {
        let micros = moment.saturating_duration_since(self.shared.start).as_micros();
        f64::from(u32::try_from(micros / 100).unwrap_or(u32::MAX)) / 10.0
    }

    pub(super) fn now(&self) -> f64 {
        self.at(Instant::now())
    }

    /// An id that grows with time.
    pub(super) fn next_id(&self) -> u64 {
        let mut kept = self.shared.kept.lock();
        kept.next_id += 1;
        kept.next_id
    }

    /// A line of the sequence, or what has become of it.
    pub(super) fn tell(&self, name: &'static str, id: u64, mut line: Value) {
        line["id"] = json!(id);
        let mut kept = self.shared.kept.lock();
        match kept.lines.iter_mut().rev().find(|(known, ..)| *known == id) {
            Some((.., before)) => *before = line.clone(),
            None => kept.lines.push_back((id, name, line.clone())),
        }
        if kept.lines.len() > KEPT {
            kept.lines.pop_front();
        }
        self.send(name, &line);
    }

    pub(super) fn keep_detail(&self, id: u64, detail: Value) {
        let mut kept = self.shared.kept.lock();
        kept.details.push_back((id, detail));
        if kept.details.len() > KEPT_DETAILS {
            kept.details.pop_front();
        }
    }

    pub(super) fn detail(&self, id: u64) -> Option<Value> {
        let kept = self.shared.kept.lock();
        kept.details.iter().rev().find(|(known, _)| *known == id).map(|(_, detail)| detail.clone())
    }

    /// Rooms, instances, faults and counters, if anything about them is new.
    pub(super) fn tell_state(&self, state: Value) {
        let mut kept = self.shared.kept.lock();
        if kept.state != state {
            self.send("state", &state);
            kept.state = state;
        }
    }

    pub(super) fn tell_load(&self, load: Value) {
        let mut kept = self.shared.kept.lock();
        self.send("load", &load);
        kept.load = load;
    }

    /// While the state is locked, so that a page gets everything once.
    fn send(&self, name: &'static str, data: &Value) {
        // Nobody may be looking.
        let _heard = self.shared.news.send(News { name, data: data.to_string().into() });
    }

    /// Everything so far, and what comes after it.
    fn join(&self) -> (News, broadcast::Receiver<News>) {
        let kept = self.shared.kept.lock();
        let lines: Vec<_> = kept.lines.iter().map(|(_, name, line)| json!([name, line])).collect();
        let all = json!({ "run": self.shared.run, "lines": lines, "state": kept.state, "load": kept.load });
        (News { name: "all", data: all.to_string().into() }, self.shared.news.subscribe())
    }

    /// The stream for one page.
    pub(super) fn stream(&self) -> Response {
        let Ok(page) = Arc::clone(&self.shared.pages).try_acquire_owned() else {
            return (StatusCode::SERVICE_UNAVAILABLE, "Too many pages show this console.").into_response();
        };
        let (all, news) = self.join();
        let reader = Reader { feed: self.clone(), first: Some(all), news, _page: page };
        let events = stream::unfold(reader, async |mut reader| {
            let news = reader.next().await?;
            let event = Event::default().event(news.name).data(&*news.data);
            Some((Ok::<_, Infallible>(event), reader))
        });
        Sse::new(events).keep_alive(KeepAlive::default()).into_response()
    }
}

struct Reader {
    feed: Feed,
    first: Option<News>,
    news: broadcast::Receiver<News>,
    _page: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<News> {
        if let Some(all) = self.first.take() {
            return Some(all);
        }
        match self.news.recv().await {
            Ok(news) => Some(news),
            Err(RecvError::Lagged(_)) => {
                let (all, news) = self.feed.join();
                self.news = news;
                Some(all)
            }
            Err(RecvError::Closed) => None,
        }
    }
}
