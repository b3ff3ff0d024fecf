//! Parsers of setting values. A parser's error completes the sentence that starts with the setting's name.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use url::{Host, Url};

/// An account name or a password as it is: a `String` or a `SecretString`, which every text can become. A vault or a
/// pipeline may have added the end of a line, with which every login would be refused.
pub(super) fn text<T: for<'a> From<&'a str>>(text: &str) -> Result<T, String> {
    if text.contains(|character: char| character.is_control() || "\u{2028}\u{2029}".contains(character)) {
        return Err("must have no control characters in it, such as the end of a line".to_owned());
    }
    Ok(T::from(text))
}

/// What `parse` reads, or the empty value of `T` if the setting is not set.
pub(super) fn optional<T: Default + From<P>, P>(
    parse: impl FnOnce(&str) -> Result<P, String>,
) -> impl FnOnce(&str) -> Result<T, String> {
    |text| if text.is_empty() { Ok(T::default()) } else { parse(text).map(T::from) }
}

/// Key of a hash: long enough that it cannot be guessed.
pub(super) fn hash_key(text: &str) -> Result<SecretString, String> {
    if text.len() < 16 { Err("must have at least 16 characters".to_owned()) } else { Ok(text.into()) }
}

/// One of these values.
pub(super) fn one_of<T: Copy>(choices: &[(&str, T)]) -> impl FnOnce(&str) -> Result<T, String> {
    move |text| {
        let chosen = choices.iter().find(|(word, _)| *word == text.trim());
        chosen.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            format!("must be one of {}", words.join(", "))
        })
    }
}

/// Seconds from `least` to `most`.
pub(super) fn seconds(least: u64, most: u64) -> impl FnOnce(&str) -> Result<Duration, String> {
    move |text| whole_number(least, most)(text).map(Duration::from_secs)
}

/// A whole number from `least` to `most`.
pub(super) fn whole_number<N>(least: N, most: N) -> impl FnOnce(&str) -> Result<N, String>
where
    N: FromStr + PartialOrd + Display,
{
    move |text| match text.trim().parse() {
        Ok(number) if number >= least && number <= most => Ok(number),
        _ => Err(format!("must be a whole number from {least} to {most}")),
    }
}

/// 1 or more comma-separated entries, none of them empty.
pub(super) fn list(text: &str) -> Result<Vec<String>, String> {
    let entries: Vec<String> = text.split(',').map(|entry| entry.trim().to_owned()).collect();
    if entries.iter().any(String::is_empty) {
        return Err("must be a comma-separated list without empty entries".to_owned());
    }
    Ok(entries)
}

/// Base URL of another system: a [`secure_url`] without a query. Ends in `/`.
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

/// A URL that secrets can be sent to: https, or http on a loopback address; without account and fragment.
pub(crate) fn secure_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|_| "must be a URL that starts with https://".to_owned())?;
    if !is_secure(&url) {
        return Err("must start with https:// (http:// is accepted for loopback addresses only)".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("must have no account, query or fragment in it".to_owned());
    }
    Ok(url)
}

/// Whether the URL is https, or http on a loopback address.
pub(super) fn is_secure(url: &Url) -> bool {
    url.scheme() == "https" || url.scheme() == "http" && is_loopback(url)
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
    let has_form = |(index, byte): (usize, u8)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    if text.len() == 36 && text.bytes().enumerate().all(has_form) {
        Ok(text)
    } else {
        Err("must be a GUID such as aaaabbbb-0000-cccc-1111-dddd2222eeee".to_owned())
    }
}
