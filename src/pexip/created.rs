//! Look-ups of rooms that were just created: Pexip answers a create without a body.
//!
//! A burst of direct rooms would spend half of its calls on them, so those asked for meanwhile share the next call.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{Instrument, Span, info};

use super::admission::{CallPermit, KeptCall};
use super::look_up::MAX_CONCURRENT;
use super::{Conference, PexipClient, PexipError};
use crate::domain::RoomName;
use crate::outbound::CallFailure;
use crate::outbound::calls::{System, shared};

/// Names of one call: as many as the largest batch of the prefetch.
const LARGEST_CALL: usize = 32;

/// How long a call holds up those who come after it. Many times what a node takes that works.
const LONGEST_HOLD_UP: Duration = Duration::from_secs(1);

/// The rooms that wait for their look-up. One task at a time serves them.
#[derive(Debug, Default)]
pub(super) struct CreatedRooms(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    is_served: bool,
    waiting: Vec<Created>,
}

#[derive(Debug)]
struct Created {
    name: RoomName,
    /// `None` once it is spent.
    kept: Option<KeptCall>,
    found: oneshot::Sender<Result<Option<Conference>, PexipError>>,
    /// Of the create.
    span: Span,
}

/// The one task that serves the line. If it panics, those in line get no result, and the next one starts another.
struct Server {
    rooms: Arc<CreatedRooms>,
    is_done: bool,
}

impl CreatedRooms {
    /// Puts a room in line. `Some` if nobody serves the line yet.
    fn join(self: &Arc<Self>, created: Created) -> Option<Server> {
        let mut line = self.0.lock();
        line.waiting.push(created);
        let was_served = std::mem::replace(&mut line.is_served, true);
        (!was_served).then(|| Server { rooms: Arc::clone(self), is_done: false })
    }
}

impl Line {
    fn drop_those_who_gave_up(&mut self) {
        self.waiting.retain(|created| !created.found.is_closed());
    }
}

impl Server {
    /// Whether somebody is in line. If not, the service of the line ends.
    fn has_more(&mut self) -> bool {
        let mut line = self.rooms.0.lock();
        line.drop_those_who_gave_up();
        self.is_done = line.waiting.is_empty();
        line.is_served = !self.is_done;
        line.is_served
    }

    /// The call that was kept for the first in line.
    fn take_first_call(&self) -> Option<KeptCall> {
        self.rooms.0.lock().waiting.first_mut().and_then(|first| first.kept.take())
    }

    fn has_several(&self) -> bool {
        self.rooms.0.lock().waiting.len() > 1
    }

    fn take(&self, most: usize) -> Vec<Created> {
        let mut line = self.rooms.0.lock();
        line.drop_those_who_gave_up();
        let number = line.waiting.len().min(most);
        line.waiting.drain(..number).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.is_done {
            *self.rooms.0.lock() = Line::default();
        }
    }
}

impl Created {
    fn answer(self, found: Result<Option<Conference>, PexipError>) {
        // A caller who has given up does not wait for it.
        let _ = self.found.send(found);
    }
}

impl PexipClient {
    /// The VMR of this name, which was just created, or `None`, by a call that was kept for it. Runs to completion even
    /// if its caller is gone, because others may share the call.
    pub async fn find_created(&self, name: &RoomName, kept: KeptCall) -> Result<Option<Conference>, PexipError> {
        if !self.finds_several_at_once() {
            return self.find_by_kept_call(name, Some(kept)).await;
        }
        let (found, result) = oneshot::channel();
        let created = Created { name: name.clone(), kept: Some(kept), found, span: Span::current() };
        if let Some(server) = self.shared.created.join(created) {
            let client = self.clone();
            tokio::spawn(async move { client.look_up_line(server).await });
        }
        // Without a result its look-up has panicked. The panic hook has logged where.
        shared(System::Pexip, result).await.unwrap_or(Err(CallFailure::Unreadable.into()))
    }

    /// Looks up the rooms in line until there is none.
    async fn look_up_line(&self, mut server: Server) {
        while server.has_more() {
            // Meanwhile others join, which share this call.
            match self.shared.admission.permit(self.urgency, server.take_first_call()).await {
                Ok(permit) => {
                    // One more for the first: if the shared call fails, each room needs its own. If the budget does not
                    // have it, the rooms are looked up one by one.
                    let kept =
                        server.has_several().then(|| self.shared.admission.keep_call(self.urgency).ok()).flatten();
                    let mut created = server.take(if kept.is_some() { LARGEST_CALL } else { 1 });
                    let Some(first) = created.first_mut() else { continue };
                    first.kept = kept;
                    let client = self.clone();
                    // In the trace of the first of them.
                    let span = created.first().map_or_else(Span::none, |first| first.span.clone());
                    let call = async move { client.look_up_created(permit, created).await };
                    let _ = timeout(LONGEST_HOLD_UP, tokio::spawn(call.instrument(span))).await;
                }
                Err(error) => server.take(1).into_iter().for_each(|first| first.answer(Err(error.clone()))),
            }
        }
    }

    /// Looks up these rooms by one call. If it fails, each by its own: a node that fails once, or does not know the
    /// filter, costs no room.
    async fn look_up_created(&self, permit: CallPermit, created: Vec<Created>) {
        let created = match <[Created; 1]>::try_from(created) {
            Ok([only]) => {
                let found = self.find_one(permit, &only.name).await;
                return only.answer(found);
            }
            Err(several) => several,
        };
        let names: Vec<_> = created.iter().map(|created| created.name.clone()).collect();
        match self.find_several(permit, &names).await {
            Ok(mut found) => {
                for created in created {
                    let found = found.remove(&created.name);
                    created.answer(Ok(found));
                }
            }
            Err(error) => {
                info!(%error, "created rooms could not be looked up in one call, looking up each");
                let look_up = async |mut created: Created| {
                    if created.found.is_closed() {
                        return false;
                    }
                    let found = self.find_by_kept_call(&created.name, created.kept.take()).await;
                    let is_answered = found.is_ok();
                    created.answer(found);
                    is_answered
                };
                let look_ups = stream::iter(created).map(look_up).buffer_unordered(MAX_CONCURRENT);
                if look_ups.fold(true, async |all, is_answered| all && is_answered).await {
                    self.shared.several_names.note_failure(&error);
                }
            }
        }
    }

    async fn find_by_kept_call(
        &self,
        name: &RoomName,
        kept: Option<KeptCall>,
    ) -> Result<Option<Conference>, PexipError> {
        self.find_one(self.shared.admission.permit(self.urgency, kept).await?, name).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RoomNamePrefix;

    type Found = oneshot::Receiver<Result<Option<Conference>, PexipError>>;

    fn created() -> (Created, Found) {
        let (found, result) = oneshot::channel();
        let prefix = RoomNamePrefix::parse("vbv-").expect("a prefix");
        let name = prefix.parse_name("vbv-01jd5p3xk8qqqqqqqqqqqqqqqq").expect("a name");
        (Created { name, kept: None, found, span: Span::none() }, result)
    }

    #[test]
    fn a_look_up_that_panics_leaves_nobody_in_line() {
        let rooms = Arc::<CreatedRooms>::default();
        let ((first, first_result), (second, second_result)) = (created(), created());
        let server = rooms.join(first).expect("nobody serves the line yet");
        assert!(rooms.join(second).is_none());

        drop(server);

        for mut result in [first_result, second_result] {
            assert!(matches!(result.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        }
        assert!(rooms.join(created().0).is_some(), "the next one is served");
    }

    #[test]
    fn rooms_whose_creates_have_given_up_are_not_looked_up() {
        let rooms = Arc::<CreatedRooms>::default();
        let ((given_up, result), (waits, waiting)) = (created(), created());
        let mut server = rooms.join(given_up).expect("nobody serves the line yet");
        assert!(rooms.join(waits).is_none());
        assert!(server.has_more());
        drop(result);

        let taken = server.take(LARGEST_CALL);

        assert_eq!(taken.len(), 1);
        assert!(!taken[0].found.is_closed());
        assert!(rooms.join(created().0).is_none());
        drop(waiting);
        assert!(!server.has_more(), "the last one has given up too");
        assert!(rooms.join(created().0).is_some(), "an empty line is served no longer");
    }
}
