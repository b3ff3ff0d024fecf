//! Entra tokens: any text, and any header and claims with a good signature of a published key.
//!
//! An input that starts with `!` is the token itself. Any other is a header, a line feed and the claims; in both,
//! `KID`, `ISSUER` and `NOW` stand for what only this process knows.

#![no_main]

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use maxconf::auth::EntraVerifier;
use maxconf::config::EntraConfig;
use maxconf::domain::Clock;
use maxconf_fuzz::{config, http, runtime};
use maxconf_simulators::EntraSimulator;
use maxconf_simulators::entra::{API_CLIENT_ID, TENANT_ID};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

const ROLE: &str = "Room.Create";

struct Tenant {
    entra: EntraSimulator,
    verifier: EntraVerifier,
    kid: String,
    issuer: String,
}

fuzz_target!(|input: &[u8]| {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let tenant = tenant();
    if let Some(token) = input.strip_prefix('!') {
        let verdict = runtime().block_on(tenant.verifier.verify(&token.into(), Some(ROLE)));
        assert!(verdict.is_err(), "without a signature: {token:?}");
        return;
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let known = input.replace("KID", &tenant.kid).replace("ISSUER", &tenant.issuer).replace("NOW", &now.to_string());
    let Some((header, claims)) = known.split_once('\n') else { return };
    let token = tenant.entra.token().raw_header(header).raw_payload(claims).build();
    if let Ok(client) = runtime().block_on(tenant.verifier.verify(&token.into(), Some(ROLE))) {
        let header: Value = serde_json::from_str(header).expect("an accepted header is JSON");
        let claims: Value = serde_json::from_str(claims).expect("accepted claims are JSON");
        assert_acceptable(&header, &claims, now);
        assert_eq!(client.tenant_id().to_lowercase(), TENANT_ID);
    }
});

/// The rules once more, on the JSON as it stands there.
fn assert_acceptable(header: &Value, claims: &Value, now: u64) {
    assert_eq!((&header["alg"], &header["kid"]), (&"RS256".into(), &tenant().kid.as_str().into()), "{header}");
    for foreign in ["crit", "jwk", "jku", "x5u", "x5c", "zip", "enc", "b64"] {
        assert!(header.get(foreign).is_none(), "{header}");
    }
    assert_eq!((&claims["iss"], &claims["aud"]), (&tenant().issuer.as_str().into(), &API_CLIENT_ID.into()), "{claims}");
    assert!(claims["roles"].as_array().is_some_and(|roles| roles.contains(&ROLE.into())), "{claims}");
    assert!(claims.get("scp").is_none() && claims["azp"].is_string() && claims["sub"].is_string(), "{claims}");
    assert!(claims["azpacr"] != "0" && (claims["idtyp"].is_null() || claims["idtyp"] == "app"), "{claims}");
    let time = |name: &str| claims[name].as_u64().unwrap_or_else(|| panic!("{name}: {claims}"));
    assert!(time("exp") + 61 >= now && time("nbf") <= now + 61 && time("iat") <= now + 301, "{claims}");
    assert!(time("exp") - time("iat").min(time("exp")) <= 28 * 3600, "{claims}");
}

fn tenant() -> &'static Tenant {
    static TENANT: OnceLock<Tenant> = OnceLock::new();
    TENANT.get_or_init(|| {
        let entra = runtime().block_on(EntraSimulator::start());
        let config = config(&[("ENTRA_AUTHORITY_URL", entra.authority_url().as_str())]).entra;
        runtime().block_on(start(entra, config))
    })
}

async fn start(entra: EntraSimulator, config: EntraConfig) -> Tenant {
    let authority = entra.authority_url();
    let verifier = EntraVerifier::start(config, http(), Clock::system(), &CancellationToken::new());
    let tenant =
        Tenant { kid: entra.keys()[0].kid.clone(), issuer: format!("{authority}{TENANT_ID}/v2.0"), entra, verifier };
    let accepted = async || tenant.verifier.verify(&tenant.entra.token().build().into(), Some(ROLE)).await.is_ok();
    // Without this, nothing would ever be accepted and the target would prove nothing.
    for _ in 0..500 {
        if accepted().await {
            return tenant;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a good token is not accepted");
}
