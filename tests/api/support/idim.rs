use maxconf_simulators::{EntraSimulator, Matching};
use reqwest::Method;
use reqwest::header::AUTHORIZATION;

use super::{Answer, TestApp, eventually};

/// A route of IDIM, and the role that it asks for.
pub(crate) struct IdimRoute {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) role: &'static str,
}

pub(crate) const IDIM_CREATE: IdimRoute =
    IdimRoute { method: Method::POST, path: "room/create?uuiData=3132333435362c373635343332", role: "Room.Create" };

/// The name has the prefix, but no room has it.
pub(crate) const IDIM_DELETE: IdimRoute =
    IdimRoute { method: Method::DELETE, path: "room/vbv-01jd5p3xk8qqqqqqqqqqqqqqqq", role: "Room.Delete" };

pub(crate) const IDIM_READ: IdimRoute = IdimRoute { method: Method::GET, role: "Room.Read", ..IDIM_DELETE };

pub(crate) const IDIM_ROUTES: [IdimRoute; 3] = [IDIM_CREATE, IDIM_READ, IDIM_DELETE];

pub(crate) const INVALID_ENTRA_TOKEN: &str =
    r#"Bearer realm="maxconf", error="invalid_token", error_description="token validation failed""#;

impl TestApp {
    /// A service without a pool: every call to Pexip and the queue is caused by a request.
    pub(crate) async fn without_pool() -> Self {
        Self::with().set("POOL_TARGET_SIZE", 0).start().await
    }

    /// Sends a request to one of IDIM's routes with this `Authorization` header.
    pub(crate) async fn ask_idim(&self, route: &IdimRoute, authorization: impl AsRef<[u8]>) -> Answer {
        let request = self.request(route.method.clone(), route.path).header(AUTHORIZATION, authorization.as_ref());
        self.send(request).await
    }

    pub(crate) async fn create_with(&self, token: &str) -> Answer {
        self.ask_idim(&IDIM_CREATE, format!("Bearer {token}")).await
    }

    /// Asserts that the service has called neither storage nor Pexip nor Genesys.
    #[track_caller]
    pub(crate) fn assert_no_outside_calls(&self, why: &str) {
        for traffic in [self.queue.traffic(), self.blobs.traffic(), self.pexip.traffic(), self.genesys.traffic()] {
            let mut log = traffic.log();
            // A background task reads the queue of ended rooms.
            log.retain(|exchange| !exchange.path.ends_with("-ended/messages"));
            assert!(log.is_empty(), "{why}: {log:?}");
        }
    }

    /// Waits until the keys of both versions have been read, as every service does at its start.
    pub(crate) async fn entra_keys_are_read(&self) {
        self.keys_are_read_from(&self.entra).await;
    }

    pub(crate) async fn keys_are_read_from(&self, entra: &EntraSimulator) {
        eventually("the keys are read", async || {
            let answered = |path: &str| {
                entra.traffic().log().iter().any(|exchange| exchange.path.ends_with(path) && exchange.status.is_some())
            };
            answered("/discovery/keys") && answered("/discovery/v2.0/keys")
        })
        .await;
    }
}

/// How often the keys for v2.0 tokens were fetched.
pub(crate) fn v2_key_fetches(entra: &EntraSimulator) -> usize {
    entra.traffic().count(&Matching::any().path_contains("/discovery/v2.0/keys"))
}

/// How often the keys for v1.0 tokens were fetched.
pub(crate) fn v1_key_fetches(entra: &EntraSimulator) -> usize {
    entra.traffic().count(&Matching::any().path_contains("/discovery/keys"))
}

/// Asserts that the token was refused as one that proves nothing.
#[track_caller]
pub(crate) fn assert_token_invalid(answer: &Answer) {
    answer.assert_problem(401, "token_invalid");
    assert_eq!(answer.header("www-authenticate"), INVALID_ENTRA_TOKEN, "{answer:?}");
}
