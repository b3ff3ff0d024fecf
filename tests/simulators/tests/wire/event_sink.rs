use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use maxconf_simulators::pexip::{ConferencingNode, Delivery, EventSink, SinkTimes};
use maxconf_simulators::{Fault, Matching, PexipSimulator, Server, StoredRoom, Times, Traffic};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::eventually;

const GUEST: &str = "852117";
const HOST: &str = "193604";

/// Short pauses with the vendor's pattern: 5, 10, 20 and 40 milliseconds.
const QUICK: SinkTimes = SinkTimes {
    timeout: Duration::from_secs(3),
    first_pause: Duration::from_millis(5),
    longest_pause: Duration::from_millis(40),
};

/// A platform with two nodes, the room `vbv-1`, and a receiver of its events.
struct Call {
    pexip: PexipSimulator,
    nodes: [ConferencingNode; 2],
    sink: EventSink,
    received: Arc<Mutex<Vec<Value>>>,
    traffic: Traffic,
    _server: Server,
}

impl Call {
    async fn start() -> Self {
        let received = Arc::default();
        let traffic = Traffic::default();
        let events = Router::new().route("/events", post(receive)).with_state(Arc::clone(&received));
        let server = Server::start(traffic.watch(events)).await;
        let pexip = PexipSimulator::start().await;
        let nodes = [pexip.conferencing_node("10.47.2.21").await, pexip.conferencing_node("10.47.2.22").await];
        let room = StoredRoom::named("vbv-1").with_alias("vbv-1").with_pins(HOST, GUEST).tagged("https://id.example");
        pexip.insert(room);
        let sink = pexip.add_event_sink(server.url().join("events").expect("a path"), "pexip", "secret");
        sink.set_times(QUICK);
        Self { pexip, nodes, sink, received, traffic, _server: server }
    }

    /// A guest joins and leaves on the first node.
    async fn visit(&self) {
        let joined = self.nodes[0].join("vbv-1", GUEST).await.expect("the room");
        self.nodes[0].leave(&joined);
    }

    fn received(&self) -> Vec<Value> {
        self.received.lock().expect("no test panicked").clone()
    }

    /// Takes the events received once all are delivered.
    async fn arrivals(&self) -> Vec<Value> {
        eventually("it has arrived", async || self.sink.undelivered() == 0).await;
        std::mem::take(&mut *self.received.lock().expect("no test panicked"))
    }
}

async fn receive(
    State(received): State<Arc<Mutex<Vec<Value>>>>,
    headers: HeaderMap,
    axum::Json(event): axum::Json<Value>,
) -> StatusCode {
    // pexip:secret
    if headers["authorization"] != "Basic cGV4aXA6c2VjcmV0" {
        return StatusCode::UNAUTHORIZED;
    }
    received.lock().expect("no test panicked").push(event);
    StatusCode::NO_CONTENT
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().expect("a name")).collect()
}

fn numbers(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["seq"].as_u64().expect("a number")).collect()
}

#[tokio::test]
async fn a_visits_events_arrive_in_order_numbered_from_one() {
    let call = Call::start().await;

    call.visit().await;

    let events = call.arrivals().await;
    let expected = [
        "eventsink_started",
        "conference_started",
        "participant_connected",
        "participant_updated",
        "participant_media_streams_destroyed",
        "participant_disconnected",
        "conference_ended",
    ];
    assert_eq!(names(&events), expected);
    assert_eq!(numbers(&events), [1, 2, 3, 4, 5, 6, 7]);
    assert!(events.iter().all(|event| event["node"] == "10.47.2.21" && event["version"] == 2), "{events:?}");
    let ended = &events[6]["data"];
    assert_eq!((ended["name"].as_str(), ended["tag"].as_str()), (Some("vbv-1"), Some("https://id.example")));
    assert!(ended["start_time"].as_f64() <= ended["end_time"].as_f64() && ended["end_time"].is_f64(), "{ended}");
    assert_eq!(events[1]["data"].get("end_time"), None);
    for event in &events[1..] {
        let by_name = event["data"]["name"] == "vbv-1" && event["data"].get("conference").is_none();
        let by_conference = event["data"]["conference"] == "vbv-1" && event["data"].get("name").is_none();
        let name = event["event"].as_str().expect("a name");
        let expected = (name.starts_with("conference_"), name.starts_with("participant_") && !name.contains("media"));
        assert_eq!((by_name, by_conference), expected, "{event}");
    }
    let left = &events[5]["data"];
    assert_eq!((left["conference"].as_str(), left["role"].as_str()), (Some("vbv-1"), Some("guest")));
    assert_eq!(left["disconnect_reason"], "Call disconnected");
    assert_eq!(
        (left.get("media_streams"), events[4]["data"]["media_streams"].as_array().map(Vec::len)),
        (None, Some(1))
    );
}

#[tokio::test]
async fn one_long_step_of_the_clock_carries_out_what_was_due_in_order() {
    let call = Call::start().await;
    call.pexip.add_automatic_participant(7, "sip:queue@sbc.example.org");
    let mut room = call.pexip.room("vbv-1").expect("the room");
    room.automatic_participants.push(7);
    call.pexip.insert(room);
    call.nodes[0].join("vbv-1", GUEST).await.expect("the room");
    call.arrivals().await;

    // Dial-out after 10 s, the end of the guest's token after 120 s.
    call.pexip.advance(Duration::from_secs(3600));

    let events = call.arrivals().await;
    let main = events.iter().filter(|event| event["event"] != "participant_media_streams_destroyed");
    let main: Vec<_> = main.map(|it| (it["event"].as_str(), it["data"]["call_direction"].as_str())).collect();
    let expected = [
        (Some("participant_connected"), Some("out")),
        (Some("participant_disconnected"), Some("in")),
        (Some("participant_disconnected"), Some("out")),
        (Some("conference_ended"), None),
    ];
    assert_eq!(main, expected);
}

#[tokio::test]
async fn version_one_reports_media_streams_with_the_disconnection() {
    let call = Call::start().await;
    call.sink.set_version(1);

    call.visit().await;

    let events = call.arrivals().await;
    assert_eq!(names(&events[4..]), ["participant_disconnected", "conference_ended"]);
    assert_eq!(events[4]["data"]["media_streams"].as_array().map(Vec::len), Some(1));
    assert!(events.iter().all(|event| event["version"] == 1), "{events:?}");
}

#[tokio::test]
async fn each_node_reports_its_own_end_of_the_conference() {
    let call = Call::start().await;
    let citizen = call.nodes[0].join("vbv-1", GUEST).await.expect("the room");
    let agent = call.nodes[1].join("vbv-1", HOST).await.expect("the room");
    let by_node = |events: &[Value], name: &str| -> Vec<String> {
        let nodes = events.iter().filter(|event| event["event"] == name);
        nodes.map(|event| event["node"].as_str().expect("a node").to_owned()).collect()
    };
    let mut started = by_node(&call.arrivals().await, "conference_started");
    started.sort();
    assert_eq!(started, ["10.47.2.21", "10.47.2.22"]);

    call.nodes[0].leave(&citizen);
    assert_eq!(by_node(&call.arrivals().await, "conference_ended"), ["10.47.2.21"]);
    assert!(call.pexip.is_running("vbv-1"), "the agent is still there");
    call.nodes[1].leave(&agent);
    assert_eq!(by_node(&call.arrivals().await, "conference_ended"), ["10.47.2.22"]);
}

#[tokio::test]
async fn waiting_events_are_sent_in_bulk_and_a_single_one_by_itself() {
    let call = Call::start().await;
    call.sink.set_bulk(true);
    call.sink.hold();
    call.visit().await;
    // Long enough for a request to arrive.
    sleep(QUICK.longest_pause * 2).await;
    assert_eq!((call.received(), call.sink.undelivered()), (vec![], 7));

    call.sink.release();

    let requests = call.arrivals().await;
    assert_eq!(names(&requests), ["eventsink_bulk"]);
    assert_eq!((requests[0]["node"].as_str(), requests[0]["seq"].as_u64()), (Some("127.0.0.1"), Some(0)));
    let inner = requests[0]["data"].as_array().expect("events");
    assert_eq!((numbers(inner), inner[0]["node"].as_str()), ((1..=7).collect(), Some("10.47.2.21")));

    call.pexip.wait_for_pin("vbv-1");
    eventually("it has arrived", async || call.sink.undelivered() == 0).await;
    call.received.lock().expect("no test panicked").clear();
    call.pexip.wait_for_pin("vbv-1");
    assert_eq!(names(&call.arrivals().await), ["participant_connected"]);
}

#[tokio::test]
async fn requests_are_sent_twice_or_in_reverse_order_on_demand() {
    let call = Call::start().await;
    call.sink.set_delivery(Delivery::Twice);
    call.visit().await;
    assert_eq!(numbers(&call.arrivals().await), [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]);

    call.sink.hold();
    call.sink.set_delivery(Delivery::Backwards);
    call.visit().await;
    call.sink.release();
    let events = call.arrivals().await;
    assert_eq!(numbers(&events), [13, 12, 11, 10, 9, 8]);
    assert_eq!(names(&events)[..2], ["conference_ended", "participant_disconnected"]);
}

#[tokio::test]
async fn a_failed_request_is_repeated_until_it_is_accepted() {
    let call = Call::start().await;
    // Longer than an answer takes on a busy machine: five failures in a row would stop the publisher.
    let timeout = Duration::from_secs(3);
    call.sink.set_times(SinkTimes { timeout, ..QUICK });
    call.traffic.inject(Matching::any(), Times::Once, Fault::Status(503));
    call.traffic.inject(Matching::any(), Times::Once, Fault::HangUpAfter);
    call.traffic.inject(Matching::any(), Times::Once, Fault::Slow(timeout + Duration::from_secs(1)));

    call.visit().await;

    let events = call.arrivals().await;
    // The receiver accepted two requests whose answers were lost or late.
    eventually("it is asked ten times", async || call.traffic.count(&Matching::any()) >= 10).await;
    let mut numbers = numbers(&events);
    assert!(numbers.len() > 7, "{numbers:?}");
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(call.sink.stopped_nodes(), Vec::<String>::new());
}

#[tokio::test]
async fn the_publisher_stops_if_the_request_after_the_longest_pause_fails() {
    let call = Call::start().await;
    call.traffic.inject(Matching::any(), Times::Always, Fault::Status(500));
    let start = Instant::now();
    call.visit().await;

    eventually("the node is stopped", async || call.sink.stopped_nodes() == ["10.47.2.21"]).await;
    assert!(start.elapsed() >= Duration::from_millis(5 + 10 + 20 + 40), "{:?}", start.elapsed());
    assert_eq!(call.traffic.count(&Matching::any()), 5);
    call.traffic.heal();
    call.visit().await;
    sleep(QUICK.longest_pause * 2).await;
    assert_eq!((call.traffic.count(&Matching::any()), call.sink.undelivered()), (5, 13));

    call.sink.restart();
    let events = call.arrivals().await;
    assert_eq!(names(&events)[..3], ["eventsink_started", "eventsink_started", "conference_started"]);
    assert_eq!(numbers(&events), (1..=14).collect::<Vec<_>>());
    assert_eq!(call.sink.stopped_nodes(), Vec::<String>::new());
}

#[test]
fn the_default_times_are_the_vendors() {
    let times = SinkTimes::default();
    let seconds = [times.timeout, times.first_pause, times.longest_pause].map(|time| time.as_secs());
    assert_eq!(seconds, [7, 1, 1_800]);
}
