use std::time::Duration;

use maxconf_simulators::{Fault, GenesysSimulator, Matching, QueueSimulator, Times};
use reqwest::{Client, Error, Method, Response, StatusCode};

use crate::{client, eventually};

async fn ask(client: &Client, genesys: &GenesysSimulator) -> Result<Response, Error> {
    let url = genesys.api_url().join("api/v2/tokens/me").expect("a path");
    client.get(url).send().await
}

#[tokio::test]
async fn a_fault_applies_as_often_as_set_and_the_oldest_rule_first() {
    let genesys = GenesysSimulator::start().await;
    let client = client();
    let traffic = genesys.traffic();
    traffic.inject(Matching::method(Method::POST), Times::Always, Fault::Status(500));
    traffic.inject(Matching::any().path_contains("/tokens/"), Times::N(2), Fault::Status(503));
    traffic.inject(Matching::any(), Times::Once, Fault::Redirect("http://127.0.0.1:9/".to_owned()));

    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(ask(&client, &genesys).await.expect("an answer").status().as_u16());
    }

    assert_eq!(statuses, [503, 503, 302, 401]);
    let logged: Vec<_> = traffic.log().iter().map(|exchange| exchange.status).collect();
    assert_eq!(logged, [Some(503), Some(503), Some(302), Some(401)]);
    assert_eq!(traffic.count(&Matching::method(Method::GET).path_contains("tokens/me")), 4);
}

#[tokio::test]
async fn a_cut_connection_gives_no_answer_and_the_next_one_works() {
    let genesys = GenesysSimulator::start().await;
    let client = client();
    genesys.traffic().inject(Matching::any(), Times::Once, Fault::HangUpBefore);

    let cut = ask(&client, &genesys).await.expect_err("no answer");
    let next = ask(&client, &genesys).await.expect("an answer");

    assert!(cut.is_request(), "{cut:?}");
    assert_eq!(next.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(genesys.traffic().log()[0].status, None);
}

/// Passes on the test's own clock only.
const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_request_is_processed_although_its_answer_is_lost_or_late() {
    let queue = QueueSimulator::start().await;
    let client = client();
    let sas = queue.queue_sas("rooms", "raup");
    let url = format!("{}/rooms/messages?{sas}", queue.url());
    let put =
        |text: &str| client.post(&url).body(format!("<QueueMessage><MessageText>{text}</MessageText></QueueMessage>"));
    queue.put("rooms", "first");
    let traffic = queue.traffic();

    traffic.inject(Matching::any(), Times::Once, Fault::HangUpAfter);
    put("lost").send().await.expect_err("no answer");
    traffic.inject(Matching::any(), Times::Once, Fault::StatusAfter(500));
    assert_eq!(put("hidden").send().await.expect("an answer").status(), 500);
    for (text, fault) in [("late", Fault::Slow(LONG)), ("stalled", Fault::Stall)] {
        traffic.inject(Matching::any(), Times::Once, fault);
        let before = traffic.count(&Matching::any());
        let put = tokio::spawn(put(text).send());
        eventually("it has arrived", async || traffic.count(&Matching::any()) > before).await;
        put.abort();
    }
    let texts = || queue.messages("rooms").into_iter().map(|message| message.text).collect::<Vec<_>>();
    assert_eq!(texts(), ["first", "lost", "hidden"]);
    let late = async || {
        tokio::time::pause();
        tokio::time::advance(LONG).await;
        tokio::time::resume();
        texts() == ["first", "lost", "hidden", "late"]
    };
    eventually("the late one is done", late).await;
    // It is in the log just before it stalls, so a single heal could miss it.
    let stalled = async || {
        traffic.heal();
        texts() == ["first", "lost", "hidden", "late", "stalled"]
    };
    eventually("the stalled one is done", stalled).await;
}

#[tokio::test]
async fn the_date_header_can_be_moved() {
    let genesys = GenesysSimulator::start().await;
    genesys.traffic().set_clock_offset(-3_600);

    let answer = ask(&client(), &genesys).await.expect("an answer");

    let shown = answer.headers()["date"].to_str().expect("plain text");
    let shown = httpdate::parse_http_date(shown).expect("a date");
    let behind = shown.elapsed().expect("a date in the past").as_secs();
    assert!((3_595..3_660).contains(&behind), "{behind}");
}

#[tokio::test]
async fn a_stopped_simulator_refuses_connections_until_it_is_restarted() {
    let genesys = GenesysSimulator::start().await;
    let client = client();
    let token = genesys.issue_token();
    ask(&client, &genesys).await.expect("an answer");

    genesys.stop().await;
    let refused = ask(&client, &genesys).await.expect_err("the simulator is stopped");
    genesys.restart().await;
    let url = genesys.api_url().join("api/v2/users/me").expect("a path");
    let back = client.get(url).bearer_auth(token).send().await.expect("an answer");

    assert!(refused.is_connect(), "{refused:?}");
    assert_eq!(back.status(), StatusCode::OK);
}

#[tokio::test]
async fn finished_exchanges_are_announced() {
    let genesys = GenesysSimulator::start().await;
    let mut finished = genesys.traffic().subscribe();

    ask(&client(), &genesys).await.expect("an answer");

    let exchange = finished.recv().await.expect("an exchange");
    assert_eq!((exchange.path.as_str(), exchange.status), ("/api/v2/tokens/me", Some(401)));
}

#[tokio::test]
async fn an_exchange_is_followed_with_its_bodies_from_its_arrival_to_its_end() {
    let genesys = GenesysSimulator::start().await;
    genesys.traffic().inject(Matching::any().path_contains("cut"), Times::Once, Fault::HangUpAfter);
    let mut followed = genesys.traffic().follow();
    let url = |path: &str| genesys.api_url().join(path).expect("a path");

    let answer = client().post(url("api/v2/tokens/me")).body("asked").send().await.expect("an answer");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a body");
    client().get(url("cut")).send().await.expect_err("no answer");

    let mut next = async || followed.recv().await.expect("an exchange");
    let (arrived, ended, cut_arrived, cut) = (next().await, next().await, next().await, next().await);
    assert!(arrived.end.is_none() && arrived.exchange.status.is_none());
    assert_eq!((arrived.number, arrived.body.as_ref()), (ended.number, &b"asked"[..]));
    let end = ended.end.expect("an end");
    assert_eq!((ended.exchange.status, end.body.as_ref()), (Some(status), text.as_bytes()));
    assert!(end.headers.contains_key("date"));
    assert!(cut_arrived.number > ended.number);
    assert_eq!((cut.number, cut.exchange.status), (cut_arrived.number, None));
    assert!(cut.end.expect("an end").headers.is_empty());
}
