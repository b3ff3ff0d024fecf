//! The citizen's case: the first byte chooses the format, the rest is `uuiData` as it stands in the query.

#![no_main]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use maxconf::domain::{LONGEST_TAG, TagRule, UuiData, UuiDataFormat};

const URL: &str = "https://id.gov.bc.ca/idcheck/";

fuzz_target!(|input: &str| {
    let (format, text) = match input.strip_prefix('s') {
        Some(text) => (UuiDataFormat::Segment, text),
        None => (UuiDataFormat::Bytes, input.strip_prefix('b').unwrap_or(input)),
    };
    let rule = TagRule { url: URL.to_owned(), format };
    let tag = match UuiData::parse(text).and_then(|data| rule.tag(&data)) {
        Ok(tag) => tag,
        Err(error) => {
            // What could be a case, or a part of one, is not quoted.
            let said = error.to_string();
            let digits = text.len() >= 6 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(!(digits && said.contains(text)), "{said} quotes {text}");
            return;
        }
    };
    let case = hex::decode(text).expect("accepted data is hexadecimal");
    assert!((1..=128).contains(&case.len()) && tag.expose().len() <= LONGEST_TAG, "{text}");
    let segment = tag.expose().strip_prefix(URL).expect("the URL, then the case");
    assert!(segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{segment}");
    // Two cases with one tag would show an agent the wrong citizen.
    match format {
        UuiDataFormat::Bytes => assert_eq!(URL_SAFE_NO_PAD.decode(segment).as_deref(), Ok(case.as_slice())),
        UuiDataFormat::Segment => assert_eq!(segment.as_bytes(), case),
    }
});
