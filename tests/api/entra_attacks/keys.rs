//! Rows about the keys: what Entra publishes or fails to publish, and what tokens are then answered.

mod tenant;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use maxconf_simulators::Fault;
use maxconf_simulators::entra::{TENANT_ID, Version};
use serde_json::{Value, json};

use self::tenant::Tenant;
use super::Verdict::{Accepted, Invalid, Unavailable};
use super::{Attack, Trial, Verdict};
use crate::support::TestApp;

/// One way in which keys come, go or stay away.
struct KeyAttack {
    row: u8,
    name: String,
    when: When,
    /// What becomes of Entra.
    trouble: Box<dyn Fn(&Tenant)>,
    /// Tokens in the order in which they are sent, and what they are answered.
    tokens: fn(&Tenant) -> Vec<(String, Verdict)>,
    /// How often the keys are fetched in all, the first time included.
    fetches: RangeInclusive<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    FromTheStart,
    OnceTheKeysAreRead,
}
use When::{FromTheStart, OnceTheKeysAreRead};

const SECRET: &[u8] = b"a secret that Entra would never publish";

/// The rows that are faced in this file.
pub(super) fn rows() -> BTreeSet<u8> {
    attacks().iter().map(|attack| attack.row).collect()
}

#[tokio::test]
async fn every_attack_on_the_keys_is_answered_as_its_row_says() {
    let mut trial = Trial::start();
    for version in [Version::V1, Version::V2] {
        for attack in attacks() {
            let (app, tenant) = in_trouble(version, &attack).await;
            for (token, verdict) in (attack.tokens)(&tenant) {
                let name = format!("{version:?}: {}", attack.name);
                trial.face(&app, &Attack::by_token(attack.row, name, token, verdict)).await;
            }
            let fetches = tenant.fetches();
            if !attack.fetches.contains(&fetches) {
                trial.faults.push(format!("row {}, {version:?}: {}: {fetches} fetches", attack.row, attack.name));
            }
        }
    }
    trial.end();
}

async fn in_trouble(version: Version, attack: &KeyAttack) -> (TestApp, Tenant) {
    let tenant = Tenant::start(version).await;
    if attack.when == FromTheStart {
        (attack.trouble)(&tenant);
    }
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("ENTRA_AUTHORITY_URL", tenant.entra.authority_url());
    let app = app.start().await;
    if attack.when == OnceTheKeysAreRead {
        app.keys_are_read_from(&tenant.entra).await;
        (attack.trouble)(&tenant);
    }
    (app, tenant)
}

fn attacks() -> Vec<KeyAttack> {
    let mut attacks = unknown_kids();
    attacks.extend(bad_keys());
    attacks.extend(useless_answers());
    attacks.extend(useless_metadata());
    attacks.extend(outages());
    attacks
}

/// Rows 9, 10, 47 and 48: one look at Entra, however many there are.
fn unknown_kids() -> Vec<KeyAttack> {
    let look_ups = |row, name: &str, tokens| KeyAttack {
        row,
        name: name.to_owned(),
        when: OnceTheKeysAreRead,
        trouble: Box::new(|_| ()),
        tokens,
        fetches: 2..=2,
    };
    let mut attacks = vec![
        look_ups(9, "unknown kid", |tenant| vec![(tenant.other_token(), Unavailable), (tenant.good_token(), Accepted)]),
        look_ups(10, "kids that mean something elsewhere", |tenant| {
            let kids = ["../../etc/passwd", "' OR 1=1 -- ", "http://127.0.0.1/keys", "\u{0}", "{tenantid}", "a\nb"];
            kids.map(|kid| (tenant.signed(&tenant.good, kid), Unavailable)).into()
        }),
        look_ups(47, "a flood", |tenant| {
            let verdict = |number| if number < 9 { Unavailable } else { Invalid };
            let token = |number| tenant.signed(&tenant.other, &format!("made-up-{number}"));
            (0..40).map(|number| (token(number), verdict(number))).collect()
        }),
        look_ups(48, "withdrawn", |tenant| vec![(tenant.other_token(), Accepted), (tenant.good_token(), Accepted)]),
    ];
    attacks[3].trouble = Box::new(|tenant| tenant.publishes(&[tenant.jwk(&tenant.other)]));
    attacks
}

/// Rows 21 and 40 to 43. A key that would be kept for its `kid` would need no second fetch.
fn bad_keys() -> Vec<KeyAttack> {
    let modulus = |bytes: usize| json!(BASE64_URL_SAFE_NO_PAD.encode(&[0xc3; 1024][..bytes]));
    let short_in_long = json!(BASE64_URL_SAFE_NO_PAD.encode([vec![0; 128], vec![0xc3; 128]].concat()));
    let mut attacks: Vec<_> = [
        (41, "n", modulus(64)),
        (41, "n", modulus(128)),
        (41, "n", modulus(255)),
        (41, "n", modulus(1024)),
        (41, "n", short_in_long),
        (41, "e", json!("AQ")),
        (41, "e", json!("Aw")),
        (41, "use", json!("enc")),
        (41, "key_ops", json!(["encrypt"])),
        (41, "alg", json!("RS512")),
        (40, "kty", json!("EC")),
        (43, "kid", json!(7)),
        (43, "n", Value::Null),
        (21, "issuer", json!("https://login.microsoftonline.com/{tenantid}/v2.0")),
        (21, "issuer", json!("https://sts.windows.net/ffffbbbb-0000-4ccc-8111-dddd2222eeee/")),
    ]
    .into_iter()
    .map(|(row, member, value)| KeyAttack {
        row,
        name: format!("{member} {value}").chars().take(60).collect(),
        when: FromTheStart,
        trouble: Box::new(move |tenant| {
            let mut bad = tenant.jwk(&tenant.other);
            bad[member] = value.clone();
            tenant.publishes(&[Value::Null, json!("text"), json!({}), bad, tenant.jwk(&tenant.good)]);
        }),
        tokens: |tenant| vec![(tenant.other_token(), Unavailable), (tenant.good_token(), Accepted)],
        fetches: 2..=2,
    })
    .collect();
    attacks.push(KeyAttack {
        row: 40,
        name: "a secret".to_owned(),
        when: FromTheStart,
        trouble: Box::new(|tenant| {
            let oct = json!({ "kty": "oct", "use": "sig", "kid": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode(SECRET) });
            tenant.publishes(&[oct, tenant.jwk(&tenant.good)]);
        }),
        tokens: |tenant| {
            let keyed =
                |message: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message).as_ref().to_vec();
            let token = tenant.token().header("kid", "oct");
            vec![
                (token.clone().header("alg", "HS256").build_with(keyed), Invalid),
                (token.build_with(keyed), Unavailable),
                (tenant.good_token(), Accepted),
            ]
        },
        fetches: 2..=2,
    });
    attacks.push(KeyAttack {
        row: 42,
        name: "one kid for two keys".to_owned(),
        when: FromTheStart,
        trouble: Box::new(|tenant| {
            let mut twice = [&tenant.other, &tenant.good, &tenant.other].map(|key| tenant.jwk(key));
            for key in &mut twice {
                key["kid"] = json!("twice");
            }
            tenant.publishes(&[&twice[..], &[tenant.jwk(&tenant.good)]].concat());
        }),
        tokens: |tenant| {
            vec![
                (tenant.signed(&tenant.other, "twice"), Unavailable),
                (tenant.signed(&tenant.good, "twice"), Unavailable),
                (tenant.good_token(), Accepted),
            ]
        },
        fetches: 2..=2,
    });
    attacks.push(KeyAttack {
        row: 43,
        name: "a certificate that is none, an issuer that is ours".to_owned(),
        when: FromTheStart,
        trouble: Box::new(|tenant| {
            let mut good = tenant.jwk(&tenant.good);
            good["x5c"] = json!("MIID");
            good["issuer"] = json!(tenant.issuer());
            tenant.publishes(&[good]);
        }),
        tokens: |tenant| vec![(tenant.good_token(), Accepted)],
        fetches: 1..=1,
    });
    attacks
}

/// The good set stays where these come in its place, though some have a new key in them that would do.
fn the_old_set_stays(
    row: u8,
    name: String,
    fetches: RangeInclusive<usize>,
    trouble: Box<dyn Fn(&Tenant)>,
) -> KeyAttack {
    let tokens = |tenant: &Tenant| {
        vec![(tenant.other_token(), Unavailable), (tenant.good_token(), Accepted), (tenant.other_token(), Unavailable)]
    };
    KeyAttack { row, name, when: OnceTheKeysAreRead, trouble, tokens, fetches }
}

fn json_answer(status: u16, body: String) -> Fault {
    Fault::StatusWith { status, headers: vec![("content-type".to_owned(), "application/json".to_owned())], body }
}

/// Rows 43 and 44, by the key set. The pauses between tries double from a second on, so a machine would have to be very
/// slow for more fetches.
fn useless_answers() -> Vec<KeyAttack> {
    type Answer = fn(&Tenant, String) -> Fault;
    let answers: [(u8, &str, Answer); 15] = [
        (43, "nothing but malformed keys", |_, _| json_answer(200, r#"{"keys":[7,"text",null,{"kid":7}]}"#.to_owned())),
        (44, "status 503 over a good set", |_, set| json_answer(503, set)),
        (44, "status 203 over a good set", |_, set| json_answer(203, set)),
        (44, "5 MB", |_, set| json_answer(200, set + &" ".repeat(5_000_000))),
        (44, "cut", |_, set| json_answer(200, set[..set.len() - 2].to_owned())),
        (44, "trailing JSON", |_, set| json_answer(200, set + "{}")),
        (44, "empty", |_, _| json_answer(200, String::new())),
        (44, "{}", |_, _| json_answer(200, "{}".to_owned())),
        (44, "null", |_, _| json_answer(200, "null".to_owned())),
        (44, "no keys", |_, _| json_answer(200, r#"{"keys":[]}"#.to_owned())),
        (44, "keys null", |_, _| json_answer(200, r#"{"keys":null}"#.to_owned())),
        (44, "status 404", |_, _| Fault::Status(404)),
        (44, "HTML", |_, _| Fault::Rubbish),
        (44, "hangs up", |_, _| Fault::HangUpBefore),
        (44, "redirect", |tenant, set| {
            // Its target would do.
            tenant.shows("/elsewhere", json_answer(200, set));
            Fault::Redirect(format!("{}elsewhere", tenant.entra.authority_url()))
        }),
    ];
    let attack = |(row, name, answer): (u8, &str, Answer)| {
        let trouble = move |tenant: &Tenant| {
            let keys = [&tenant.good, &tenant.other].map(|key| tenant.jwk(key));
            let fault = answer(tenant, json!({ "keys": keys }).to_string());
            tenant.shows(tenant.keys_path(), fault);
        };
        the_old_set_stays(row, format!("keys: {name}"), 2..=6, Box::new(trouble))
    };
    answers.into_iter().map(attack).collect()
}

/// Row 44, by the document that leads to the key set, which is then not read.
fn useless_metadata() -> Vec<KeyAttack> {
    type Answer = fn(&Tenant) -> Fault;
    let answers: [(&str, Answer); 8] = [
        ("status 500", |_| Fault::Status(500)),
        ("HTML", |_| Fault::Rubbish),
        ("redirect", |tenant| Fault::Redirect(format!("{}elsewhere", tenant.entra.authority_url()))),
        ("another tenant's issuer", |tenant| document(tenant, &tenant.issuer().replace("aaaa", "ffff"))),
        ("all tenants' issuer", |tenant| document(tenant, &tenant.issuer().replace(TENANT_ID, "{tenantid}"))),
        ("an issuer that is no address", |tenant| document(tenant, "issuer")),
        ("no key address", |tenant| json_answer(200, json!({ "issuer": tenant.issuer() }).to_string())),
        ("5 MB", |_| Fault::HugeBody(5_000_000)),
    ];
    let attack = |(name, answer): (&str, Answer)| {
        let trouble = move |tenant: &Tenant| {
            tenant.publishes(&[&tenant.good, &tenant.other].map(|key| tenant.jwk(key)));
            let fault = answer(tenant);
            tenant.shows(&tenant.metadata_path(), fault);
        };
        the_old_set_stays(44, format!("metadata: {name}"), 1..=1, Box::new(trouble))
    };
    answers.into_iter().map(attack).collect()
}

/// A discovery document with this issuer and a key address that would do.
fn document(tenant: &Tenant, issuer: &str) -> Fault {
    let keys = format!("{}{TENANT_ID}{}", tenant.entra.authority_url(), tenant.keys_path());
    json_answer(200, json!({ "issuer": issuer, "jwks_uri": keys }).to_string())
}

/// Rows 45 and 46: nothing changes for known keys, and without any nobody is called invalid.
fn outages() -> Vec<KeyAttack> {
    let outages = [
        ("down", Fault::HangUpBefore),
        ("failing", Fault::Status(500)),
        ("no JSON", Fault::Rubbish),
        ("too large", Fault::HugeBody(300_000)),
        ("empty", json_answer(200, "{}".to_owned())),
    ];
    let mut attacks = Vec::new();
    for (name, fault) in outages.clone().into_iter().chain([("slow", Fault::Stall)]) {
        attacks.push(KeyAttack {
            row: 45,
            name: name.to_owned(),
            when: OnceTheKeysAreRead,
            trouble: Box::new(move |tenant| tenant.shows("", fault.clone())),
            tokens: |tenant| vec![(tenant.good_token(), Accepted), (tenant.good_token(), Accepted)],
            fetches: 1..=1,
        });
    }
    for (name, fault) in outages {
        attacks.push(KeyAttack {
            row: 46,
            name: name.to_owned(),
            when: FromTheStart,
            trouble: Box::new(move |tenant| tenant.shows("", fault.clone())),
            // What needs no key to be refused is refused.
            tokens: |tenant| vec![(tenant.good_token(), Unavailable), ("a.b.c".to_owned(), Invalid)],
            fetches: 0..=0,
        });
    }
    attacks
}
