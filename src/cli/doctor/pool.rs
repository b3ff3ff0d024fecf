//! Examines the pool in one line. `maxconf pool status` reports more.

use super::finding::{Finding, Findings};
use super::{POOL_LIMIT, in_time, storage};
use crate::app::{pexip_client, queue_client, record_store, storage_http};
use crate::config::{ConfigParts, QueueConfig};
use crate::domain::Clock;
use crate::rooms::{PoolStatus, RoomPool, Settings};

pub(super) const CHECKS: [&str; 2] = ["stock", "dialled_legs"];

/// `None` if settings that it needs are invalid.
pub(super) fn open<'a>(settings: &'a ConfigParts, clock: &Clock) -> Option<(RoomPool, &'a QueueConfig)> {
    let (config, rooms, queue_config) =
        (settings.pool.as_ref().ok()?, settings.room.as_ref().ok()?, settings.queue.as_ref().ok()?);
    let queue = queue_client(queue_config, &rooms.prefix).ok()?;
    let records = record_store(settings.records.as_ref().ok()?).ok()?;
    let (node, account) = (settings.pexip.as_ref().ok()?, settings.pexip_account.as_ref().ok()?);
    let hours = settings.service_hours.clone().ok()?;
    let pexip = pexip_client(node, account, hours, &rooms.prefix, clock).ok()?;
    let of_rooms = Settings {
        pool: config.clone(),
        rooms: rooms.clone(),
        instant: settings.instant.clone().ok()?,
        has_policy: settings.pexip_policy.as_ref().ok()?.is_some(),
        request_deadline: settings.server.as_ref().ok()?.request_deadline,
    };
    let pool = RoomPool::new(of_rooms, queue, records, pexip, clock.clone());
    Some((pool, queue_config))
}

pub(super) async fn examine((pool, queue): (RoomPool, &QueueConfig), findings: &mut Findings) -> Result<(), Finding> {
    if let Ok(http) = storage_http(&queue.access)
        && let Err(no_token) = storage::check_identity(&queue.access, &http).await
    {
        return Err(Finding::could_not_tell("stock", no_token.says));
    }
    match in_time(POOL_LIMIT, pool.status(&|_| ())).await {
        Some(Ok(status)) => {
            findings.extend([check_stock(&status), check_dialled_legs(status.unrecognised_legs)]);
            Ok(())
        }
        Some(Err(error)) => Err(Finding::could_not_tell("stock", error.to_string())),
        None => {
            let says = "counting the rooms takes too long here; run maxconf pool status";
            Err(Finding::could_not_tell("stock", says))
        }
    }
}

/// If the aliases of all dialled legs were in another field than assumed, no room would end before its absolute
/// lifetime.
fn check_dialled_legs(unrecognised: usize) -> Finding {
    if unrecognised == 0 {
        return Finding::fine("dialled_legs", "each is one of its room's automatic participants");
    }
    Finding::warning(
        "dialled_legs",
        format!("{unrecognised} have no alias of their room's automatic participants, and count as people"),
        "if agents did not dial them, compare their aliases with those of the automatic participants on Pexip: rooms with \
         such legs end only after ROOM_ABSOLUTE_LIFETIME_SECONDS",
    )
}

fn check_stock(status: &PoolStatus) -> Finding {
    let PoolStatus { census, target, max_rooms, sweep, .. } = status;
    let says = format!(
        "{} of {target} rooms in the pool, {} handed out, {} on Pexip (refill stops at {max_rooms}), {} due for the sweep",
        census.in_pool(),
        census.handed_out,
        census.rooms(),
        sweep.unused + sweep.past_lifetime + sweep.past_absolute_lifetime,
    );
    if census.in_pool() >= *target {
        Finding::fine("stock", says)
    } else if census.rooms() >= *max_rooms {
        Finding::warning("stock", says, "find out why so many rooms exist, or raise POOL_MAX_ROOMS")
    } else if census.messages >= *target {
        Finding::warning(
            "stock",
            format!("{says}; of about {} messages in the queue most name no such room", census.messages),
            "check that POOL_QUEUE_NAME, ROOM_NAME_PREFIX and PEXIP_MANAGEMENT_URL belong to the same environment",
        )
    } else {
        let to_do = "check that function_pool_maintenance runs; maxconf pool fill makes the missing rooms";
        Finding::warning("stock", says, to_do)
    }
}
