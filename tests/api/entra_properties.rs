//! Properties of every token and of arbitrary bytes in its place. A panic would be answered 500.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use proptest::prelude::{Just, Strategy, any};
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use proptest::{prop_assert, prop_oneof};
use reqwest::header::HeaderValue;
use tokio::runtime::Runtime;

use crate::support::{IDIM_CREATE, TestApp};

/// A service for one property, and what asks it.
struct Asked {
    runtime: Runtime,
    app: TestApp,
}

impl Asked {
    fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let app = runtime.block_on(async {
            let app = TestApp::without_pool().await;
            app.entra_keys_are_read().await;
            app
        });
        Self { runtime, app }
    }

    /// The status that these bytes in the `Authorization` header are answered; `None` where no header can hold them.
    fn status(&self, authorization: &[u8]) -> Option<u16> {
        HeaderValue::from_bytes(authorization).ok()?;
        Some(self.runtime.block_on(self.app.ask_idim(&IDIM_CREATE, authorization)).status.as_u16())
    }

    /// Tries values of `headers`; none of them may be taken for a token.
    fn assert_never_accepted(&self, headers: &impl Strategy<Value = Vec<u8>>) {
        let mut runner = TestRunner::new(Config { cases: 1_000, failure_persistence: None, ..Config::default() });
        let outcome = runner.run(headers, |header| {
            let status = self.status(&header);
            // 503: the header is one of Entra's, with a kid that the next read of the keys may list.
            prop_assert!(matches!(status, None | Some(400 | 401 | 503)), "answered {status:?}");
            Ok(())
        });
        assert!(outcome.is_ok(), "{outcome:?}");
        self.app.assert_no_outside_calls("what is no token");
    }
}

#[test]
fn a_valid_token_with_any_one_byte_changed_is_never_accepted() {
    let asked = Asked::start();
    for token in [asked.app.entra.token().v1().build(), asked.app.entra.token().build()] {
        let header = format!("Bearer {token}").into_bytes();
        assert_eq!(asked.status(&header), Some(200));
        asked.app.pexip.traffic().clear();
        asked.app.queue.traffic().clear();
        let changed = (any::<Index>(), 1..=u8::MAX).prop_map(|(at, bits)| {
            let mut changed = header.clone();
            let token = &mut changed["Bearer ".len()..];
            token[at.index(token.len())] ^= bits;
            changed
        });
        asked.assert_never_accepted(&changed);
    }
}

#[test]
fn arbitrary_bytes_are_never_accepted() {
    let asked = Asked::start();
    let bytes = || any::<Vec<u8>>();
    let bearer = |token: &[u8]| [b"Bearer ", token].concat();
    asked.assert_never_accepted(&bytes());
    asked.assert_never_accepted(&bytes().prop_map(|token| bearer(&token)));
    asked.assert_never_accepted(&"[-A-Za-z0-9._~+/]{0,60}=?".prop_map(|token| bearer(token.as_bytes())));

    // Further in: segments as they should be beside segments of anything.
    let valid = asked.app.entra.token().build();
    let [header, payload, signature] = [0, 1, 2].map(|segment| {
        let segment = valid.split('.').nth(segment).expect("three segments").to_owned();
        prop_oneof![Just(segment), bytes().prop_map(|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes))]
    });
    let tokens =
        (header, payload, signature).prop_map(|(header, payload, signature)| format!("{header}.{payload}.{signature}"));
    let forged = tokens.prop_filter("the valid token itself", move |token| *token != valid);
    asked.assert_never_accepted(&forged.prop_map(|token| bearer(token.as_bytes())));
}
