//! Events outside the service: time, writes that arrive late, an instance that is killed.

use super::create::Phase;
use super::end::Hint;
use super::protocol::{Protocol, Validity};
use super::step::{OutsideStep, Step};
use super::sweep::Sweep;
use super::world::{Record, Task, Time, World};

use OutsideStep as S;

pub(super) fn offer(protocol: &Protocol, world: &World, steps: &mut Vec<Step>) {
    let mut add = |offered: &[S]| steps.extend(offered.iter().copied().map(Step::Outside));
    if !world.records.overdue && world.records.key().is_some_and(|record| record.done.is_none()) {
        add(&[S::RunningTimesOut]);
    }
    for (room, life) in world.rooms() {
        let is_open = matches!(life.record, Record::Open(_));
        match (life.time, protocol.scope.validity) {
            (Time::Before, Validity::Given) if is_open => add(&[S::ValidityBegins(room)]),
            (Time::Valid, Validity::AtOnce | Validity::Given) if is_open => add(&[S::ValidityEnds(room)]),
            (Time::JustOver, _) if is_open => add(&[S::DialOutMarginPasses(room)]),
            _ => {}
        }
        if life.late_make.is_some() {
            add(&[S::LateMake(room)]);
        }
        if life.has_late_end {
            add(&[S::LateEnd(room)]);
        }
        if world.kills_to_come > 0 {
            add(&[Task::Delete(room), Task::Hint(room)].map(S::Kill));
        }
    }
    if world.kills_to_come > 0 {
        for create in 0..protocol.scope.creates {
            add(&[S::Kill(Task::Request(create))]);
        }
        add(&[S::Kill(Task::Sweep)]);
    }
}

/// Takes the step and returns true, or returns false if the step is impossible in this state.
pub(super) fn take(protocol: &Protocol, world: &mut World, step: OutsideStep) -> bool {
    match step {
        S::ValidityBegins(room) => world.room_mut(room).time = Time::Valid,
        S::ValidityEnds(room) => world.room_mut(room).time = Time::JustOver,
        S::DialOutMarginPasses(room) => world.room_mut(room).time = Time::Over,
        S::RunningTimesOut => world.records.overdue = true,
        S::LateMake(room) => {
            let Some(maker) = world.room_mut(room).late_make.take() else { return false };
            world.make_record(protocol, room, maker);
        }
        S::LateEnd(room) => {
            world.room_mut(room).has_late_end = false;
            world.end_record(protocol, room);
        }
        S::Kill(task) => return kill(world, task),
    }
    true
}

/// What the task did is lost. Its calls in flight may still arrive.
fn kill(world: &mut World, task: Task) -> bool {
    world.kills_to_come -= 1;
    match task {
        Task::Request(create) => {
            let was_under_way = world.request(create).phase.is_under_way();
            if was_under_way {
                world.request_mut(create).phase = Phase::Failed;
            }
            was_under_way
        }
        Task::Delete(room) => {
            let killed = world.room(room).deletion.killed();
            world.room_mut(room).deletion = killed.unwrap_or_default();
            killed.is_some()
        }
        Task::Hint(room) => {
            let was_at_work = world.room(room).hint.is_at_work();
            if was_at_work {
                // The message is received again.
                world.room_mut(room).hint = Hint::Put;
            }
            was_at_work
        }
        Task::Sweep => std::mem::take(&mut world.sweep) != Sweep::Idle,
    }
}
