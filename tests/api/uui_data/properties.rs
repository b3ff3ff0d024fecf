//! Properties of every `uuiData` and of every accepted setting of the tag: the documented tag or an error, and never a
//! tag whose host, path or query is another's.

use std::ffi::OsString;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use maxconf::config::ConfigParts;
use maxconf::domain::{TagRule, UuiData};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use proptest::{prop_assert, prop_assert_eq, prop_oneof};
use url::Url;

const HOSTS: [&str; 3] = ["id", "idtest", "id-dev"];
const URL: &str = "https://{host}.gov.bc.ca/idcheck/protected/video/";

/// The rule of these settings; `None` if one of them is faulty.
fn rule(url: &str, hosts: &str, format: &str) -> Option<TagRule> {
    let source = |name: &str| match name {
        "ROOM_TAG_URL" => Some(OsString::from(url)),
        "ROOM_TAG_HOSTS" => Some(OsString::from(hosts)),
        "UUI_DATA_FORMAT" => Some(OsString::from(format)),
        _ => None,
    };
    let parts = ConfigParts::read(source);
    let is_of_tag = |setting: &str| setting.starts_with("ROOM_TAG_") || setting == "UUI_DATA_FORMAT";
    let is_faulty = parts.faults.iter().any(|fault| is_of_tag(fault.setting));
    parts.room.ok().filter(|_| !is_faulty).map(|room| room.tag_rule())
}

fn tag(rule: &TagRule, uui_data: &str) -> Option<String> {
    let data = UuiData::parse(uui_data).ok()?;
    rule.tag(&data).ok().map(|tag| tag.expose().to_owned())
}

/// The decoded bytes by the words of the contract, in other code than the service's.
fn decoded(uui_data: &str) -> Option<Vec<u8>> {
    let digits = match uui_data.rsplit_once(';') {
        Some((digits, suffix)) if suffix.eq_ignore_ascii_case("encoding=hex") => digits,
        Some(_) => return None,
        None => uui_data,
    };
    let digits: Vec<_> = digits.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let is_whole = digits.len().is_multiple_of(2) && (2..=256).contains(&digits.len());
    let byte = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits are a byte");
    is_whole.then(|| digits.chunks(2).map(byte).collect())
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|character| character.is_ascii_alphanumeric() || "-_".contains(character))
}

/// Host and id of a case in the format `host-and-id`.
fn host_and_id(uui_data: &str) -> Option<(String, String)> {
    let text = String::from_utf8(decoded(uui_data)?).ok()?;
    let [host, id] = text.split('&').collect::<Vec<_>>().try_into().ok()?;
    (HOSTS.contains(&host) && is_id(id)).then(|| (host.to_owned(), id.to_owned()))
}

/// Texts near those that IDIM sends, and others.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "id",
        "idtest",
        "id-dev",
        "ID",
        "MTIzNDU2LDc2NTQzMg",
        "a",
        "&",
        "&",
        "&",
        ".",
        "..",
        "/",
        "?",
        "#",
        "@",
        ":",
        "%26",
        ",",
        ";",
        "=",
        "evil.example",
        "{host}",
        "\0",
        "\n",
        " ",
        "é",
        "ｉｄ",
    ];
    let cases = (select(&HOSTS[..]), "[A-Za-z0-9_-]{1,130}").prop_map(|(host, id)| format!("{host}&{id}").into_bytes());
    let changed = (cases.clone(), any::<usize>(), any::<u8>()).prop_map(|(mut text, index, byte)| {
        let index = index % text.len();
        text[index] = byte;
        text
    });
    prop_oneof![
        cases,
        changed,
        vec(select(pieces.to_vec()), 0..6).prop_map(|pieces| pieces.concat().into_bytes()),
        vec(any::<u8>(), 0..140),
    ]
}

/// `uuiData` as it stands in a query once that is decoded.
fn uui_data() -> impl Strategy<Value = String> {
    let suffixes =
        ["", "", ";encoding=hex", ";ENCODING=hEX", ";encoding=hex;encoding=hex", "%3Bencoding%3Dhex", ";", ",00"];
    let digits = texts().prop_map(hex::encode);
    let written = (digits, any::<bool>(), select(suffixes.to_vec())).prop_map(|(digits, is_upper, suffix)| {
        let digits = if is_upper { digits.to_uppercase() } else { digits };
        digits + suffix
    });
    prop_oneof![9 => written, 1 => any::<String>()]
}

fn check<S: Strategy>(inputs: &S, property: impl Fn(S::Value) -> Result<(), proptest::test_runner::TestCaseError>) {
    let mut runner = TestRunner::new(Config { cases: 20_000, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(inputs, property);
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[test]
fn host_and_id_gives_the_documented_tag_or_an_error() {
    let rule = rule(URL, &HOSTS.join(","), "host-and-id").expect("settings that can be used");
    let accepted = std::cell::Cell::new(0);
    check(&uui_data(), |input| {
        let tag = tag(&rule, &input);
        let expected = host_and_id(&input);
        prop_assert_eq!(tag.is_some(), expected.is_some(), "{}", input);
        let (Some(tag), Some((host, id))) = (tag, expected) else { return Ok(()) };
        accepted.set(accepted.get() + 1);
        let url = Url::parse(&tag).expect("a URL");
        prop_assert_eq!(url.as_str(), &tag, "a browser opens another URL");
        prop_assert_eq!(url.host_str().map(str::to_owned), Some(format!("{host}.gov.bc.ca")));
        prop_assert_eq!(url.path(), format!("/idcheck/protected/video/{id}"));
        let rest = (url.scheme(), url.port(), url.query(), url.fragment(), url.username(), url.password());
        prop_assert_eq!(rest, ("https", None, None, None, "", None));
        prop_assert!(tag.len() <= 250);
        Ok(())
    });
    assert!(accepted.get() > 1_000, "only {} cases were accepted", accepted.get());
}

#[test]
fn bytes_and_segment_give_the_documented_tag_or_an_error() {
    const URL: &str = "https://id.gov.bc.ca/idcheck/";
    let bytes = rule(URL, "", "bytes").expect("settings that can be used");
    let segment = rule(URL, "", "segment").expect("settings that can be used");
    check(&uui_data(), |input| {
        let case = decoded(&input);
        let expected = case.clone().map(|case| URL.to_owned() + &BASE64_URL_SAFE_NO_PAD.encode(case));
        prop_assert_eq!(tag(&bytes, &input), expected, "{}", input);
        let text = case.and_then(|case| String::from_utf8(case).ok()).filter(|text| is_id(text));
        prop_assert_eq!(tag(&segment, &input), text.map(|text| URL.to_owned() + &text), "{}", input);
        Ok(())
    });
}

#[test]
fn no_accepted_setting_lets_a_case_choose_more_than_a_listed_host_and_an_id() {
    let pieces = [
        "https://",
        "HTTPS://",
        "http://",
        "//",
        "/",
        "/",
        "{host}",
        "{host}",
        "{host}.gov.bc.ca",
        "id",
        ".",
        ":",
        ":443",
        ":8443",
        "@",
        "?",
        "#",
        "\\",
        "{",
        "}",
        "%2f",
        "%69",
        "10.0.0.",
        "0x7f",
        "[::1]",
        "xn--",
        "é",
        "\t",
        " ",
        "a",
        "..",
    ];
    let own = vec(select(pieces.to_vec()), 0..7).prop_map(|pieces| pieces.concat());
    let near = own.clone().prop_map(|end| format!("https://{{host}}{end}/"));
    let plain = "https://(\\{host\\}|[a-z0-9]{1,3})(\\.[a-z0-9]{1,5}){0,3}(:[0-9]{1,5})?/([a-z.]{0,30}/)?";
    let hosts = vec(prop_oneof![select(&HOSTS[..]).prop_map(str::to_owned), "[a-z0-9-]{1,63}"], 1..4);
    let accepted = std::cell::Cell::new(0);
    check(&(prop_oneof![own, near, plain], hosts), |(setting, hosts)| {
        let Some(rule) = rule(&setting, &hosts.join(","), "host-and-id") else { return Ok(()) };
        accepted.set(accepted.get() + 1);
        let template = Url::parse(&setting.replace("{host}", "placeholder")).expect("a URL with any host");
        for host in &hosts {
            let tag = tag(&rule, &hex::encode(format!("{host}&MTIz"))).expect("a tag");
            let url = Url::parse(&tag).expect("a URL");
            let labels = |url: &Url| url.host_str().map(|host| host.split('.').map(str::to_owned).collect::<Vec<_>>());
            let expected = labels(&template).map(|labels| {
                let label = |label: String| if label == "placeholder" { host.clone() } else { label };
                labels.into_iter().map(label).collect()
            });
            prop_assert_eq!(labels(&url), expected);
            prop_assert_eq!(url.path(), template.path().to_owned() + "MTIz");
            let rest = (url.scheme(), url.port(), url.query(), url.fragment(), url.username(), url.password());
            prop_assert_eq!(rest, ("https", template.port(), None, None, "", None));
        }
        let longest = hosts.iter().map(String::len).max().unwrap_or_default();
        let length = setting.replace("{host}", "").len() + longest;
        prop_assert!(length + 171 <= 250);
        Ok(())
    });
    assert!(accepted.get() > 1_000, "only {} settings were accepted", accepted.get());
}
