//! Settings of the storage account, and of the queue in it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use url::Url;

use super::parser::{base_url, guid, is_loopback, optional};
use super::setting::WhenUnset::{Described, Value};
use super::setting::{Faulty, Reader, Setting, settings};

settings! {
    POOL_CONNECTION = secret "PoolStorage", Described("value of AzureWebJobsStorage"),
        "Storage connection string with an account key or a shared access signature; UseDevelopmentStorage=true for \
         a local emulator.";
    POOL_SERVICE_URI = "PoolStorage__queueServiceUri", Described("same of AzureWebJobsStorage"),
        "https address of the queue service, for managed identity instead of a connection string.";
    POOL_ACCOUNT_NAME = "PoolStorage__accountName", Described("same of AzureWebJobsStorage"),
        "Name of the storage account, for managed identity instead of a connection string.";
    POOL_CLIENT_ID = "PoolStorage__clientId", Described("the system-assigned identity"),
        "Client id of the user-assigned managed identity that accesses the queue.";
    HOST_CONNECTION = secret "AzureWebJobsStorage", Described("none"),
        "The Functions host's own storage; holds the queue if no PoolStorage setting is set.";
    HOST_SERVICE_URI = "AzureWebJobsStorage__queueServiceUri", Described("none"),
        "As PoolStorage__queueServiceUri, if no PoolStorage setting is set.";
    HOST_ACCOUNT_NAME = "AzureWebJobsStorage__accountName", Described("none"),
        "As PoolStorage__accountName, if no PoolStorage setting is set.";
    HOST_CLIENT_ID = "AzureWebJobsStorage__clientId", Described("the system-assigned identity"),
        "As PoolStorage__clientId, if no PoolStorage setting is set.";
    QUEUE_NAME = "POOL_QUEUE_NAME", Value("room-creation-queue"),
        "Queue of the ready rooms; poison messages go to <name>-poison, ended rooms to <name>-ended.";
}

/// The account and key that every Storage emulator has, as published in Microsoft's documentation of Azurite.
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

/// How the queue service is accessed. Every address ends in `/`.
#[derive(Clone, Debug)]
pub enum StorageAccess {
    /// Requests are signed with the account's key, given in base64.
    AccountKey { service: Url, account: String, key: SecretString },
    /// Requests have a shared access signature as their query.
    SharedAccessSignature { service: Url, signature: SecretString },
    /// Requests have a token of the app's identity.
    ManagedIdentity { service: Url, client_id: Option<String> },
}

impl QueueConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Faulty> {
        let access = StorageAccess::read(reader);
        let name = reader.read(&QUEUE_NAME, queue_name);
        Ok(Self { access: access?, name: name? })
    }
}

impl StorageAccess {
    /// Base URL of the queue service. Holds no signature.
    pub fn service(&self) -> &Url {
        let (Self::AccountKey { service, .. }
        | Self::SharedAccessSignature { service, .. }
        | Self::ManagedIdentity { service, .. }) = self;
        service
    }

    /// The `PoolStorage` settings if one of them is set, else those of the host. The others are not read: the host's
    /// storage may have a form that only the host understands.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Faulty> {
        let pool = [&POOL_CONNECTION, &POOL_SERVICE_URI, &POOL_ACCOUNT_NAME];
        let host = [&HOST_CONNECTION, &HOST_SERVICE_URI, &HOST_ACCOUNT_NAME];
        if pool.into_iter().any(|setting| reader.is_set(setting)) {
            return Self::read_account(reader, pool, &POOL_CLIENT_ID);
        }
        if host.into_iter().any(|setting| reader.is_set(setting)) {
            return Self::read_account(reader, host, &HOST_CLIENT_ID);
        }
        Err(reader.fault(
            POOL_CONNECTION.name,
            "is not set, nor is PoolStorage__queueServiceUri, PoolStorage__accountName or AzureWebJobsStorage",
        ))
    }

    /// A connection string, or managed identity with the service's address or the account's name.
    fn read_account(
        reader: &mut Reader<'_>,
        [connection, service_uri, account_name]: [&Setting; 3],
        client_id: &Setting,
    ) -> Result<Self, Faulty> {
        let client_id = reader.read(client_id, optional(guid));
        let access: Result<Option<Self>, _> = reader.read(connection, optional(parse_connection_string));
        let service: Result<Option<Url>, _> = reader.read(service_uri, optional(identity_service));
        let account = reader.read(account_name, optional(identity_account));
        match (access?, service?.or(account?)) {
            (Some(access), None) => Ok(access),
            (None, Some(service)) => Ok(Self::ManagedIdentity { service, client_id: client_id? }),
            _ => {
                let reason = format!("and {} or {} exclude each other", service_uri.name, account_name.name);
                Err(reader.fault(connection.name, reason))
            }
        }
    }
}

fn identity_service(text: &str) -> Result<Url, String> {
    let url = base_url(text)?;
    // The token is a bearer credential; the SDK refuses to send it without TLS, even to a loopback address.
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

/// Parses a connection string: entries separated by `;`, split at their first `=`, with case-insensitive names.
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
                .map_err(|reason| format!("has an AccountName that is not valid: it {reason}"))?
        }
        (None, None) => return Err("has neither a QueueEndpoint nor an AccountName".to_owned()),
    };
    match (entry("AccountName"), entry("AccountKey"), entry("SharedAccessSignature")) {
        (Some(account), Some(key), _) => {
            STANDARD.decode(key).map_err(|_| "has an AccountKey that is not base64".to_owned())?;
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
    let mut service = base_url(proxy.unwrap_or("http://127.0.0.1"))
        .map_err(|reason| format!("has a DevelopmentStorageProxyUri that {reason}"))?;
    if is_loopback(&service) && service.port().is_none() {
        // The emulator's own port. `set_port` fails for a URL without a host only.
        let _ = service.set_port(Some(10001));
    }
    service.set_path(&format!("/{EMULATOR_ACCOUNT}/"));
    Ok(StorageAccess::AccountKey { service, account: EMULATOR_ACCOUNT.to_owned(), key: EMULATOR_KEY.into() })
}

/// Azure's rule for queue names, minus the length of the longest suffix, `-poison`.
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
    fn names_are_case_insensitive_and_keys_keep_their_padding() {
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
