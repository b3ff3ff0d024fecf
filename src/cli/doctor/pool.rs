use super::finding::{Finding, Section};
use super::{POOL, SETTINGS_AT_FAULT, in_time, storage};
use crate::app::{pexip_client, queue_client, queue_http};
use crate::config::ConfigParts;
use crate::domain::Clock;
use crate::rooms::{PoolStatus, RoomPool};

const CHECKS: [&str; 1] = ["stock"];

/// Looks at the pool, in one line: `maxconf pool status` tells more.
pub(super) async fn examine(settings: &ConfigParts, clock: &Clock) -> Section {
    let (Some(pool), Ok(queue)) = (pool(settings, clock), &settings.queue) else {
        return Section::unexamined("pool", &CHECKS, SETTINGS_AT_FAULT);
    };
    if let Ok(http) = queue_http(queue)
        && let Err(no_token) = storage::identity(&queue.access, &http).await
    {
        return Section::unexamined("pool", &CHECKS, &no_token.says);
    }
    let stock = match in_time(POOL, pool.status(&|_| ())).await {
        Some(Ok(status)) => judge(&status),
        Some(Err(error)) => Finding::could_not_tell("stock", error.to_string()),
        None => Finding::could_not_tell("stock", "counting the rooms takes too long; maxconf pool status waits for it"),
    };
    Section::examined("pool", &CHECKS, vec![stock], Ok(()))
}

fn pool(settings: &ConfigParts, clock: &Clock) -> Option<RoomPool> {
    let (config, rooms) = (settings.pool.as_ref().ok()?, settings.room.as_ref().ok()?);
    let queue = queue_client(settings.queue.as_ref().ok()?, &rooms.prefix).ok()?;
    let pexip = pexip_client(settings.pexip.as_ref().ok()?, &rooms.prefix).ok()?;
    let deadline = settings.server.as_ref().ok()?.request_deadline;
    Some(RoomPool::new(config, rooms, deadline, &queue, &pexip, clock))
}

fn judge(status: &PoolStatus) -> Finding {
    let PoolStatus { census, target, max_rooms, sweep, .. } = status;
    let says = format!(
        "{} of {target} in the pool, {} handed out, {} of at most {max_rooms} on Pexip, {} due for the sweep",
        census.in_pool(),
        census.handed_out,
        census.rooms(),
        sweep.unused + sweep.past_lifetime + sweep.past_absolute_lifetime,
    );
    if census.in_pool() >= *target {
        Finding::fine("stock", says)
    } else if census.rooms() >= *max_rooms {
        Finding::warning("stock", says, "find out why so many rooms are left over, or raise POOL_MAX_ROOMS")
    } else if census.messages >= *target {
        Finding::warning(
            "stock",
            format!("{says}, but about {} messages in the queue: most of them for no room of ours", census.messages),
            "see that POOL_QUEUE_NAME, ROOM_NAME_PREFIX and PEXIP_MANAGEMENT_URL are of one environment",
        )
    } else {
        Finding::warning(
            "stock",
            says,
            "see that function_pool_maintenance runs; maxconf pool fill makes what is missing",
        )
    }
}
