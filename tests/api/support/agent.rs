use maxconf_simulators::{Matching, StoredRoom};
use reqwest::{Method, RequestBuilder};

use super::{Answer, TAG, TestApp};

/// The room that was handed out in [`TestApp::insert_handed_out_room`].
pub(crate) const HANDED_OUT: &str = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";

pub(crate) const TOKENS_ME: &str = "/api/v2/tokens/me";
pub(crate) const USERS_ME: &str = "/api/v2/users/me";

const INVALID_GENESYS_TOKEN: &str =
    r#"Bearer realm="genesys", error="invalid_token", error_description="token validation failed""#;

impl TestApp {
    /// Puts a handed-out room onto Pexip.
    pub(crate) fn insert_handed_out_room(&self) {
        let room = StoredRoom::named(HANDED_OUT).tagged(TAG).with_pins("193604", "852117");
        self.pexip.insert(room.with_alias(HANDED_OUT));
    }

    /// The read of that room by an agent's widget.
    pub(crate) async fn read_as_agent(&self, token: &str) -> Answer {
        self.send(self.agent_read_request(token)).await
    }

    pub(crate) fn agent_read_request(&self, token: &str) -> RequestBuilder {
        self.request(Method::GET, &format!("public/room/{HANDED_OUT}")).header("x-auth-token", token)
    }

    /// Calls of `tokens/me` and of `users/me`.
    pub(crate) fn genesys_calls(&self) -> (usize, usize) {
        let count = |path: &str| self.genesys.traffic().count(&Matching::any().path_contains(path));
        (count(TOKENS_ME), count(USERS_ME))
    }
}

/// Asserts the whole refusal of an agent, except for `Retry-After`.
#[track_caller]
pub(crate) fn assert_agent_refused(answer: &Answer, (status, code): (u16, &str), context: &str) {
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (status, Some(code)), "{context}: {answer:?}");
    answer.assert_problem(status, code);
    let challenge = if code == "token_invalid" { INVALID_GENESYS_TOKEN } else { "" };
    assert_eq!(answer.header("www-authenticate"), challenge, "{context}: {answer:?}");
}
