//! What `maxconf pool status` shows.

use crate::pexip::Conference;
use crate::rooms::Census;
use crate::rooms::delete::EndReason;

/// The pool at one moment.
#[derive(Clone, Debug)]
pub struct PoolStatus {
    /// The queue's name.
    pub queue: String,
    /// False before the first maintenance run or fill, which creates it, or if its name is wrong.
    pub queue_exists: bool,
    /// What the names of our rooms begin with.
    pub prefix: String,
    pub census: Census,
    /// Messages that were set aside because they are not room names, approximately.
    pub poison_messages: usize,
    /// From `POOL_TARGET_SIZE`.
    pub target: usize,
    /// From `POOL_MAX_ROOMS`.
    pub max_rooms: usize,
    /// Rooms that a fill would provision.
    pub missing: usize,
    pub sweep: SweepDue,
}

/// Rooms that the sweep ends next, by reason. Those of the first two only once they are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepDue {
    pub unused: usize,
    pub past_lifetime: usize,
    pub past_absolute_lifetime: usize,
}

impl SweepDue {
    pub(super) fn count(sweepable: &[(&Conference, EndReason)]) -> Self {
        let count = |reason| sweepable.iter().filter(|(_, due)| *due == reason).count();
        Self {
            unused: count(EndReason::Unused),
            past_lifetime: count(EndReason::PastLifetime),
            past_absolute_lifetime: count(EndReason::PastAbsoluteLifetime),
        }
    }
}
