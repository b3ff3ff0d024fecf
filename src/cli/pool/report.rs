use serde_json::{Value, json};

use crate::cli::output::{Output, Unwritten};
use crate::rooms::{Drained, Filled, PoolStatus};

/// A result, for people and for programs. The names in the JSON stay as they are.
#[derive(Debug)]
pub(super) struct Report {
    text: String,
    json: Value,
}

impl Report {
    pub(super) fn write(&self, output: Output) -> Result<(), Unwritten> {
        output.write(&self.text, &self.json)
    }

    pub(super) fn of_status(status: &PoolStatus) -> Self {
        let PoolStatus { queue, queue_exists, prefix, census, poison_messages, target, max_rooms, missing, sweep } =
            status;
        let mut text = format!("Pool of {queue}, rooms named {prefix}…\n\n");
        let messages = if *queue_exists {
            "approximately; leased and hidden ones count"
        } else {
            "there is no such queue yet; the timer's run or a fill makes it"
        };
        for (label, number, remark) in [
            ("In the pool", census.in_pool(), format!("of {target} wanted")),
            ("Missing", *missing, "a fill would make them".to_owned()),
            ("Messages in the queue", census.messages, messages.to_owned()),
            ("Poison messages", *poison_messages, "approximately; no room names".to_owned()),
            ("Rooms on Pexip", census.rooms(), format!("of {max_rooms} at most")),
            ("  ready", census.ready, "untagged, replicated".to_owned()),
            ("  warming", census.warming, "untagged, too new to be joined".to_owned()),
            ("  past age", census.past_age, "untagged, for nobody any more".to_owned()),
            ("  handed out", census.handed_out, "tagged".to_owned()),
            ("  unmarked", census.unmarked, "our names, but somebody changed the marks".to_owned()),
            ("Due for the sweep", sweep.unused + sweep.past_lifetime + sweep.past_absolute_lifetime, String::new()),
            ("  unused", sweep.unused, "once nobody is in them".to_owned()),
            ("  past lifetime", sweep.past_lifetime, "once nobody is in them".to_owned()),
            ("  past absolute lifetime", sweep.past_absolute_lifetime, "whoever is in them".to_owned()),
        ] {
            text += format!("{label:<24} {number:>6}  {remark}").trim_end();
            text.push('\n');
        }
        let json = json!({
            "queue": { "name": queue, "exists": queue_exists, "messages": census.messages, "poison_messages": poison_messages },
            "rooms": {
                "prefix": prefix,
                "total": census.rooms(),
                "max": max_rooms,
                "ready": census.ready,
                "warming": census.warming,
                "past_age": census.past_age,
                "handed_out": census.handed_out,
                "unmarked": census.unmarked,
            },
            "pool": { "in_pool": census.in_pool(), "target": target, "missing": missing },
            "sweep_due": {
                "unused": sweep.unused,
                "past_lifetime": sweep.past_lifetime,
                "past_absolute_lifetime": sweep.past_absolute_lifetime,
            },
        });
        Self { text, json }
    }

    /// What a fill would do.
    pub(super) fn of_missing(status: &PoolStatus) -> Self {
        let before = status.census.in_pool();
        let text = match status.missing {
            0 => format!("{before} rooms are in the pool; none would be made.\n"),
            missing => format!("{before} rooms are in the pool; {missing} would be made.\n"),
        };
        Self { text, json: fill_json(true, before, status.missing, 0) }
    }

    pub(super) fn of_fill(filled: &Filled) -> Self {
        let Filled { in_pool_before, to_make, made, .. } = filled;
        let text = match to_make {
            0 => format!("{in_pool_before} rooms are in the pool; none is missing.\n"),
            _ => format!("{in_pool_before} rooms were in the pool; {made} of {to_make} missing ones were made.\n"),
        };
        Self { text, json: fill_json(false, *in_pool_before, *to_make, *made) }
    }

    /// What there is for a drain.
    pub(super) fn of_drainable(status: &PoolStatus) -> Self {
        let (messages, rooms) = (status.census.messages, status.census.in_pool());
        let text = format!("{messages} messages would be claimed and up to {rooms} rooms deleted.\n");
        Self { text, json: json!({ "dry_run": true, "messages": messages, "rooms_at_most": rooms }) }
    }

    pub(super) fn of_drain(drained: &Drained) -> Self {
        let Drained {
            deleted,
            without_room,
            handed_out,
            occupied,
            changed,
            unmarked,
            foreign,
            lost,
            out_of_sight,
            left_to_sweep,
            ..
        } = drained;
        let line = |number: usize, what: &str| format!("{number:>6}  {what}\n");
        let mut text = line(*deleted, "rooms deleted, each with its message");
        for (number, what) in [
            (*without_room, "messages deleted whose room was gone"),
            (*handed_out, "messages deleted whose room has been handed out; the room is left alone"),
            (*occupied, "messages deleted whose room has somebody in it; the room is left to the sweep"),
            (*changed, "messages deleted whose room was changed meanwhile; the room is left alone"),
            (*unmarked, "messages left, and their rooms: somebody changed the marks, so only IDIM's delete ends them"),
            (*foreign, "messages left that are no room names of ours"),
            (*lost, "messages claimed by somebody else; the room is left alone"),
            (*out_of_sight, "messages left that stay hidden or leased"),
            (left_to_sweep.unwrap_or(0), "untagged rooms left to the sweep, which ends them by their marks"),
        ] {
            if number > 0 {
                text += &line(number, what);
            }
        }
        let json = json!({
            "dry_run": false,
            "deleted": deleted,
            "without_room": without_room,
            "handed_out": handed_out,
            "occupied": occupied,
            "changed": changed,
            "unmarked": unmarked,
            "foreign": foreign,
            "lost": lost,
            "out_of_sight": out_of_sight,
            "left_to_sweep": left_to_sweep,
        });
        Self { text, json }
    }
}

/// One shape, whether rooms are made or not.
fn fill_json(dry_run: bool, in_pool_before: usize, to_make: usize, made: usize) -> Value {
    json!({ "dry_run": dry_run, "in_pool_before": in_pool_before, "to_make": to_make, "made": made })
}
