use std::io::{Read, Write};
use std::net::TcpStream;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::waiting::LIMIT;
use super::{Answer, TestApp, within};

impl TestApp {
    /// Sends exactly these bytes on a connection of their own; for what no HTTP client would send. Say
    /// `connection: close` in it: the answer ends where the service ends the connection.
    pub(crate) async fn send_raw(&self, request: impl Into<Vec<u8>>) -> Answer {
        let (host, port) = (self.url.host_str().expect("a host"), self.url.port().expect("a port"));
        let (address, request) = (format!("{host}:{port}"), request.into());
        let exchange = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.set_write_timeout(Some(LIMIT))?;
            // Whoever has been answered already may find the rest of the request unwanted.
            let _ = stream.write_all(&request);
            let mut answer = Vec::new();
            let end = stream.read_to_end(&mut answer);
            // A connection that is reset behind a complete answer has answered.
            if answer.is_empty() { end.map(|_| answer) } else { Ok(answer) }
        });
        let answer = within("the end of a connection", exchange).await.expect("no panic").expect("an answer");
        parsed(&answer)
    }
}

fn parsed(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no end of the head: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
        headers.append(name, HeaderValue::from_str(value.trim()).expect("a header's value"));
    }
    let status = status.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or_else(|| panic!("{head:?}"));
    Answer { status, headers, text: body.to_owned() }
}
