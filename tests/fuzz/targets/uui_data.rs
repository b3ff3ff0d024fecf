//! The citizen's case: the first byte chooses the format, the rest is `uuiData` as it stands in the query, or, after a
//! capital, the text that is sent in hexadecimal digits.

#![no_main]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use maxconf::domain::{LONGEST_TAG, TagHost, TagRule, TagUrl, UuiData, UuiDataFormat};
use url::Url;

const HOSTS: [&str; 3] = ["id", "idtest", "id-dev"];

fuzz_target!(|input: &str| {
    let (choice, rest) = input.split_at_checked(1).unwrap_or(("b", input));
    let format = match choice {
        "s" | "S" => UuiDataFormat::Segment,
        "h" | "H" => UuiDataFormat::HostAndId,
        _ => UuiDataFormat::Bytes,
    };
    let text = if choice.bytes().any(|byte| byte.is_ascii_uppercase()) {
        hex::encode(rest) + ";encoding=hex"
    } else {
        rest.to_owned()
    };
    let rule = rule(format);
    let tag = match UuiData::parse(&text).and_then(|data| rule.tag(&data)) {
        Ok(tag) => tag,
        Err(error) => {
            // What could be a case, or a part of one, is not quoted.
            let said = error.to_string();
            let digits = text.len() >= 6 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(!(digits && said.contains(&text)), "{said} quotes {text}");
            return;
        }
    };
    let digits = text.split_once(';').map_or(text.as_str(), |(digits, suffix)| {
        assert!(suffix.eq_ignore_ascii_case("encoding=hex"), "{text}");
        digits
    });
    let case = hex::decode(digits).expect("accepted data is hexadecimal");
    assert!((1..=128).contains(&case.len()) && tag.expose().len() <= LONGEST_TAG, "{text}");
    assert_is_of(format, &case, tag.expose());
});

fn rule(format: UuiDataFormat) -> TagRule {
    let (url, hosts) = match format {
        UuiDataFormat::Bytes | UuiDataFormat::Segment => ("https://id.gov.bc.ca/idcheck/", &[][..]),
        UuiDataFormat::HostAndId => ("https://{host}.gov.bc.ca/idcheck/", &HOSTS[..]),
    };
    let hosts = hosts.iter().map(|host| TagHost::parse(host).expect("a label")).collect();
    TagRule { url: TagUrl::parse(url).expect("a URL that can start a tag"), hosts, format }
}

/// The tag is a URL of the case's host, and its last segment is the case's alone: two cases with one tag would show an
/// agent the wrong citizen.
fn assert_is_of(format: UuiDataFormat, case: &[u8], tag: &str) {
    let url = Url::parse(tag).expect("a URL");
    assert_eq!(url.as_str(), tag, "a browser opens another URL");
    let segment = url.path().strip_prefix("/idcheck/").expect("the path, then the case");
    assert!(segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{segment}");
    let rest = (url.scheme(), url.port(), url.query(), url.fragment(), url.username(), url.password());
    assert_eq!(rest, ("https", None, None, None, "", None), "{tag}");
    let host = url.host_str().and_then(|name| name.strip_suffix(".gov.bc.ca")).expect("a host of the operator");
    match format {
        UuiDataFormat::Bytes => {
            assert_eq!((host, URL_SAFE_NO_PAD.decode(segment).as_deref()), ("id", Ok(case)));
        }
        UuiDataFormat::Segment => assert_eq!((host, segment.as_bytes()), ("id", case)),
        UuiDataFormat::HostAndId => {
            assert!(HOSTS.contains(&host), "{tag}");
            assert_eq!(format!("{host}&{segment}").as_bytes(), case);
        }
    }
}
