//! Lists of the management API, read page by page and within bounds.
//!
//! A list that exceeds a bound fails as a whole: part of it must not be taken for all of it. No platform reaches the
//! bounds; they stop a broken node, or another server at its address, whose list never ends.

use std::time::Duration;

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::conferences::Page;
use super::{PexipClient, PexipError};
use crate::outbound::CallFailure;

/// Objects per page.
const PAGE: usize = 500;

/// Objects of one list, beside the rooms that this service may have. Large platforms have some ten thousand VMRs and
/// participants. They are 200 pages, as many as the budget of calls lets background work read in a minute by default.
const MOST_OBJECTS: usize = 100_000;

/// Bytes of one list, beside those of the rooms that this service may have. Participants have about 1 KB, of which less
/// than half is kept.
const MOST_BYTES: usize = 128 * 1024 * 1024;

/// Bytes of a room of ours, which has about 3 KB.
const ROOM_BYTES: usize = 4 * 1024;

/// Bytes of a name. Pexip's have at most 250 characters, of up to 4 bytes each.
const LONGEST_NAME: usize = 1024;

/// Time for one list. Less than a maintenance run has for all it does.
const LONGEST: Duration = Duration::from_secs(40);

/// The pages of one list, in their order.
pub(super) struct Pages<'a, T> {
    client: &'a PexipClient,
    call: &'static str,
    path: &'a str,
    query: &'a [(&'a str, &'a str)],
    name: fn(&T) -> &str,
    most_rooms: usize,
    until: Instant,
    /// Where the next page begins. `None` after the last one.
    offset: Option<usize>,
    calls: usize,
    objects: usize,
    bytes: usize,
    /// The node's clock at the first page: by a later one, a room would look older than when it was read, and somebody
    /// would seem to have waited longer.
    pub(super) node_time: Option<OffsetDateTime>,
}

impl<'a, T: DeserializeOwned> Pages<'a, T> {
    /// Makes no call yet. `call` is its name in traces; `most_rooms` is the number of rooms of ours that may be in it.
    pub(super) fn new(
        client: &'a PexipClient,
        call: &'static str,
        path: &'a str,
        query: &'a [(&'a str, &'a str)],
        name: fn(&T) -> &str,
        most_rooms: usize,
    ) -> Self {
        let until = Instant::now() + LONGEST;
        let (offset, calls, objects, bytes, node_time) = (Some(0), 0, 0, 0, None);
        Self { client, call, path, query, name, most_rooms, until, offset, calls, objects, bytes, node_time }
    }

    /// The objects of the next page. `None` after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<T>>, PexipError> {
        let Some(offset) = self.offset.take() else { return Ok(None) };
        let page = timeout_at(self.until, self.read(offset)).await;
        let (page, node_time, bytes): (Page<T>, _, _) = page.unwrap_or(Err(CallFailure::Timeout.into()))?;
        self.node_time = self.node_time.or(node_time);
        self.calls += 1;
        self.objects += page.objects.len();
        self.bytes += bytes;
        let most = MOST_OBJECTS + self.most_rooms;
        let has_next = page.meta.next.is_some();
        // A node may have smaller pages than it is asked for, or list all objects on one.
        if self.objects > most
            || self.bytes > MOST_BYTES + self.most_rooms * ROOM_BYTES
            || (has_next && (page.objects.is_empty() || self.calls >= most / PAGE))
            || page.objects.iter().any(|object| (self.name)(object).len() > LONGEST_NAME)
        {
            return Err(self.refuse());
        }
        self.offset = has_next.then_some(offset + page.objects.len());
        Ok(Some(page.objects))
    }

    async fn read(&self, offset: usize) -> Result<(Page<T>, Option<OffsetDateTime>, usize), PexipError> {
        let permit = self.client.reserve().await?;
        let request = self.client.request(Method::GET, self.path).query(self.query);
        let request = request.query(&[("limit", PAGE), ("offset", offset)]);
        self.client.fetch_sized(self.call, permit, request).await
    }

    /// Whether there are no further pages.
    pub(super) fn are_over(&self) -> bool {
        self.offset.is_none()
    }

    /// Lets the next page, if there is one, begin at `offset`.
    pub(super) fn continue_at(&mut self, offset: usize) {
        self.offset = self.offset.map(|_| offset);
    }

    /// The failure of a list that has no end or is too large. Counted after the call, so that the circuit breaker does
    /// not count it.
    pub(super) fn refuse(&self) -> PexipError {
        let Self { call, calls, objects, bytes, .. } = self;
        warn!(list = call, calls, objects, bytes, "list of Pexip refused: it has no end or is too large");
        CallFailure::Unreadable.into()
    }
}

impl PexipClient {
    /// All objects of a short list. `call` is its name in traces.
    pub(super) async fn all<T: DeserializeOwned>(&self, call: &'static str, path: &str) -> Result<Vec<T>, PexipError> {
        let mut pages: Pages<'_, Box<RawValue>> = Pages::new(self, call, path, &[], |_| "", 0);
        let mut all: Vec<Box<RawValue>> = Vec::new();
        while let Some(page) = pages.next().await? {
            // A node that ignores `offset` has the same first page for ever.
            if let (Some(first), Some(again)) = (all.first(), page.first())
                && first.get() == again.get()
            {
                return Err(pages.refuse());
            }
            all.extend(page);
        }
        let objects = all.iter().map(|object| serde_json::from_str(object.get()));
        objects.collect::<Result<_, _>>().map_err(|_| CallFailure::Unreadable.into())
    }
}
