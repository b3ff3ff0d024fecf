//! The look-up of a room by external policy, as a Conferencing Node makes it: the same of `doctor` and of `smoke`. It
//! is written down from Pexip's documentation, and uses nothing of the service.

/// Where nodes ask. They append it to the address of the policy profile.
pub(super) const LOOK_UP_PATH: &str = "policy/v1/service/configuration";

/// What a node asks when somebody dials `alias`. Values that it does not know are empty.
pub(super) fn look_up_query<'a>(alias: &'a str, protocol: &'a str, trigger: &'a str) -> [(&'static str, &'a str); 7] {
    [
        ("call_direction", "dial_in"),
        ("protocol", protocol),
        ("trigger", trigger),
        ("local_alias", alias),
        ("remote_alias", "maxconf"),
        ("registered", "False"),
        ("call_tag", ""),
    ]
}
