//! Tokens that prove nothing. Each differs from a valid one in one point and, where the point is not the signature, is
//! signed by the published key: only the check of that point can refuse it.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use maxconf_simulators::entra::{CLIENT_ID, SigningKey, TENANT_ID};
use serde_json::{Value, json};

use super::{Attack, BEYOND_THE_TABLE, Forge, Verdict};

const OTHER_TENANT: &str = "ffffbbbb-0000-4ccc-8111-dddd2222eeee";

/// The row, a name for the failure message, and the token.
type Forgery = (u8, String, String);

/// Every forgery of the valid token.
pub(super) fn all(forge: &Forge<'_>) -> Vec<Attack> {
    let families =
        [algorithms, signatures, header_members, audience_and_issuer, times, repeated_claims, encodings, shapes];
    let forgeries = families.into_iter().flat_map(|family| family(forge));
    forgeries.map(|(row, name, token)| Attack::by_token(row, name, token, Verdict::Invalid)).collect()
}

/// Rows 4 to 6.
fn algorithms(forge: &Forge<'_>) -> Vec<Forgery> {
    let mut forgeries = Vec::new();
    for (row, alg) in [
        (4, "none"),
        (4, "NoNe"),
        (4, "rs256"),
        (4, ""),
        (6, "RS384"),
        (6, "RS512"),
        (6, "PS256"),
        (6, "ES256"),
        (6, "HS256"),
        (6, "EdDSA"),
    ] {
        let token = forge.valid().header("alg", alg);
        forgeries.push((row, format!("alg {alg:?} without a signature"), token.clone().build_with(|_| Vec::new())));
        forgeries.push((row, format!("alg {alg:?} over a good signature"), token.build()));
    }
    for alg in [Value::Null, json!(256), json!(["RS256"])] {
        forgeries.push((4, format!("alg {alg}"), forge.valid().header("alg", alg).build()));
    }
    forgeries.push((4, "no alg".to_owned(), forge.valid().without_header("alg").build()));

    let der = forge.entra.keys()[0].public_der();
    let pem =
        format!("-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n", BASE64_STANDARD.encode(&der));
    for (form, secret) in [("PEM", pem.into_bytes()), ("DER", der)] {
        let keyed = |message: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message).as_ref().to_vec();
        for alg in ["HS256", "RS256"] {
            let token = forge.valid().header("alg", alg).build_with(keyed);
            forgeries.push((5, format!("HMAC with the public key as {form}, alg {alg}"), token));
        }
    }
    forgeries
}

/// Row 7, and every character matters.
fn signatures(forge: &Forge<'_>) -> Vec<Forgery> {
    let token = forge.valid().build();
    let [header, payload, signature] = parts(&token);
    let other = forge.valid().claim("roles", json!(["Room.Create", "Room.Delete", "Everything"])).build();
    let mut forgeries = vec![
        (7, "signature stripped".to_owned(), format!("{header}.{payload}.")),
        (7, "signature cut at its end".to_owned(), token[..token.len() - 4].to_owned()),
        (7, "signature cut at its start".to_owned(), format!("{header}.{payload}.{}", &signature[4..])),
        (7, "signature twice".to_owned(), format!("{token}{signature}")),
        (7, "signature of another token".to_owned(), format!("{header}.{payload}.{}", parts(&other)[2])),
        (7, "claims of another token".to_owned(), format!("{header}.{}.{signature}", parts(&other)[1])),
        (
            7,
            "signed by a stranger under our kid".to_owned(),
            forge.valid().build_with(|m| SigningKey::unpublished().sign(m)),
        ),
        (7, "signature of zeros".to_owned(), forge.valid().build_with(|_| vec![0; 256])),
    ];
    // From the claims on: a changed header would name a kid that has to be looked up.
    for at in (header.len() + 1..token.len()).step_by(23).chain([token.len() - 1]) {
        let mut changed = token.clone().into_bytes();
        if changed[at] == b'.' {
            continue;
        }
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        forgeries.push((7, format!("character {at} changed"), String::from_utf8(changed).expect("ASCII")));
    }
    forgeries
}

/// Rows 8 and 10 to 14.
fn header_members(forge: &Forge<'_>) -> Vec<Forgery> {
    let address = format!("{}jku-must-not-be-read", forge.entra.authority_url());
    let stranger = SigningKey::unpublished();
    let mut forgeries = vec![(8, "no kid".to_owned(), forge.valid().without_header("kid").build())];
    for kid in [json!(""), json!("k".repeat(129)), json!("k".repeat(5000)), json!(7), json!(["a"]), Value::Null] {
        let name: String = format!("kid {kid}").chars().take(40).collect();
        forgeries.push((if kid.is_null() { 8 } else { 10 }, name, forge.valid().header("kid", kid).build()));
    }
    let kid = &forge.entra.keys()[0].kid;
    let twice = format!(r#"{{"typ":"JWT","alg":"RS256","kid":"{kid}","kid":"{kid}"}}"#);
    forgeries.push((10, "kid twice".to_owned(), forge.valid().raw_header(twice).build()));

    let spoofed =
        forge.valid().header("jwk", forge.entra.jwk_json(&stranger)).build_with(|message| stranger.sign(message));
    forgeries.push((11, "a stranger's key in the header".to_owned(), spoofed));
    for (row, member, value) in [
        (11, "jwk", forge.entra.jwk_json(&forge.entra.keys()[0])),
        (11, "jwk", Value::Null),
        (12, "jku", json!(address)),
        (12, "x5u", json!(address)),
        (12, "x5c", json!([BASE64_STANDARD.encode(stranger.public_der())])),
        (13, "crit", json!(["exp"])),
        (13, "crit", json!([])),
        (13, "b64", json!(false)),
        (BEYOND_THE_TABLE, "zip", json!("DEF")),
        (BEYOND_THE_TABLE, "enc", json!("A256GCM")),
    ] {
        forgeries.push((row, format!("{member} {value}"), forge.valid().header(member, value).build()));
    }
    for typ in ["dpop+jwt", "at+jwt", "JWE", ""] {
        forgeries.push((14, format!("typ {typ:?}"), forge.valid().header("typ", typ).build()));
    }
    forgeries
}

/// Rows 15 to 20, 32 and 50.
fn audience_and_issuer(forge: &Forge<'_>) -> Vec<Forgery> {
    let claims: Value = serde_json::from_str(&forge.claims_text()).expect("claims");
    let (aud, iss, ver) = (text(&claims, "aud"), text(&claims, "iss"), text(&claims, "ver"));
    let other_iss = iss.replace(TENANT_ID, OTHER_TENANT);
    let slash = iss.strip_suffix('/').map_or_else(|| format!("{iss}/"), ToOwned::to_owned);
    let (other_version, other_profile) = match ver {
        "1.0" => ("2.0", forge.entra.token().claim("ver", "1.0")),
        _ => ("1.0", forge.entra.token().v1().claim("ver", "2.0")),
    };
    let another_tenants = forge.valid().claim("iss", &*other_iss).claim("tid", OTHER_TENANT);
    let mut forgeries = vec![
        (18, "another tenant's, all through".to_owned(), another_tenants.build()),
        (20, "claims of the other version".to_owned(), other_profile.build()),
        (50, "ID token".to_owned(), forge.valid().audience(CLIENT_ID).claim("nonce", "n").build()),
    ];
    for graph in ["https://graph.microsoft.com", "00000003-0000-0000-c000-000000000000"] {
        forgeries.push((50, format!("for {graph}"), forge.valid().audience(graph).header("nonce", "n").build()));
    }
    let none = Value::Null;
    for (row, claim, values) in [
        (15, "aud", vec![json!(aud.to_uppercase()), json!(format!("{aud}/")), json!(""), json!([]), none.clone()]),
        (16, "aud", vec![json!([aud]), json!([aud, "b"]), json!({"0": aud})]),
        (17, "iss", vec![json!([iss]), json!([iss, "b"]), json!({"0": iss})]),
        (18, "iss", vec![json!(other_iss), json!(iss.replace(TENANT_ID, "{tenantid}")), json!(""), none.clone()]),
        (18, "tid", vec![json!(OTHER_TENANT), json!([TENANT_ID]), json!(""), none.clone()]),
        (19, "iss", vec![json!(slash), json!(iss.to_uppercase())]),
        (
            20,
            "ver",
            vec![json!(other_version), json!("3.0"), json!(""), json!(2.0), json!(2), json!([ver]), none.clone()],
        ),
        (
            32,
            "roles",
            vec![json!("Room.Create"), json!("Room.Create Room.Delete"), json!([7]), json!({}), none.clone()],
        ),
        (BEYOND_THE_TABLE, "sub", vec![json!(7), none]),
    ] {
        for value in values {
            forgeries.push((row, format!("{claim} {value}"), forge.valid().claim(claim, value).build()));
        }
    }
    for (row, claim) in [(15, "aud"), (18, "iss"), (18, "tid"), (20, "ver"), (BEYOND_THE_TABLE, "sub")] {
        forgeries.push((row, format!("no {claim}"), forge.valid().without(claim).build()));
    }
    forgeries
}

/// Rows 23 to 28, but for those about seconds.
fn times(forge: &Forge<'_>) -> Vec<Forgery> {
    let claims = forge.claims_text();
    let now = forge.now;
    let mut forgeries = vec![
        (24, "lives 29 hours".to_owned(), forge.valid().claim("exp", now + 29 * 3_600).build()),
        (24, "lives for ever".to_owned(), forge.valid().claim("exp", u64::MAX).build()),
        (26, "not valid for an hour".to_owned(), forge.valid().claim("nbf", now + 3_600).build()),
        (26, "never valid".to_owned(), forge.valid().claim("nbf", u64::MAX).build()),
        (28, "issued in the future".to_owned(), forge.valid().claim("iat", now + 600).build()),
        (28, "never issued".to_owned(), forge.valid().claim("iat", u64::MAX).build()),
    ];
    for (claim, number, row, row_of_fractions) in
        [("exp", now + 3_900, 23, 25), ("nbf", now, 27, 27), ("iat", now, 28, 28)]
    {
        forgeries.push((row, format!("no {claim}"), forge.valid().without(claim).build()));
        for value in [Value::Null, json!(number.to_string()), json!(-1), json!([number]), json!(true)] {
            forgeries.push((row, format!("{claim} {value}"), forge.valid().claim(claim, value).build()));
        }
        for (row, written) in [
            (row_of_fractions, format!("{number}.5")),
            (row_of_fractions, format!("{number}.0")),
            (row, "1e400".to_owned()),
            (row, format!("0{number}")),
            (row, format!("{number}0000000000000000")),
        ] {
            let changed = claims.replace(&format!(r#""{claim}":{number}"#), &format!(r#""{claim}":{written}"#));
            assert_ne!(changed, claims);
            forgeries.push((row, format!("{claim} written {written}"), forge.valid().raw_payload(changed).build()));
        }
    }
    forgeries
}

/// Row 29: of two members with one name, one reader takes the first and another the last.
fn repeated_claims(forge: &Forge<'_>) -> Vec<Forgery> {
    let claims = forge.claims_text();
    let values: Value = serde_json::from_str(&claims).expect("claims");
    let client = if values["ver"] == "1.0" { ["appid", "appidacr"] } else { ["azp", "azpacr"] };
    ["aud", "iss", "exp", "nbf", "iat", "sub", "tid", "ver", "roles", "idtyp", "oid", "uti"]
        .into_iter()
        .chain(client)
        .map(|claim| {
            let doubled = claims.replacen('{', &format!(r#"{{"{claim}":{},"#, values[claim]), 1);
            (29, format!("{claim} twice"), forge.valid().raw_payload(doubled).build())
        })
        .collect()
}

/// Row 35. Signed as they are written, so that nothing but strict decoding refuses them.
fn encodings(forge: &Forge<'_>) -> Vec<Forgery> {
    let sign = |message: String| {
        let signature = BASE64_URL_SAFE_NO_PAD.encode(forge.entra.keys()[0].sign(message.as_bytes()));
        format!("{message}.{signature}")
    };
    // `???` and `>>>` are what the two alphabets write differently; the blanks leave bits over in the last character.
    let mut claims = decoded(parts(&forge.valid().claim("x", "???>>>???>>>").build())[1]);
    while claims.len() % 3 != 1 {
        claims.push(b' ');
    }
    let token = forge.valid().raw_payload(claims.clone()).build();
    let [header, payload, signature] = parts(&token);
    let standard = BASE64_STANDARD_NO_PAD.encode(&claims);
    assert!(standard.contains(['+', '/']), "{standard}");
    vec![
        (35, "padded header".to_owned(), sign(format!("{header}=.{payload}"))),
        (35, "padded claims".to_owned(), sign(format!("{header}.{payload}=="))),
        (35, "padded signature".to_owned(), format!("{token}==")),
        (35, "the other alphabet".to_owned(), sign(format!("{header}.{standard}"))),
        (35, "claims with stray bits".to_owned(), sign(format!("{header}.{}", with_stray_bits(payload)))),
        (35, "signature with stray bits".to_owned(), format!("{header}.{payload}.{}", with_stray_bits(signature))),
        (35, "a full stop in between".to_owned(), format!("{header}..{payload}.{signature}")),
        (35, "a tilde at the end".to_owned(), format!("{token}~")),
    ]
}

/// Rows 36 to 38.
fn shapes(forge: &Forge<'_>) -> Vec<Forgery> {
    let token = forge.valid().build();
    let [header, payload, signature] = parts(&token);
    let claims = decoded(payload);
    let values: Value = serde_json::from_slice(&claims).expect("claims");
    let kid = serde_json::from_slice::<Value>(&decoded(header)).expect("a header")["kid"].clone();
    let json_form = json!({"payload": payload, "protected": header, "signature": signature}).to_string();
    let mut forgeries: Vec<_> = [
        (36, "one segment", header.to_owned()),
        (36, "two segments", format!("{header}.{payload}")),
        (36, "four segments", format!("{token}.{signature}")),
        (36, "four segments, the last empty", format!("{token}.")),
        (36, "five segments", format!("{token}.{payload}.{signature}")),
        (36, "empty segments", "..".to_owned()),
        (36, "no header", format!(".{payload}.{signature}")),
        (36, "no claims", format!("{header}..{signature}")),
        (36, "JSON serialisation", json_form),
        (38, "9,000 bytes, well signed", forge.valid().claim("x", "a".repeat(9_000)).build()),
        (37, "header as an array", forge.valid().raw_header(json!(["RS256", kid, "JWT"]).to_string()).build()),
        (37, "header no JSON", forge.valid().raw_header("RS256").build()),
        (37, "claims as an array", forge.valid().raw_payload(json!([values["ver"]]).to_string()).build()),
    ]
    .map(|(row, name, token)| (row, name.to_owned(), token))
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
        forgeries.push((37, format!("claims: {name}"), forge.valid().raw_payload(raw).build()));
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
