//! How the client of the room records handles a failing blob service. Runs on the simulator, because the emulator cannot
//! inject faults.

use std::time::Duration;

use maxconf::outbound::ConnectStep;
use maxconf::storage::StorageError;
use maxconf::storage::records::{Changed, Made, RecordName, RecordStore, Version};
use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{TestRecords, a_name, eventually, stop_time, time_passes, within};

/// A container, a client, and the name of a record that is not there.
async fn container() -> (TestRecords, RecordStore, RecordName) {
    let records = TestRecords::on_the_simulator().await;
    let client = records.client();
    client.probe().await.expect("a container that can be made");
    records.simulator().traffic().clear();
    (records, client, RecordName::claim(&a_name()))
}

/// The same with the record `{"id": "first"}`.
async fn with_record() -> (TestRecords, RecordStore, RecordName, Version) {
    let (records, client, name) = container().await;
    let Ok(Made::Ours(version)) = client.make(&name, &json!({ "id": "first" })).await else { panic!("not made") };
    records.simulator().traffic().clear();
    (records, client, name, version)
}

fn fail(records: &TestRecords, method: Method, times: Times, fault: Fault) {
    records.simulator().traffic().inject(Matching::method(method), times, fault);
}

fn asked(records: &TestRecords) -> Vec<Method> {
    records.simulator().traffic().log().into_iter().map(|exchange| exchange.method).collect()
}

/// What is there, read past all faults.
fn stored(records: &TestRecords) -> Vec<Value> {
    let blobs = records.simulator().blobs(&records.name);
    blobs.iter().map(|blob| serde_json::from_str(&blob.text).expect("JSON")).collect()
}

fn answer(status: u16, code: &str) -> Fault {
    let headers = [("x-ms-error-code", code), ("content-type", "application/xml")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Fault::StatusWith { status, headers, body: format!("<Error><Code>{code}</Code></Error>") }
}

/// Answers after which nobody knows whether the write took effect; with each, whether it did.
fn unknown_answers() -> Vec<(Fault, bool)> {
    vec![
        (Fault::HangUpBefore, false),
        (Fault::HangUpAfter, true),
        (Fault::StatusAfter(500), true),
        (Fault::StatusAfter(201), true),
        (Fault::StatusAfter(404), true),
        (Fault::Status(201), false),
        (Fault::Status(429), false),
        (answer(503, "ServerBusy"), false),
        (answer(500, "OperationTimedOut"), false),
        (Fault::Rubbish, false),
        (Fault::Redirect("https://login.example.org/".to_owned()), false),
        (Fault::HugeBody(100_000), false),
    ]
}

#[tokio::test]
async fn after_a_lost_answer_a_record_that_was_made_is_ours() {
    for (fault, takes_effect) in unknown_answers() {
        let (records, client, name) = container().await;
        fail(&records, Method::PUT, Times::Once, fault.clone());

        let made = client.make(&name, &json!({ "id": "ours" })).await;

        assert!(matches!(made, Ok(Made::Ours(_))), "{fault:?}: {made:?}");
        assert_eq!(stored(&records), [json!({ "id": "ours" })], "{fault:?}");
        let more = if takes_effect { &[][..] } else { &[Method::PUT][..] };
        assert_eq!(asked(&records), [&[Method::PUT, Method::GET][..], more].concat(), "{fault:?}");
    }
}

#[tokio::test]
async fn after_a_lost_answer_a_record_of_another_is_not_ours() {
    for (fault, _) in unknown_answers() {
        let (records, client, name, _) = with_record().await;
        fail(&records, Method::PUT, Times::Once, fault.clone());

        assert_eq!(client.make(&name, &json!({ "id": "other" })).await, Ok(Made::TakenBefore), "{fault:?}");
        assert_eq!(stored(&records), [json!({ "id": "first" })], "{fault:?}");
    }
}

#[tokio::test]
async fn after_a_lost_answer_a_change_that_took_effect_is_ours() {
    for (fault, _) in unknown_answers() {
        let (records, client, name, version) = with_record().await;
        fail(&records, Method::PUT, Times::Once, fault.clone());

        let changed = client.change(&name, &version, &json!({ "id": "second" })).await;

        assert!(matches!(changed, Ok(Changed::Ours(_))), "{fault:?}: {changed:?}");
        assert_eq!(stored(&records), [json!({ "id": "second" })], "{fault:?}");
    }
}

#[tokio::test]
async fn after_a_lost_answer_a_change_by_another_is_not_ours() {
    for (fault, _) in unknown_answers() {
        let (records, client, name, version) = with_record().await;
        let others = records.client().change(&name, &version, &json!({ "id": "another's" })).await;
        assert!(matches!(others, Ok(Changed::Ours(_))), "{others:?}");
        fail(&records, Method::PUT, Times::Once, fault.clone());

        assert_eq!(client.change(&name, &version, &json!({ "id": "ours" })).await, Ok(Changed::Lost), "{fault:?}");
        assert_eq!(stored(&records), [json!({ "id": "another's" })], "{fault:?}");
    }
}

/// Azure may answer 404 where Azurite answers 412.
#[tokio::test]
async fn a_change_of_a_record_that_is_gone_is_lost_and_no_failure_of_the_service() {
    let (records, client, name, version) = with_record().await;
    fail(&records, Method::PUT, Times::Once, answer(404, "BlobNotFound"));

    assert_eq!(client.change(&name, &version, &json!({ "id": "second" })).await, Ok(Changed::Lost));
    assert!(!client.is_circuit_open());
}

#[tokio::test]
async fn a_lost_answer_that_no_read_settles_is_neither_ours_nor_taken() {
    for unreadable in [Fault::HangUpBefore, Fault::Rubbish, answer(503, "ServerBusy"), answer(404, "ContainerNotFound")]
    {
        let (records, client, name) = container().await;
        fail(&records, Method::PUT, Times::Once, Fault::HangUpAfter);
        fail(&records, Method::GET, Times::Always, unreadable.clone());

        let error = client.make(&name, &json!({ "id": "ours" })).await.expect_err("unknown");

        assert_eq!(asked(&records), [Method::PUT, Method::GET], "{unreadable:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_write_is_tried_twice_at_most() {
    let (records, client, name) = container().await;
    fail(&records, Method::PUT, Times::Always, answer(503, "ServerBusy"));

    let error = client.make(&name, &json!({ "id": "ours" })).await.expect_err("unknown");

    assert_eq!(error, StorageError::Answered { status: 503, code: "ServerBusy".to_owned(), retry_after: None });
    assert_eq!(asked(&records), [Method::PUT, Method::GET, Method::PUT, Method::GET]);
}

/// A write that was given up may land while it is repeated. The repetition is then refused, and the record is ours.
#[tokio::test]
async fn a_write_that_lands_late_is_ours() {
    let (records, client, name) = container().await;
    fail(&records, Method::PUT, Times::Once, Fault::Stall);
    let record = json!({ "id": "ours" });
    let _time = stop_time();
    let task = tokio::spawn({
        let (client, name, record) = (client.clone(), name.clone(), record.clone());
        async move { client.make(&name, &record).await }
    });
    eventually("the write stalls", async || asked(&records) == [Method::PUT]).await;
    // Answered late as well, so that the stalled write lands between this read and the second write.
    fail(
        &records,
        Method::GET,
        Times::Once,
        Fault::StatusWith {
            status: 404,
            headers: vec![("x-ms-error-code".to_owned(), "BlobNotFound".to_owned())],
            body: String::new(),
        },
    );
    records.simulator().put(&records.name, &name.to_string(), &record.to_string());
    time_passes(Duration::from_secs(3)).await;

    let made = within("the end of the call", task).await.expect("no panic");

    assert!(matches!(made, Ok(Made::Ours(_))), "{made:?}");
    assert_eq!(asked(&records), [Method::PUT, Method::GET, Method::PUT, Method::GET]);
}

#[tokio::test]
async fn a_refusal_is_settled_and_not_repeated() {
    for (status, code) in [(403, "AuthorizationPermissionMismatch"), (403, "KeyBasedAuthenticationNotPermitted")] {
        let (records, client, name) = container().await;
        fail(&records, Method::PUT, Times::Always, answer(status, code));

        let error = client.make(&name, &json!({ "id": "ours" })).await.expect_err("refused");

        assert_eq!(error, StorageError::Credentials(code.to_owned()));
        assert_eq!(asked(&records), [Method::PUT]);
    }
    for (status, code) in [(412, "LeaseIdMissing"), (409, "BlobImmutableDueToPolicy"), (400, "InvalidHeaderValue")] {
        let (records, client, name) = container().await;
        fail(&records, Method::PUT, Times::Always, answer(status, code));

        let error = client.make(&name, &json!({ "id": "ours" })).await.expect_err("refused");

        assert_eq!(error, StorageError::Answered { status, code: code.to_owned(), retry_after: None });
        assert_eq!(asked(&records), [Method::PUT]);
    }
}

#[tokio::test]
async fn a_connection_that_is_refused_made_nothing() {
    let (records, _, name) = container().await;
    records.simulator().stop().await;

    let error = records.client().make(&name, &json!({ "id": "ours" })).await.expect_err("a closed port");

    assert_eq!(error, StorageError::Unreachable(ConnectStep::TcpRefused));
}

/// The SDK takes each of these for a blob or for none.
#[tokio::test]
async fn an_answer_that_is_no_blob_is_unreadable_and_never_no_record() {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let blob = |body: &str| {
        let headers = vec![header("etag", "\"0x1\""), header("x-ms-blob-type", "BlockBlob")];
        Fault::StatusWith { status: 200, headers, body: body.to_owned() }
    };
    for fault in [
        Fault::Rubbish,
        Fault::Status(200),
        Fault::Status(404),
        Fault::StatusWith { status: 200, headers: vec![header("etag", "\"0x1\"")], body: "{}".to_owned() },
        blob(""),
        blob("<html></html>"),
        blob("{\"id\": 1"),
        Fault::HugeBody(100_000),
        Fault::Redirect("https://login.example.org/".to_owned()),
    ] {
        let (records, client, name, _) = with_record().await;
        fail(&records, Method::GET, Times::Always, fault.clone());

        client.read::<Value>(&name).await.map(|_| ()).expect_err(&format!("{fault:?}"));
    }
}

#[tokio::test]
async fn a_removal_whose_answer_is_lost_is_repeated_and_done() {
    let gone_answers = [(404, "BlobNotFound"), (412, "ConditionNotMet")];
    for (fault, _) in unknown_answers() {
        let (records, client, name, version) = with_record().await;
        fail(&records, Method::DELETE, Times::Once, fault.clone());

        assert_eq!(client.remove(&name, &version).await, Ok(()), "{fault:?}");
        assert!(stored(&records).is_empty(), "{fault:?}");
    }
    for (status, code) in gone_answers {
        let (records, client, name, version) = with_record().await;
        fail(&records, Method::DELETE, Times::Once, answer(status, code));
        assert_eq!(client.remove(&name, &version).await, Ok(()), "{code}");
    }
}

/// Takes the time of the four calls.
#[tokio::test]
async fn no_call_outlasts_its_time_limit_on_a_stalled_service() {
    let (records, client, name) = container().await;
    fail(&records, Method::PUT, Times::Always, Fault::Stall);

    let made = within("the end of the call", client.make(&name, &json!({ "id": "ours" }))).await;

    assert_eq!(made, Err(StorageError::Timeout));
    assert_eq!(asked(&records), [Method::PUT, Method::GET, Method::PUT, Method::GET]);
    records.simulator().traffic().heal();
    eventually("a late write lands", async || stored(&records) == [json!({ "id": "ours" })]).await;
}

#[tokio::test]
async fn one_failure_stops_all_writes_until_a_probe_is_answered() {
    let (records, client, name) = container().await;
    fail(&records, Method::PUT, Times::Once, answer(403, "AuthorizationFailure"));
    client.make(&name, &json!({ "id": "ours" })).await.expect_err("refused");
    let _time = stop_time();

    for _ in 0..2 {
        assert_eq!(client.check(), Err(StorageError::Suspended));
        assert_eq!(client.make(&name, &json!({ "id": "ours" })).await, Err(StorageError::Suspended));
        time_passes(Duration::from_secs(1)).await;
    }
    assert_eq!(asked(&records), [Method::PUT], "no write is the probe");
    fail(&records, Method::GET, Times::Once, answer(503, "ServerBusy"));
    client.probe().await.expect_err("no answer");
    assert_eq!(client.check(), Err(StorageError::Suspended));
    time_passes(Duration::from_secs(1)).await;
    assert_eq!(client.ensure_answering().await, Ok(()));

    assert!(matches!(client.make(&name, &json!({ "id": "ours" })).await, Ok(Made::Ours(_))));
}

#[tokio::test]
async fn the_service_is_left_alone_for_as_long_as_it_asks_but_for_a_minute_at_most() {
    for (status, header, wait) in [(503, "30", 30), (429, "3600", 60), (503, "Fri, 31 Dec 9999 23:59:59 GMT", 60)] {
        let (records, client, _) = container().await;
        let _time = stop_time();
        let headers = vec![("retry-after".to_owned(), header.to_owned())];
        fail(&records, Method::GET, Times::Once, Fault::StatusWith { status, headers, body: String::new() });
        client.probe().await.expect_err("busy");

        time_passes(Duration::from_secs(wait - 1)).await;
        assert_eq!(client.probe().await, Err(StorageError::Suspended), "{status}, {header}");
        assert_eq!(asked(&records), [Method::GET]);

        time_passes(Duration::from_secs(2)).await;
        assert_eq!(client.probe().await, Ok(()), "{status}, {header}");
    }
}

#[tokio::test]
async fn the_service_is_probed_only_if_it_has_not_answered_for_a_while() {
    let (records, client, name) = container().await;
    let _time = stop_time();
    assert_eq!(client.ensure_answering().await, Ok(()));
    assert!(asked(&records).is_empty(), "it has just answered");
    time_passes(Duration::from_secs(9)).await;
    client.make(&name, &json!({ "id": "ours" })).await.expect("made");
    time_passes(Duration::from_secs(9)).await;
    assert_eq!(client.ensure_answering().await, Ok(()));
    assert_eq!(asked(&records), [Method::PUT], "a write's answer counts");

    time_passes(Duration::from_secs(2)).await;
    assert_eq!(client.ensure_answering().await, Ok(()));

    assert_eq!(asked(&records), [Method::PUT, Method::GET]);
}
