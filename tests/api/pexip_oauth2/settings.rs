//! Which settings choose how to authenticate, and what can be read as account, password and private key.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fmt::Write as _;

use aws_lc_rs::encoding::{AsBigEndian, EcPrivateKeyBin};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use maxconf::config::Config;
use maxconf_simulators::world::OAUTH2_CLIENT;

use super::without_pool;
use crate::support::{Program, World};

const KEY: &str = "PEXIP_OAUTH_PRIVATE_KEY";

type Settings = HashMap<&'static str, String>;

/// The settings that are at fault, each with its reason.
fn faults(settings: &Settings) -> Vec<(&'static str, String)> {
    match Config::read(|name| settings.get(name).map(OsString::from)) {
        Ok(_) => Vec::new(),
        Err(invalid) => invalid.faults.into_iter().map(|fault| (fault.setting, fault.reason)).collect(),
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        writeln!(pem, "{}", String::from_utf8_lossy(line)).expect("a text");
    }
    pem + &format!("-----END {label}-----\n")
}

/// The same key as `ECPrivateKey` (RFC 5915), which `openssl ecparam -genkey` writes.
fn sec1(pkcs8: &str) -> String {
    let encoded: String = pkcs8.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = BASE64_STANDARD.decode(encoded).expect("Base64");
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).expect("a key");
    let number: EcPrivateKeyBin<'_> = key.private_key().as_be_bytes().expect("a number");
    let curve = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let start = [0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
    let public = [0xa1, 0x44, 0x03, 0x42, 0x00];
    let parts = [&start[..], number.as_ref(), &curve, &public, key.public_key().as_ref()];
    let parameters = pem("EC PARAMETERS", &curve[2..]);
    parameters + &pem("EC PRIVATE KEY", &parts.concat())
}

fn generated(algorithm: &'static EcdsaSigningAlgorithm) -> Vec<u8> {
    EcdsaKeyPair::generate_pkcs8(algorithm, &aws_lc_rs::rand::SystemRandom::new()).expect("a key").as_ref().to_vec()
}

#[tokio::test]
async fn the_key_is_read_in_each_of_its_forms() {
    let forms: [fn(&str) -> String; 7] = [
        |pem| pem.to_owned(),
        sec1,
        |pem| BASE64_STANDARD.encode(pem),
        |pem| BASE64_STANDARD.encode(sec1(pem)),
        |pem| pem.replace('\n', "\\n"),
        |pem| pem.replace('\n', "\r\n"),
        |pem| {
            let encoded = BASE64_STANDARD.encode(pem);
            let (line, rest) = encoded.split_at(76);
            format!("{line}\n{rest}\n")
        },
    ];
    for (number, form) in forms.into_iter().enumerate() {
        let world = World::start().await;
        let key = form(&world.pexip.add_oauth2_client(OAUTH2_CLIENT));
        let app = without_pool().set("PEXIP_MANAGEMENT_URL", world.pexip.management_url()).set(KEY, key).start().await;
        app.one_call_succeeds().await;
        assert_eq!(world.pexip.oauth2_tokens_issued(), 1, "form {number}");
    }
}

#[tokio::test]
async fn what_is_no_p_256_key_is_a_faulty_setting_and_not_quoted() {
    let world = World::start().await;
    let mut settings = world.settings();
    settings.extend(world.oauth2_settings());
    assert_eq!(faults(&settings), []);
    let good = pem("PRIVATE KEY", &generated(&ECDSA_P256_SHA256_FIXED_SIGNING));
    let other_curve = pem("PRIVATE KEY", &generated(&ECDSA_P384_SHA384_FIXED_SIGNING));
    for bad in [
        "nonsense".to_owned(),
        BASE64_STANDARD.encode("nonsense"),
        BASE64_STANDARD.encode([0xff; 40]),
        good.replace("PRIVATE", "PUBLIC"),
        good.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
        good.lines().take(2).collect::<Vec<_>>().join("\n"),
        pem("PRIVATE KEY", &[0x30; 60]),
        sec1(&good).replace("MHc", "MHd"),
        other_curve,
    ] {
        settings.insert(KEY, bad.clone());
        let found = faults(&settings);
        let expected = "must be an EC private key (P-256, without passphrase) as PEM, or that PEM in Base64";
        assert_eq!(found, [(KEY, expected.to_owned())], "{bad}");
    }
}

#[tokio::test]
async fn exactly_one_way_to_authenticate_must_be_configured() {
    let world = World::start().await;
    let (basic, oauth2): (Settings, Settings) = (world.settings(), world.oauth2_settings().into());
    let without = |names: &[&str]| {
        let mut all = basic.clone();
        all.extend(oauth2.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (*name, value.clone())));
        all.retain(|name, _| !names.contains(name));
        faults(&all)
    };
    let (id, username, password) = ("PEXIP_OAUTH_CLIENT_ID", "PEXIP_USERNAME", "PEXIP_PASSWORD");
    let fault = |name, reason: &str| vec![(name, reason.to_owned())];
    assert_eq!(without(&[username, password]), []);
    assert_eq!(without(&[id, KEY]), []);
    assert_eq!(without(&[]), fault(id, "and PEXIP_USERNAME exclude each other"));
    assert_eq!(without(&[id, KEY, username, password]), fault(id, "is not set, nor is PEXIP_USERNAME"));
    assert_eq!(without(&[id, username, password]), fault(id, "is not set, but PEXIP_OAUTH_PRIVATE_KEY is"));
    assert_eq!(without(&[KEY, username, password]), fault(KEY, "is not set, but PEXIP_OAUTH_CLIENT_ID is"));
    assert_eq!(without(&[id, KEY, username]), fault(username, "is not set, but PEXIP_PASSWORD is"));
    assert_eq!(without(&[id, KEY, password]), fault(password, "is not set, but PEXIP_USERNAME is"));
}

#[tokio::test]
async fn control_characters_in_account_names_and_passwords_are_faulty_settings() {
    let world = World::start().await;
    let events = [("PEXIP_EVENT_USERNAME", "events".to_owned()), ("PEXIP_EVENT_PASSWORD", "a password".to_owned())];
    let basic: Settings = world.settings().into_iter().chain(events).collect();
    let mut oauth2 = basic.clone();
    oauth2.extend(world.oauth2_settings());
    let reason = "must have no control characters in it, such as the end of a line";
    for (settings, name) in [
        (&oauth2, "PEXIP_OAUTH_CLIENT_ID"),
        (&basic, "PEXIP_USERNAME"),
        (&basic, "PEXIP_PASSWORD"),
        (&basic, "PEXIP_EVENT_USERNAME"),
        (&basic, "PEXIP_EVENT_PASSWORD"),
    ] {
        for good in ["a", " ", "pass word: é€😀\\n%0A"] {
            let mut settings = settings.clone();
            settings.insert(name, good.to_owned());
            assert_eq!(faults(&settings), [], "{name}={good}");
        }
        let controls = ('\u{1}'..='\u{1f}').chain('\u{7f}'..='\u{9f}').chain(['\u{2028}', '\u{2029}']);
        for control in controls {
            for bad in [format!("secret{control}"), format!("{control}secret"), format!("sec{control}ret")] {
                let mut settings = settings.clone();
                settings.insert(name, bad.clone());
                assert_eq!(faults(&settings), [(name, reason.to_owned())], "{name}={bad:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_program_does_not_start_with_both_ways_or_neither() {
    let world = World::start().await;
    let [client_id, key, no_username, no_password] = world.oauth2_settings();
    for changes in [[client_id, key], [no_username, no_password]] {
        let mut settings = world.settings();
        settings.extend(changes);
        let ended = Program::run(&["serve"], settings).await;
        assert_eq!(ended.code, Some(78), "{ended:?}");
        let named: BTreeSet<_> = ended.stderr.iter().filter(|line| line.starts_with("  PEXIP_")).collect();
        assert_eq!(named.len(), 1, "{ended:?}");
        assert!(ended.stderr.iter().any(|line| line.contains("PEXIP_OAUTH_CLIENT_ID ")), "{ended:?}");
    }
}
