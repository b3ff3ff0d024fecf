//! The XML documents of the queue protocol.

use std::fmt::Write;
use std::time::SystemTime;

use quick_xml::Reader;
use quick_xml::escape::{escape, unescape};
use quick_xml::events::Event;
use time::OffsetDateTime;

use super::error::StorageError;
use super::store::Delivery;

/// Parts of a message in an operation's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Put: everything but the text.
    Sent,
    /// Get: everything.
    Received,
    /// Peek: no receipt, so no delete is possible.
    Peeked,
}

/// The text of a message; `None` if the body is empty.
pub(super) fn message_text(body: &str) -> Result<Option<String>, StorageError> {
    // The real service sends and accepts documents with a byte order mark.
    let body = body.trim_start_matches('\u{feff}');
    if body.trim().is_empty() {
        return Ok(None);
    }
    let mut reader = Reader::from_str(body);
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) if start.name().as_ref() == b"MessageText" => {
                let text = reader.read_text(start.name()).map_err(|_| StorageError::InvalidXmlDocument)?;
                let text = text.decode().map_err(|_| StorageError::InvalidXmlDocument)?;
                let text = unescape(&text).map_err(|_| StorageError::InvalidXmlDocument)?;
                return Ok(Some(text.into_owned()));
            }
            Ok(Event::Empty(empty)) if empty.name().as_ref() == b"MessageText" => {
                return Ok(Some(String::new()));
            }
            Ok(Event::Eof) | Err(_) => return Err(StorageError::InvalidXmlDocument),
            Ok(_) => {}
        }
    }
}

/// The list in answers of put, get and peek.
pub(super) fn message_list(deliveries: &[Delivery], shape: Shape) -> String {
    let mut xml = String::from(r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#);
    if deliveries.is_empty() {
        xml.push_str("<QueueMessagesList/>");
        return xml;
    }
    xml.push_str("<QueueMessagesList>");
    for delivery in deliveries {
        push(&mut xml, delivery, shape);
    }
    xml.push_str("</QueueMessagesList>");
    xml
}

/// The body of a refusal.
pub(super) fn error(code: &str, message: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?><Error><Code>{code}</Code><Message>{}</Message></Error>"#,
        escape(message)
    )
}

/// RFC 1123, the storage services' only date format; without fractions of a second.
pub(crate) fn date(at: OffsetDateTime) -> String {
    httpdate::fmt_http_date(SystemTime::from(at))
}

fn push(xml: &mut String, delivery: &Delivery, shape: Shape) {
    xml.push_str("<QueueMessage>");
    element(xml, "MessageId", &delivery.id);
    element(xml, "InsertionTime", &date(delivery.inserted_at));
    element(xml, "ExpirationTime", &date(delivery.expires_at));
    if shape != Shape::Peeked {
        element(xml, "PopReceipt", &delivery.pop_receipt);
        element(xml, "TimeNextVisible", &date(delivery.visible_at));
    }
    if shape != Shape::Sent {
        element(xml, "DequeueCount", &delivery.dequeue_count.to_string());
        element(xml, "MessageText", &escape(&delivery.text));
    }
    xml.push_str("</QueueMessage>");
}

fn element(xml: &mut String, name: &str, content: &str) {
    write!(xml, "<{name}>{content}</{name}>").expect("writing to a string cannot fail");
}
