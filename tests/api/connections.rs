//! What may come over a connection before it is a request, how many connections there may be, and that whoever holds
//! them does not stop anybody else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Program, TestApp, UUI_DATA, eventually, within};

/// What an attack may cost in memory, in MiB: places × the buffers of each, and room for the allocator.
const MOST_MEMORY: u64 = 96;

fn address(app: &TestApp) -> SocketAddr {
    app.url.socket_addrs(|| None).expect("an address")[0]
}

async fn connect(app: &TestApp) -> TcpStream {
    within("a connection", TcpStream::connect(address(app))).await.expect("a connection")
}

/// Whether the service has closed the connection. Reads what came before that.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let end = async {
        let mut bytes = [0; 4096];
        while matches!(stream.read(&mut bytes).await, Ok(1..)) {}
    };
    timeout(Duration::from_millis(100), end).await.is_ok()
}

/// Lets the runtime's time pass, for the service and all its clients.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
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
        // The longest token that is looked at, and what a gateway and the Functions host put beside it.
        (format!("authorization: Bearer {}\r\n{}", "a".repeat(8192), padding(16_000)), "/room/vbv-x", 405),
        (format!("authorization: Bearer {token}\r\n{}", padding(16_000)), "/room/vbv-x", 405),
    ] {
        let answer =
            app.send_raw(format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")).await;
        assert_eq!(answer.status, status, "{} bytes: {answer:?}", headers.len());
    }
    app.assert_nobody_was_asked("large headers");
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
        // As long as it takes until the service has seen the bytes.
        assert!(!is_closed(&mut dripping).await, "after {passed} s");
        pass(3).await;
    }
    assert!(is_closed(&mut dripping).await, "each byte was given ten seconds of its own");
    assert!(is_closed(&mut halting).await);
    assert!(!is_closed(&mut silent).await, "nothing was begun on this one");
}

#[tokio::test]
async fn an_idle_connection_is_kept_longer_than_the_hosts_client_keeps_it_but_not_for_ever() {
    let app = TestApp::without_pool().await;
    let mut unused = connect(&app).await;
    let mut used = connect(&app).await;
    for _ in 0..2 {
        used.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("a connection that is open");
        assert!(!is_closed(&mut used).await, "it is kept for the next request");
        pass(65).await;
    }
    assert!(is_closed(&mut unused).await);
    used.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("a connection that is open");
    assert!(!is_closed(&mut used).await);
    pass(131).await;
    assert!(is_closed(&mut used).await);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_waited_for_as_long_as_a_request_may_take() {
    let app = TestApp::without_pool().await;
    for path in ["/room/create", "/health/live", "/function_pool_maintenance", "/nothing"] {
        let mut stream = connect(&app).await;
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 9\r\n\r\nabc");
        stream.write_all(head.as_bytes()).await.expect("a connection that is open");
        assert!(!is_closed(&mut stream).await, "{path}");
        pass(26).await;
        let mut answer = String::new();
        within("an answer", stream.read_to_string(&mut answer)).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("deadline_exceeded"), "{path}: {answer}");
    }
    app.assert_nobody_was_asked("bodies that do not come");
}

#[tokio::test]
async fn a_request_under_way_is_never_closed_for_others() {
    let app = TestApp::with().set("POOL_TARGET_SIZE", 0).set("MAX_CONCURRENT_REQUESTS", 1).start().await;
    app.pexip.traffic().inject(Matching::method(Method::POST), Times::Once, Fault::Stall);
    let others = async {
        eventually("Pexip is asked", async || !app.pexip.traffic().log().is_empty()).await;
        let mut idle = Vec::new();
        for _ in 0..400 {
            idle.push(connect(&app).await);
        }
        let first = idle.first_mut().expect("there are some");
        assert!(is_closed(first).await, "the longest idle one has given way");
        let last = idle.last_mut().expect("there are some");
        assert!(!is_closed(last).await, "the last one has a place");
        app.pexip.traffic().heal();
    };
    let (answer, ()) = tokio::join!(app.create_room(), others);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let (app, program) = TestApp::with().start_program().await;
    let mut idle = connect(&app).await;
    idle.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("a connection that is open");
    assert!(!is_closed(&mut idle).await);
    let _unused = connect(&app).await;
    let asked = Instant::now();

    program.signal("TERM");

    assert_eq!(program.ended().await.code, Some(143));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
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
async fn assert_good_callers_are_served(app: &TestApp, attack: &str) -> Duration {
    let caller = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("a client");
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let url = app.url.join(&format!("room/create?uuiData={UUI_DATA}")).expect("a path");
        let asked = Instant::now();
        let request = caller.post(url).bearer_auth(app.entra.token().build());
        let answer = within("an answer", request.send()).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{attack}");
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_secs(5), "{attack}: {slowest:?}");
    slowest
}

async fn attacked(app: &TestApp, program: &Program, attack: Attack) {
    assert_good_callers_are_served(app, "before").await;
    let before = program.resident_mib();
    let opened = Arc::new(AtomicUsize::new(0));
    let attackers = attack.begin(address(app), &opened);
    let all_came = async || opened.load(Ordering::Relaxed) >= attack.connections;
    eventually("all attackers have come", all_came).await;
    let slowest = assert_good_callers_are_served(app, attack.name).await;
    let after = program.resident_mib();
    attackers.shutdown_background();
    let (Some(before), Some(after)) = (before, after) else {
        println!("{}: slowest good answer {slowest:?}; this system does not tell the memory in use", attack.name);
        return;
    };
    println!("{}: slowest good answer {slowest:?}, {before} MiB before, {after} MiB under attack", attack.name);
    assert!(after < before + MOST_MEMORY, "{}: {before} MiB before, {after} MiB under attack", attack.name);
}

#[tokio::test]
async fn two_thousand_connections_that_ask_nothing_or_slowly_stop_nobody_and_cost_little_memory() {
    for attack in ATTACKS {
        let settings =
            TestApp::with().set("POOL_TARGET_SIZE", 0).set("LOG_LEVEL", "maxconf=warn,maxconf::http::server=info");
        let (app, program) = settings.start_program().await;
        attacked(&app, &program, attack).await;
    }
}

#[tokio::test]
async fn without_file_descriptors_the_service_closes_idle_connections_and_goes_on() {
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
    assert!((1..20).contains(&times), "said {times} times");
}
