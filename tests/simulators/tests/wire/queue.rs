use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use maxconf_simulators::QueueSimulator;
use maxconf_simulators::queue::{ACCOUNT_KEY, account_sas};
use reqwest::{Client, Method, Response};

use crate::client;

struct Account {
    queue: QueueSimulator,
    client: Client,
    sas: String,
}

impl Account {
    async fn start() -> Self {
        let queue = QueueSimulator::start().await;
        Self { client: client(), sas: account_sas(), queue }
    }

    async fn send(&self, method: Method, path: &str, query: &str, body: &str) -> Response {
        let url = format!("{}/{path}?{query}&{}", self.queue.url(), self.sas);
        self.client.request(method, url).body(body.to_owned()).send().await.expect("an answer")
    }

    async fn receive(&self, query: &str) -> String {
        let answer = self.send(Method::GET, "rooms/messages", query, "").await;
        assert_eq!(answer.status(), 200);
        answer.text().await.expect("a body")
    }

    async fn delete(&self, received: &str) -> (u16, String) {
        let receipt = element(received, "PopReceipt").replace('+', "%2B");
        let path = format!("rooms/messages/{}", element(received, "MessageId"));
        outcome(&self.send(Method::DELETE, &path, &format!("popreceipt={receipt}"), "").await)
    }
}

fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let (_, rest) = xml.split_once(&format!("<{name}>")).expect("the element");
    rest.split_once('<').expect("its end").0
}

fn outcome(answer: &Response) -> (u16, String) {
    let code = answer.headers().get("x-ms-error-code").map(|code| code.to_str().expect("plain text"));
    (answer.status().as_u16(), code.unwrap_or_default().to_owned())
}

#[tokio::test]
async fn only_the_latest_receipt_deletes_and_only_once() {
    let account = Account::start().await;
    account.queue.put("rooms", "a < b & c");

    let first = account.receive("visibilitytimeout=30").await;
    assert_eq!(element(&first, "MessageText"), "a &lt; b &amp; c");
    assert!(account.receive("").await.ends_with("<QueueMessagesList/>"));
    account.queue.advance(Duration::from_secs(31));
    let second = account.receive("visibilitytimeout=30").await;
    assert_eq!(element(&second, "DequeueCount"), "2");
    account.queue.advance(Duration::from_secs(31));

    assert_eq!(account.delete(&first).await, (400, "PopReceiptMismatch".to_owned()));
    assert_eq!(account.delete(&second).await, (204, String::new()));
    assert_eq!(account.delete(&second).await, (404, "MessageNotFound".to_owned()));
}

#[tokio::test]
async fn messages_are_hidden_counted_and_expire() {
    let account = Account::start().await;
    assert_eq!(account.send(Method::PUT, "rooms", "", "").await.status(), 201);
    assert_eq!(account.send(Method::PUT, "rooms", "", "").await.status(), 204);
    let message = "<QueueMessage><MessageText>x</MessageText></QueueMessage>";
    let put = |query: &'static str| account.send(Method::POST, "rooms/messages", query, message);

    assert_eq!(put("messagettl=100&visibilitytimeout=60").await.status(), 201);
    let never = put("messagettl=-1").await.text().await.expect("a body");
    assert_eq!(element(&never, "ExpirationTime"), "Fri, 31 Dec 9999 23:59:59 GMT");
    assert_eq!(outcome(&put("visibilitytimeout=604801").await).1, "OutOfRangeQueryParameterValue");
    assert_eq!(outcome(&put("visibilitytimeout=60&messagettl=60").await).1, "InvalidQueryParameterValue");

    let count = || async {
        let answer = account.send(Method::GET, "rooms", "comp=metadata", "").await;
        answer.headers()["x-ms-approximate-messages-count"].to_str().expect("plain text").to_owned()
    };
    assert_eq!(count().await, "2");
    assert_eq!(account.receive("numofmessages=32&peekonly=true").await.matches("<QueueMessage>").count(), 1);
    account.queue.advance(Duration::from_secs(61));
    assert_eq!(account.receive("numofmessages=32").await.matches("<QueueMessage>").count(), 2);
    account.queue.advance(Duration::from_secs(40));
    assert_eq!(count().await, "1");
}

#[tokio::test]
async fn an_update_gives_a_new_receipt_and_keeps_the_text() {
    let account = Account::start().await;
    account.queue.put("rooms", "name");
    let received = account.receive("").await;
    let receipt = element(&received, "PopReceipt").replace('+', "%2B");
    let path = format!("rooms/messages/{}", element(&received, "MessageId"));

    let updated = account.send(Method::PUT, &path, &format!("popreceipt={receipt}&visibilitytimeout=0"), "").await;

    assert_eq!(updated.status(), 204);
    assert!(updated.headers().contains_key("x-ms-popreceipt"));
    assert_eq!(account.delete(&received).await.0, 400);
    assert_eq!(element(&account.receive("").await, "MessageText"), "name");
}

#[tokio::test]
async fn errors_have_their_codes() {
    let account = Account::start().await;

    let missing = account.send(Method::GET, "absent/messages", "", "").await;
    assert_eq!(outcome(&missing), (404, "QueueNotFound".to_owned()));
    let body = missing.text().await.expect("a body");
    assert_eq!(element(&body, "Code"), "QueueNotFound");
    let many = account.send(Method::GET, "absent/messages", "numofmessages=33", "").await;
    assert_eq!(outcome(&many), (400, "OutOfRangeQueryParameterValue".to_owned()));

    let unsigned = account.client.get(format!("{}/rooms/messages", account.queue.url())).send().await;
    assert_eq!(unsigned.expect("an answer").status(), 403);
    let forged = format!("{}/rooms?{}", account.queue.url(), account.sas.replace("sp=raupdlcw", "sp=raupdlcwx"));
    let forged = account.client.put(forged).send().await.expect("an answer");
    assert_eq!(outcome(&forged), (403, "AuthenticationFailed".to_owned()));
    let narrow = format!("{}/rooms?{}", account.queue.url(), account.queue.queue_sas("rooms", "raup"));
    let narrow = account.client.put(narrow).send().await.expect("an answer");
    assert_eq!(outcome(&narrow), (403, "AuthorizationPermissionMismatch".to_owned()));
}

#[tokio::test]
async fn bearer_tokens_are_accepted_only_if_enabled() {
    let account = Account::start().await;
    let send = || account.client.put(format!("{}/rooms", account.queue.url())).bearer_auth("any").send();

    let before = send().await.expect("an answer").status();
    account.queue.accept_bearer_tokens(true);
    let after = send().await.expect("an answer").status();

    assert_eq!((before.as_u16(), after.as_u16()), (403, 201));
}

/// Signs a put independently of the simulator's code, with the published key.
async fn put_signed(account: &Account, key: &str, date: SystemTime) -> (u16, String) {
    let body = "<QueueMessage><MessageText>x</MessageText></QueueMessage>";
    let date = httpdate::fmt_http_date(date);
    let text = format!(
        "POST\n\n\n{}\n\napplication/xml\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:2026-04-06\n\
         /devstoreaccount1/devstoreaccount1/rooms/messages\nmessagettl:-1",
        body.len()
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64_STANDARD.decode(key).expect("base64"));
    let signature = BASE64_STANDARD.encode(hmac::sign(&key, text.as_bytes()));
    let request = account
        .client
        .post(format!("{}/rooms/messages?messagettl=-1", account.queue.url()))
        .header("x-ms-version", "2026-04-06")
        .header("x-ms-date", date)
        .header("content-type", "application/xml")
        .header("authorization", format!("SharedKey devstoreaccount1:{signature}"))
        .body(body);
    outcome(&request.send().await.expect("an answer"))
}

#[tokio::test]
async fn the_account_key_is_accepted_and_a_wrong_key_or_an_old_date_is_refused() {
    let account = Account::start().await;
    account.queue.put("rooms", "first");
    let now = SystemTime::now();
    let failed = (403, "AuthenticationFailed".to_owned());

    assert_eq!(put_signed(&account, ACCOUNT_KEY, now).await, (201, String::new()));
    assert_eq!(put_signed(&account, "d3Jvbmc=", now).await, failed);
    assert_eq!(put_signed(&account, ACCOUNT_KEY, now - Duration::from_mins(16)).await, failed);
    assert_eq!(account.queue.messages("rooms").len(), 2);
}
