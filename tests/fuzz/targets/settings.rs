//! Any value for any setting, connection strings above all. The first byte chooses the setting; `~` in the value
//! stands for a secret that must not be printed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use maxconf::config::{Config, StorageAccess};
use maxconf_fuzz::settings;

/// Base64 in itself, so that it can be a key.
const SECRET: &str = "k3ySecretk3yS";

/// Settings that are secret as a whole.
const SECRETS: [&str; 6] = [
    "PEXIP_PASSWORD",
    "PEXIP_OAUTH_PRIVATE_KEY",
    "PEXIP_EVENT_PASSWORD",
    "AUDIT_HASH_KEY",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "ROOM_HOST_PIN",
];

fuzz_target!(|input: &[u8]| {
    let Some((choice, value)) = input.split_first() else { return };
    let Ok(value) = std::str::from_utf8(value) else { return };
    if value.contains('\0') {
        return;
    }
    let value = value.replace('~', SECRET);
    let known: Vec<_> = Config::settings().map(|setting| setting.name).collect();
    let name = known[usize::from(*choice) % known.len()];
    let settings = settings(&[("PEXIP_EVENT_USERNAME", "events"), ("PEXIP_EVENT_PASSWORD", "events"), (name, &value)]);
    match Config::read(|name| settings.get(name).cloned()) {
        Ok(config) => {
            assert_reachable(&config.queue.access);
            if SECRETS.contains(&name) || (name == "PoolStorage" && !without_secrets(&value).contains(SECRET)) {
                assert!(!format!("{config:?}").contains(SECRET), "{name}={value}");
            }
        }
        Err(invalid) => assert!(!format!("{invalid} {invalid:?}").contains(SECRET), "{name}={value}: {invalid}"),
    }
});

/// Wherever the credentials go, they go by https or stay on this machine, to the address that is named and no other.
fn assert_reachable(access: &StorageAccess) {
    let (StorageAccess::AccountKey { service, .. }
    | StorageAccess::SharedAccessSignature { service, .. }
    | StorageAccess::ManagedIdentity { service, .. }) = access;
    let loopback =
        ["localhost", "127.", "[::1]"].iter().any(|host| service.host_str().is_some_and(|it| it.starts_with(host)));
    assert!(service.scheme() == "https" || service.scheme() == "http" && loopback, "{service}");
    assert!(service.path().ends_with('/') && service.query().is_none() && service.fragment().is_none(), "{service}");
    assert!(service.username().is_empty() && service.password().is_none(), "{service}");
}

/// A connection string less the entries that are secret.
fn without_secrets(text: &str) -> String {
    let is_secret = |entry: &str| {
        let name = entry.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        name == "accountkey" || name == "sharedaccesssignature"
    };
    text.split(';').filter(|entry| !is_secret(entry)).collect::<Vec<_>>().join(";")
}
