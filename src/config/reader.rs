use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use url::{Host, Url};

/// One environment variable: what `--help` and the README say of it.
#[derive(Debug)]
pub struct Setting {
    pub name: &'static str,
    pub default: Default,
    /// What it means, with its unit, in words for an operator.
    pub meaning: &'static str,
}

/// What holds when a variable is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// This value.
    Value(&'static str),
    /// Nothing: the service does not start without it.
    Required,
    /// Nothing; what that means is said in these words.
    Described(&'static str),
}

impl fmt::Display for Default {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Value(text) | Self::Described(text) => text,
            Self::Required => "required",
        })
    }
}

/// A setting that cannot be used, and why. Never its value, which could be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultySetting {
    pub setting: &'static str,
    pub reason: String,
}

/// Reads settings and keeps what is wrong until all are read.
pub(super) struct Reader<'a> {
    source: &'a dyn Fn(&str) -> Option<OsString>,
    faults: Vec<FaultySetting>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { source, faults: Vec::new() }
    }

    pub(super) fn take_faults(&mut self) -> Vec<FaultySetting> {
        std::mem::take(&mut self.faults)
    }

    pub(super) fn fault(&mut self, setting: &Setting, reason: impl Into<String>) {
        self.faults.push(FaultySetting { setting: setting.name, reason: reason.into() });
    }

    /// The value of a setting that has a default or is required; `None` (with a fault kept) if it cannot be used.
    pub(super) fn value<T>(&mut self, setting: &Setting, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        match (self.raw(setting)?, setting.default) {
            (Some(text), _) => self.parsed(setting, &text, parse),
            (None, Default::Value(text)) => self.parsed(setting, text, parse),
            (None, Default::Required | Default::Described(_)) => {
                self.fault(setting, "is not set");
                None
            }
        }
    }

    /// The value of a setting that may be missing: `Some(None)` if it is, `None` (with a fault kept) if it is faulty.
    #[expect(clippy::option_option, reason = "faulty and absent are two answers")]
    pub(super) fn optional<T>(
        &mut self,
        setting: &Setting,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        match self.raw(setting)? {
            Some(text) => self.parsed(setting, &text, parse).map(Some),
            None => Some(None),
        }
    }

    /// A required secret.
    pub(super) fn secret(&mut self, setting: &Setting) -> Option<SecretString> {
        self.value(setting, |text| Ok(SecretString::from(text)))
    }

    pub(super) fn is_set(&self, setting: &Setting) -> bool {
        (self.source)(setting.name).is_some_and(|value| !value.is_empty())
    }

    fn parsed<T>(&mut self, setting: &Setting, text: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        parse(text).map_err(|reason| self.fault(setting, reason)).ok()
    }

    /// An empty value counts as not set: that is how a portal and a pipeline leave a setting out.
    #[expect(clippy::option_option, reason = "faulty and absent are two answers")]
    fn raw(&mut self, setting: &Setting) -> Option<Option<String>> {
        let Some(value) = (self.source)(setting.name).filter(|value| !value.is_empty()) else {
            return Some(None);
        };
        let Ok(text) = value.into_string() else {
            self.fault(setting, "is not valid UTF-8");
            return None;
        };
        // App Service leaves the literal reference in place when it could not read the secret behind it.
        if text.trim_start().starts_with("@Microsoft.KeyVault(") {
            self.fault(
                setting,
                "is a Key Vault reference that did not resolve; check the identity's access to the vault",
            );
            return None;
        }
        Some(Some(text))
    }
}

/// Seconds from `least` to `most`.
pub(super) fn seconds(least: u64, most: u64) -> impl FnOnce(&str) -> Result<Duration, String> {
    move |text| whole_number(least, most)(text).map(Duration::from_secs)
}

/// A whole number from `least` to `most`.
pub(super) fn whole_number<N>(least: N, most: N) -> impl FnOnce(&str) -> Result<N, String>
where
    N: std::str::FromStr + PartialOrd + fmt::Display,
{
    move |text| match text.trim().parse() {
        Ok(number) if number >= least && number <= most => Ok(number),
        _ => Err(format!("must be a whole number from {least} to {most}")),
    }
}

/// Entries between commas, each without the blanks around it; at least one, none empty.
pub(super) fn list(text: &str) -> Result<Vec<String>, String> {
    let entries: Vec<String> = text.split(',').map(|entry| entry.trim().to_owned()).collect();
    if entries.iter().any(String::is_empty) {
        return Err("must be a comma-separated list without empty entries".to_owned());
    }
    Ok(entries)
}

/// The base of an outside system: https, or http on a loopback address; no account, query or fragment in it.
pub(crate) fn base_url(text: &str) -> Result<Url, String> {
    let mut url = secure_url(text)?;
    if url.query().is_some() {
        return Err("must have no account, query or fragment in it".to_owned());
    }
    // A base without the final slash would lose its last segment when a path is joined to it.
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// Where something secret can be sent: https, or http on a loopback address; no account or fragment in it.
pub(crate) fn secure_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|_| "must be a URL that starts with https://".to_owned())?;
    if !(url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url)) {
        return Err("must start with https:// (http:// is accepted for loopback addresses only)".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("must have no account, query or fragment in it".to_owned());
    }
    Ok(url)
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A GUID as Entra and Genesys write it, in lower case.
pub(super) fn guid(text: &str) -> Result<String, String> {
    let text = text.trim().to_ascii_lowercase();
    let form = |(index, byte): (usize, u8)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    if text.len() == 36 && text.bytes().enumerate().all(form) {
        Ok(text)
    } else {
        Err("must be a GUID such as aaaabbbb-0000-cccc-1111-dddd2222eeee".to_owned())
    }
}
