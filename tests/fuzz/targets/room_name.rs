//! Which names are ours: a prefix, a line feed and a name. The description of a room with it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use maxconf::domain::{Marks, RoomNamePrefix};

fuzz_target!(|input: &str| {
    let marks = Marks::read(input);
    assert_eq!(Marks::read(&marks.to_string()).to_string(), marks.to_string(), "{input:?}");

    let Some((prefix, text)) = input.split_once('\n') else { return };
    let Ok(prefix) = RoomNamePrefix::parse(prefix) else { return };
    if let Some(name) = prefix.parse_name(text) {
        assert_eq!(name.as_str(), text);
        assert_eq!(text.len(), prefix.as_str().len() + 26, "{text:?}");
        // It stands in paths, queries, SIP addresses and logs as it is.
        assert!(
            text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
            "{text:?}"
        );
    }
});
