//! Which settings of the tag fit together.

use std::ffi::OsString;

use maxconf::config::ConfigParts;

/// What one combination of the three settings is reported for: names and reasons.
fn faults(url: &str, hosts: &str, format: &str, environment: &str) -> Vec<(&'static str, String)> {
    let source = |name: &str| {
        let value = match name {
            "ROOM_TAG_URL" => url,
            "ROOM_TAG_HOSTS" => hosts,
            "UUI_DATA_FORMAT" => format,
            "MAXCONF_ENVIRONMENT" => environment,
            _ => "",
        };
        Some(OsString::from(value))
    };
    let faults = ConfigParts::read(source).faults.into_iter().map(|fault| (fault.setting, fault.reason));
    faults.filter(|(setting, _)| setting.starts_with("ROOM_TAG_") || *setting == "UUI_DATA_FORMAT").collect()
}

const WITH: &str = "https://{host}.gov.bc.ca/idcheck/protected/video/";
const WITHOUT: &str = "https://id.gov.bc.ca/idcheck/";

#[test]
fn every_contradiction_between_url_hosts_and_format_is_a_faulty_setting() {
    let unlisted = ("ROOM_TAG_HOSTS", "is not set; it is required because ROOM_TAG_URL has {host} in it");
    let unused_list = ("ROOM_TAG_HOSTS", "must not be set, because ROOM_TAG_URL has no {host} in it");
    let unused_host = ("ROOM_TAG_URL", "must not have {host} in it unless UUI_DATA_FORMAT is host-and-id");
    let no_host = ("ROOM_TAG_URL", "must have {host} in its host name, because UUI_DATA_FORMAT is host-and-id");
    for (url, hosts, format, expected) in [
        (WITH, "id,idtest", "host-and-id", vec![]),
        (WITH, "", "host-and-id", vec![unlisted]),
        (WITHOUT, "id", "host-and-id", vec![no_host]),
        (WITHOUT, "", "host-and-id", vec![no_host]),
        // The default URL has no {host}.
        ("", "id", "host-and-id", vec![no_host]),
        (WITH, "id", "bytes", vec![unused_host]),
        (WITH, "id", "segment", vec![unused_host]),
        // In `local` the format is `bytes` by default.
        (WITH, "id", "", vec![unused_host]),
        (WITH, "", "bytes", vec![unused_host, unlisted]),
        (WITHOUT, "id", "bytes", vec![unused_list]),
        (WITHOUT, "id", "segment", vec![unused_list]),
        ("", "id", "", vec![unused_list]),
        (WITHOUT, "", "bytes", vec![]),
        (WITHOUT, "", "segment", vec![]),
        ("", "", "", vec![]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|(setting, reason)| (setting, reason.to_owned())).collect();
        assert_eq!(faults(url, hosts, format, "local"), expected, "{url} {hosts} {format}");
        if !format.is_empty() {
            assert_eq!(faults(url, hosts, format, "production"), expected, "{url} {hosts} {format}");
        }
    }
}

#[test]
fn a_fault_in_one_of_them_is_reported_alone() {
    for (url, hosts, format, faulty) in [
        ("http://{host}.gov.bc.ca/", "id", "host-and-id", "ROOM_TAG_URL"),
        ("https://id.gov.bc.ca/{host}/", "id", "host-and-id", "ROOM_TAG_URL"),
        (WITH, "ID", "host-and-id", "ROOM_TAG_HOSTS"),
        (WITH, "id.evil", "host-and-id", "ROOM_TAG_HOSTS"),
        (WITH, "id,", "host-and-id", "ROOM_TAG_HOSTS"),
        (WITH, ",", "host-and-id", "ROOM_TAG_HOSTS"),
        (WITH, "*", "host-and-id", "ROOM_TAG_HOSTS"),
        (WITH, "-id", "host-and-id", "ROOM_TAG_HOSTS"),
        (WITH, "id", "host_and_id", "UUI_DATA_FORMAT"),
        (WITHOUT, "id", "Host-And-Id", "UUI_DATA_FORMAT"),
    ] {
        let names: Vec<_> = faults(url, hosts, format, "local").into_iter().map(|(setting, _)| setting).collect();
        assert_eq!(names, [faulty], "{url} {hosts} {format}");
    }
}

#[test]
fn the_url_must_be_valid_with_each_host_on_the_list() {
    let path = |length: usize| "x".repeat(length);
    let url = |length: usize| format!("https://{{host}}.gov.bc.ca/{}/", path(length));
    let longest = 79 - "https://idtest.gov.bc.ca//".len();
    assert_eq!(faults(&url(longest), "id,idtest", "host-and-id", "local"), []);
    for (url, hosts, reason) in [
        (url(longest + 1).as_str(), "id,idtest", "must have at most 79 characters"),
        (url(longest).as_str(), "id,idtest,id-test", "must have at most 79 characters"),
        ("https://10.0.0.{host}/", "id,1", "must have a host in its plain form"),
        ("https://{host}/", "id,0x7f", "must have a host in its plain form"),
    ] {
        let reason = format!("{reason}, with each of ROOM_TAG_HOSTS in the place of {{host}}");
        assert_eq!(faults(url, hosts, "host-and-id", "local"), [("ROOM_TAG_URL", reason)], "{url} {hosts}");
    }
}

#[test]
fn the_format_must_be_set_outside_local() {
    let unset = [("UUI_DATA_FORMAT", "is not set; it is required outside local".to_owned())];
    assert_eq!(faults(WITHOUT, "", "", "local"), []);
    for environment in ["test", "production"] {
        assert_eq!(faults(WITHOUT, "", "", environment), unset);
        assert_eq!(faults(WITHOUT, "", "bytes", environment), []);
    }
}
