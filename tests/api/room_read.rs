//! `GET /room/{name}`: IDIM's server reads a room, and `constrained_attributes` on every route.

use maxconf_simulators::{Fault, Matching, StoredRoom, Times};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, HANDED_OUT, TAG, TestApp, on_every_host};

const OBJECT: &str = "?constrained_attributes=false";

impl TestApp {
    /// IDIM's read; `name` may have a query.
    async fn read_room(&self, name: &str) -> Answer {
        self.send(self.request(Method::GET, &format!("room/{name}")).bearer_auth(self.entra.token().build())).await
    }

    fn answers_with(&self, object: &Value) {
        let body = json!({ "meta": { "limit": 2, "next": null, "offset": 0, "total_count": 1 }, "objects": [object] });
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let fault = Fault::StatusWith { status: 200, headers, body: body.to_string() };
        self.pexip.traffic().inject(Matching::any(), Times::Once, fault);
    }
}

/// A service with one room that was handed out.
async fn with_a_room() -> TestApp {
    let app = TestApp::without_pool().await;
    app.insert_handed_out_room();
    app
}

#[tokio::test]
async fn idim_reads_what_the_agent_reads() {
    on_every_host(
        || TestApp::with().set("POOL_TARGET_SIZE", 0),
        async |app| {
            let created = app.create_room().await;
            let name = created.room();
            for query in ["", "?constrained_attributes=true", "?x=1"] {
                let read = app.read_room(&format!("{name}{query}")).await;
                assert_eq!(read.status, 200, "{query}: {read:?}");
                assert_eq!(read.json(), created.json(), "{query}");
                assert_eq!(read.json(), app.public_room(&name).await.json(), "{query}");
                assert_eq!(read.header("cache-control"), "no-store");
            }
            let object = app.read_room(&format!("{name}{OBJECT}")).await;
            assert_eq!(object.status, 200, "{object:?}");
            assert_eq!(object.json()["name"], name.as_str());
            assert_eq!(object.json()["tag"], TAG);
        },
    )
    .await;
}

#[tokio::test]
async fn only_creates_answer_lacks_the_host_pin_if_the_deployment_says_so() {
    for (shows, target) in [("false", 0), ("false", 4), ("true", 4)] {
        let app = TestApp::with().set("CREATE_SHOWS_HOST_PIN", shows).set("POOL_TARGET_SIZE", target).start().await;
        app.fill_pool().await;

        let created = app.create_room().await;

        let name = created.room();
        let stored = app.pexip.room(&name).expect("the room");
        let mut expected = app.read_room(&name).await.json();
        assert_eq!(expected["pin"], stored.pin.as_str());
        assert_eq!(app.public_room(&name).await.json(), expected);
        if shows == "false" {
            expected.as_object_mut().expect("an object").remove("pin");
            assert!(!created.text.contains(&stored.pin), "{shows} {target}");
        }
        assert_eq!(created.json(), expected, "{shows} {target}");
    }
}

#[tokio::test]
async fn the_object_is_the_one_that_the_management_node_has() {
    let app = with_a_room().await;
    let path = format!("api/admin/configuration/v1/conference/?name={HANDED_OUT}");
    let url = app.pexip.management_url().join(&path).expect("a URL");
    let asked = app.http.get(url).basic_auth(app.pexip.username(), Some(app.pexip.password())).send().await;
    let list: Value = asked.expect("an answer").json().await.expect("JSON");

    let answer = app.read_room(&format!("{HANDED_OUT}{OBJECT}")).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.json(), list["objects"][0]);
    assert!(answer.json().as_object().expect("an object").len() > 20, "{answer:?}");
}

#[tokio::test]
async fn members_of_the_object_pass_unchanged() {
    let app = with_a_room().await;
    let object = json!({
        "z": 1, "a": 18_446_744_073_709_551_615_u64, "name": HANDED_OUT, "id": 7, "tag": TAG,
        "of_a_later_release": [null, { "deep": "é\u{1f600}\u{0}" }],
    });
    app.answers_with(&object);

    let answer = app.read_room(&format!("{HANDED_OUT}{OBJECT}")).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text, object.to_string());
}

#[tokio::test]
async fn an_object_that_is_too_large_or_no_objects_list_is_not_passed_on() {
    let app = with_a_room().await;
    let of =
        |room: &str, tag: &str, padding: usize| json!({ "id": 7, "name": room, "tag": tag, "x": "a".repeat(padding) });
    app.answers_with(&of(HANDED_OUT, TAG, 300_000));
    app.read_room(&format!("{HANDED_OUT}{OBJECT}")).await.assert_problem(502, "pexip_invalid");
    for wrong in [json!("text"), json!([]), json!({}), json!({ "id": 0, "name": HANDED_OUT, "tag": TAG })] {
        app.answers_with(&wrong);
        app.read_room(&format!("{HANDED_OUT}{OBJECT}")).await.assert_problem(502, "pexip_invalid");
    }
    // Another room than the one that was asked for says nothing about it; a room that belongs to nobody is not shown.
    for (room, tag, status, code) in [
        ("vbv-01jd5p3xk8qqqqqqqqqqqqqq07", TAG, 502, "pexip_invalid"),
        ("boardroom", TAG, 502, "pexip_invalid"),
        (HANDED_OUT, "", 404, "room_not_found"),
    ] {
        for query in ["", OBJECT] {
            app.answers_with(&of(room, tag, 1));
            app.read_room(&format!("{HANDED_OUT}{query}")).await.assert_problem(status, code);
        }
    }
}

#[tokio::test]
async fn rooms_that_are_not_a_citizens_are_the_same_404() {
    let app = TestApp::start().await;
    app.fill_pool().await;
    let pooled = app.pexip.rooms().remove(0).name;
    app.pexip.insert(StoredRoom::named("boardroom").tagged(TAG));
    app.pexip.insert(StoredRoom::named("edge-01jd5p3xk8qqqqqqqqqqqqqqqq").tagged(TAG));
    let unknown = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";
    let mut bodies = Vec::new();
    for name in [&pooled, unknown, "boardroom", "edge-01jd5p3xk8qqqqqqqqqqqqqqqq", "vbv-1", "%ff", "*", "41"] {
        for query in ["", OBJECT] {
            app.pexip.traffic().clear();
            let mut problem = app.read_room(&format!("{name}{query}")).await.assert_problem(404, "room_not_found");
            problem["request_id"].take();
            bodies.push(problem);
            let asked = app.pexip.traffic().count(&Matching::any().path_contains("conference").query_contains("name="));
            assert_eq!(
                asked == 1,
                name == pooled || name == unknown,
                "{name}: Pexip is asked about names of ours only"
            );
        }
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
}

#[tokio::test]
async fn reading_requires_its_own_role() {
    let app = with_a_room().await;
    let read = async |app: &TestApp, roles: &[&str], query: &str| {
        let token = app.entra.token().roles(roles.iter().copied()).build();
        app.send(app.request(Method::GET, &format!("room/{HANDED_OUT}{query}")).bearer_auth(token)).await
    };
    for query in ["", OBJECT, "?constrained_attributes=neither"] {
        let answer = read(&app, &["Room.Create", "Room.Delete"], query).await;
        answer.assert_problem(403, "not_permitted");
        assert!(answer.header("www-authenticate").ends_with(r#"scope="Room.Read""#), "{answer:?}");
        let anonymous = app.send(app.request(Method::GET, &format!("room/{HANDED_OUT}{query}"))).await;
        anonymous.assert_problem(401, "token_missing");
        let agents = app.request(Method::GET, &format!("room/{HANDED_OUT}{query}"));
        let agents = app.send(agents.header("x-auth-token", app.genesys.issue_token())).await;
        agents.assert_problem(401, "token_missing");
    }
    app.assert_no_outside_calls("not permitted");
    assert_eq!(read(&app, &["Room.Read"], "").await.status, 200);

    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("ENTRA_READ_ROLE", "Room.Create").start().await;
    app.insert_handed_out_room();
    assert_eq!(read(&app, &["Room.Create"], OBJECT).await.status, 200);
    read(&app, &["Room.Read"], "").await.assert_problem(403, "not_permitted");
}

#[tokio::test]
async fn pexips_faults_have_the_codes_of_the_public_read() {
    for query in ["", OBJECT] {
        for (fault, status, code) in [
            (Fault::Status(500), 503, "pexip_unavailable"),
            (Fault::Status(401), 502, "pexip_refused"),
            (Fault::Rubbish, 502, "pexip_invalid"),
            (Fault::HangUpBefore, 503, "pexip_unavailable"),
        ] {
            let app = with_a_room().await;
            app.pexip.traffic().inject(Matching::any(), Times::Always, fault);
            app.read_room(&format!("{HANDED_OUT}{query}")).await.assert_problem(status, code);
        }
    }
}

/// The routes, each as its caller asks it with this query, and what it answers then.
async fn ask_each(app: &TestApp, query: &str) -> [(&'static str, Answer); 5] {
    let token = || app.entra.token().build();
    let idim = |method: Method, path: &str| app.request(method, &format!("{path}{query}")).bearer_auth(token());
    let create = app.request(Method::POST, &format!("room/create?uuiData=31{}", query.replace('?', "&")));
    let look = app.request(Method::GET, &format!("public/room/{HANDED_OUT}{query}"));
    [
        ("create", app.send(create.bearer_auth(token())).await),
        ("look", app.send(look.header("x-auth-token", app.genesys.issue_token())).await),
        ("read", app.send(idim(Method::GET, &format!("room/{HANDED_OUT}"))).await),
        ("delete create", app.send(idim(Method::DELETE, "room/create")).await),
        ("delete", app.send(idim(Method::DELETE, &format!("room/{HANDED_OUT}"))).await),
    ]
}

#[tokio::test]
async fn constrained_attributes_true_changes_nothing_on_any_route() {
    for query in
        ["", "?constrained_attributes=true", "?constrained%5Fattributes=%74rue", "?Constrained_Attributes=false"]
    {
        let app = with_a_room().await;
        let statuses = ask_each(&app, query).await.map(|(_, answer)| answer.status.as_u16());
        assert_eq!(statuses, [200, 200, 200, 404, 204], "{query}");
    }
}

#[tokio::test]
async fn constrained_attributes_false_is_for_reading_alone() {
    let app = with_a_room().await;
    for query in [OBJECT, "?constrained%5Fattributes=fals%65"] {
        for (route, answer) in ask_each(&app, query).await {
            if route == "read" {
                assert_eq!(answer.status, 200, "{answer:?}");
            } else {
                answer.assert_problem(400, "request_invalid");
            }
        }
    }
    assert_eq!(app.pexip.rooms().len(), 1, "no room was made or deleted");
}

#[tokio::test]
async fn other_values_of_constrained_attributes_are_refused_and_nobody_is_asked() {
    let app = with_a_room().await;
    for value in
        ["", "True", "FALSE", "1", "0", "yes", "null", "true%20", "%20false", "true,true", "false,false", "%ff"]
    {
        for (route, answer) in ask_each(&app, &format!("?constrained_attributes={value}")).await {
            assert_eq!(answer.status, 400, "{route} {value}: {answer:?}");
            answer.assert_problem(400, "request_invalid");
        }
    }
    for twice in
        ["true&constrained_attributes=true", "false&constrained_attributes=false", "true&constrained_attributes"]
    {
        for (_, answer) in ask_each(&app, &format!("?constrained_attributes={twice}")).await {
            answer.assert_problem(400, "request_invalid");
        }
    }
    for traffic in [app.queue.traffic(), app.pexip.traffic()] {
        assert_eq!(traffic.log().len(), 0, "{:?}", traffic.log());
    }
    for path in ["room/create?uuiData=31&", "public/room/x?", "room/x?"] {
        let method = if path.contains("create") { Method::POST } else { Method::GET };
        let answer = app.send(app.request(method, &format!("{path}constrained_attributes=7"))).await;
        answer.assert_problem(401, "token_missing");
    }
}
