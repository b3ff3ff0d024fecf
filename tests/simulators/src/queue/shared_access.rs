//! Shared access signatures: permissions in the query of an address ("Create an account SAS", "Create a service SAS").

use std::collections::BTreeMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::form_urlencoded;

use super::ACCOUNT;
use super::authentication::Access;
use super::error::StorageError;
use super::shared_key::AccountKey;

/// Decides which string is signed; from 2020-12-06 on the account form ends with the encryption scope.
const VERSION: &str = "2022-11-02";

/// The query of a request, by parameter.
pub(crate) type Query = BTreeMap<String, String>;

/// An account SAS for all resource types of the queue and the blob service.
pub(super) fn for_account(key: &AccountKey, permissions: &str, until: OffsetDateTime) -> String {
    let mut query = signed_fields(permissions, until);
    query.insert("ss".to_owned(), "bq".to_owned());
    query.insert("srt".to_owned(), "sco".to_owned());
    signed(key, &account_text(&query), query)
}

/// A service SAS for one queue.
pub(super) fn for_queue(key: &AccountKey, queue: &str, permissions: &str, until: OffsetDateTime) -> String {
    let query = signed_fields(permissions, until);
    signed(key, &queue_text(&query, queue), query)
}

/// Checks signature, time, protocol and permissions, in the official emulator's order.
pub(super) fn check(key: &AccountKey, query: &Query, queue: &str, access: Access) -> Result<(), StorageError> {
    if query.contains_key("ss") {
        return check_for_account(key, query, 'q', access.resource_type(), access.account_permissions());
    }
    check_signature(key, query, &queue_text(query, queue))?;
    match access.queue_permission() {
        Some(needed) if field(query, "sp").contains(needed) => Ok(()),
        _ => Err(StorageError::AuthorizationPermissionMismatch),
    }
}

/// The same for an account SAS: service, resource type, and the permissions of which one suffices.
pub(crate) fn check_for_account(
    key: &AccountKey,
    query: &Query,
    service: char,
    resource_type: char,
    permissions: &[char],
) -> Result<(), StorageError> {
    check_signature(key, query, &account_text(query))?;
    if !field(query, "ss").contains(service) {
        return Err(StorageError::AuthorizationServiceMismatch);
    }
    if !field(query, "srt").contains(resource_type) {
        return Err(StorageError::AuthorizationResourceTypeMismatch);
    }
    if !field(query, "sp").contains(permissions) {
        return Err(StorageError::AuthorizationPermissionMismatch);
    }
    Ok(())
}

fn check_signature(key: &AccountKey, query: &Query, text: &str) -> Result<(), StorageError> {
    if !key.verifies(text, field(query, "sig")) {
        return Err(StorageError::AuthenticationFailed);
    }
    if !is_current(query) {
        return Err(StorageError::AuthorizationFailure);
    }
    if field(query, "spr") == "https" {
        return Err(StorageError::AuthorizationProtocolMismatch);
    }
    Ok(())
}

fn signed_fields(permissions: &str, until: OffsetDateTime) -> Query {
    let until =
        until.replace_nanosecond(0).unwrap_or(until).format(&Rfc3339).expect("a date of our time has an RFC 3339 form");
    [("sv", VERSION), ("sp", permissions), ("se", &until)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

fn signed(key: &AccountKey, text: &str, query: Query) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(query).append_pair("sig", &key.sign(text)).finish()
}

fn account_text(query: &Query) -> String {
    let fields = ["sp", "ss", "srt", "st", "se", "sip", "spr", "sv", "ses"];
    let lines: String = fields.map(|name| format!("{}\n", field(query, name))).concat();
    format!("{ACCOUNT}\n{lines}")
}

fn queue_text(query: &Query, queue: &str) -> String {
    let resource = format!("/queue/{ACCOUNT}/{queue}");
    [
        field(query, "sp"),
        field(query, "st"),
        field(query, "se"),
        &resource,
        field(query, "si"),
        field(query, "sip"),
        field(query, "spr"),
        field(query, "sv"),
    ]
    .join("\n")
}

/// ISO 8601 in UTC sorts as text, also where a SAS leaves out seconds or the time of day.
fn is_current(query: &Query) -> bool {
    let now = OffsetDateTime::now_utc().format(&Rfc3339).expect("the present has an RFC 3339 form");
    let (start, expiry) = (field(query, "st"), field(query, "se"));
    start.trim_end_matches('Z') <= now.as_str() && now.as_str() < expiry.trim_end_matches('Z')
}

fn field<'a>(query: &'a Query, name: &str) -> &'a str {
    query.get(name).map_or("", String::as_str)
}
