use crate::queue::Ticket;
use crate::world::{Citizen, Id, Instance, Room};

/// One thing that happens. A step is at most one call to an outside system, done at one moment; what the caller
/// decides on its answer belongs to the step, for it depends on nothing that others can change meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Request(Citizen, RequestStep),
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
                RequestStep::Claims(call)
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

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Answered,
    /// It was done, but the answer did not come.
    AnswerLost,
    /// It was not done, and no answer came.
    Lost,
    /// It was given up without an answer, and is done later.
    Late,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestStep {
    Arrives(Instance),
    /// Takes the room in the instance's prefetch, to claim it.
    Takes,
    Claims(Call),
    /// Reads the room by its id once more, before the tag is written on a node that was in trouble.
    LooksAgain,
    Tags(Call),
    /// Given up with an error. A claimed room is destroyed.
    Fails,
    Answers,
    /// The answer finds nobody: the room is destroyed.
    CallerIsGone,
    DestroyLooks,
    DestroyDeletes(Call),
    MakesDirect(Call),
    FindsDirect,
    /// A PATCH that was given up reaches the node.
    LateTag,
    /// IDIM asks for the end of the room; its name is looked up.
    IsEnded(Instance),
    EndDeletes(Call),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrefetchStep {
    Receives(Ticket),
    /// The lease ran out by the instance's own clock.
    Forgets,
    /// The leased name is looked up at the node.
    Checks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpkeepStep {
    Posts(Instance, Call),
    FindsPosted(Room),
    Puts(Room, Call),
    /// A room whose time is over is listed, and nobody is in it.
    SweepLooks(Instance, Id),
    /// The same at least 30 seconds later.
    SweepLooksAgain,
    /// The room is read by its id, just before the delete.
    SweepReads,
    SweepDeletes(Call),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutsideStep {
    /// The lease runs out by the queue's clock.
    LeaseEnds(Ticket),
    /// A claim that was given up reaches the queue.
    LateClaim(Ticket),
    ReadyUntilPasses(Room),
    /// `ready-until` and the sweep's margin.
    MarginPasses(Room),
    /// `ROOM_MAX_LIFETIME` since the hand-out, and the margin.
    LifetimePasses(Room),
    Crash(Instance),
    Backup,
    Restore,
    ForeignRoom,
    Enters(Room),
    /// The citizen's phone changes networks; he is not to be seen for less than 30 seconds.
    ChangesNetworks(Room),
    IsBack(Room),
    Leaves(Room),
}
