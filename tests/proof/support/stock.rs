use std::collections::{HashMap, HashSet};
use std::fmt;

use maxconf::domain::Marks;
use serde_json::Value;

use super::{Case, Cases, Ledger, POOL_QUEUE, RECORDS, World};

/// All rooms of the service while no instance works, each with the one reason why it exists.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    /// Untagged, with a message.
    pub(crate) pool: Vec<String>,
    /// Untagged, without a message: the instance that made or claimed it was interrupted.
    pub(crate) orphans: Vec<String>,
    /// Tagged, and answered to the caller whose tag it carries.
    pub(crate) handed_out: Vec<String>,
    /// Tagged, but its caller never got the answer.
    pub(crate) unknown: Vec<String>,
    /// Open instant rooms that were answered to their caller.
    pub(crate) open: Vec<String>,
    /// Open instant rooms whose callers never got the answer.
    pub(crate) unanswered: Vec<String>,
    /// Instant rooms that were ended.
    pub(crate) ended: Vec<String>,
}

impl Stock {
    /// Fails for a room without an explanation or with two, and for one that no mark would ever end.
    pub(crate) fn take(world: &World, ledger: &Ledger, cases: &Cases) -> Self {
        let mut messages: HashMap<String, usize> = HashMap::new();
        for message in world.queue.messages(POOL_QUEUE) {
            *messages.entry(message.text).or_default() += 1;
        }
        let twice: Vec<_> = messages.iter().filter(|(name, count)| **count > 1 && !ledger.is_copied(name)).collect();
        assert!(twice.is_empty(), "names in two messages: {twice:?}");
        let mut stock = Self::default();
        let mut tagged = HashSet::new();
        for room in world.pexip.rooms() {
            let (name, marks) = (room.name, Marks::read(&room.description));
            assert!(!ledger.says_ended(&name), "{name} exists although the service said that it has ended");
            if room.tag.is_empty() {
                assert!(ledger.case_of(&name).is_none(), "{name} was answered and has no tag");
                assert!(marks.ready_until.is_some() && marks.handed_out.is_none(), "{name}: {marks:?}");
                let list = if messages.contains_key(&name) { &mut stock.pool } else { &mut stock.orphans };
                list.push(name);
                continue;
            }
            let case = Case::of_tag(&room.tag).unwrap_or_else(|| panic!("{name}: an unknown tag: {}", room.tag));
            assert!(cases.include(case), "{name}: a tag without a request: {}", room.tag);
            // A run with a key may be killed or overtaken between tag and answer. Its room is not answered.
            let may_have_another = case.key().is_some();
            assert!(tagged.insert(case) || may_have_another, "{case:?} has two rooms, one of them {name}");
            assert!(marks.handed_out.is_some(), "{name} has a tag and would never be swept: {marks:?}");
            assert!(!messages.contains_key(&name) || ledger.is_copied(&name), "{name} has a tag and a message");
            let history: HashSet<_> = world.pexip.tag_history(&name).into_iter().collect();
            assert_eq!(history.len(), 1, "{name}: {history:?}");
            if let Some(owner) = ledger.case_of(&name) {
                assert_eq!(owner, case, "{name} has another citizen's tag");
                stock.handed_out.push(name);
            } else {
                let has_another = ledger.has_served(case) && !may_have_another;
                assert!(!has_another, "{case:?} got another room, and {name} as well");
                stock.unknown.push(name);
            }
        }
        stock.take_instant(world, ledger, cases);
        stock
    }

    fn take_instant(&mut self, world: &World, ledger: &Ledger, cases: &Cases) {
        let mut tagged = HashSet::new();
        for blob in world.blobs.blobs(RECORDS) {
            let Some(name) = blob.name.strip_prefix("instant/").map(str::to_owned) else { continue };
            let record: Value = serde_json::from_str(&blob.text).expect("a record is JSON");
            let owner = ledger.case_of(&name);
            if record["state"] != "open" {
                assert!(record["configuration"].is_null(), "{name} is ended and has PINs: {record}");
                let may_be_ended = owner.is_none() || ledger.says_ended(&name) || ledger.may_end(&name);
                assert!(may_be_ended, "{name} was answered, and nobody has ended it: {record}");
                self.ended.push(name);
                continue;
            }
            assert!(!ledger.says_ended(&name), "{name} is open although the service said that it has ended");
            let tag = record["configuration"]["service_tag"].as_str().expect("a tag");
            let case = Case::of_tag(tag).unwrap_or_else(|| panic!("{name}: an unknown tag: {tag}"));
            assert!(cases.include(case), "{name}: a tag without a request: {tag}");
            // As on Pexip.
            let may_have_another = case.key().is_some();
            assert!(tagged.insert(case) || may_have_another, "{case:?} has two open rooms, one of them {name}");
            if let Some(owner) = owner {
                assert_eq!(owner, case, "{name} has another citizen's tag");
                self.open.push(name);
            } else {
                let has_another = ledger.has_served(case) && !may_have_another;
                assert!(!has_another, "{case:?} got another room, and {name} as well");
                self.unanswered.push(name);
            }
        }
    }
}

impl fmt::Display for Stock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "on Pexip {} in the pool, {} orphans, {} handed out, {} tagged that no caller knows; {} instant rooms open, {} \
             that no caller knows, {} ended",
            self.pool.len(),
            self.orphans.len(),
            self.handed_out.len(),
            self.unknown.len(),
            self.open.len(),
            self.unanswered.len(),
            self.ended.len()
        )
    }
}
