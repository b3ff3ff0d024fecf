//! Tokens that prove nothing. Each differs from a valid one in one point and, where the point is not the signature, is
//! signed by the published key: only the check of that point can refuse it.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use maxconf_simulators::EntraSimulator;
use maxconf_simulators::entra::{CLIENT_ID, SigningKey, TENANT_ID, TokenBuilder};
use serde_json::{Value, json};

const OTHER_TENANT: &str = "ffffbbbb-0000-4ccc-8111-dddd2222eeee";

/// A name for the failure message, and the token.
pub(super) type Forgery = (String, String);

/// Every forgery of a token like `valid`, for this API's keys are `entra`'s.
pub(super) fn all(entra: &EntraSimulator, valid: &TokenBuilder) -> Vec<Forgery> {
    let mut forgeries = algorithms(entra, valid);
    forgeries.extend(signatures(valid));
    forgeries.extend(header_members(entra, valid));
    forgeries.extend(audience_and_issuer(entra, valid));
    forgeries.extend(times(valid));
    forgeries.extend(repeated_claims(valid));
    forgeries.extend(encodings(entra, valid));
    forgeries.extend(shapes(valid));
    forgeries
}

/// Rows 4 to 6.
fn algorithms(entra: &EntraSimulator, valid: &TokenBuilder) -> Vec<Forgery> {
    let mut forgeries = Vec::new();
    for alg in ["none", "NoNe", "rs256", "", "RS384", "RS512", "PS256", "ES256", "HS256", "EdDSA"] {
        let token = valid.clone().header("alg", alg);
        forgeries.push((format!("alg {alg:?} without a signature"), token.clone().build_with(|_| Vec::new())));
        forgeries.push((format!("alg {alg:?} over a good signature"), token.build()));
    }
    for alg in [Value::Null, json!(256), json!(["RS256"])] {
        forgeries.push((format!("alg {alg}"), valid.clone().header("alg", alg).build()));
    }
    forgeries.push(("no alg".to_owned(), valid.clone().without_header("alg").build()));

    let der = entra.keys()[0].public_der();
    let pem =
        format!("-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n", BASE64_STANDARD.encode(&der));
    for (form, secret) in [("PEM", pem.into_bytes()), ("DER", der)] {
        let keyed = |message: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message).as_ref().to_vec();
        for alg in ["HS256", "RS256"] {
            let token = valid.clone().header("alg", alg).build_with(keyed);
            forgeries.push((format!("HMAC with the public key as {form}, alg {alg}"), token));
        }
    }
    forgeries
}

/// Row 7, and every character matters.
fn signatures(valid: &TokenBuilder) -> Vec<Forgery> {
    let token = valid.clone().build();
    let [header, payload, signature] = parts(&token);
    let other = valid.clone().claim("roles", json!(["Room.Create", "Room.Delete", "Everything"])).build();
    let mut forgeries = vec![
        ("signature stripped".to_owned(), format!("{header}.{payload}.")),
        ("signature cut at its end".to_owned(), token[..token.len() - 4].to_owned()),
        ("signature cut at its start".to_owned(), format!("{header}.{payload}.{}", &signature[4..])),
        ("signature twice".to_owned(), format!("{token}{signature}")),
        ("signature of another token".to_owned(), format!("{header}.{payload}.{}", parts(&other)[2])),
        ("claims of another token".to_owned(), format!("{header}.{}.{signature}", parts(&other)[1])),
        ("signed by a stranger under our kid".to_owned(), valid.clone().build_with(|m| SigningKey::stranger().sign(m))),
        ("signature of zeros".to_owned(), valid.clone().build_with(|_| vec![0; 256])),
    ];
    // From the claims on: a changed header would name a kid that has to be looked up.
    for at in (header.len() + 1..token.len()).step_by(23).chain([token.len() - 1]) {
        let mut changed = token.clone().into_bytes();
        if changed[at] == b'.' {
            continue;
        }
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        forgeries.push((format!("character {at} changed"), String::from_utf8(changed).expect("ASCII")));
    }
    forgeries
}

/// Rows 8 and 10 to 14.
fn header_members(entra: &EntraSimulator, valid: &TokenBuilder) -> Vec<Forgery> {
    let address = format!("{}jku-must-not-be-read", entra.authority_url());
    let stranger = SigningKey::stranger();
    let mut forgeries = vec![("no kid".to_owned(), valid.clone().without_header("kid").build())];
    for kid in [json!(""), json!("k".repeat(129)), json!("k".repeat(5000)), json!(7), json!(["a"]), Value::Null] {
        let name: String = format!("kid {kid}").chars().take(40).collect();
        forgeries.push((name, valid.clone().header("kid", kid).build()));
    }
    let kid = &entra.keys()[0].kid;
    let twice = format!(r#"{{"typ":"JWT","alg":"RS256","kid":"{kid}","kid":"{kid}"}}"#);
    forgeries.push(("kid twice".to_owned(), valid.clone().raw_header(twice).build()));

    let spoofed = valid.clone().header("jwk", entra.jwk_json(&stranger)).build_with(|message| stranger.sign(message));
    forgeries.push(("a stranger's key in the header".to_owned(), spoofed));
    for (member, value) in [
        ("jwk", entra.jwk_json(&entra.keys()[0])),
        ("jwk", Value::Null),
        ("jku", json!(address)),
        ("x5u", json!(address)),
        ("x5c", json!([BASE64_STANDARD.encode(stranger.public_der())])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
    ] {
        forgeries.push((format!("{member} {value}"), valid.clone().header(member, value).build()));
    }
    for typ in ["dpop+jwt", "at+jwt", "JWE", ""] {
        forgeries.push((format!("typ {typ:?}"), valid.clone().header("typ", typ).build()));
    }
    forgeries
}

/// Rows 15 to 21 (without keys) and 50.
fn audience_and_issuer(entra: &EntraSimulator, valid: &TokenBuilder) -> Vec<Forgery> {
    let claims: Value = serde_json::from_slice(&decoded(parts(&valid.clone().build())[1])).expect("claims");
    let (aud, iss, ver) = (text(&claims, "aud"), text(&claims, "iss"), text(&claims, "ver"));
    let other_iss = iss.replace(TENANT_ID, OTHER_TENANT);
    let slash = iss.strip_suffix('/').map_or_else(|| format!("{iss}/"), ToOwned::to_owned);
    let (other_version, other_profile) = match ver {
        "1.0" => ("2.0", entra.token().claim("ver", "1.0")),
        _ => ("1.0", entra.token().v1().claim("ver", "2.0")),
    };
    let mut forgeries = vec![
        ("claims of the other version".to_owned(), other_profile.build()),
        (
            "another tenant's, all through".to_owned(),
            valid.clone().claim("iss", &*other_iss).claim("tid", OTHER_TENANT).build(),
        ),
        ("ID token".to_owned(), valid.clone().audience(CLIENT_ID).claim("nonce", "n").build()),
        ("Graph token".to_owned(), valid.clone().audience("https://graph.microsoft.com").header("nonce", "n").build()),
        ("Graph token by id".to_owned(), valid.clone().audience("00000003-0000-0000-c000-000000000000").build()),
    ];
    for (claim, values) in [
        (
            "aud",
            vec![
                json!(aud.to_uppercase()),
                json!(format!("{aud}/")),
                json!(""),
                json!([]),
                json!([aud]),
                json!([aud, "b"]),
                json!({"0": aud}),
                Value::Null,
            ],
        ),
        (
            "iss",
            vec![
                json!(other_iss),
                json!(slash),
                json!(iss.to_uppercase()),
                json!([iss]),
                json!("https://login.microsoftonline.com/{tenantid}/v2.0"),
                json!(""),
                Value::Null,
            ],
        ),
        ("tid", vec![json!(OTHER_TENANT), json!([TENANT_ID]), json!(""), Value::Null]),
        ("ver", vec![json!(other_version), json!("3.0"), json!(""), json!(2.0), json!(2), json!([ver]), Value::Null]),
        ("sub", vec![json!(7), Value::Null]),
        ("roles", vec![json!("Room.Create"), json!("Room.Create Room.Delete"), json!([7]), json!({}), Value::Null]),
    ] {
        for value in values {
            forgeries.push((format!("{claim} {value}"), valid.clone().claim(claim, value).build()));
        }
        if claim != "roles" {
            forgeries.push((format!("no {claim}"), valid.clone().without(claim).build()));
        }
    }
    forgeries
}

/// Rows 23 to 28, but for those about seconds.
fn times(valid: &TokenBuilder) -> Vec<Forgery> {
    let claims = decoded(parts(&valid.clone().build())[1]);
    let numbers: Value = serde_json::from_slice(&claims).expect("claims");
    let claims = String::from_utf8(claims).expect("text");
    let now = numbers["iat"].as_i64().expect("a number");
    let mut forgeries = vec![
        ("lives 29 hours".to_owned(), valid.clone().expires_in(29 * 3600).build()),
        ("lives for ever".to_owned(), valid.clone().claim("exp", u64::MAX).build()),
        ("not valid for an hour".to_owned(), valid.clone().claim("nbf", now + 3600).build()),
        ("issued in the future".to_owned(), valid.clone().claim("iat", now + 600).build()),
    ];
    for claim in ["exp", "nbf", "iat"] {
        let number = numbers[claim].as_i64().expect("a number");
        forgeries.push((format!("no {claim}"), valid.clone().without(claim).build()));
        for value in [Value::Null, json!(number.to_string()), json!(-1), json!([number]), json!(true)] {
            forgeries.push((format!("{claim} {value}"), valid.clone().claim(claim, value).build()));
        }
        for written in
            [format!("{number}.5"), "1e400".to_owned(), format!("0{number}"), format!("{number}0000000000000000")]
        {
            let changed = claims.replace(&format!(r#""{claim}":{number}"#), &format!(r#""{claim}":{written}"#));
            assert_ne!(changed, claims);
            forgeries.push((format!("{claim} written {written}"), valid.clone().raw_payload(changed).build()));
        }
    }
    forgeries
}

/// Row 29: of two members with one name, one reader takes the first and another the last.
fn repeated_claims(valid: &TokenBuilder) -> Vec<Forgery> {
    let claims = decoded(parts(&valid.clone().build())[1]);
    let values: Value = serde_json::from_slice(&claims).expect("claims");
    let claims = String::from_utf8(claims).expect("text");
    let client = if values["ver"] == "1.0" { ["appid", "appidacr"] } else { ["azp", "azpacr"] };
    ["aud", "iss", "exp", "nbf", "iat", "sub", "tid", "ver", "roles", "idtyp", "oid", "uti"]
        .into_iter()
        .chain(client)
        .map(|claim| {
            let doubled = claims.replacen('{', &format!(r#"{{"{claim}":{},"#, values[claim]), 1);
            (format!("{claim} twice"), valid.clone().raw_payload(doubled).build())
        })
        .collect()
}

/// Row 35. Signed as they are written, so that nothing but strict decoding refuses them.
fn encodings(entra: &EntraSimulator, valid: &TokenBuilder) -> Vec<Forgery> {
    let sign = |message: String| {
        let signature = BASE64_URL_SAFE_NO_PAD.encode(entra.keys()[0].sign(message.as_bytes()));
        format!("{message}.{signature}")
    };
    // `???` and `>>>` are what the two alphabets write differently; the blanks leave bits over in the last character.
    let mut claims = decoded(parts(&valid.clone().claim("x", "???>>>???>>>").build())[1]);
    while claims.len() % 3 != 1 {
        claims.push(b' ');
    }
    let token = valid.clone().raw_payload(claims.clone()).build();
    let [header, payload, signature] = parts(&token);
    let standard = BASE64_STANDARD_NO_PAD.encode(&claims);
    assert!(standard.contains(['+', '/']), "{standard}");
    vec![
        ("padded header".to_owned(), sign(format!("{header}=.{payload}"))),
        ("padded claims".to_owned(), sign(format!("{header}.{payload}=="))),
        ("padded signature".to_owned(), format!("{token}==")),
        ("the other alphabet".to_owned(), sign(format!("{header}.{standard}"))),
        ("claims with stray bits".to_owned(), sign(format!("{header}.{}", with_stray_bits(payload)))),
        ("signature with stray bits".to_owned(), format!("{header}.{payload}.{}", with_stray_bits(signature))),
        ("a full stop in between".to_owned(), format!("{header}..{payload}.{signature}")),
        ("a tilde at the end".to_owned(), format!("{token}~")),
    ]
}

/// Rows 36 to 38.
fn shapes(valid: &TokenBuilder) -> Vec<Forgery> {
    let token = valid.clone().build();
    let [header, payload, signature] = parts(&token);
    let claims = decoded(payload);
    let values: Value = serde_json::from_slice(&claims).expect("claims");
    let kid = serde_json::from_slice::<Value>(&decoded(header)).expect("a header")["kid"].clone();
    let json_form = json!({"payload": payload, "protected": header, "signature": signature}).to_string();
    let mut forgeries: Vec<_> = [
        ("one segment", header.to_owned()),
        ("two segments", format!("{header}.{payload}")),
        ("four segments", format!("{token}.{signature}")),
        ("four segments, the last empty", format!("{token}.")),
        ("five segments", format!("{token}.{payload}.{signature}")),
        ("empty segments", "..".to_owned()),
        ("no header", format!(".{payload}.{signature}")),
        ("no claims", format!("{header}..{signature}")),
        ("JSON serialisation", json_form),
        ("9,000 bytes, well signed", valid.clone().claim("x", "a".repeat(9_000)).build()),
        ("header as an array", valid.clone().raw_header(json!(["RS256", kid, "JWT"]).to_string()).build()),
        ("header no JSON", valid.clone().raw_header("RS256").build()),
        ("claims as an array", valid.clone().raw_payload(json!([values["ver"]]).to_string()).build()),
    ]
    .map(|(name, token)| (name.to_owned(), token))
    .into();
    let mut with_mark = vec![0xef, 0xbb, 0xbf];
    with_mark.extend(&claims);
    let trailing = [&claims[..], b"{}"].concat();
    let not_utf8 = [&claims[..claims.len() - 1], b",\"x\":\"\xff\"}"].concat();
    for (name, raw) in [
        ("byte order mark", with_mark),
        ("trailing JSON", trailing),
        ("not UTF-8", not_utf8),
        ("nothing", Vec::new()),
        ("text", b"hello".to_vec()),
        ("string", b"\"2.0\"".to_vec()),
        ("number", b"2.0".to_vec()),
        ("null", b"null".to_vec()),
        ("cut", claims[..claims.len() - 1].to_vec()),
    ] {
        forgeries.push((format!("claims: {name}"), valid.clone().raw_payload(raw).build()));
    }
    forgeries
}

fn parts(token: &str) -> [&str; 3] {
    let segments: Vec<_> = token.split('.').collect();
    segments.try_into().expect("three segments")
}

fn decoded(segment: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(segment).expect("base64url")
}

fn text<'a>(claims: &'a Value, name: &str) -> &'a str {
    claims[name].as_str().expect("a text")
}

/// Another last character that stands for the same bytes, as a lax decoder reads it.
fn with_stray_bits(segment: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (start, last) = segment.split_at(segment.len() - 1);
    let value = ALPHABET.iter().position(|&byte| byte == last.as_bytes()[0]).expect("base64url");
    assert_eq!(value % 4, 0, "no bits are left over");
    format!("{start}{}", char::from(ALPHABET[value + 1]))
}
