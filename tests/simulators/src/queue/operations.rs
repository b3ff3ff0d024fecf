//! The operations on queues and messages.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use url::form_urlencoded;

use super::authentication::{self, Access};
use super::error::StorageError;
use super::shared_access::Query;
use super::store::{Created, Metadata};
use super::xml::{self, Shape};
use super::{ACCOUNT, Account, DEFAULT_TIME_TO_LIVE};
use crate::identifier::guid;

const LONGEST_TEXT: usize = 64 * 1024;
const LONGEST_VISIBILITY: i64 = 7 * 24 * 60 * 60;
const DEFAULT_VISIBILITY: i64 = 30;
const MOST_MESSAGES: i64 = 32;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const VERSION: HeaderName = HeaderName::from_static("x-ms-version");
const COUNT: HeaderName = HeaderName::from_static("x-ms-approximate-messages-count");
const POP_RECEIPT: HeaderName = HeaderName::from_static("x-ms-popreceipt");
const NEXT_VISIBLE: HeaderName = HeaderName::from_static("x-ms-time-next-visible");
const METADATA_PREFIX: &str = "x-ms-meta-";

/// One handler for all paths: permissions and signature depend on method, path and query together.
pub(super) fn router(account: Arc<Account>) -> Router {
    Router::new().fallback(answer).with_state(account)
}

async fn answer(State(account): State<Arc<Account>>, request: Request) -> Response {
    let version = request.headers().get(VERSION).cloned();
    let mut response = operate(&account, request).await.unwrap_or_else(IntoResponse::into_response);
    let headers = response.headers_mut();
    let request_id = HeaderValue::try_from(guid()).expect("a GUID is plain ASCII");
    headers.insert(REQUEST_ID, request_id);
    if let Some(version) = version {
        headers.insert(VERSION, version);
    }
    response
}

async fn operate(account: &Account, request: Request) -> Result<Response, StorageError> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let segments: Vec<_> = path
        .strip_prefix('/')
        .and_then(|path| path.strip_prefix(ACCOUNT))
        .and_then(|path| path.strip_prefix('/'))
        .ok_or(StorageError::InvalidResourceName)?
        .split('/')
        .collect();
    let query: Query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.into_owned()))
        .collect();
    let access = Access::of(&parts.method, &segments, &query)?;
    let queue = segments[0];
    check_name(queue)?;
    authentication::check(account, &parts, queue, &query, access)?;

    let body = axum::body::to_bytes(body, usize::MAX).await.map_err(|_| StorageError::InvalidXmlDocument)?;
    let operation = Operation {
        account,
        queue,
        message: segments.get(2).copied().unwrap_or_default(),
        query,
        body: String::from_utf8(body.into()).map_err(|_| StorageError::InvalidXmlDocument)?,
    };
    match access {
        Access::CreateQueue => operation.create(&parts.headers),
        Access::DeleteQueue => operation.delete_queue(),
        Access::ReadQueue => operation.properties(),
        Access::Clear => operation.clear(),
        Access::Add => operation.put(),
        Access::Peek => operation.peek(),
        Access::Process if operation.message.is_empty() => operation.receive(),
        Access::Process => operation.delete_message(),
        Access::Update => operation.update(),
    }
}

/// "Naming queues and metadata", Storage REST reference.
fn check_name(name: &str) -> Result<(), StorageError> {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = name.as_bytes();
    if !bytes.iter().all(|&c| plain(c) || c == b'-')
        || bytes.starts_with(b"-")
        || bytes.ends_with(b"-")
        || name.contains("--")
        || name.is_empty()
    {
        return Err(StorageError::InvalidResourceName);
    }
    if !(3..=63).contains(&name.len()) {
        return Err(StorageError::OutOfRangeInput);
    }
    Ok(())
}

struct Operation<'a> {
    account: &'a Account,
    queue: &'a str,
    /// Empty unless the request concerns one message.
    message: &'a str,
    query: Query,
    body: String,
}

impl Operation<'_> {
    fn create(&self, headers: &HeaderMap) -> Result<Response, StorageError> {
        if self.query.contains_key("comp") {
            return Err(StorageError::InvalidQueryParameterValue);
        }
        let created = self.account.store().create(self.queue, metadata(headers))?;
        Ok(match created {
            Created::New => StatusCode::CREATED.into_response(),
            Created::AlreadyThere => StatusCode::NO_CONTENT.into_response(),
        })
    }

    fn delete_queue(&self) -> Result<Response, StorageError> {
        self.account.store().delete(self.queue)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    fn properties(&self) -> Result<Response, StorageError> {
        if self.query.get("comp").is_none_or(|comp| comp != "metadata") {
            return Err(StorageError::InvalidQueryParameterValue);
        }
        let mut store = self.account.store();
        let queue = store.open(self.queue)?;
        let mut response = StatusCode::OK.into_response();
        let headers = response.headers_mut();
        headers.insert(COUNT, HeaderValue::from(queue.count()));
        for (name, value) in queue.metadata() {
            let name = HeaderName::try_from(format!("{METADATA_PREFIX}{name}"));
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
        Ok(response)
    }

    fn clear(&self) -> Result<Response, StorageError> {
        self.account.store().open(self.queue)?.clear();
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    fn put(&self) -> Result<Response, StorageError> {
        let text = self.text()?.ok_or(StorageError::InvalidXmlDocument)?;
        let hidden = self.seconds_between(0, LONGEST_VISIBILITY)?;
        let time_to_live = match self.number("messagettl")? {
            None => Some(DEFAULT_TIME_TO_LIVE),
            Some(-1) => None,
            Some(lifetime) if lifetime >= 1 && hidden.is_none_or(|hidden| hidden < lifetime) => Some(seconds(lifetime)),
            Some(_) => return Err(StorageError::InvalidQueryParameterValue),
        };
        let sent = self.account.store().open(self.queue)?.put(text, seconds(hidden.unwrap_or_default()), time_to_live);
        let list = xml::message_list(&[sent], Shape::Sent);
        Ok((StatusCode::CREATED, document(list)).into_response())
    }

    fn receive(&self) -> Result<Response, StorageError> {
        let visibility = self.seconds_between(1, LONGEST_VISIBILITY)?.unwrap_or(DEFAULT_VISIBILITY);
        let most = self.most_messages()?;
        let received = self.account.store().open(self.queue)?.receive(most, seconds(visibility));
        Ok(document(xml::message_list(&received, Shape::Received)))
    }

    fn peek(&self) -> Result<Response, StorageError> {
        let most = self.most_messages()?;
        let peeked = self.account.store().open(self.queue)?.peek(most);
        Ok(document(xml::message_list(&peeked, Shape::Peeked)))
    }

    fn delete_message(&self) -> Result<Response, StorageError> {
        let receipt = self.pop_receipt()?;
        let mut store = self.account.store();
        store.open(self.queue)?.delete(self.message, receipt)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    fn update(&self) -> Result<Response, StorageError> {
        let text = self.text()?;
        let receipt = self.pop_receipt()?;
        let visibility =
            self.seconds_between(0, LONGEST_VISIBILITY)?.ok_or(StorageError::MissingRequiredQueryParameter)?;
        let updated =
            self.account.store().open(self.queue)?.update(self.message, receipt, seconds(visibility), text)?;
        let headers = [(POP_RECEIPT, updated.pop_receipt), (NEXT_VISIBLE, xml::date(updated.visible_at))];
        Ok((StatusCode::NO_CONTENT, headers).into_response())
    }

    fn text(&self) -> Result<Option<String>, StorageError> {
        let text = xml::message_text(&self.body)?;
        if text.as_ref().is_some_and(|text| text.len() > LONGEST_TEXT) {
            return Err(StorageError::RequestBodyTooLarge);
        }
        Ok(text)
    }

    fn pop_receipt(&self) -> Result<&str, StorageError> {
        self.query.get("popreceipt").map(String::as_str).ok_or(StorageError::MissingRequiredQueryParameter)
    }

    fn most_messages(&self) -> Result<usize, StorageError> {
        let most = self.number("numofmessages")?.unwrap_or(1);
        usize::try_from(most)
            .ok()
            .filter(|_| (1..=MOST_MESSAGES).contains(&most))
            .ok_or(StorageError::OutOfRangeQueryParameterValue)
    }

    fn seconds_between(&self, least: i64, most: i64) -> Result<Option<i64>, StorageError> {
        match self.number("visibilitytimeout")? {
            Some(seconds) if !(least..=most).contains(&seconds) => Err(StorageError::OutOfRangeQueryParameterValue),
            seconds => Ok(seconds),
        }
    }

    fn number(&self, parameter: &str) -> Result<Option<i64>, StorageError> {
        self.query
            .get(parameter)
            .map(|text| text.parse())
            .transpose()
            .map_err(|_| StorageError::InvalidQueryParameterValue)
    }
}

fn metadata(headers: &HeaderMap) -> Metadata {
    headers
        .iter()
        .filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(METADATA_PREFIX)?;
            Some((name.to_owned(), value.to_str().ok()?.to_owned()))
        })
        .collect()
}

fn document(xml: String) -> Response {
    ([(header::CONTENT_TYPE, "application/xml")], xml).into_response()
}

/// Callers have checked that the number is not negative.
fn seconds(number: i64) -> Duration {
    Duration::from_secs(number.unsigned_abs())
}
