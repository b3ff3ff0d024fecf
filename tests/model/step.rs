use crate::queue::Message;
use crate::world::{Create, Id, Instance, Room};

/// One atomic event: at most one call to an outside system, together with the caller's decision on its answer. The
/// decision belongs to the step because it depends only on the answer and the caller's own memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Request(Create, RequestStep),
    Prefetch(Instance, PrefetchStep),
    Upkeep(UpkeepStep),
    Outside(OutsideStep),
}

impl Step {
    /// Whether a call gets no answer.
    pub(crate) fn is_fault(self) -> bool {
        match self {
            Self::Request(
                _,
                RequestStep::Claim(
                    ClaimStep::MakesRecord(call) | ClaimStep::ReadsRecord(call) | ClaimStep::DeletesMessage(call),
                )
                | RequestStep::Key(
                    KeyStep::Makes(call)
                    | KeyStep::Reads(call)
                    | KeyStep::TakesOver(call)
                    | KeyStep::Replays(call)
                    | KeyStep::Notes(call)
                    | KeyStep::ReadsNote(call)
                    | KeyStep::Removes(call),
                )
                | RequestStep::Tags(call)
                | RequestStep::DestroyDeletes(call)
                | RequestStep::MakesDirect(call)
                | RequestStep::EndDeletes(call),
            )
            | Self::Upkeep(UpkeepStep::Posts(_, call) | UpkeepStep::Puts(_, call) | UpkeepStep::SweepDeletes(call)) => {
                call != Call::Answered
            }
            Self::Request(..) | Self::Prefetch(..) | Self::Upkeep(_) | Self::Outside(_) => false,
        }
    }
}

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Answered,
    /// Carried out, but the answer was lost.
    AnswerLost,
    /// Neither carried out nor answered.
    Lost,
    /// The caller gave up waiting; the call is carried out later.
    Late,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestStep {
    Arrives(Instance),
    /// Takes the room in the instance's prefetch, to claim it.
    Takes,
    Claim(ClaimStep),
    Key(KeyStep),
    /// Reads the room by its id again, before the tag is written after a node failure.
    ChecksAgain,
    Tags(Call),
    /// The request ends with an error. A claimed room is destroyed.
    Fails,
    Answers,
    /// The caller has hung up before the answer: the room is destroyed, or with a key kept.
    CallerIsGone,
    DestroyChecks,
    DestroyDeletes(Call),
    MakesDirect(Call),
    FindsDirect,
    /// An abandoned PATCH reaches the node.
    LateTag,
    /// IDIM sends `DELETE /room/{name}`; the name is looked up.
    IsEnded(Instance),
    /// The message is put into the queue of ended rooms.
    EndNotes,
    EndDeletes(Call),
    EndDisconnects,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimStep {
    MakesRecord(Call),
    ReadsRecord(Call),
    DeletesMessage(Call),
}

/// Each is a call for the key's record, but for the replay, which reads the room on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyStep {
    Makes(Call),
    Reads(Call),
    TakesOver(Call),
    Replays(Call),
    /// Changes it to done.
    Notes(Call),
    ReadsNote(Call),
    Removes(Call),
    /// An abandoned write arrives.
    LateWrite,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrefetchStep {
    Receives(Message),
    /// The lease has expired by the instance's own clock.
    Forgets,
    /// The leased name is looked up at the node.
    Checks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpkeepStep {
    Posts(Instance, Call),
    FindsPosted(Room),
    Puts(Room, Call),
    /// A room past its time is listed, and the presence snapshot shows it empty.
    SweepFindsEmpty(Instance, Id),
    /// A second snapshot, at least 30 seconds later, shows it empty as well.
    SweepFindsEmptyAgain,
    /// The room is read by its id, and the node asked who is in it, just before the delete.
    SweepChecks,
    SweepDeletes(Call),
    /// The node is asked once more who is in the room; if nobody is, its call is disconnected.
    SweepDisconnects,
    /// The mistake: a call is ended because no room has its name.
    SweepEndsCallWithoutRoom(Room),
    /// Any instance receives the message of IDIM's delete.
    FinishesOrder(Room),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutsideStep {
    /// The lease expires by the queue's clock.
    LeaseEnds(Message),
    /// An abandoned delete reaches the queue.
    LateDelete(Message),
    /// An abandoned make of a claim's record arrives.
    LateRecord(Room),
    /// The key's record says running, and its time is over.
    RunningTimesOut,
    /// Somebody puts another message with the room's name into the queue.
    Copies(Room),
    ReadyUntilPasses(Room),
    /// The sweep's margin after `ready-until` passes.
    MarginPasses(Room),
    /// `ROOM_MAX_LIFETIME_SECONDS` since the hand-out and the margin pass.
    LifetimePasses(Room),
    Crash(Instance),
    Backup,
    Restore,
    ForeignRoom,
    Enters(Room),
    /// The citizen's phone changes networks: the citizen is absent for less than 30 seconds.
    ChangesNetworks(Room),
    IsBack(Room),
    Leaves(Room),
}
