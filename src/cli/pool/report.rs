//! Reports of the pool commands: text for people, JSON for programs. Names in the JSON are fixed.

use serde_json::{Value, json};

use crate::cli::output::{Output, Unwritten};
use crate::rooms::{ClaimConflicts, Drained, Filled, PoolStatus};

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
        let PoolStatus {
            queue,
            queue_exists,
            prefix,
            census,
            poison_messages,
            conflicts,
            target,
            max_rooms,
            missing,
            sweep,
            ..
        } = status;
        let mut text = format!("Pool of {queue}, rooms named {prefix}…\n\n");
        let messages = if *queue_exists {
            "approximate; includes leased and hidden messages"
        } else {
            "no such queue yet; the timer or a fill creates it"
        };
        for (label, number, remark) in [
            ("In the pool", census.in_pool(), format!("of {target} (POOL_TARGET_SIZE)")),
            ("Missing", *missing, "a fill makes them".to_owned()),
            ("Messages in the queue", census.messages, messages.to_owned()),
            ("Poison messages", *poison_messages, "approximate; not room names".to_owned()),
            (
                "Rooms on Pexip",
                census.rooms(),
                format!("refill stops at {max_rooms} (POOL_MAX_ROOMS), creates at {}", 2 * max_rooms),
            ),
            ("  ready", census.ready, "untagged, replicated to the Conferencing Nodes".to_owned()),
            ("  warming", census.warming, "untagged, not replicated yet".to_owned()),
            ("  past age", census.past_age, "untagged, too old to be handed out".to_owned()),
            ("  handed out", census.handed_out, "tagged".to_owned()),
            ("  unmarked", census.unmarked, "no marks of this service; someone changed the description".to_owned()),
            ("Due for the sweep", sweep.unused + sweep.past_lifetime + sweep.past_absolute_lifetime, String::new()),
            ("  unused", sweep.unused, "if they have no participants".to_owned()),
            ("  past lifetime", sweep.past_lifetime, "if they have no participants".to_owned()),
            ("  past absolute lifetime", sweep.past_absolute_lifetime, "even with participants".to_owned()),
        ] {
            text += format!("{label:<24} {number:>6}  {remark}").trim_end();
            text.push('\n');
        }
        text += &match conflicts {
            Ok(ClaimConflicts { looked_at, claimed_before, copies }) => format!(
                "Messages looked at       {looked_at:>6}  the first ones that nobody has leased\n  claimed before         \
                 {claimed_before:>6}  their rooms were claimed; a create that meets them deletes them\n  copies                 \
                 {copies:>6}  they name the room of another one\n"
            ),
            Err(error) => format!("Messages looked at            ?  {error}\n"),
        };
        let claims = conflicts.as_ref().ok().map(|ClaimConflicts { looked_at, claimed_before, copies }| {
            json!({ "looked_at": looked_at, "claimed_before": claimed_before, "copies": copies })
        });
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
            // Null if the room records cannot be read.
            "claims": claims,
            "pool": { "in_pool": census.in_pool(), "target": target, "missing": missing },
            "sweep_due": {
                "unused": sweep.unused,
                "past_lifetime": sweep.past_lifetime,
                "past_absolute_lifetime": sweep.past_absolute_lifetime,
            },
        });
        Self { text, json }
    }

    /// The report of `fill --dry-run`.
    pub(super) fn of_missing(status: &PoolStatus) -> Self {
        let before = status.census.in_pool();
        let text = match status.missing {
            0 => format!("{before} rooms are in the pool; none would be made.\n"),
            missing => format!("{before} rooms are in the pool; {missing} would be made.\n"),
        };
        Self { text, json: fill_json(true, before, status.missing, 0) }
    }

    pub(super) fn of_fill(filled: &Filled) -> Self {
        let Filled { in_pool_before, to_make, made, joinable, .. } = filled;
        let mut text = match to_make {
            0 => format!("{in_pool_before} rooms are in the pool; none are missing.\n"),
            _ => format!("{in_pool_before} rooms were in the pool; {made} of {to_make} missing ones were made.\n"),
        };
        if made < to_make && filled.stopped_by.is_none() {
            text += "Instances of the service made the other ones.\n";
        }
        let mut json = fill_json(false, *in_pool_before, *to_make, *made);
        if let Some(joinable) = joinable {
            text += &format!("{joinable} rooms can be joined.\n");
            json["joinable"] = (*joinable).into();
        }
        Self { text, json }
    }

    /// The report of `drain --dry-run`.
    pub(super) fn of_drainable(status: &PoolStatus) -> Self {
        let (messages, rooms) = (status.census.messages, status.census.in_pool());
        let text = format!("{messages} messages and up to {rooms} rooms would be deleted.\n");
        Self { text, json: json!({ "dry_run": true, "messages": messages, "rooms_at_most": rooms }) }
    }

    pub(super) fn of_drain(drained: &Drained) -> Self {
        let rows = [
            ("deleted", drained.deleted, "rooms deleted, each with its message"),
            ("without_room", drained.without_room, "messages deleted; their rooms no longer exist"),
            ("handed_out", drained.handed_out, "messages deleted; their rooms are handed out and kept"),
            ("occupied", drained.occupied, "messages deleted; their rooms have participants and are left to the sweep"),
            ("changed", drained.changed, "messages deleted; their rooms were changed meanwhile and are kept"),
            (
                "unmarked",
                drained.unmarked,
                "messages and rooms kept: the rooms have no marks of this service, so only a DELETE request removes them",
            ),
            ("foreign", drained.foreign, "messages kept: they are not room names of this service"),
            ("lost", drained.lost, "messages whose claim was not confirmed; their rooms are kept"),
            ("out_of_sight", drained.out_of_sight, "messages kept: they stay hidden or leased"),
            (
                "left_to_sweep",
                drained.left_to_sweep.unwrap_or(0),
                "untagged rooms left to the sweep, which deletes them when their marks are past",
            ),
        ];
        let mut text = String::new();
        let mut json = json!({ "dry_run": false });
        for (name, number, what) in rows {
            json[name] = number.into();
            if number > 0 || name == "deleted" {
                text += &format!("{number:>6}  {what}\n");
            }
        }
        // Null if they were not counted.
        json["left_to_sweep"] = drained.left_to_sweep.into();
        Self { text, json }
    }
}

fn fill_json(dry_run: bool, in_pool_before: usize, to_make: usize, made: usize) -> Value {
    json!({ "dry_run": dry_run, "in_pool_before": in_pool_before, "to_make": to_make, "made": made })
}
