use stateright::{Model, Property};

use crate::step::Step;
use crate::world::World;
use crate::{hand_out, outside, prefetch, promises, upkeep};

/// However many.
pub(crate) const ANY: u8 = u8::MAX;

/// How much of the world one search looks at. Each bound is there to keep the search finite and short.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) instances: u8,
    /// Requests, each for another citizen.
    pub(crate) citizens: u8,
    /// Names that are minted, for the pool and for direct rooms together.
    pub(crate) rooms: u8,
    /// Rooms that are in the pool from the start. The others can be provisioned.
    pub(crate) ready: u8,
    /// Calls that get no answer.
    pub(crate) faults: u8,
    pub(crate) crashes: u8,
    pub(crate) backup: Backup,
    pub(crate) restore: Restore,
    /// Rooms that somebody else makes on the node.
    pub(crate) foreign_rooms: u8,
    /// `POOL_EMPTY=direct`.
    pub(crate) direct: bool,
    /// `ready-until` and the margin pass.
    pub(crate) ages: bool,
    /// Citizens enter and leave, IDIM asks for the end, lifetimes run out.
    pub(crate) ends: bool,
}

impl Scope {
    /// Two instances, and two ready rooms for two citizens; any call may fail, and nothing else does.
    pub(crate) const HAND_OUT: Self = Self {
        instances: 2,
        citizens: 2,
        rooms: 2,
        ready: 2,
        faults: ANY,
        crashes: 0,
        backup: Backup::Never,
        restore: Restore::Noticed,
        foreign_rooms: 0,
        direct: false,
        ages: false,
        ends: false,
    };

    /// The node comes back from a backup that is older than all rooms: each id may come to mean another room.
    pub(crate) const RESTORE: Self =
        Self { ready: 0, faults: 1, backup: Backup::AtStart, direct: true, ..Self::HAND_OUT };

    /// The same with one citizen at one instance, and with a room on the node that is none of ours.
    pub(crate) const RESTORE_WITH_FOREIGN_ROOM: Self =
        Self { instances: 1, citizens: 1, faults: ANY, foreign_rooms: 1, ..Self::RESTORE };

    /// Where none crashes, it makes no difference which instance does what it remembers nothing of.
    pub(crate) fn instances_that_differ(&self) -> u8 {
        if self.crashes > 0 { self.instances } else { 1 }
    }
}

/// Whether there is a backup for the node to come back from, which it may do once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backup {
    Never,
    AtStart,
    AtAnyMoment,
}

/// What the instances see of the node's restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restore {
    /// Every instance sees a call of its own fail, and so counts a trouble, before it uses what it had read.
    Noticed,
    /// An instance sees nothing: it happens between two of its calls.
    Unnoticed,
    /// Noticed, but it may also happen between the look by id and the delete that goes out at once after it.
    EvenBeforeADelete,
}

/// One thing done wrong. Each is a mistake that a change to the service could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The tag is written first, the message deleted then.
    TagBeforeClaim,
    /// A room is taken for ours as long as we think that we lease it, whatever the delete says.
    LeaseBelieved,
    /// "Not found" to the second delete is read as "the first one was ours".
    NotFoundIsAWin,
    /// A message whose put was not answered is put again.
    PutRepeated,
    /// A claimed room that could not be tagged gets a new message.
    RoomGivenBack,
    /// The message lives longer than the room's `ready-until`, and nobody looks at the mark.
    MessageOutlivesMark,
    /// The tag is written without the time of the hand-out.
    TagWithoutMark,
    /// Rooms seen before the node's trouble are claimed without another look.
    PrefetchTrusted,
    /// The tag is written by the id that was read before the node's trouble, without another look.
    TagWithoutLook,
    /// A destroyed room is deleted by its id, without another look.
    DestroyWithoutLook,
    /// A swept room is deleted by its id, without another look.
    SweepWithoutLook,
    /// A delete that was not answered is sent again with the same id.
    DeleteRepeated,
    /// A room that nobody was seen in once is swept.
    OneLookAtPresence,
}

/// The protocol, in a world of this scope, perhaps with one thing done wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protocol {
    pub(crate) scope: Scope,
    pub(crate) wrong: Option<Wrong>,
}

impl Protocol {
    pub(crate) fn does(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    /// What `step` makes of `world`; `None` if it cannot be taken there.
    pub(crate) fn after(&self, world: &World, step: Step) -> Option<World> {
        let mut next = *world;
        if step.is_fault() && next.faults_to_come != ANY {
            next.faults_to_come = next.faults_to_come.checked_sub(1)?;
        }
        let taken = match step {
            Step::Request(citizen, step) => hand_out::take(self, &mut next, citizen, step),
            Step::Prefetch(instance, step) => prefetch::take(self, &mut next, instance, step),
            Step::Upkeep(step) => upkeep::take(self, &mut next, step),
            Step::Outside(step) => outside::take(self, &mut next, step),
        };
        taken.then_some(next)
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::at_start(&self.scope)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        hand_out::offer(self, world, steps);
        prefetch::offer(self, world, steps);
        upkeep::offer(self, world, steps);
        outside::offer(self, world, steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        self.after(world, step)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::properties(self)
    }
}
