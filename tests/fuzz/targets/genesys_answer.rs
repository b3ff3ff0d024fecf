//! Whatever Genesys answers about a token; both calls get the same answer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use maxconf::auth::GenesysVerifier;
use maxconf::domain::Clock;
use maxconf_fuzz::{Outside, assert_harmless, config, http, runtime};
use maxconf_simulators::genesys::{DIVISION_ID, OAUTH_CLIENT_ID, ORGANIZATION_ID};

fuzz_target!(|input: &[u8]| {
    let Some(outside) = Outside::read(input) else { return };
    let lists = [("GENESYS_OAUTH_CLIENT_IDS", OAUTH_CLIENT_ID), ("GENESYS_DIVISION_IDS", DIVISION_ID)];
    let config = config(&lists);
    // A new one for each input: its caches and its breaker remember.
    let verifier = GenesysVerifier::new(config.genesys, http().clone(), Clock::system(), config.server.widgets_share());
    outside.answers_with("retry-after");
    match runtime().block_on(verifier.verify(&"a-token-that-genesys-may-know".into(), None)) {
        Ok(caller) => {
            let said = outside.json().expect("an accepted answer is JSON");
            let id = |object: &str| said[object]["id"].as_str().unwrap_or_default().to_lowercase();
            assert_eq!(
                (id("organization").as_str(), id("homeOrganization").as_str()),
                (ORGANIZATION_ID, ORGANIZATION_ID)
            );
            assert_eq!((id("OAuthClient").as_str(), &said["state"]), (OAUTH_CLIENT_ID, &"active".into()));
            assert_eq!(id("division").as_str(), DIVISION_ID);
            assert!(said["clonedUser"].is_null() && said["id"] == caller.user_id(), "{said}");
        }
        Err(refusal) => assert_harmless(&refusal),
    }
});
