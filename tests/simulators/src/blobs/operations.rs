//! The operations on containers and blobs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use super::BlobAccount;
use super::store::{Blob, Condition};
use crate::identifier::guid;
use crate::queue::ACCOUNT;
use crate::queue::error::StorageError;
use crate::queue::shared_access::{self, Query};
use crate::queue::shared_key;
use crate::queue::xml;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const VERSION: HeaderName = HeaderName::from_static("x-ms-version");
const BLOB_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-type");

/// What a list says of a blob's current version.
const VERSION_ID: &str = "<VersionId>2026-11-01T00:00:00.0000000Z</VersionId><IsCurrentVersion>true</IsCurrentVersion>";

/// One handler for all paths: permissions and signature depend on method, path and query together.
pub(super) fn router(account: Arc<BlobAccount>) -> Router {
    Router::new().fallback(answer).with_state(account)
}

async fn answer(State(account): State<Arc<BlobAccount>>, request: Request) -> Response {
    let echoed = [VERSION, CLIENT_REQUEST_ID].map(|name| (request.headers().get(&name).cloned(), name));
    let mut response = operate(&account, request).await.unwrap_or_else(IntoResponse::into_response);
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, HeaderValue::try_from(guid()).expect("a GUID is plain ASCII"));
    for (value, name) in echoed {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    response
}

/// What a request is about.
#[derive(Clone, Copy)]
enum Operation {
    CreateContainer,
    DeleteContainer,
    ReadContainer,
    List,
    Put,
    Get,
    Head,
    Delete,
}

impl Operation {
    fn of(method: &Method, is_blob: bool, query: &Query) -> Result<Self, StorageError> {
        let lists = query.get("comp").is_some_and(|comp| comp == "list");
        Ok(match (is_blob, method.as_str()) {
            (false, "PUT") => Self::CreateContainer,
            (false, "DELETE") => Self::DeleteContainer,
            (false, "GET") if lists => Self::List,
            (false, "GET" | "HEAD") => Self::ReadContainer,
            (true, "PUT") => Self::Put,
            (true, "GET") => Self::Get,
            (true, "HEAD") => Self::Head,
            (true, "DELETE") => Self::Delete,
            _ => return Err(StorageError::UnsupportedHttpVerb),
        })
    }

    /// Resource type in an account SAS, and the permissions of which one suffices.
    fn needs(self, has_condition: bool) -> (char, &'static [char]) {
        match self {
            Self::CreateContainer => ('c', &['c', 'w']),
            Self::DeleteContainer => ('c', &['d']),
            Self::ReadContainer => ('c', &['r']),
            Self::List => ('c', &['l']),
            // `c` alone creates but cannot change.
            Self::Put if has_condition => ('o', &['c', 'w']),
            Self::Put => ('o', &['w']),
            Self::Get | Self::Head => ('o', &['r']),
            Self::Delete => ('o', &['d']),
        }
    }
}

async fn operate(account: &BlobAccount, request: Request) -> Result<Response, StorageError> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().strip_prefix('/').and_then(|path| path.strip_prefix(ACCOUNT));
    let path = path.and_then(|path| path.strip_prefix('/')).ok_or(StorageError::InvalidResourceName)?;
    let (container, blob) = path.split_once('/').map_or((path, None), |(container, blob)| (container, Some(blob)));
    let blob = blob.map(|blob| percent_decode_str(blob).decode_utf8_lossy().into_owned());
    let query: Query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.into_owned()))
        .collect();
    let operation = Operation::of(&parts.method, blob.is_some(), &query)?;
    if !is_public_read(account, &parts, &query, container, operation) {
        check(account, &parts, &query, operation)?;
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.map_err(|_| StorageError::RequestBodyTooLarge)?;

    let mut store = account.store();
    let blob = blob.unwrap_or_default();
    let condition = condition(&parts.headers);
    Ok(match operation {
        Operation::CreateContainer => {
            store.create(container)?;
            StatusCode::CREATED.into_response()
        }
        Operation::DeleteContainer => {
            store.drop_container(container)?;
            StatusCode::ACCEPTED.into_response()
        }
        Operation::ReadContainer => {
            store.exists(container)?;
            StatusCode::OK.into_response()
        }
        Operation::List => {
            let field = |name: &str| query.get(name).map_or("", String::as_str);
            let listed = store.list(container, field("prefix"), field("marker"))?;
            let most = field("maxresults").parse().unwrap_or(5000);
            let includes = |what: &str| field("include").split(',').any(|included| included == what);
            let version = if store.has_versions && includes("versions") { VERSION_ID } else { "" };
            let mut items: Vec<_> = listed.iter().map(|(name, blob)| item(name, blob, version)).collect();
            let deleted = store.deleted.as_ref().and_then(|deleted| deleted.get(container)).into_iter().flatten();
            if includes("deleted") {
                items.extend(deleted.map(|(name, blob)| item(name, blob, "<Deleted>true</Deleted>")));
            }
            ([(header::CONTENT_TYPE, "application/xml")], list(container, &items, most)).into_response()
        }
        Operation::Put => {
            if parts.headers.get(BLOB_TYPE).is_none_or(|kind| kind != "BlockBlob") {
                return Err(StorageError::MissingRequiredHeader);
            }
            let put = store.put(container, &blob, body.to_vec(), &condition)?;
            with_version(StatusCode::CREATED.into_response(), &put)
        }
        Operation::Get => content(&store.get(container, &blob)?, &parts.headers)?,
        Operation::Head => {
            let found = store.get(container, &blob)?;
            let length = (header::CONTENT_LENGTH, HeaderValue::from(found.content.len()));
            let head = ([length, (BLOB_TYPE, HeaderValue::from_static("BlockBlob"))]).into_response();
            with_version(head, &found)
        }
        Operation::Delete => {
            store.delete(container, &blob, &condition)?;
            StatusCode::ACCEPTED.into_response()
        }
    })
}

/// Whether anybody may read this blob. Other credentials are checked even then.
fn is_public_read(
    account: &BlobAccount,
    request: &Parts,
    query: &Query,
    container: &str,
    operation: Operation,
) -> bool {
    let is_anonymous = !request.headers.contains_key(header::AUTHORIZATION) && !query.contains_key("sig");
    is_anonymous && matches!(operation, Operation::Get | Operation::Head) && account.store().is_public(container)
}

/// Accepts the account key, an account SAS or, if the account allows it, any bearer token.
fn check(account: &BlobAccount, request: &Parts, query: &Query, operation: Operation) -> Result<(), StorageError> {
    let Some(authorization) = request.headers.get(header::AUTHORIZATION) else {
        if !query.contains_key("sig") {
            return Err(StorageError::AuthorizationFailure);
        }
        let (kind, permissions) = operation.needs(request.headers.contains_key(header::IF_NONE_MATCH));
        return shared_access::check_for_account(&account.key, query, 'b', kind, permissions);
    };
    let authorization = authorization.to_str().unwrap_or_default();
    if authorization.starts_with("Bearer ") && account.accepts_bearer_tokens.load(Ordering::Relaxed) {
        return Ok(());
    }
    let text = shared_key::string_to_sign(&request.method, &request.uri, &request.headers);
    match authorization.strip_prefix(&format!("SharedKey {ACCOUNT}:")) {
        Some(signature) if account.key.verifies(&text, signature) => Ok(()),
        _ => Err(StorageError::AuthenticationFailed),
    }
}

fn condition(headers: &HeaderMap) -> Condition {
    let etag = |name| headers.get(name)?.to_str().ok().map(|value| value.trim_matches('"').to_owned());
    Condition { if_match: etag(header::IF_MATCH), if_none_match: etag(header::IF_NONE_MATCH) }
}

/// The part that `Range` asks for, which the SDK always sends.
fn content(blob: &Blob, headers: &HeaderMap) -> Result<Response, StorageError> {
    let length = blob.content.len();
    let range = [HeaderName::from_static("x-ms-range"), header::RANGE].into_iter().find_map(|name| headers.get(name));
    let range = range.and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'));
    let mut response = match range {
        None => blob.content.clone().into_response(),
        Some((first, last)) => {
            let first: usize = first.parse().map_err(|_| StorageError::InvalidRange)?;
            let last = last.parse().unwrap_or(usize::MAX).min(length.saturating_sub(1));
            let part = blob.content.get(first..=last).ok_or(StorageError::InvalidRange)?;
            let range = format!("bytes {first}-{last}/{length}");
            (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, range)], part.to_vec()).into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(BLOB_TYPE, HeaderValue::from_static("BlockBlob"));
    Ok(with_version(response, blob))
}

/// Versions (`ETag`) are quoted in headers.
fn with_version(mut response: Response, blob: &Blob) -> Response {
    let headers = response.headers_mut();
    let value = |text: String| HeaderValue::try_from(text).expect("plain ASCII");
    headers.insert(header::ETAG, value(format!("\"{}\"", blob.etag)));
    headers.insert(header::LAST_MODIFIED, value(xml::date(blob.modified_at)));
    response
}

/// Versions (`ETag`) are bare in lists. `more` are elements of soft delete or versioning.
fn item(name: &str, blob: &Blob, more: &str) -> (String, String) {
    let (modified, etag, length) = (xml::date(blob.modified_at), &blob.etag, blob.content.len());
    let text = format!(
        "<Blob><Name>{name}</Name>{more}<Properties><Last-Modified>{modified}</Last-Modified><Etag>{etag}</Etag>\
         <Content-Length>{length}</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob>"
    );
    (name.to_owned(), text)
}

fn list(container: &str, items: &[(String, String)], most: usize) -> String {
    let listed: String = items.iter().take(most).map(|(_, text)| text.as_str()).collect();
    let marker = items.get(most).and(items.get(most.saturating_sub(1))).map_or("", |(name, _)| name);
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="" ContainerName="{container}"><Blobs>{listed}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"#
    )
}
