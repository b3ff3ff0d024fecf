//! How the queue client handles a failing queue service. Runs on the simulator, because the emulator cannot inject
//! faults.

use std::time::Duration;

use maxconf::outbound::ConnectStep;
use maxconf::storage::StorageError;
use maxconf::storage::queue::{Deletion, LeasedMessage, RoomQueue};
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;

use crate::support::{TestQueue, a_name, eventually, stop_time, time_passes, within};

const NOT_HIDDEN: Duration = Duration::ZERO;
const AN_HOUR: Duration = Duration::from_secs(3600);
const LEASE: Duration = Duration::from_secs(60);

/// A queue with one message, and a client that has leased it.
async fn leased() -> (TestQueue, RoomQueue, LeasedMessage) {
    let queue = TestQueue::on_the_simulator().await;
    let client = queue.client();
    client.ensure_exists().await.expect("a queue that can be made");
    client.put(&a_name(), NOT_HIDDEN, AN_HOUR).await.expect("a put");
    let message = client.receive(1, LEASE).await.expect("messages").pop().expect("a message");
    queue.simulator().traffic().clear();
    (queue, client, message)
}

impl TestQueue {
    fn fail(&self, method: Method, times: Times, fault: Fault) {
        self.simulator().traffic().inject(Matching::method(method), times, fault);
    }

    fn requests(&self, method: Method) -> usize {
        self.simulator().traffic().count(&Matching::method(method))
    }

    fn messages(&self) -> usize {
        self.simulator().messages(&self.name).len()
    }
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_not_repeated() {
    for fault in [Fault::HangUpAfter, Fault::StatusAfter(503), Fault::StatusAfter(500)] {
        let (queue, client, _) = leased().await;
        queue.fail(Method::POST, Times::Once, fault.clone());

        let error = client.put(&a_name(), NOT_HIDDEN, AN_HOUR).await.expect_err("a lost answer");

        assert!(error.is_ambiguous(), "{fault:?}: {error:?}");
        assert_eq!(queue.requests(Method::POST), 1, "{fault:?}");
        assert_eq!(queue.messages(), 2, "{fault:?}: the leased one and this one");
    }
}

#[tokio::test]
async fn only_a_count_is_repeated_when_its_reused_connection_was_closed() {
    let (queue, client, _) = leased().await;
    queue.fail(Method::GET, Times::Once, Fault::HangUpBefore);
    assert_eq!(client.approximate_count().await, Ok(1));
    assert_eq!(queue.requests(Method::GET), 2);

    // A receive hides messages.
    let (queue, client, _) = leased().await;
    queue.fail(Method::GET, Times::Once, Fault::HangUpAfter);
    client.receive(1, LEASE).await.expect_err("a lost answer");
    assert_eq!(queue.requests(Method::GET), 1);
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_asked_again_and_is_not_ours() {
    for fault in [Fault::HangUpAfter, Fault::StatusAfter(503)] {
        let (queue, client, message) = leased().await;
        queue.fail(Method::DELETE, Times::Once, fault.clone());

        // It was ours, but the second answer cannot say so; better a room lost than one handed out twice.
        assert_eq!(client.delete(&message).await, Ok(Deletion::Lost), "{fault:?}");

        let deletes = queue.simulator().traffic().log();
        assert_eq!(deletes.len(), 2, "{deletes:?}");
        assert!(deletes[0].query.contains("popreceipt="), "{deletes:?}");
        assert_eq!((&deletes[0].path, &deletes[0].query), (&deletes[1].path, &deletes[1].query));
        assert_eq!(queue.messages(), 0, "{fault:?}");
    }
}

#[tokio::test]
async fn a_claim_that_did_not_arrive_is_asked_again_and_is_ours() {
    for fault in [Fault::HangUpBefore, Fault::Status(500), Fault::Status(503)] {
        let (queue, client, message) = leased().await;
        queue.fail(Method::DELETE, Times::Once, fault.clone());

        assert_eq!(client.delete(&message).await, Ok(Deletion::Ours), "{fault:?}");

        assert_eq!(queue.requests(Method::DELETE), 2, "{fault:?}");
        assert_eq!(queue.messages(), 0, "{fault:?}");
    }
}

#[tokio::test]
async fn a_claim_is_never_asked_a_third_time() {
    for (fault, expected) in [
        (Fault::HangUpBefore, StorageError::ConnectionLost),
        (Fault::Status(503), StorageError::Answered { status: 503, code: String::new(), retry_after: None }),
    ] {
        let (queue, client, message) = leased().await;
        queue.fail(Method::DELETE, Times::Always, fault);

        assert_eq!(client.delete(&message).await, Err(expected.clone()));

        assert_eq!(queue.requests(Method::DELETE), 2, "{expected:?}");
        assert_eq!(queue.messages(), 1, "{expected:?}");
    }
}

#[tokio::test]
async fn a_clear_refusal_of_a_claim_is_not_asked_again() {
    for (status, code) in [(404, "MessageNotFound"), (400, "PopReceiptMismatch")] {
        let (queue, client, message) = leased().await;
        queue.fail(Method::DELETE, Times::Always, refusal(status, code));

        assert_eq!(client.delete(&message).await, Ok(Deletion::Lost), "{code}");

        assert_eq!(queue.requests(Method::DELETE), 1, "{code}");
    }
}

#[tokio::test]
async fn a_refusal_that_does_not_say_whose_the_message_is_makes_no_claim() {
    for (status, code) in [(404, ""), (400, "InvalidQueryParameterValue"), (409, "QueueBeingDeleted"), (403, "Any")] {
        let (queue, client, message) = leased().await;
        queue.fail(Method::DELETE, Times::Always, refusal(status, code));

        let error = client.delete(&message).await.expect_err("neither ours nor lost");

        assert!(!error.is_ambiguous(), "{status} {code}: {error:?}");
        assert_eq!(queue.requests(Method::DELETE), 1, "{status} {code}");
    }
}

/// A refusal with its code where clients read it.
fn refusal(status: u16, code: &str) -> Fault {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>No.</Message></Error>");
    Fault::StatusWith { status, headers: vec![("x-ms-error-code".to_owned(), code.to_owned())], body }
}

#[tokio::test]
async fn server_errors_are_not_retried_and_say_what_they_are() {
    for (status, code) in [(500, "OperationTimedOut"), (503, "ServerBusy")] {
        let (queue, _, _) = leased().await;
        // One for each call: after some failures in a row the client asks no more.
        let client = || queue.client();
        let fault = refusal(status, code);
        queue.simulator().traffic().inject(Matching::any(), Times::Always, fault);
        let expected = StorageError::Answered { status, code: code.to_owned(), retry_after: None };

        assert_eq!(client().put(&a_name(), NOT_HIDDEN, AN_HOUR).await, Err(expected.clone()));
        assert_eq!(client().receive(1, LEASE).await.expect_err("an error"), expected);
        assert_eq!(client().approximate_count().await, Err(expected.clone()));
        assert_eq!(client().ensure_exists().await, Err(expected.clone()));

        let log = queue.simulator().traffic().log();
        assert_eq!(log.len(), 4, "one request each: {log:?}");
    }
}

#[tokio::test]
async fn the_queue_is_left_alone_for_as_long_as_it_asks_but_for_a_minute_at_most() {
    for (status, asked, wait) in [(503, "30", 30), (429, "3600", 60), (503, "Fri, 31 Dec 9999 23:59:59 GMT", 60)] {
        let (queue, client, message) = leased().await;
        let _time = stop_time();
        let headers = vec![("retry-after".to_owned(), asked.to_owned())];
        queue.fail(Method::DELETE, Times::Once, Fault::StatusWith { status, headers, body: String::new() });

        let error = client.delete(&message).await.expect_err("busy");
        assert!(matches!(error, StorageError::Answered { .. }), "what became of the claim: {error:?}");
        time_passes(Duration::from_secs(wait - 1)).await;
        assert_eq!(client.delete(&message).await, Err(StorageError::Suspended), "{status}, {asked}");
        assert_eq!(queue.requests(Method::DELETE), 1);

        time_passes(Duration::from_secs(2)).await;
        assert_eq!(client.delete(&message).await, Ok(Deletion::Ours), "{status}, {asked}");
    }
}

/// Takes ten seconds, the claim's two time limits.
#[tokio::test]
async fn no_call_outlasts_its_time_limit_on_a_stalled_service() {
    let (queue, _, message) = leased().await;
    let clients: [_; 5] = std::array::from_fn(|_| queue.client());
    queue.simulator().traffic().inject(Matching::any(), Times::Always, Fault::Stall);

    let name = a_name();
    let calls = async {
        tokio::join!(
            clients[0].put(&name, NOT_HIDDEN, AN_HOUR),
            clients[1].receive(1, LEASE),
            clients[2].approximate_count(),
            clients[3].ensure_exists(),
            clients[4].delete(&message),
        )
    };
    let (put, received, count, made, claim) = within("the end of every call", Box::pin(calls)).await;

    assert_eq!(put, Err(StorageError::Timeout));
    assert_eq!(received.expect_err("no answer"), StorageError::Timeout);
    assert_eq!(count, Err(StorageError::Timeout));
    assert_eq!(made, Err(StorageError::Timeout));
    assert_eq!(claim, Err(StorageError::Timeout));
    assert_eq!(queue.requests(Method::POST), 1);
    assert_eq!(queue.requests(Method::DELETE), 2);
    // A call that timed out may still be carried out: so a put is never retried, and the claim's outcome is unknown.
    queue.simulator().traffic().heal();
    eventually("the late delete and the late put are done", async || {
        let messages = queue.simulator().messages(&queue.name);
        messages.len() == 1 && messages[0].text == name.as_str()
    })
    .await;
}

#[tokio::test]
async fn a_refused_connection_is_unreachable_and_no_claim_is_asked_twice() {
    let (queue, _, message) = leased().await;
    queue.simulator().stop().await;
    // Without a connection from before, which could break instead.
    let client = || queue.client();

    assert_eq!(
        client().put(&a_name(), NOT_HIDDEN, AN_HOUR).await,
        Err(StorageError::Unreachable(ConnectStep::TcpRefused))
    );
    assert_eq!(
        client().receive(1, LEASE).await.expect_err("a closed port"),
        StorageError::Unreachable(ConnectStep::TcpRefused)
    );
    assert_eq!(client().delete(&message).await, Err(StorageError::Unreachable(ConnectStep::TcpRefused)));
    assert_eq!(client().approximate_count().await, Err(StorageError::Unreachable(ConnectStep::TcpRefused)));
    assert!(
        !StorageError::Unreachable(ConnectStep::TcpRefused).is_ambiguous(),
        "a request that was never sent did nothing"
    );
}

#[tokio::test]
async fn an_answer_without_a_count_is_unreadable_and_not_an_empty_queue() {
    let (queue, client, _) = leased().await;
    queue.fail(Method::GET, Times::Once, Fault::Rubbish);

    assert_eq!(client.approximate_count().await, Err(StorageError::Unreadable));
}

#[tokio::test]
async fn messages_that_break_off_are_unreadable() {
    let (queue, client, _) = leased().await;
    let body = "<?xml version=\"1.0\"?><QueueMessagesList><QueueMessage><MessageId>7f1a".to_owned();
    let headers = vec![("content-type".to_owned(), "application/xml".to_owned())];
    queue.fail(Method::GET, Times::Once, Fault::StatusWith { status: 200, headers, body });

    assert_eq!(client.receive(1, LEASE).await.expect_err("half a list"), StorageError::Unreadable);
}

/// The libraries would keep whatever comes, as fast as it comes, until the call's time is over.
#[tokio::test]
async fn an_answer_that_does_not_end_is_given_up_and_not_kept() {
    let (queue, client, message) = leased().await;
    let answers = |method, status| {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![
            header("content-type", "application/xml"),
            header("x-ms-approximate-messages-count", "1"),
            header("x-ms-error-code", "MessageNotFound"),
        ];
        let body = format!("<QueueMessagesList>{}</QueueMessagesList>", " ".repeat(17 * 1024 * 1024));
        queue.fail(method, Times::Always, Fault::StatusWith { status, headers, body });
    };
    answers(Method::GET, 200);
    answers(Method::POST, 201);
    answers(Method::DELETE, 404);

    assert_eq!(client.receive(1, LEASE).await.expect_err("too much"), StorageError::Unreadable);
    assert_eq!(client.approximate_count().await, Err(StorageError::Unreadable));
    assert_eq!(client.put(&a_name(), NOT_HIDDEN, AN_HOUR).await, Err(StorageError::Unreadable));
    assert_eq!(client.delete(&message).await, Err(StorageError::Unreadable));
}

#[tokio::test]
async fn a_proxys_page_is_unreadable_and_not_an_empty_queue() {
    for content_type in [Some("text/html; charset=utf-8"), Some("application/xhtml+xml"), None] {
        let (queue, client, _) = leased().await;
        let headers = content_type.map(|it| ("content-type".to_owned(), it.to_owned())).into_iter().collect();
        let body = "<html><body><p>Please log in.</p></body></html>".to_owned();
        queue.fail(Method::GET, Times::Once, Fault::StatusWith { status: 200, headers, body });

        assert_eq!(client.receive(1, LEASE).await.expect_err("a page"), StorageError::Unreadable, "{content_type:?}");
    }
}
