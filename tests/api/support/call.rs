use maxconf_simulators::{Matching, Traffic};
use reqwest::Method;

use super::TestApp;

/// What the service asks of the outside world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    QueueReceive,
    QueueClaim,
    QueueCount,
    QueuePut,
    RecordMake,
    RecordRead,
    KeyWrite,
    KeyRead,
    InstantWrite,
    InstantRead,
    PexipLookUp,
    PexipTag,
    PexipCreate,
    PexipDelete,
    PexipRunning,
    PexipToken,
    EntraDiscovery,
    EntraKeys,
    GenesysToken,
    GenesysUser,
}

impl Call {
    /// Look-ups of one room by its name.
    pub(crate) fn look_ups_by_name() -> Matching {
        Self::PexipLookUp.matching().query_contains("name=")
    }

    pub(crate) fn matching(self) -> Matching {
        match self {
            Self::QueueReceive => Matching::method(Method::GET).path_contains("/messages"),
            Self::QueueClaim => Matching::method(Method::DELETE).path_contains("/messages/"),
            Self::QueueCount => Matching::method(Method::GET).query_contains("comp=metadata"),
            Self::QueuePut => Matching::method(Method::POST).path_contains("/messages"),
            Self::RecordMake => Matching::method(Method::PUT).path_contains("/claims%2F"),
            Self::RecordRead => Matching::method(Method::GET).path_contains("/claims%2F"),
            Self::KeyWrite => Matching::method(Method::PUT).path_contains("/requests%2F"),
            Self::KeyRead => Matching::method(Method::GET).path_contains("/requests%2F"),
            Self::InstantWrite => Matching::method(Method::PUT).path_contains("/instant%2F"),
            Self::InstantRead => Matching::method(Method::GET).path_contains("/instant%2F"),
            Self::PexipLookUp => Matching::method(Method::GET).path_contains("/configuration/v1/conference/"),
            Self::PexipTag => Matching::method(Method::PATCH),
            Self::PexipCreate => Matching::method(Method::POST).path_contains("/configuration/v1/conference/"),
            Self::PexipDelete => Matching::method(Method::DELETE).path_contains("/configuration/"),
            Self::PexipRunning => Matching::method(Method::GET).path_contains("/status/v1/conference/"),
            Self::PexipToken => Matching::any().path_contains("/oauth/token/"),
            Self::EntraDiscovery => Matching::any().path_contains("/openid-configuration"),
            Self::EntraKeys => Matching::any().path_contains("/discovery/"),
            Self::GenesysToken => Matching::any().path_contains("/tokens/me"),
            Self::GenesysUser => Matching::any().path_contains("/users/me"),
        }
    }

    /// The traffic of the called system.
    pub(crate) fn traffic(self, app: &TestApp) -> &Traffic {
        match self.asked() {
            Asked::Queue => app.queue.traffic(),
            Asked::Records => app.blobs.traffic(),
            Asked::Pexip => app.pexip.traffic(),
            Asked::Entra => app.entra.traffic(),
            Asked::Genesys => app.genesys.traffic(),
        }
    }

    /// The system that it asks refuses connections.
    pub(crate) async fn refuse_connections(self, app: &TestApp) {
        match self.asked() {
            Asked::Queue => app.queue.stop().await,
            Asked::Records => app.blobs.stop().await,
            Asked::Pexip => app.pexip.stop().await,
            Asked::Entra => app.entra.stop().await,
            Asked::Genesys => app.genesys.stop().await,
        }
    }

    /// The system that it asks accepts connections again.
    pub(crate) async fn accept_connections(self, app: &TestApp) {
        match self.asked() {
            Asked::Queue => app.queue.restart().await,
            Asked::Records => app.blobs.restart().await,
            Asked::Pexip => app.pexip.restart().await,
            Asked::Entra => app.entra.restart().await,
            Asked::Genesys => app.genesys.restart().await,
        }
    }

    fn asked(self) -> Asked {
        match self {
            Self::QueueReceive | Self::QueueClaim | Self::QueueCount | Self::QueuePut => Asked::Queue,
            Self::RecordMake
            | Self::RecordRead
            | Self::KeyWrite
            | Self::KeyRead
            | Self::InstantWrite
            | Self::InstantRead => Asked::Records,
            Self::PexipLookUp
            | Self::PexipTag
            | Self::PexipCreate
            | Self::PexipDelete
            | Self::PexipRunning
            | Self::PexipToken => Asked::Pexip,
            Self::EntraDiscovery | Self::EntraKeys => Asked::Entra,
            Self::GenesysToken | Self::GenesysUser => Asked::Genesys,
        }
    }
}

enum Asked {
    Queue,
    Records,
    Pexip,
    Entra,
    Genesys,
}
