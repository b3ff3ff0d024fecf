//! Limits of connections and of unfinished requests: clients that hold connections do not keep others from being served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use crate::support::{Program, TestApp, UUI_DATA, eventually, time_passes, within};

/// Logged when a stop cuts requests off. Another test keeps this page and the sources in step.
const CUT_OFF: &str = "stopped with requests in progress";
const LOG_EVENTS: &str = include_str!("../../infra/logs.md");

/// Memory that an attack may cost, in MiB: connection slots × buffers of each, plus the allocator's overhead.
const MOST_MEMORY: u64 = 96;

fn address(app: &TestApp) -> SocketAddr {
    app.url.socket_addrs(|| None).expect("an address")[0]
}

async fn connect(app: &TestApp) -> TcpStream {
    within("a connection", TcpStream::connect(address(app))).await.expect("a connection")
}

/// Reads to the end of the connection.
async fn read_to_its_end(stream: &mut TcpStream) {
    let mut bytes = [0; 4096];
    while matches!(stream.read(&mut bytes).await, Ok(1..)) {}
}

/// Waits until the service has closed the connection.
async fn closes(stream: &mut TcpStream) {
    within("the end of a connection", read_to_its_end(stream)).await;
}

/// Asserts that the service keeps the connection open. Reads what came.
async fn assert_stays_open(stream: &mut TcpStream, when: &str) {
    assert!(timeout(Duration::from_millis(100), read_to_its_end(stream)).await.is_err(), "closed {when}");
}

/// Asks on a connection that stays open, and reads the whole answer.
async fn ask_and_keep(stream: &mut TcpStream) {
    stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("a connection that is open");
    let mut answer = Vec::new();
    let whole = async {
        // The document ends with the only closing brace of the answer.
        while !answer.ends_with(b"}") {
            assert!(stream.read_buf(&mut answer).await.expect("an answer") > 0, "closed before the answer ended");
        }
    };
    within("an answer", whole).await;
}

/// Lets the runtime's time pass, for the service and all its clients.
async fn pass(seconds: u64) {
    time_passes(Duration::from_secs(seconds)).await;
}

#[tokio::test]
async fn headers_are_bounded_in_bytes_and_number() {
    let app = TestApp::without_pool().await;
    let token = app.entra.token().build();
    let padding = |bytes: usize| format!("x-padding: {}\r\n", "a".repeat(bytes));
    for (headers, target, status) in [
        (padding(30_000), "/health/live", 200),
        (padding(33_000), "/health/live", 431),
        (padding(500_000), "/health/live", 431),
        ("x-many: 1\r\n".repeat(98), "/health/live", 200),
        ("x-many: 1\r\n".repeat(101), "/health/live", 431),
        (String::new(), &format!("/{}", "a".repeat(33_000)), 431),
        (String::new(), &format!("/{}", "a".repeat(100_000)), 431),
        // The longest token that is accepted, plus the headers that a gateway and the Functions host add.
        (format!("authorization: Bearer {}\r\n{}", "a".repeat(8192), padding(16_000)), "/room/vbv-x", 401),
        (format!("authorization: Bearer {token}\r\n{}", padding(16_000)), "/room/vbv-x", 404),
    ] {
        let answer =
            app.send_raw(format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")).await;
        assert_eq!(answer.status, status, "{} bytes: {answer:?}", headers.len());
    }
    app.assert_no_outside_calls("large headers");
}

#[tokio::test]
async fn who_does_not_finish_the_headers_is_left_after_ten_seconds() {
    let app = TestApp::without_pool().await;
    let mut silent = connect(&app).await;
    let mut halting = connect(&app).await;
    let mut dripping = connect(&app).await;
    halting.write_all(b"GET /health/live HTTP/1.1\r\nx-slow: ").await.expect("a connection that is open");
    for passed in [0, 3, 6, 9] {
        let drop = if passed == 0 { "GET /health/live HTTP/1.1\r\nx-slow: " } else { "a" };
        dripping.write_all(drop.as_bytes()).await.expect("a connection that is open");
        // Time for the service to see the bytes.
        assert_stays_open(&mut dripping, &format!("after {passed} s")).await;
        pass(3).await;
    }
    // Where each byte had ten seconds of its own, none of them would be closed before the limit of a wait.
    let dripping_on = async {
        let (mut reader, mut writer) = dripping.split();
        let drip = async {
            loop {
                sleep(Duration::from_secs(1)).await;
                let _closed = writer.write_all(b"a").await;
            }
        };
        let mut bytes = [0; 64];
        tokio::select! {
            _end = reader.read(&mut bytes) => {}
            never = drip => never,
        }
    };
    within("the end of the dripping connection", dripping_on).await;
    closes(&mut halting).await;
    assert_stays_open(&mut silent, "though nothing was begun on it").await;
}

#[tokio::test]
async fn an_idle_connection_is_kept_longer_than_the_hosts_client_keeps_it_but_not_for_ever() {
    let app = TestApp::without_pool().await;
    let mut unused = connect(&app).await;
    let mut used = connect(&app).await;
    for _ in 0..2 {
        ask_and_keep(&mut used).await;
        assert_stays_open(&mut used, "before the next request").await;
        pass(65).await;
    }
    closes(&mut unused).await;
    ask_and_keep(&mut used).await;
    assert_stays_open(&mut used, "after an answer").await;
    pass(131).await;
    closes(&mut used).await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_waited_for_as_long_as_a_request_may_take() {
    let app = TestApp::without_pool().await;
    for path in ["/room/create", "/health/live", "/function_pool_maintenance", "/nothing"] {
        let mut stream = connect(&app).await;
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 9\r\n\r\nabc");
        stream.write_all(head.as_bytes()).await.expect("a connection that is open");
        assert_stays_open(&mut stream, path).await;
        pass(26).await;
        let mut answer = String::new();
        within("an answer", stream.read_to_string(&mut answer)).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("deadline_exceeded"), "{path}: {answer}");
    }
    app.assert_no_outside_calls("bodies that do not come");
}

#[tokio::test]
async fn a_request_under_way_is_never_closed_for_others() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("MAX_CONCURRENT_REQUESTS", 1).start().await;
    app.pexip.traffic().inject(Matching::method(Method::POST), Times::Once, Fault::Stall);
    let others = async {
        eventually("Pexip is called", async || !app.pexip.traffic().log().is_empty()).await;
        let mut idle = Vec::new();
        for _ in 0..400 {
            idle.push(connect(&app).await);
        }
        closes(idle.first_mut().expect("the longest idle one, which gives way")).await;
        assert_stays_open(idle.last_mut().expect("there are some"), "though it is the newest").await;
        app.pexip.traffic().heal();
    };
    let (answer, ()) = tokio::join!(app.create_room(), others);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let (app, program) = TestApp::with().start_program().await;
    let mut idle = connect(&app).await;
    ask_and_keep(&mut idle).await;
    let _unused = connect(&app).await;

    program.signal("TERM");
    let ended = program.ended().await;

    assert_eq!(ended.code, Some(143));
    assert!(LOG_EVENTS.contains(CUT_OFF), "the event has another text now");
    let cut_off = |line: &String| line.contains(CUT_OFF);
    assert!(!ended.stdout.iter().any(cut_off), "it waited for idle connections: {ended:?}");
}

/// What an attacker does on each connection.
#[derive(Clone, Copy)]
struct Attack {
    name: &'static str,
    connections: usize,
    opening: fn() -> String,
    /// Sent every second.
    drip: &'static str,
    reads: bool,
}

const ATTACKS: [Attack; 6] = [
    Attack { name: "nothing is sent", connections: 2000, opening: String::new, drip: "", reads: true },
    Attack {
        name: "kept after a request",
        connections: 2000,
        opening: || "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        drip: "",
        reads: true,
    },
    Attack {
        name: "headers drip",
        connections: 2000,
        opening: || "GET /health/live HTTP/1.1\r\nx-slow: ".to_owned(),
        drip: "a",
        reads: true,
    },
    Attack {
        name: "headers fill their buffer and drip",
        connections: 2000,
        opening: || format!("GET /health/live HTTP/1.1\r\nx-slow: {}", "a".repeat(32_000)),
        drip: "a",
        reads: true,
    },
    Attack {
        name: "bodies drip",
        connections: 2000,
        opening: || {
            let head = "POST /room/create HTTP/1.1\r\nhost: x\r\ncontent-length: 16384\r\n\r\n";
            format!("{head}{}", "a".repeat(16_000))
        },
        drip: "a",
        reads: true,
    },
    Attack {
        name: "answers are not read",
        // Each makes the service work until the system's buffers are full.
        connections: 50,
        opening: || "GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n".repeat(5000),
        drip: "GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n",
        reads: false,
    },
];

impl Attack {
    /// On a thread of its own, so that good callers are not slower than they would be.
    fn begin(self, address: SocketAddr, opened: &Arc<AtomicUsize>) -> Runtime {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        for _ in 0..self.connections {
            runtime.spawn(self.hold(address, Arc::clone(opened)));
        }
        runtime
    }

    /// Holds one connection, and comes back a second after it is closed.
    async fn hold(self, address: SocketAddr, opened: Arc<AtomicUsize>) {
        loop {
            let socket = TcpSocket::new_v4().expect("a socket");
            if !self.reads {
                socket.set_recv_buffer_size(4096).expect("a buffer");
            }
            if let Ok(mut stream) = socket.connect(address).await {
                opened.fetch_add(1, Ordering::Relaxed);
                // Ends when the service closes the connection.
                let _closed = self.keep_open(&mut stream).await;
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn keep_open(self, stream: &mut TcpStream) -> std::io::Result<()> {
        let (mut reader, mut writer) = stream.split();
        let writing = async {
            writer.write_all((self.opening)().as_bytes()).await?;
            loop {
                sleep(Duration::from_secs(1)).await;
                writer.write_all(self.drip.as_bytes()).await?;
            }
        };
        let reading = async {
            let mut bytes = [0; 1024];
            while self.reads && reader.read(&mut bytes).await? > 0 {}
            if self.reads { Ok(()) } else { std::future::pending().await }
        };
        tokio::select! {
            result = writing => result,
            result = reading => result,
        }
    }
}

/// A caller who opens a connection for each request is answered each time.
async fn assert_good_callers_are_served(app: &TestApp, attack: &str) {
    let caller = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("a client");
    for _ in 0..20 {
        let url = app.url.join(&format!("room/create?uuiData={UUI_DATA}")).expect("a path");
        let request = caller.post(url).bearer_auth(app.entra.token().build());
        let answer = within("an answer", request.send()).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{attack}");
    }
}

async fn attacked(app: &TestApp, program: &Program, attack: Attack) {
    assert_good_callers_are_served(app, "before").await;
    let before = program.resident_mib();
    let opened = Arc::new(AtomicUsize::new(0));
    let attackers = attack.begin(address(app), &opened);
    let all_came = async || opened.load(Ordering::Relaxed) >= attack.connections;
    eventually("all attackers have come", all_came).await;
    assert_good_callers_are_served(app, attack.name).await;
    let after = program.resident_mib();
    attackers.shutdown_background();
    let (Some(before), Some(after)) = (before, after) else {
        println!("{}: this system does not tell the memory in use", attack.name);
        return;
    };
    println!("{}: {before} MiB before, {after} MiB under attack", attack.name);
    assert!(after < before + MOST_MEMORY, "{}: {before} MiB before, {after} MiB under attack", attack.name);
}

#[tokio::test]
async fn two_thousand_idle_or_slow_connections_neither_block_callers_nor_exhaust_memory() {
    for attack in ATTACKS {
        let settings =
            TestApp::with().set("POOL_TARGET_SIZE", 0).set("LOG_LEVEL", "maxconf=warn,maxconf::http::server=info");
        let (app, program) = settings.start_program().await;
        attacked(&app, &program, attack).await;
    }
}

#[tokio::test]
async fn without_file_descriptors_the_service_closes_idle_connections_and_serves_others() {
    let (app, program) = TestApp::with().set("POOL_TARGET_SIZE", 0).files(192).start_program().await;
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(connect(&app).await);
    }

    assert_good_callers_are_served(&app, "without file descriptors").await;

    let said = |event: &serde_json::Value| {
        event["message"].as_str().is_some_and(|text| text.contains("cannot accept connections"))
    };
    let times = program.events().iter().filter(|event| said(event)).count();
    assert!((1..20).contains(&times), "logged {times} times");
}
