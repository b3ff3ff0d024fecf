//! Which `uuiData` becomes a tag, and which tag.

mod properties;
mod settings;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use maxconf_simulators::Exchange;
use reqwest::Method;

use crate::support::{POOL_QUEUE, TestApp, TestAppBuilder, UUI_DATA, on_every_host};

/// What IDIM sends, in the customer's documents.
const HOST_AND_ID: &str = "6964264d54497a4e4455324c4463324e54517a4d67";
const HOST_AND_ID_TAG: &str = "https://id.gov.bc.ca/idcheck/protected/video/MTIzNDU2LDc2NTQzMg";

#[tokio::test]
async fn uui_data_that_cannot_become_a_tag_is_refused_and_takes_no_room() {
    let app = TestApp::start().await;
    app.warm_up().await;
    app.pexip.traffic().clear();
    app.queue.traffic().clear();
    let long = |digits: usize| format!("?uuiData={}", "a".repeat(digits));
    for (query, code) in [
        ("", "uui_data_missing"),
        ("?", "uui_data_missing"),
        ("?uuiData", "uui_data_missing"),
        ("?uuiData=", "uui_data_missing"),
        ("?uuidata=3132", "uui_data_missing"),
        ("?x=uuiData&y=3132", "uui_data_missing"),
        ("?uuiData%20=3132", "uui_data_missing"),
        ("?uuiData=3132&uuiData=3132", "uui_data_invalid"),
        ("?uuiData=&uuiData=3132", "uui_data_invalid"),
        ("?uuiData=3132&x=1&uui%44ata=3334", "uui_data_invalid"),
        ("?uuiData=3132,3334", "uui_data_invalid"),
        ("?uuiData=7e1", "uui_data_invalid"),
        ("?uuiData=7e1g", "uui_data_invalid"),
        ("?uuiData=0x7e1a", "uui_data_invalid"),
        ("?uuiData=7e1a%20", "uui_data_invalid"),
        ("?uuiData=7e+1a", "uui_data_invalid"),
        ("?uuiData=%007e1a", "uui_data_invalid"),
        ("?uuiData=%ff7e1a", "uui_data_invalid"),
        ("?uuiData=%EF%BC%91%EF%BC%92", "uui_data_invalid"),
        ("?uuiData=7e1a%0d%0a", "uui_data_invalid"),
        ("?uuiData=;encoding=hex", "uui_data_missing"),
        ("?uuiData=7e1a;encoding=hex&uuiData=7e1a;encoding=hex", "uui_data_invalid"),
        ("?uuiData=7e1a;encoding=hex,7e1a;encoding=hex", "uui_data_invalid"),
        ("?uuiData=7e1a;encoding=hex;encoding=hex", "uui_data_invalid"),
        ("?uuiData=7e1a;encoding=hex;", "uui_data_invalid"),
        ("?uuiData=7e1a;encoding=base64", "uui_data_invalid"),
        ("?uuiData=7e1a;encoding", "uui_data_invalid"),
        ("?uuiData=7e1a;encoding=hex+", "uui_data_invalid"),
        ("?uuiData=7e1a%20;encoding=hex", "uui_data_invalid"),
        // Encoded twice.
        ("?uuiData=7e1a%253Bencoding%253Dhex", "uui_data_invalid"),
        ("?uuiData=7e1a%253Bencoding=hex", "uui_data_invalid"),
        ("?uuiData=7e1;encoding=hex", "uui_data_invalid"),
        (&format!("{};encoding=hex", long(258)), "uui_data_too_long"),
        (&long(257), "uui_data_too_long"),
        (&long(258), "uui_data_too_long"),
        (&long(20_000), "uui_data_too_long"),
    ] {
        let path = format!("room/create{query}");
        let request = app.request(Method::POST, &path).bearer_auth(app.entra.token().build());
        let answer = app.send(request).await;
        let problem = answer.assert_problem(400, code);
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(!detail.is_empty() && !detail.contains("7e1") && !detail.contains("3132"), "{answer:?}");
        app.send(app.request(Method::POST, &path)).await.assert_problem(401, "token_missing");
    }
    assert!(app.pexip.rooms().iter().all(|room| room.tag.is_empty()));
    assert_eq!((app.pexip.rooms().len(), app.queue.messages(POOL_QUEUE).len()), (4, 4));
    let changes = |exchanges: Vec<Exchange>| exchanges.iter().any(|one| one.method != Method::GET);
    assert!(!changes(app.pexip.traffic().log()) && !changes(app.queue.traffic().log()));
}

#[tokio::test]
async fn uui_data_becomes_the_tag_whatever_the_case_of_its_digits() {
    let app = TestApp::without_pool().await;
    let longest = "fb".repeat(128);
    for (uui_data, segment) in [
        (UUI_DATA, "MTIzNDU2LDc2NTQzMg"),
        ("00", "AA"),
        ("fbff", "-_8"),
        ("FBFF", "-_8"),
        ("fBfF&x=1", "-_8"),
        ("%66bff", "-_8"),
        ("fbff;encoding=hex", "-_8"),
        ("FBFF;Encoding=HEX&x=1", "-_8"),
        ("fbff%3Bencoding%3Dhex", "-_8"),
        // What an intermediary makes of it that takes `;` for a separator.
        ("fbff&encoding=hex", "-_8"),
        (&longest, &(BASE64_URL_SAFE_NO_PAD.encode([0xfb; 128]))),
        (&format!("{longest};encoding=hex"), &(BASE64_URL_SAFE_NO_PAD.encode([0xfb; 128]))),
    ] {
        let answer = app.create_room_for(uui_data).await;
        assert_eq!(answer.status, 200, "{uui_data}: {answer:?}");
        assert_eq!(answer.json()["tag"], format!("https://id.gov.bc.ca/idcheck/{segment}"), "{uui_data}");
    }
}

#[tokio::test]
async fn in_the_segment_format_the_text_must_be_able_to_stand_in_a_path() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("UUI_DATA_FORMAT", "segment").start().await;
    let answer = app.create_room_for(&hex::encode("MTIz_NDU-2")).await;
    assert_eq!(answer.json()["tag"], "https://id.gov.bc.ca/idcheck/MTIz_NDU-2", "{answer:?}");
    let answer = app.create_room_for(&(hex::encode("MTIz_NDU-3") + ";encoding=hex")).await;
    assert_eq!(answer.json()["tag"], "https://id.gov.bc.ca/idcheck/MTIz_NDU-3", "{answer:?}");
    app.pexip.traffic().clear();
    for text in ["a/b", "../a", "a b", "a?b", "a#b", "a%2fb", "a=", "é", "a\0", "a\nb", "https://evil.example"] {
        app.create_room_for(&hex::encode(text)).await.assert_problem(400, "uui_data_invalid");
    }
    app.create_room_for("ff").await.assert_problem(400, "uui_data_invalid");
    app.assert_no_outside_calls("segments");
}

/// A service whose cases choose between two hosts.
fn host_and_id() -> TestAppBuilder {
    TestApp::with()
        .set("UUI_DATA_FORMAT", "host-and-id")
        .set("ROOM_TAG_URL", "https://{host}.gov.bc.ca/idcheck/protected/video/")
        .set("ROOM_TAG_HOSTS", "id, id-test")
}

#[tokio::test]
async fn what_idim_sends_becomes_the_tag_however_its_suffix_is_written() {
    on_every_host(
        || host_and_id().set("POOL_TARGET_SIZE", 0),
        async |app| {
            for suffix in [
                "",
                ";encoding=hex",
                ";ENCODING=HEX",
                ";Encoding=hEx",
                "%3Bencoding%3Dhex",
                "%3bencoding%3dhex",
                "%3BENCODING%3DHEX",
                "%3Bencoding=hex",
                ";encoding%3Dhex",
                "&encoding=hex",
            ] {
                for digits in [HOST_AND_ID.to_owned(), HOST_AND_ID.to_uppercase()] {
                    let answer = app.create_room_for(&(digits + suffix)).await;
                    assert_eq!(answer.status, 200, "{suffix}: {answer:?}");
                    assert_eq!(answer.json()["tag"], HOST_AND_ID_TAG, "{suffix}: {answer:?}");
                }
            }
            let answer = app.create_room_for(&(hex::encode("id-test&a-Z_0") + ";encoding=hex")).await;
            let expected = "https://id-test.gov.bc.ca/idcheck/protected/video/a-Z_0";
            assert_eq!(answer.json()["tag"], expected, "{answer:?}");
            let tags: Vec<_> = app.pexip.rooms().into_iter().map(|room| room.tag).collect();
            assert_eq!(tags.iter().filter(|tag| *tag == HOST_AND_ID_TAG).count(), tags.len() - 1, "{tags:?}");
        },
    )
    .await;
}

#[tokio::test]
async fn the_longest_host_and_id_becomes_a_tag() {
    let app = host_and_id().set("POOL_TARGET_SIZE", 0).start().await;
    let id = "Z".repeat(128 - "id-test&".len());
    let answer = app.create_room_for(&(hex::encode(format!("id-test&{id}")) + ";encoding=hex")).await;
    assert_eq!(answer.json()["tag"], format!("https://id-test.gov.bc.ca/idcheck/protected/video/{id}"), "{answer:?}");
    let longer = hex::encode(format!("id-test&{id}Z")) + ";encoding=hex";
    app.create_room_for(&longer).await.assert_problem(400, "uui_data_too_long");
}

#[tokio::test]
async fn a_host_that_is_not_listed_and_an_id_that_is_no_segment_are_refused_and_take_no_room() {
    on_every_host(host_and_id, async |app| {
        app.warm_up().await;
        app.pexip.traffic().clear();
        app.queue.traffic().clear();
        for text in [
            // Not one `&`.
            "id",
            "idMTIz",
            "id&a&b",
            "id&&a",
            "&id&a",
            "id&a&",
            "id;a",
            "id%26a",
            // Not on the list.
            "&a",
            "ID&a",
            "Id-Test&a",
            "idtest&a",
            "i&a",
            "id-tes&a",
            " id&a",
            "id &a",
            "id\n&a",
            "id\0&a",
            "id.&a",
            "id.evil.example/&a",
            "evil.example/#&a",
            "evil.example?&a",
            "agent@evil.example/&a",
            "{host}&a",
            "id,id-test&a",
            "id, id-test&a",
            "*&a",
            "іd&a",
            "ｉｄ&a",
            // Not an id.
            "id&",
            "id&a b",
            "id&a+b",
            "id&a/b",
            "id&a\\b",
            "id&../a",
            "id&..",
            "id&.",
            "id&a?b",
            "id&a#b",
            "id&a%2fb",
            "id&a=",
            "id&a,b",
            "id&a;encoding=hex",
            "id&é",
            "id&a\0",
            "id&a\n",
            "id&a\u{7f}",
            "id&\u{202e}a",
            "id&https://evil.example",
        ] {
            for suffix in ["", ";encoding=hex"] {
                let answer = app.create_room_for(&(hex::encode(text) + suffix)).await;
                let problem = answer.assert_problem(400, "uui_data_invalid");
                let detail = problem["detail"].as_str().expect("a detail");
                assert!(!detail.is_empty() && !detail.contains("evil"), "{text:?}: {answer:?}");
            }
        }
        // Not UTF-8: in the id, in the host, overlong, and half a surrogate pair.
        for bytes in ["696426ff", "ff2661", "6964c0a661", "696426eda0bd"] {
            app.create_room_for(bytes).await.assert_problem(400, "uui_data_invalid");
        }
        for query in [
            format!("{HOST_AND_ID}&uuiData={HOST_AND_ID}"),
            format!("{HOST_AND_ID};encoding=hex&uuiData={HOST_AND_ID};encoding=hex"),
            format!("{HOST_AND_ID},{HOST_AND_ID}"),
            format!("{HOST_AND_ID};encoding=hex,{HOST_AND_ID};encoding=hex"),
            format!("{HOST_AND_ID}%253Bencoding%253Dhex"),
            format!("{HOST_AND_ID};encoding=hex;encoding=hex"),
            format!("{HOST_AND_ID};encoding=base64"),
            format!("{HOST_AND_ID};"),
        ] {
            app.create_room_for(&query).await.assert_problem(400, "uui_data_invalid");
        }
        for query in ["", ";encoding=hex"] {
            app.create_room_for(query).await.assert_problem(400, "uui_data_missing");
        }
        assert!(app.pexip.rooms().iter().all(|room| room.tag.is_empty()));
        assert_eq!((app.pexip.rooms().len(), app.queue.messages(POOL_QUEUE).len()), (4, 4));
        let changes = |exchanges: Vec<Exchange>| exchanges.iter().any(|one| one.method != Method::GET);
        assert!(!changes(app.pexip.traffic().log()) && !changes(app.queue.traffic().log()));
    })
    .await;
}
