//! Which `uuiData` becomes a tag, and which tag.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use maxconf_simulators::Exchange;
use reqwest::Method;

use crate::support::{POOL_QUEUE, TestApp, UUI_DATA};

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
        (&longest, &(BASE64_URL_SAFE_NO_PAD.encode([0xfb; 128]))),
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
    app.pexip.traffic().clear();
    for text in ["a/b", "../a", "a b", "a?b", "a#b", "a%2fb", "a=", "é", "a\0", "a\nb", "https://evil.example"] {
        app.create_room_for(&hex::encode(text)).await.assert_problem(400, "uui_data_invalid");
    }
    app.create_room_for("ff").await.assert_problem(400, "uui_data_invalid");
    app.assert_nobody_was_asked("segments");
}
