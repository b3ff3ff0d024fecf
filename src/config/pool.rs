use std::time::Duration;

use super::reader::{Default, Reader, Setting, seconds, whole_number};

/// The longest that Storage Queue hides a message, in seconds.
const LONGEST_INVISIBILITY: u64 = 604_800;

static TARGET_SIZE: Setting =
    Setting { name: "POOL_TARGET_SIZE", default: Default::Value("20"), meaning: "Ready rooms to keep; 0 = no pool." };
static MAX_ROOMS: Setting = Setting {
    name: "POOL_MAX_ROOMS",
    default: Default::Value("1000"),
    meaning: "Refill stops when this many rooms of ours exist on Pexip; hand-outs stop at twice that.",
};
static READY_DELAY: Setting = Setting {
    name: "POOL_READY_DELAY_SECONDS",
    default: Default::Value("90"),
    meaning: "How long a new room stays hidden, in seconds: its replication to the Conferencing Nodes.",
};
static ROOM_MAX_AGE: Setting = Setting {
    name: "POOL_ROOM_MAX_AGE_SECONDS",
    default: Default::Value("86400"),
    meaning: "Lifetime of an unused room and of its message, in seconds.",
};
static PREFETCH: Setting = Setting {
    name: "POOL_PREFETCH",
    default: Default::Value("1"),
    meaning: "Rooms that each instance keeps leased and checked, ready to hand out; 0 turns it off.",
};
static LEASE: Setting = Setting {
    name: "POOL_LEASE_SECONDS",
    default: Default::Value("60"),
    meaning: "How long a lease on a queue message lasts, in seconds.",
};
static EMPTY: Setting = Setting {
    name: "POOL_EMPTY",
    default: Default::Value("direct"),
    meaning: "What happens when no room is ready: direct (make one now) or refuse.",
};
static DIRECT_MAX: Setting = Setting {
    name: "POOL_DIRECT_MAX",
    default: Default::Value("32"),
    meaning: "Direct creates in flight per instance.",
};
static SWEEP_MARGIN: Setting = Setting {
    name: "SWEEP_MARGIN_SECONDS",
    default: Default::Value("3600"),
    meaning: "Added to every age before the sweep deletes, in seconds.",
};
static SWEEP_MAX_DELETIONS: Setting =
    Setting { name: "SWEEP_MAX_DELETIONS", default: Default::Value("200"), meaning: "Deletions per maintenance run." };

pub(super) static SETTINGS: &[&Setting] = &[
    &TARGET_SIZE,
    &MAX_ROOMS,
    &READY_DELAY,
    &ROOM_MAX_AGE,
    &PREFETCH,
    &LEASE,
    &EMPTY,
    &DIRECT_MAX,
    &SWEEP_MARGIN,
    &SWEEP_MAX_DELETIONS,
];

/// What happens when no room is ready. From `POOL_EMPTY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenEmpty {
    Direct,
    Refuse,
}

/// Sizes and times of the pool of ready rooms.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Ready rooms to keep. From `POOL_TARGET_SIZE`.
    pub target: usize,
    /// From `POOL_MAX_ROOMS`.
    pub max_rooms: usize,
    /// From `POOL_READY_DELAY_SECONDS`.
    pub ready_delay: Duration,
    /// From `POOL_ROOM_MAX_AGE_SECONDS`.
    pub room_max_age: Duration,
    /// From `POOL_PREFETCH`.
    pub prefetch: usize,
    /// From `POOL_LEASE_SECONDS`.
    pub lease: Duration,
    /// From `POOL_EMPTY`.
    pub when_empty: WhenEmpty,
    /// From `POOL_DIRECT_MAX`.
    pub direct_max: usize,
    /// From `SWEEP_MARGIN_SECONDS`.
    pub sweep_margin: Duration,
    /// From `SWEEP_MAX_DELETIONS`.
    pub sweep_max_deletions: usize,
}

impl PoolConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let target = reader.value(&TARGET_SIZE, whole_number(0, 10_000));
        let max_rooms = reader.value(&MAX_ROOMS, whole_number(1, 100_000));
        let ready_delay = reader.value(&READY_DELAY, seconds(0, LONGEST_INVISIBILITY - 1));
        let room_max_age = reader.value(&ROOM_MAX_AGE, seconds(1, 365 * 86_400));
        let prefetch = reader.value(&PREFETCH, whole_number(0, 32));
        let lease = reader.value(&LEASE, seconds(1, LONGEST_INVISIBILITY));
        let when_empty = reader.value(&EMPTY, |text| match text.trim() {
            "direct" => Ok(WhenEmpty::Direct),
            "refuse" => Ok(WhenEmpty::Refuse),
            _ => Err("must be direct or refuse".to_owned()),
        });
        let direct_max = reader.value(&DIRECT_MAX, whole_number(0, 1_000));
        let sweep_margin = reader.value(&SWEEP_MARGIN, seconds(0, 30 * 86_400));
        let sweep_max_deletions = reader.value(&SWEEP_MAX_DELETIONS, whole_number(0, 10_000));
        if let (Some(delay), Some(lease), Some(max_age)) = (ready_delay, lease, room_max_age)
            && delay + lease >= max_age
        {
            reader.fault(&ROOM_MAX_AGE, "must be greater than POOL_READY_DELAY_SECONDS + POOL_LEASE_SECONDS");
        }
        if let (Some(target), Some(max_rooms)) = (target, max_rooms)
            && target > max_rooms
        {
            reader.fault(&TARGET_SIZE, "must not be greater than POOL_MAX_ROOMS");
        }
        Some(Self {
            target: target?,
            max_rooms: max_rooms?,
            ready_delay: ready_delay?,
            room_max_age: room_max_age?,
            prefetch: prefetch?,
            lease: lease?,
            when_empty: when_empty?,
            direct_max: direct_max?,
            sweep_margin: sweep_margin?,
            sweep_max_deletions: sweep_max_deletions?,
        })
    }
}
