//! Settings of the storage account.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use url::Url;

use super::parser::{base_url, guid, is_loopback, optional};
use super::setting::WhenUnset::Described;
use super::setting::{Faulty, Reader, Setting, settings};

settings! {
    POOL_CONNECTION = secret "PoolStorage", Described("value of AzureWebJobsStorage"),
        "Storage connection string with an account key or a shared access signature; UseDevelopmentStorage=true for \
         a local emulator.";
    POOL_QUEUE_URI = "PoolStorage__queueServiceUri", Described("same of AzureWebJobsStorage"),
        "https address of the queue service, for managed identity instead of a connection string; together with \
         PoolStorage__blobServiceUri.";
    POOL_BLOB_URI = "PoolStorage__blobServiceUri", Described("same of AzureWebJobsStorage"),
        "https address of the blob service, which holds the room records; together with PoolStorage__queueServiceUri.";
    POOL_ACCOUNT_NAME = "PoolStorage__accountName", Described("same of AzureWebJobsStorage"),
        "Name of the storage account, for managed identity instead of a connection string.";
    POOL_CLIENT_ID = "PoolStorage__clientId", Described("the system-assigned identity"),
        "Client id of the user-assigned managed identity that accesses the queue and the room records.";
    HOST_CONNECTION = secret "AzureWebJobsStorage", Described("none"),
        "The Functions host's own storage; holds queue and room records if no PoolStorage setting is set.";
    HOST_QUEUE_URI = "AzureWebJobsStorage__queueServiceUri", Described("none"),
        "As PoolStorage__queueServiceUri, if no PoolStorage setting is set.";
    HOST_BLOB_URI = "AzureWebJobsStorage__blobServiceUri", Described("none"),
        "As PoolStorage__blobServiceUri, if no PoolStorage setting is set.";
    HOST_ACCOUNT_NAME = "AzureWebJobsStorage__accountName", Described("none"),
        "As PoolStorage__accountName, if no PoolStorage setting is set.";
    HOST_CLIENT_ID = "AzureWebJobsStorage__clientId", Described("the system-assigned identity"),
        "As PoolStorage__clientId, if no PoolStorage setting is set.";
}

/// The account and key that every Storage emulator has, as published in Microsoft's documentation of Azurite.
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// How a service of the storage account is accessed. Every address ends in `/`.
#[derive(Clone, Debug)]
pub enum StorageAccess {
    /// Requests are signed with the account's key, given in base64.
    AccountKey { service: Url, account: String, key: SecretString },
    /// Requests have a shared access signature as their query.
    SharedAccessSignature { service: Url, signature: SecretString },
    /// Requests have a token of the app's identity.
    ManagedIdentity { service: Url, client_id: Option<String> },
}

/// Access to both services of one account.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) queues: StorageAccess,
    pub(super) blobs: StorageAccess,
}

impl StorageAccess {
    /// Base URL of the service. Holds no signature.
    pub fn service(&self) -> &Url {
        let (Self::AccountKey { service, .. }
        | Self::SharedAccessSignature { service, .. }
        | Self::ManagedIdentity { service, .. }) = self;
        service
    }
}

impl Account {
    /// Access with the same credentials to both services.
    fn new(queues: Url, blobs: Url, access: impl Fn(Url) -> StorageAccess) -> Self {
        Self { queues: access(queues), blobs: access(blobs) }
    }

    /// The `PoolStorage` settings if one of them is set, else those of the host. The others are not read: the host's
    /// storage may have a form that only the host understands.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Faulty> {
        let pool = [&POOL_CONNECTION, &POOL_QUEUE_URI, &POOL_BLOB_URI, &POOL_ACCOUNT_NAME];
        let host = [&HOST_CONNECTION, &HOST_QUEUE_URI, &HOST_BLOB_URI, &HOST_ACCOUNT_NAME];
        if pool.into_iter().any(|setting| reader.is_set(setting)) {
            return Self::read_from(reader, pool, &POOL_CLIENT_ID);
        }
        if host.into_iter().any(|setting| reader.is_set(setting)) {
            return Self::read_from(reader, host, &HOST_CLIENT_ID);
        }
        Err(reader.fault(
            POOL_CONNECTION.name,
            "is not set, nor is PoolStorage__queueServiceUri, PoolStorage__accountName or AzureWebJobsStorage",
        ))
    }

    /// A connection string, or managed identity with the services' addresses or the account's name.
    fn read_from(
        reader: &mut Reader<'_>,
        [connection, queue_uri, blob_uri, account_name]: [&Setting; 4],
        client_id: &Setting,
    ) -> Result<Self, Faulty> {
        let client_id: Result<Option<String>, _> = reader.read(client_id, optional(guid));
        let account: Result<Option<Self>, _> = reader.read(connection, optional(parse_connection_string));
        let queues: Result<Option<Url>, _> = reader.read(queue_uri, optional(identity_service));
        let blobs: Result<Option<Url>, _> = reader.read(blob_uri, optional(identity_service));
        let name: Result<Option<String>, _> = reader.read(account_name, optional(account_name_of));
        let services = match (queues?, blobs?, name?) {
            (Some(queues), Some(blobs), None) => Some((queues, blobs)),
            (None, None, Some(name)) => {
                let service = |kind| account_service("https", &name, kind, "core.windows.net");
                let services = service("queue").and_then(|queues| Ok((queues, service("blob")?)));
                Some(services.map_err(|reason| reader.fault(account_name.name, reason))?)
            }
            (None, None, None) => None,
            (Some(_), None, None) => {
                let reason = format!("is not set; it is required because {} is set", queue_uri.name);
                return Err(reader.fault(blob_uri.name, reason));
            }
            (None, Some(_), None) => {
                let reason = format!("is not set; it is required because {} is set", blob_uri.name);
                return Err(reader.fault(queue_uri.name, reason));
            }
            (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
                let reason = format!("and {} exclude each other", account_name.name);
                return Err(reader.fault(queue_uri.name, reason));
            }
        };
        match (account?, services) {
            (Some(account), None) => Ok(account),
            (None, Some((queues, blobs))) => {
                let client_id = client_id?;
                Ok(Self::new(queues, blobs, |service| StorageAccess::ManagedIdentity {
                    service,
                    client_id: client_id.clone(),
                }))
            }
            _ => {
                let reason = format!("and {} or {} exclude each other", queue_uri.name, account_name.name);
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

fn account_name_of(text: &str) -> Result<String, String> {
    let account = text.trim();
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if (3..=24).contains(&account.len()) && account.bytes().all(allowed) {
        Ok(account.to_owned())
    } else {
        Err("must name a storage account: 3 to 24 lower-case letters and digits".to_owned())
    }
}

/// Address of a service of the account: `queue` or `blob`.
fn account_service(protocol: &str, account: &str, kind: &str, suffix: &str) -> Result<Url, String> {
    base_url(&format!("{protocol}://{}.{kind}.{suffix}/", account_name_of(account)?))
}

/// Parses a connection string: entries separated by `;`, split at their first `=`, with case-insensitive names.
fn parse_connection_string(text: &str) -> Result<Account, String> {
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
    let service = |kind, endpoint: &str| match (entry(endpoint), entry("AccountName")) {
        (Some(url), _) => base_url(url).map_err(|reason| format!("has a {endpoint} that {reason}")),
        (None, Some(account)) => {
            let protocol = entry("DefaultEndpointsProtocol").unwrap_or("https");
            let suffix = entry("EndpointSuffix").unwrap_or("core.windows.net");
            account_service(protocol, account, kind, suffix)
                .map_err(|reason| format!("has no {endpoint}, and an AccountName that is not valid: it {reason}"))
        }
        (None, None) => Err(format!("has neither a {endpoint} nor an AccountName")),
    };
    let (queues, blobs) = (service("queue", "QueueEndpoint")?, service("blob", "BlobEndpoint")?);
    match (entry("AccountName"), entry("AccountKey"), entry("SharedAccessSignature")) {
        (Some(account), Some(key), _) => {
            STANDARD.decode(key).map_err(|_| "has an AccountKey that is not base64".to_owned())?;
            Ok(with_account_key(queues, blobs, account, key))
        }
        (_, None, Some(signature)) => {
            let signature = signature.strip_prefix('?').unwrap_or(signature);
            Ok(Account::new(queues, blobs, |service| StorageAccess::SharedAccessSignature {
                service,
                signature: signature.into(),
            }))
        }
        (None, Some(_), _) => Err("has an AccountKey but no AccountName".to_owned()),
        (_, None, None) => Err("has neither an AccountKey nor a SharedAccessSignature".to_owned()),
    }
}

fn with_account_key(queues: Url, blobs: Url, account: &str, key: &str) -> Account {
    Account::new(queues, blobs, |service| StorageAccess::AccountKey {
        service,
        account: account.to_owned(),
        key: key.into(),
    })
}

fn emulator(proxy: Option<&str>) -> Result<Account, String> {
    let service = |port| {
        let mut service = base_url(proxy.unwrap_or("http://127.0.0.1"))
            .map_err(|reason| format!("has a DevelopmentStorageProxyUri that {reason}"))?;
        if is_loopback(&service) && service.port().is_none() {
            // The emulator's own port. `set_port` fails for a URL without a host only.
            let _ = service.set_port(Some(port));
        }
        service.set_path(&format!("/{EMULATOR_ACCOUNT}/"));
        Ok::<_, String>(service)
    };
    Ok(with_account_key(service(10001)?, service(10000)?, EMULATOR_ACCOUNT, EMULATOR_KEY))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    /// Addresses of queue and blob service, and the account.
    fn account_key(text: &str) -> [String; 3] {
        let account = parse_connection_string(text).expect(text);
        match (account.queues, account.blobs) {
            (
                StorageAccess::AccountKey { service: queues, account, .. },
                StorageAccess::AccountKey { service: blobs, .. },
            ) => [queues.to_string(), blobs.to_string(), account],
            other => panic!("not an account key: {other:?}"),
        }
    }

    #[test]
    fn account_key_form_gives_the_public_endpoints() {
        let text =
            "DefaultEndpointsProtocol=https;AccountName=stmaxconf;AccountKey=a2V5;EndpointSuffix=core.windows.net";
        let expected = ["https://stmaxconf.queue.core.windows.net/", "https://stmaxconf.blob.core.windows.net/"];
        assert_eq!(account_key(text), [expected[0], expected[1], "stmaxconf"]);
    }

    #[test]
    fn names_are_case_insensitive_and_keys_keep_their_padding() {
        let text = "accountname=devstoreaccount1;ACCOUNTKEY=a2V5Cg==;\
            queueendpoint=http://127.0.0.1:4711/devstoreaccount1;BLOBENDPOINT=http://127.0.0.1:4712/devstoreaccount1;";
        let expected = ["http://127.0.0.1:4711/devstoreaccount1/", "http://127.0.0.1:4712/devstoreaccount1/"];
        assert_eq!(account_key(text), [expected[0], expected[1], "devstoreaccount1"]);
    }

    #[test]
    fn development_storage_is_the_emulator_on_this_machine() {
        let expected = ["http://127.0.0.1:10001/devstoreaccount1/", "http://127.0.0.1:10000/devstoreaccount1/"];
        assert_eq!(account_key("UseDevelopmentStorage=true"), [expected[0], expected[1], "devstoreaccount1"]);
    }

    #[test]
    fn signature_form_loses_its_question_mark() {
        let text = "QueueEndpoint=https://stmaxconf.queue.core.windows.net;\
            BlobEndpoint=https://stmaxconf.blob.core.windows.net;SharedAccessSignature=?sv=2026-04-06&sig=abc%3D";
        match parse_connection_string(text).expect("a signature").blobs {
            StorageAccess::SharedAccessSignature { service, signature } => {
                assert_eq!(service.as_str(), "https://stmaxconf.blob.core.windows.net/");
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
            "QueueEndpoint=https://queue4711.example.org;SharedAccessSignature=sig",
            "BlobEndpoint=https://blob4711.example.org;SharedAccessSignature=sig",
        ] {
            let reason = parse_connection_string(faulty).expect_err(faulty);
            assert!(!reason.contains("4711"), "{reason}");
        }
    }

    fn faults(settings: &[(&str, &str)]) -> Vec<String> {
        let source = |name: &str| settings.iter().find(|setting| setting.0 == name).map(|(_, value)| value.into());
        let mut reader = Reader::new(&source);
        let _ = Account::read(&mut reader);
        reader.faults.into_iter().map(|fault| fault.setting.to_owned()).collect()
    }

    #[test]
    fn a_managed_identity_needs_both_services_or_the_account() {
        let (queues, blobs) = ("https://st.queue.core.windows.net", "https://st.blob.core.windows.net");
        for (settings, faulty) in [
            (&[("PoolStorage__queueServiceUri", queues), ("PoolStorage__blobServiceUri", blobs)][..], None),
            (&[("PoolStorage__accountName", "stmaxconf")], None),
            (&[("PoolStorage__queueServiceUri", queues)], Some("PoolStorage__blobServiceUri")),
            (&[("PoolStorage__blobServiceUri", blobs)], Some("PoolStorage__queueServiceUri")),
            (
                &[("PoolStorage__queueServiceUri", queues), ("PoolStorage__accountName", "stmaxconf")],
                Some("PoolStorage__queueServiceUri"),
            ),
        ] {
            assert_eq!(faults(settings), Vec::from_iter(faulty.map(ToOwned::to_owned)), "{settings:?}");
        }
    }
}
