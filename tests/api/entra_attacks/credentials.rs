//! Rows whose tokens are missing, too many or no tokens at all, and rows whose tokens prove what they say.

use maxconf_simulators::entra::CLIENT_ID;
use serde_json::{Value, json};

use super::Verdict::{Accepted, AcceptedWith, Expired, Invalid, NoToken, NotPermitted, TwoTokens};
use super::{Attack, BEYOND_THE_TABLE, Forge};

pub(super) fn all(forge: &Forge<'_>) -> Vec<Attack> {
    let mut attacks = missing_or_repeated(forge);
    attacks.extend(malformed(forge));
    attacks.extend(not_permitted(forge));
    attacks.extend(at_the_edge_of_time(forge));
    attacks.extend(accepted(forge));
    attacks
}

/// Rows 1 and 2. No route reads a body, so a token in there is none.
fn missing_or_repeated(forge: &Forge<'_>) -> Vec<Attack> {
    let token = forge.valid().build();
    let mut attacks = Vec::new();
    for header in ["", "Basic aWRpbTpzZWNyZXQ=", "Bearertoken", "Token a.b.c", "DPoP a.b.c", "a.b.c"] {
        attacks.push(Attack::by_header(1, format!("{header:?}"), header, NoToken));
    }
    let mut without = Attack::by_header(1, "no header at all", "", NoToken);
    without.headers.clear();
    let mut elsewhere = Attack::by_header(1, "in other headers", "", NoToken);
    elsewhere.headers.clear();
    elsewhere.headers.insert("x-auth-token", token.parse().expect("a header's value"));
    elsewhere.headers.insert("cookie", format!("token={token}").parse().expect("a header's value"));
    let mut in_query =
        Attack::by_header(1, "in the query only", "", NoToken).and_query(format!("access_token={token}"));
    in_query.headers.clear();
    attacks.extend([without, elsewhere, in_query]);

    let bearer = format!("Bearer {token}");
    for second in [bearer.as_str(), "Basic aWRpbTpzZWNyZXQ=", ""] {
        attacks.push(Attack::by_header(2, format!("and {second:.9}"), &bearer, TwoTokens).and_header(second));
    }
    for query in [format!("access_token={token}"), "%61ccess_token=".to_owned()] {
        attacks.push(Attack::by_header(2, format!("and {query:.16}"), &bearer, TwoTokens).and_query(query));
    }
    attacks
}

/// Row 3, and what of row 35 is not base64 at all. Control characters other than the tab never get through HTTP.
fn malformed(forge: &Forge<'_>) -> Vec<Attack> {
    let token = forge.valid().build();
    let mut attacks = Vec::new();
    for header in ["Bearer", "Bearer ", "Bearer    ", "Bearer ="] {
        attacks.push(Attack::by_header(3, format!("{header:?}"), header, Invalid));
    }
    for (row, name, wrong) in [
        (3, "twice", format!("{token} {token}")),
        (3, "twice with a comma", format!("{token},{token}")),
        (3, "and another scheme", format!("{token} , Basic aWRpbTpzZWNyZXQ=")),
        (3, "quoted", format!("\"{token}\"")),
        (3, "a tab before", format!("\t{token}")),
        (3, "a tab between", format!("{token}\t{token}")),
        (3, "an equals sign between", format!("{token}={token}")),
        (35, "a blank in it", token.replacen('.', ". ", 1)),
        (35, "percent-encoded", token.replacen('.', "%2e", 1)),
        (35, "another alphabet", format!("{token}é")),
    ] {
        attacks.push(Attack::by_token(row, name, wrong, Invalid));
    }
    attacks.push(Attack::by_header(3, "not UTF-8", [b"Bearer ", token.as_bytes(), b"\xff"].concat(), Invalid));
    attacks
}

/// Rows 31, 33 and 34.
fn not_permitted(forge: &Forge<'_>) -> Vec<Attack> {
    let valid = || forge.valid();
    let stranger = "22222222-2222-4333-8444-555555555555";
    let client = if forge.claims_text().contains("\"appid\"") { "appid" } else { "azp" };
    let both = valid().claim("azp", CLIENT_ID).claim("appid", CLIENT_ID);
    [
        (31, "no roles", valid().without("roles")),
        (31, "empty roles", valid().roles([])),
        (
            31,
            "other roles",
            valid().roles(["Room.Reads", "room.read", "room.create", "room.delete", "Room.Create Room.Delete"]),
        ),
        (31, "roles with blanks", valid().roles([" Room.Create", "Room.Delete "])),
        (33, "client not on the list", valid().claim(client, stranger)),
        (33, "no client", valid().without(client)),
        (33, "client in the other version's claim", both.claim(client, stranger)),
        (34, "scp", valid().claim("scp", "Room.Create")),
        (34, "empty scp", valid().claim("scp", "")),
        (34, "scp null", valid().claim("scp", Value::Null)),
        (34, "scp array", valid().claim("scp", json!([]))),
        (34, "idtyp user", valid().claim("idtyp", "user")),
        (34, "idtyp App", valid().claim("idtyp", "App")),
        (BEYOND_THE_TABLE, "public client", valid().claim("azpacr", "0").claim("appidacr", "0")),
    ]
    .into_iter()
    .map(|(row, name, token)| Attack::by_token(row, name, token.build(), NotPermitted))
    .chain(
        ["Room.Create", "Room.Delete", "Room.Read"].map(|role| {
            Attack::by_token(31, format!("only {role}"), valid().roles([role]).build(), AcceptedWith(role))
        }),
    )
    .collect()
}

/// Rows 22, 24, 26 and 28, to the second: the clocks may differ by a minute and no more.
fn at_the_edge_of_time(forge: &Forge<'_>) -> Vec<Attack> {
    let now = forge.now;
    let old = |expired: u64| forge.valid().claim("iat", now - 3_600).claim("nbf", now - 3_600).claim("exp", expired);
    let mut attacks = Vec::new();
    for (seconds, verdict) in [(59, Accepted), (60, Accepted), (61, Expired), (3_599, Expired)] {
        attacks.push(Attack::by_token(22, format!("expired by {seconds} s"), old(now - seconds).build(), verdict));
    }
    let ages_ago = forge.valid().claim("iat", 1_000_000_000).claim("nbf", 1_000_000_000).claim("exp", 1_000_003_600);
    attacks.push(Attack::by_token(22, "expired ages ago", ages_ago.build(), Expired));
    for (hours_and, verdict) in [(0, Accepted), (1, Invalid)] {
        let token = forge.valid().claim("exp", now + 28 * 3_600 + hours_and);
        attacks.push(Attack::by_token(24, format!("lives 28 h and {hours_and} s"), token.build(), verdict));
    }
    for (claim, row, seconds, verdict) in [
        ("nbf", 26, 59, Accepted),
        ("nbf", 26, 60, Accepted),
        ("nbf", 26, 61, Invalid),
        ("nbf", 26, 62, Invalid),
        ("iat", 28, 300, Accepted),
        ("iat", 28, 301, Invalid),
    ] {
        let token = forge.valid().claim(claim, now + seconds).build();
        attacks.push(Attack::by_token(row, format!("{claim} in {seconds} s"), token, verdict));
    }
    attacks
}

/// Rows 30, 39 and 49: they look like attacks and do no harm.
fn accepted(forge: &Forge<'_>) -> Vec<Attack> {
    let token = forge.valid().build();
    let with = |members: String| {
        let payload = format!("{{{members},{}", &forge.claims_text()[1..]);
        forge.valid().raw_payload(payload).build()
    };
    vec![
        Attack::by_token(30, "unknown claim twice", with(r#""x":1,"x":2"#.to_owned()), Accepted),
        Attack::by_token(39, "nested claim", with(format!(r#""x":{}{}"#, "[".repeat(200), "]".repeat(200))), Accepted),
        Attack::by_token(49, "sent", &token, Accepted),
        Attack::by_token(49, "sent again", &token, Accepted),
    ]
}
