//! Which locations of the platform select something.

use super::finding::Finding;
use super::pexip::read;
use crate::pexip::{PexipClient, SystemLocation};

/// The locations that have Conferencing Nodes.
pub(super) struct Locations(Vec<SystemLocation>);

/// The locations by whether they select something: their names.
pub(super) enum Selection {
    All(String),
    Some {
        without: String,
    },
    /// Not even these.
    None(String),
}

impl Locations {
    /// The error is a finding of `check`.
    pub(super) async fn read(check: &'static str, pexip: &PexipClient) -> Result<Self, Finding> {
        let (locations, nodes) = tokio::join!(read(check, pexip.locations()), read(check, pexip.conferencing_nodes()));
        let Ok(nodes) = nodes else {
            return Err(Finding::could_not_tell(check, "the Conferencing Nodes and their locations could not be read"));
        };
        let mut locations = locations?;
        locations.retain(|location| nodes.iter().any(|node| node.system_location == location.name));
        if locations.is_empty() {
            return Err(Finding::could_not_tell(check, "no Conferencing Node reports its location"));
        }
        Ok(Self(locations))
    }

    pub(super) fn selection(&self, selects: impl Fn(&SystemLocation) -> bool) -> Selection {
        let (with, without): (Vec<_>, Vec<_>) = self.0.iter().partition(|location| selects(location));
        let names = |locations: &[&SystemLocation]| {
            locations.iter().map(|location| location.name.escape_debug().to_string()).collect::<Vec<_>>().join(", ")
        };
        match (with.is_empty(), without.is_empty()) {
            (_, true) => Selection::All(names(&with)),
            (true, false) => Selection::None(names(&without)),
            (false, false) => Selection::Some { without: names(&without) },
        }
    }
}
