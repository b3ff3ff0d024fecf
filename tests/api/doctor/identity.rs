//! The queue by managed identity: available, refused, without a role, and missing.

use maxconf_simulators::world::RECORDS;
use maxconf_simulators::{Fault, Matching, StoredRoom, Times};

use super::{CLAIM, Settings, a_healthy_world, assert_found, examine, texts};
use crate::support::{Identity, POOL_QUEUE};

/// A fault, and the text and remedy of the check.
struct Row {
    what: &'static str,
    endpoint: Option<Fault>,
    storage: Option<Fault>,
    changes: fn(&mut Settings),
    says: &'static str,
    to_do: &'static str,
}

const FINE: Row = Row { what: "no fault", endpoint: None, storage: None, changes: |_| (), says: "may read", to_do: "" };

fn rows() -> [Row; 9] {
    let refusal = |code: &str| {
        let headers = vec![("x-ms-error-code".to_owned(), code.to_owned())];
        Some(Fault::StatusWith { status: 403, headers, body: String::new() })
    };
    [
        FINE,
        Row {
            what: "no identity in the app",
            endpoint: Some(Fault::Status(400)),
            says: "the managed identity's endpoint gives no token (400)",
            to_do: "see that the app has this identity",
            ..FINE
        },
        Row {
            what: "the header of another instance",
            changes: |settings| drop(settings.insert("IDENTITY_HEADER", "another".to_owned())),
            says: "gives no token (401)",
            to_do: "see that the app has this identity",
            ..FINE
        },
        Row {
            what: "an endpoint that does not answer",
            endpoint: Some(Fault::Stall),
            says: "the managed identity's endpoint (IDENTITY_ENDPOINT) did not answer in time",
            to_do: "restart the app",
            ..FINE
        },
        Row {
            what: "an endpoint on a closed port",
            changes: |settings| drop(settings.insert("IDENTITY_ENDPOINT", "http://127.0.0.1:1/".to_owned())),
            says: "(IDENTITY_ENDPOINT) cannot be reached",
            to_do: "restart the app",
            ..FINE
        },
        Row {
            what: "another server at the endpoint",
            endpoint: Some(Fault::Rubbish),
            says: "the managed identity's endpoint gave an answer that cannot be read",
            to_do: "see that IDENTITY_ENDPOINT is what App Service has set",
            ..FINE
        },
        Row {
            what: "no endpoint",
            changes: |settings| {
                settings.remove("IDENTITY_ENDPOINT");
                settings.remove("IDENTITY_HEADER");
            },
            says: "there is no managed identity here",
            to_do: "run this in the app itself",
            ..FINE
        },
        Row {
            what: "no role",
            storage: refusal("AuthorizationPermissionMismatch"),
            says: "refuses our credentials (AuthorizationPermissionMismatch)",
            to_do: "the roles Storage Queue Data Reader, Message Processor and Message Sender",
            ..FINE
        },
        Row {
            what: "a firewall",
            storage: refusal("AuthorizationFailure"),
            says: "refuses our credentials (AuthorizationFailure)",
            to_do: "the storage account's firewall",
            ..FINE
        },
    ]
}

#[tokio::test]
async fn each_fault_of_the_identity_has_its_own_text() {
    for row in rows() {
        let (world, mut settings) = a_healthy_world().await;
        let identity = Identity::start().await;
        for room in world.pexip.rooms().iter().filter(|room: &&StoredRoom| room.tag.is_empty()) {
            identity.queue.put(POOL_QUEUE, &room.name);
        }
        identity.blobs.put(RECORDS, CLAIM, "{}");
        settings.remove("PoolStorage");
        settings.extend(identity.settings());
        (row.changes)(&mut settings);
        for (traffic, fault) in [(&identity.traffic, row.endpoint), (identity.queue.traffic(), row.storage)] {
            if let Some(fault) = fault {
                traffic.inject(Matching::any(), Times::Always, fault);
            }
        }

        let found = examine(&settings).await;

        let not_fine: &[&str] = if row.to_do.is_empty() { &[] } else { &["storage/access"] };
        assert_found(row.what, &found, not_fine, &[]);
        let (says, to_do) = texts(&found.0, "storage/access");
        assert!(says.contains(row.says) && to_do.contains(row.to_do), "{}: {says:?}, {to_do:?}", row.what);
        Identity::secrets().assert_not_in(row.what, &found.0.to_string());
    }
}

#[tokio::test]
async fn the_role_for_the_records_is_named_where_it_is_missing() {
    let (world, mut settings) = a_healthy_world().await;
    let identity = Identity::start().await;
    for room in world.pexip.rooms().iter().filter(|room: &&StoredRoom| room.tag.is_empty()) {
        identity.queue.put(POOL_QUEUE, &room.name);
    }
    settings.remove("PoolStorage");
    settings.extend(identity.settings());
    let headers = vec![("x-ms-error-code".to_owned(), "AuthorizationPermissionMismatch".to_owned())];
    let refusal = Fault::StatusWith { status: 403, headers, body: String::new() };
    identity.blobs.traffic().inject(Matching::any(), Times::Always, refusal);

    let found = examine(&settings).await;

    assert_found("no role for the records", &found, &["records/access"], &[]);
    let to_do = texts(&found.0, "records/access").1;
    assert!(to_do.contains("the role MaxConf Room Records"), "{to_do}");
}
