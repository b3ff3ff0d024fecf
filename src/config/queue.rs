use secrecy::SecretString;
use url::Url;

use super::reader::{Default, Reader, Setting, base_url, guid, is_loopback};

static CONNECTION: Setting = Setting {
    name: "PoolStorage",
    default: Default::Described("value of AzureWebJobsStorage"),
    meaning: "Storage connection string with an account key or a shared access signature; UseDevelopmentStorage=true for a local emulator.",
};
static SERVICE_URI: Setting = Setting {
    name: "PoolStorage__queueServiceUri",
    default: Default::Described("same of AzureWebJobsStorage"),
    meaning: "The queue service's https address, to be used by managed identity instead of a connection string.",
};
static ACCOUNT_NAME: Setting = Setting {
    name: "PoolStorage__accountName",
    default: Default::Described("same of AzureWebJobsStorage"),
    meaning: "The storage account's name, to be used by managed identity instead of a connection string.",
};
static CLIENT_ID: Setting = Setting {
    name: "PoolStorage__clientId",
    default: Default::Described("the system-assigned identity"),
    meaning: "Client id of the user-assigned managed identity to use for the queue.",
};
static FALLBACK_CONNECTION: Setting = Setting {
    name: "AzureWebJobsStorage",
    default: Default::Described("none"),
    meaning: "The Functions host's own storage; used for the queue where PoolStorage is not set.",
};
static FALLBACK_SERVICE_URI: Setting = Setting {
    name: "AzureWebJobsStorage__queueServiceUri",
    default: Default::Described("none"),
    meaning: "As PoolStorage__queueServiceUri, where no PoolStorage setting is there.",
};
static FALLBACK_ACCOUNT_NAME: Setting = Setting {
    name: "AzureWebJobsStorage__accountName",
    default: Default::Described("none"),
    meaning: "As PoolStorage__accountName, where no PoolStorage setting is there.",
};
static FALLBACK_CLIENT_ID: Setting = Setting {
    name: "AzureWebJobsStorage__clientId",
    default: Default::Described("the system-assigned identity"),
    meaning: "As PoolStorage__clientId, where no PoolStorage setting is there.",
};
static NAME: Setting = Setting {
    name: "POOL_QUEUE_NAME",
    default: Default::Value("room-creation-queue"),
    meaning: "Queue of the ready rooms; poison messages go to <name>-poison, ended rooms to <name>-ended.",
};
static TIMER_SCHEDULE: Setting = Setting {
    name: "POOL_TIMER_SCHEDULE",
    default: Default::Value("0 * * * * *"),
    meaning: "NCRONTAB schedule of the maintenance timer (six fields); the Functions host reads it from function.json's reference and has no default of its own.",
};

pub(super) static SETTINGS: &[&Setting] = &[
    &CONNECTION,
    &SERVICE_URI,
    &ACCOUNT_NAME,
    &CLIENT_ID,
    &FALLBACK_CONNECTION,
    &FALLBACK_SERVICE_URI,
    &FALLBACK_ACCOUNT_NAME,
    &FALLBACK_CLIENT_ID,
    &NAME,
    &TIMER_SCHEDULE,
];

/// The account and key that every Storage emulator ships with, as published in Microsoft's documentation of Azurite.
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The queue of ready rooms.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// From `PoolStorage…`, else from `AzureWebJobsStorage…`.
    pub access: StorageAccess,
    /// From `POOL_QUEUE_NAME`.
    pub name: String,
}

/// How the queue service is reached. Every address ends in `/`.
#[derive(Clone, Debug)]
pub enum StorageAccess {
    /// Requests are signed with the account's key, given in base64.
    AccountKey { service: Url, account: String, key: SecretString },
    /// A shared access signature is sent along as the query.
    SharedAccessSignature { service: Url, signature: SecretString },
    /// A token of the app's identity is sent along.
    ManagedIdentity { service: Url, client_id: Option<String> },
}

impl QueueConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let own = [&CONNECTION, &SERVICE_URI, &ACCOUNT_NAME];
        let access = if own.into_iter().any(|setting| reader.is_set(setting)) {
            StorageAccess::read(reader, own, &CLIENT_ID)
        } else {
            let fallback = [&FALLBACK_CONNECTION, &FALLBACK_SERVICE_URI, &FALLBACK_ACCOUNT_NAME];
            if fallback.into_iter().any(|setting| reader.is_set(setting)) {
                StorageAccess::read(reader, fallback, &FALLBACK_CLIENT_ID)
            } else {
                reader.fault(
                    &CONNECTION,
                    "is not set, nor is PoolStorage__queueServiceUri, PoolStorage__accountName or AzureWebJobsStorage",
                );
                None
            }
        };
        let name = reader.value(&NAME, queue_name);
        let schedule = reader.value(&TIMER_SCHEDULE, timer_schedule);
        schedule.and(Some(Self { access: access?, name: name? }))
    }
}

impl StorageAccess {
    /// The queue service's address. Holds no signature.
    pub fn service(&self) -> &Url {
        let (Self::AccountKey { service, .. }
        | Self::SharedAccessSignature { service, .. }
        | Self::ManagedIdentity { service, .. }) = self;
        service
    }

    fn read(
        reader: &mut Reader<'_>,
        [connection, service_uri, account_name]: [&Setting; 3],
        client_id: &Setting,
    ) -> Option<Self> {
        let client_id = reader.optional(client_id, guid);
        let access = reader.optional(connection, parse_connection_string);
        let service = reader.optional(service_uri, identity_service);
        let account = reader.optional(account_name, identity_account);
        let (access, service, account) = (access?, service?, account?);
        if access.is_some() && (service.is_some() || account.is_some()) {
            reader.fault(connection, format!("and {} or {} exclude each other", service_uri.name, account_name.name));
            return None;
        }
        let client_id = client_id?;
        access.or(service.or(account).map(|service| Self::ManagedIdentity { service, client_id }))
    }
}

fn identity_service(text: &str) -> Result<Url, String> {
    let url = base_url(text)?;
    // The token is a bearer credential; the SDK refuses to send it in the clear, even to this machine.
    if url.scheme() == "https" { Ok(url) } else { Err("must start with https://".to_owned()) }
}

fn identity_account(text: &str) -> Result<Url, String> {
    account_service("https", text.trim(), "core.windows.net")
}

fn account_service(protocol: &str, account: &str, suffix: &str) -> Result<Url, String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !((3..=24).contains(&account.len()) && account.bytes().all(allowed)) {
        return Err("must name a storage account: 3 to 24 lower-case letters and digits".to_owned());
    }
    base_url(&format!("{protocol}://{account}.queue.{suffix}/"))
}

/// Reads a connection string: entries between `;`, each split at its first `=`, names without regard to case.
fn parse_connection_string(text: &str) -> Result<StorageAccess, String> {
    let entry = |name: &str| {
        text.split(';')
            .filter_map(|entry| entry.trim().split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    };
    if entry("UseDevelopmentStorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return emulator(entry("DevelopmentStorageProxyUri"));
    }
    let service = match (entry("QueueEndpoint"), entry("AccountName")) {
        (Some(endpoint), _) => base_url(endpoint).map_err(|reason| format!("has a QueueEndpoint that {reason}"))?,
        (None, Some(account)) => {
            let protocol = entry("DefaultEndpointsProtocol").unwrap_or("https");
            let suffix = entry("EndpointSuffix").unwrap_or("core.windows.net");
            account_service(protocol, account, suffix)
                .map_err(|reason| format!("has an AccountName that does not do: it {reason}"))?
        }
        (None, None) => return Err("has neither a QueueEndpoint nor an AccountName".to_owned()),
    };
    match (entry("AccountName"), entry("AccountKey"), entry("SharedAccessSignature")) {
        (Some(account), Some(key), _) => {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD
                .decode(key)
                .map_err(|_| "has an AccountKey that is not base64".to_owned())?;
            Ok(StorageAccess::AccountKey { service, account: account.to_owned(), key: key.into() })
        }
        (_, None, Some(signature)) => Ok(StorageAccess::SharedAccessSignature {
            service,
            signature: signature.strip_prefix('?').unwrap_or(signature).into(),
        }),
        (None, Some(_), _) => Err("has an AccountKey but no AccountName".to_owned()),
        (_, None, None) => Err("has neither an AccountKey nor a SharedAccessSignature".to_owned()),
    }
}

fn emulator(proxy: Option<&str>) -> Result<StorageAccess, String> {
    let host = base_url(proxy.unwrap_or("http://127.0.0.1"))
        .map_err(|reason| format!("has a DevelopmentStorageProxyUri that {reason}"))?;
    let mut service = host;
    if is_loopback(&service) && service.port().is_none() {
        // The emulator's own port; `set_port` fails for addresses without a host only.
        let _ = service.set_port(Some(10001));
    }
    service.set_path(&format!("/{EMULATOR_ACCOUNT}/"));
    Ok(StorageAccess::AccountKey { service, account: EMULATOR_ACCOUNT.to_owned(), key: EMULATOR_KEY.into() })
}

/// Azure's rule for queue names, less the room that the longest suffix, `-poison`, takes.
fn queue_name(text: &str) -> Result<String, String> {
    let text = text.trim();
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (3..=56).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
    {
        Ok(text.to_owned())
    } else {
        Err("must be 3 to 56 characters of a-z, 0-9 and single - between them".to_owned())
    }
}

/// Only the number of fields is looked at: the Functions host is the one that reads it.
fn timer_schedule(text: &str) -> Result<(), String> {
    if text.split_ascii_whitespace().count() == 6 {
        Ok(())
    } else {
        Err("must have six fields, seconds first, such as 0 * * * * *".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn account_key(text: &str) -> (String, String) {
        match parse_connection_string(text) {
            Ok(StorageAccess::AccountKey { service, account, .. }) => (service.to_string(), account),
            other => panic!("not an account key: {other:?}"),
        }
    }

    #[test]
    fn account_key_form_gives_the_public_endpoint() {
        let text =
            "DefaultEndpointsProtocol=https;AccountName=stmaxconf;AccountKey=a2V5;EndpointSuffix=core.windows.net";
        assert_eq!(account_key(text), ("https://stmaxconf.queue.core.windows.net/".into(), "stmaxconf".into()));
    }

    #[test]
    fn names_are_read_without_regard_to_case_and_keys_keep_their_padding() {
        let text =
            "accountname=devstoreaccount1;ACCOUNTKEY=a2V5Cg==;queueendpoint=http://127.0.0.1:4711/devstoreaccount1;";
        assert_eq!(account_key(text), ("http://127.0.0.1:4711/devstoreaccount1/".into(), "devstoreaccount1".into()));
    }

    #[test]
    fn development_storage_is_the_emulator_on_this_machine() {
        let expected = ("http://127.0.0.1:10001/devstoreaccount1/".into(), "devstoreaccount1".into());
        assert_eq!(account_key("UseDevelopmentStorage=true"), expected);
    }

    #[test]
    fn signature_form_loses_its_question_mark() {
        let text =
            "QueueEndpoint=https://stmaxconf.queue.core.windows.net;SharedAccessSignature=?sv=2026-04-06&sig=abc%3D";
        match parse_connection_string(text) {
            Ok(StorageAccess::SharedAccessSignature { service, signature }) => {
                assert_eq!(service.as_str(), "https://stmaxconf.queue.core.windows.net/");
                assert_eq!(signature.expose_secret(), "sv=2026-04-06&sig=abc%3D");
            }
            other => panic!("not a signature: {other:?}"),
        }
    }

    #[test]
    fn faults_are_named_without_the_value() {
        for faulty in [
            "nonsense-4711",
            "AccountName=st4711",
            "AccountKey=c2VjcmV0NDcxMQ==",
            "AccountName=st4711;AccountKey=4711*",
            "AccountName=ST-4711;AccountKey=a2V5",
            "QueueEndpoint=http://queue4711.example.org;AccountName=st4711;AccountKey=a2V5",
            "QueueEndpoint=ftp://4711;SharedAccessSignature=sig",
        ] {
            let reason = parse_connection_string(faulty).expect_err(faulty);
            assert!(!reason.contains("4711"), "{reason}");
        }
    }
}
