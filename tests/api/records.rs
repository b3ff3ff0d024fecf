//! The room records as the service uses them: each test once against the emulator and once against the simulator, so
//! that everything else that is tested on the simulator rests on what the emulator does.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use maxconf::storage::StorageError;
use maxconf::storage::records::{Changed, Made, RecordName, RecordStore, Version};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::support::{TestRecords, a_name};

/// Puts each test into two modules, one for each service.
macro_rules! on_both_services {
    ($($test:ident,)+) => {
        mod on_azurite {
            $(#[tokio::test]
            async fn $test() {
                // Without the emulator there is nothing to run; `TestRecords` has said so.
                if let Some(records) = super::TestRecords::on_azurite() {
                    super::$test(&records).await;
                    records.remove().await;
                }
            })+
        }

        mod on_the_simulator {
            $(#[tokio::test]
            async fn $test() {
                super::$test(&super::TestRecords::on_the_simulator().await).await;
            })+
        }
    };
}

on_both_services! {
    a_probe_makes_the_container_where_it_is_missing,
    a_record_is_made_once_and_read_as_it_was_written,
    of_many_who_make_a_record_at_once_one_has_made_it,
    of_many_who_change_a_version_at_once_one_has_changed_it,
    a_changed_record_has_another_version_and_the_old_one_changes_nothing,
    only_the_current_version_is_removed,
    a_record_that_is_gone_cannot_be_changed_but_made_again,
    a_missing_container_is_distinguished_from_a_missing_record,
    the_oldest_claims_are_listed_without_copies,
    a_wrong_key_is_refused_as_credentials,
    a_shared_access_signature_is_enough_for_everything,
}

/// One instance of the service, and its container made.
async fn instance(records: &TestRecords) -> RecordStore {
    let client = records.client();
    client.probe().await.expect("a container that can be made");
    client
}

fn name() -> RecordName {
    RecordName::claim(&a_name())
}

async fn made(client: &RecordStore, name: &RecordName, record: &Value) -> Version {
    match client.make(name, record).await {
        Ok(Made::Ours(version)) => version,
        other => panic!("{other:?}"),
    }
}

async fn content(client: &RecordStore, name: &RecordName) -> Option<Value> {
    client.read::<Value>(name).await.expect("an answer").map(|found| found.record)
}

async fn a_probe_makes_the_container_where_it_is_missing(records: &TestRecords) {
    let client = records.client();
    assert_eq!(client.make(&name(), &json!({})).await, Err(StorageError::NoSuchContainer));

    let (one, other) = (records.client(), records.client());
    let probes = tokio::join!(one.probe(), other.probe());

    assert_eq!(probes, (Ok(()), Ok(())));
    assert_eq!(one.probe().await, Ok(()), "again");
    made(&one, &name(), &json!({})).await;
}

async fn a_record_is_made_once_and_read_as_it_was_written(records: &TestRecords) {
    let (one, other) = (instance(records).await, instance(records).await);
    let (name, record) = (name(), json!({ "id": "one", "text": "ä &<\"" }));
    let before = OffsetDateTime::from(SystemTime::now()) - Duration::from_secs(2);

    let version = made(&one, &name, &record).await;

    assert_eq!(other.make(&name, &json!({ "id": "other" })).await, Ok(Made::TakenBefore));
    let found = other.read::<Value>(&name).await.expect("an answer").expect("the record");
    assert_eq!((found.record, found.version), (record, version));
    assert!(found.read_at > before && found.read_at < before + Duration::from_secs(600), "{}", found.read_at);
}

async fn of_many_who_make_a_record_at_once_one_has_made_it(records: &TestRecords) {
    let clients = [instance(records).await, instance(records).await];
    for _ in 0..4 {
        let name = name();
        let make = |number: usize| {
            let (client, name) = (&clients[number % 2], &name);
            async move { (number, client.make(name, &json!({ "id": number })).await.expect("an answer")) }
        };

        let results = join_all((0..16).map(make)).await;

        let ours: Vec<_> = results.iter().filter(|(_, made)| matches!(made, Made::Ours(_))).collect();
        assert_eq!(ours.len(), 1, "{results:?}");
        assert_eq!(content(&clients[0], &name).await, Some(json!({ "id": ours[0].0 })));
    }
}

async fn of_many_who_change_a_version_at_once_one_has_changed_it(records: &TestRecords) {
    let client = instance(records).await;
    let name = name();
    let version = made(&client, &name, &json!({ "id": "first" })).await;
    let change = |number: usize| {
        let (client, name, version) = (&client, &name, &version);
        async move { client.change(name, version, &json!({ "id": number })).await.expect("an answer") }
    };

    let results = join_all((0..16).map(change)).await;

    let ours: Vec<_> = (0..16).filter(|&number| matches!(results[number], Changed::Ours(_))).collect();
    assert_eq!(ours.len(), 1, "{results:?}");
    assert_eq!(content(&client, &name).await, Some(json!({ "id": ours[0] })));
}

async fn a_changed_record_has_another_version_and_the_old_one_changes_nothing(records: &TestRecords) {
    let client = instance(records).await;
    let name = name();
    let first = made(&client, &name, &json!({ "id": "first" })).await;

    let Ok(Changed::Ours(second)) = client.change(&name, &first, &json!({ "id": "second" })).await else {
        panic!("not changed");
    };

    assert_ne!(first, second);
    assert_eq!(client.change(&name, &first, &json!({ "id": "third" })).await, Ok(Changed::Lost));
    assert_eq!(content(&client, &name).await, Some(json!({ "id": "second" })));
    let found = client.read::<Value>(&name).await.expect("an answer").expect("the record");
    assert_eq!(found.version, second);
}

async fn only_the_current_version_is_removed(records: &TestRecords) {
    let client = instance(records).await;
    let name = name();
    let first = made(&client, &name, &json!({ "id": "first" })).await;
    let Ok(Changed::Ours(second)) = client.change(&name, &first, &json!({ "id": "second" })).await else {
        panic!("not changed");
    };

    assert_eq!(client.remove(&name, &first).await, Ok(()));
    assert_eq!(content(&client, &name).await, Some(json!({ "id": "second" })), "not by an old version");
    assert_eq!(client.remove(&name, &second).await, Ok(()));
    assert_eq!(content(&client, &name).await, None);
    assert_eq!(client.remove(&name, &second).await, Ok(()), "again");
}

async fn a_record_that_is_gone_cannot_be_changed_but_made_again(records: &TestRecords) {
    let client = instance(records).await;
    let name = name();
    let version = made(&client, &name, &json!({ "id": "first" })).await;
    client.remove(&name, &version).await.expect("removed");

    assert_eq!(client.change(&name, &version, &json!({ "id": "second" })).await, Ok(Changed::Lost));
    let again = made(&client, &name, &json!({ "id": "third" })).await;

    assert_ne!(version, again);
}

async fn a_missing_container_is_distinguished_from_a_missing_record(records: &TestRecords) {
    let owner = instance(records).await;
    assert_eq!(content(&owner, &name()).await, None);
    let name = name();
    let version = made(&owner, &name, &json!({})).await;
    records.remove().await;
    // One for each call: after a failure a client asks no more for a while.
    let client = || records.client();

    assert_eq!(client().make(&name, &json!({})).await, Err(StorageError::NoSuchContainer));
    assert_eq!(client().read::<Value>(&name).await.map(|_| ()), Err(StorageError::NoSuchContainer));
    assert_eq!(client().change(&name, &version, &json!({})).await, Err(StorageError::NoSuchContainer));
    assert_eq!(client().remove(&name, &version).await, Err(StorageError::NoSuchContainer));
}

async fn the_oldest_claims_are_listed_without_copies(records: &TestRecords) {
    assert_eq!(records.client().container_exists().await, Ok(false));
    let client = instance(records).await;
    assert_eq!(client.container_exists().await, Ok(true));
    assert!(client.oldest_claims().await.expect("a list").is_empty());
    let other = client.request_name(&[b"a caller", b"a key"]);
    for name in [name(), name(), other] {
        client.make(&name, &json!({ "id": "4711" })).await.expect("a record");
    }

    let listed = client.oldest_claims().await.expect("a list");

    assert_eq!(listed.len(), 2, "{listed:?}");
    for record in listed {
        let age = OffsetDateTime::now_utc() - record.written_at.expect("a time");
        assert!(age.whole_minutes().abs() < 5 && !record.is_deleted && !record.is_version, "{record:?}");
    }
}

async fn a_wrong_key_is_refused_as_credentials(records: &TestRecords) {
    let owner = instance(records).await;
    let name = name();
    let version = made(&owner, &name, &json!({ "id": "ours" })).await;
    let stranger = || records.client_with_wrong_key();

    for refusal in [
        stranger().probe().await.expect_err("a refusal"),
        stranger().make(&name, &json!({})).await.expect_err("a refusal"),
        stranger().read::<Value>(&name).await.map(|_| ()).expect_err("a refusal"),
        stranger().change(&name, &version, &json!({})).await.expect_err("a refusal"),
        stranger().remove(&name, &version).await.expect_err("a refusal"),
    ] {
        assert!(matches!(refusal, StorageError::Credentials(_)), "{refusal:?}");
    }
    assert_eq!(content(&owner, &name).await, Some(json!({ "id": "ours" })));
}

async fn a_shared_access_signature_is_enough_for_everything(records: &TestRecords) {
    let client = records.client_with_signature();
    let name = name();

    client.probe().await.expect("a container that can be made");
    let version = made(&client, &name, &json!({ "id": 1 })).await;
    let Ok(Changed::Ours(version)) = client.change(&name, &version, &json!({ "id": 2 })).await else {
        panic!("not changed");
    };
    assert_eq!(content(&client, &name).await, Some(json!({ "id": 2 })));
    client.remove(&name, &version).await.expect("removed");

    assert_eq!(content(&client, &name).await, None);
}
