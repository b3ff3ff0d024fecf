//! The Functions host, compared with what is known of the real one, with a scripted handler.

mod started;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use maxconf_simulators::FunctionsHost;
use maxconf_simulators::functions_host::{FUNCTION_KEY, Invocation, Level, Mode};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{LIMIT, eventually};

use started::{HANDLER, Started, host_json, http_function, package, write};

const MODES: [Mode; 2] = [Mode::Forwarding, Mode::Proxying];

/// All values of a header that the handler received.
fn seen<'a>(echo: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = echo["headers"].as_array().expect("headers").iter();
    headers.filter(|header| header[0] == name).map(|header| header[1].as_str().expect("a value")).collect()
}

#[tokio::test]
async fn each_kind_of_host_forwards_a_request_in_its_own_form() {
    for mode in MODES {
        let started = Started::with(mode, &[]).await;
        let url = format!("{}ECHO/a%20b?x=1&code=k&x=2%203", started.host.url());
        let request = started.http.post(&url).header("host", "api.example.org").header("user-agent", "widget/1");
        let request = request
            .header("authorization", "Bearer t")
            .header("x-functions-key", "k")
            .header("x-forwarded-for", "203.0.113.9")
            .header("x-azure-functions-invocationid", "spoofed")
            .header("content-type", "text/plain")
            .header("content-language", "en")
            .header("te", "trailers")
            .body("hello");

        let echo: Value = request.send().await.expect("an answer").json().await.expect("the echo");

        let forwarding = mode == Mode::Forwarding;
        assert_eq!(echo["method"], "POST");
        assert_eq!(echo["body"], "hello");
        let uri = if forwarding { "/ECHO/a%20b?x=1%2C2+3&code=k" } else { "/ECHO/a%20b?x=1&code=k&x=2%203" };
        assert_eq!(echo["uri"], uri, "{mode:?}");
        for (header, forwarded, proxied) in [
            ("authorization", &["Bearer t"][..], &["Bearer t"][..]),
            ("x-functions-key", &["k"], &["k"]),
            ("content-type", &["text/plain"], &["text/plain"]),
            ("content-length", &["5"], &["5"]),
            ("content-language", &[], &["en"]),
            ("te", &[], &[]),
            ("x-forwarded-for", &["203.0.113.9"], &["127.0.0.1"]),
            ("x-forwarded-host", &[], &["api.example.org"]),
            ("x-forwarded-proto", &[], &["http"]),
            ("user-agent", &["widget/1 Azure-Functions-Host/4.1052.200.0"], &["widget/1"]),
            ("x-azure-functions-hostversion", &["4.1052.200.0"], &["4.1052.200.0"]),
        ] {
            assert_eq!(seen(&echo, header), if forwarding { forwarded } else { proxied }, "{mode:?} {header}");
        }
        let ids = seen(&echo, "x-azure-functions-invocationid");
        assert_eq!((ids.len(), ids.contains(&"spoofed")), if forwarding { (2, true) } else { (1, false) }, "{mode:?}");
        assert_eq!(seen(&echo, "x-ms-invocation-id").len(), usize::from(!forwarding), "{mode:?}");
        let host = seen(&echo, "host")[0];
        assert_eq!(host == "api.example.org", forwarding, "{mode:?} {host}");
        assert!(forwarding || host.starts_with("127.0.0.1:"), "{host}");
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_lost_where_the_request_is_rebuilt() {
    for (mode, body) in [(Mode::Forwarding, ""), (Mode::Proxying, "hello")] {
        let started = Started::with(mode, &[]).await;
        let url = format!("{}echo/chunked", started.host.url());
        let request = "POST /echo/chunked HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
                       5\r\nhello\r\n0\r\n\r\n";
        let answer = raw(&url, request).await;

        let echo: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).expect("a body")).expect("the echo");
        assert_eq!(echo["body"], body, "{mode:?}");
    }
}

/// Sends these bytes, for requests that the client library would not send.
async fn raw(url: &str, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let url: reqwest::Url = url.parse().expect("a URL");
    let address = (url.host_str().expect("a host"), url.port().expect("a port"));
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("it can be sent");
    let mut answer = String::new();
    timeout(LIMIT, stream.read_to_string(&mut answer)).await.expect("in time").expect("an answer");
    answer
}

#[tokio::test]
async fn the_handlers_answer_is_forwarded() {
    for mode in MODES {
        let started = Started::with(mode, &[]).await;

        let answer = started.ask(Method::GET, "do/refuse").await;

        assert_eq!(answer.status(), 418, "{mode:?}");
        assert_eq!(answer.headers()["x-own"], "kept", "{mode:?}");
        assert_eq!(answer.text().await.expect("a body"), "no", "{mode:?}");
    }
}

#[tokio::test]
async fn the_host_answers_requests_that_match_no_function() {
    for mode in MODES {
        let started = Started::with(mode, &[]).await;
        for (method, path, status) in [
            (Method::GET, "", 200),
            (Method::POST, "", 404),
            (Method::GET, "nowhere", 404),
            // Methods that no function lists, including preflight, and another function's method.
            (Method::OPTIONS, "echo/x", 404),
            (Method::DELETE, "echo/x", 404),
            (Method::GET, "echo/x/y", 404),
            (Method::GET, "echo/", 404),
            (Method::POST, "tick", 404),
            (Method::GET, "off", 404),
            (Method::GET, "locked", 401),
            (Method::GET, "locked?code=wrong", 401),
        ] {
            assert_eq!(started.ask(method.clone(), path).await.status(), status, "{mode:?} {method} /{path}");
        }
        assert!(!started.host.log().iter().any(|line| line.text.starts_with("asked")), "{:?}", started.host.log());

        for (method, path) in [
            (Method::GET, "echo/made".to_owned()),
            (Method::PUT, "echo/made".to_owned()),
            (Method::GET, format!("locked?code={FUNCTION_KEY}")),
        ] {
            assert_eq!(started.ask(method.clone(), &path).await.status(), 200, "{mode:?} {method} /{path}");
        }
    }
    let started = Started::with(Mode::Proxying, &[("AzureWebJobsDisableHomepage", "true")]).await;
    assert_eq!(started.get("").await, (204, String::new()));
}

#[tokio::test]
async fn a_handler_that_exits_is_restarted_unless_it_exits_with_0() {
    for mode in MODES {
        let started = Started::with(mode, &[]).await;
        // Two errors are tolerated; a requested restart is not an error.
        for (exits, code) in [3, 200, 200, 200, 4].into_iter().enumerate() {
            assert_eq!(started.get(&format!("do/exit/{code}")).await, (500, String::new()), "{mode:?} {code}");
            let again = async || started.host.starts() == exits + 2 && started.host.is_up().await;
            eventually("it is started again", again).await;
            assert_eq!(started.get("echo/x").await.0, 200, "{mode:?} after {code}");
        }
        assert_eq!(started.get("do/exit/1").await, (500, String::new()), "{mode:?}");
        eventually("the host gives up", async || started.lines_with("Shutting down Functions Host") == 1).await;
        let gone = (503, "Function host is not running.".to_owned());
        assert_eq!(started.get("echo/x").await, gone, "{mode:?}");
        assert_eq!(started.get("").await, gone, "{mode:?}");

        let started = Started::with(mode, &[]).await;
        for path in ["do/exit/0", "echo/x", "echo/x"] {
            assert_eq!(started.get(path).await, (500, String::new()), "{mode:?} {path}");
        }
        assert_eq!(started.host.starts(), 1, "{mode:?}");
    }
}

#[tokio::test]
async fn the_host_stops_after_three_failed_starts() {
    // Three times this, and the time for three starts, are to be less than the four times that a request waits.
    let quick = ("AzureFunctionsJobHost__customHandler__initializationTimeout", "00:00:01");
    for start in ["exit 78", "exit 0", "deaf "] {
        let started = Started::with(Mode::Proxying, &[("START", start), quick]).await;

        assert_eq!(started.get("echo/x").await, (503, "Function host is not running.".to_owned()), "{start}");

        assert_eq!(started.host.starts(), 3, "{start}");
        assert!(!started.host.is_up().await, "{start}");
    }
}

#[tokio::test]
async fn a_file_without_execute_permission_is_not_repaired() {
    use std::os::unix::fs::PermissionsExt;

    let package = package();
    let handler = package.path().join("handler");
    fs::remove_file(&handler).expect("a link");
    fs::copy(HANDLER, &handler).expect("the handler was built");
    fs::set_permissions(&handler, fs::Permissions::from_mode(0o644)).expect("the file is ours");
    let settings = [("SCHEDULE", "0 * * * * *")];

    let host = FunctionsHost::start(package.path(), Mode::Proxying, settings).await.expect("no fault of its files");

    assert!(!host.is_up().await);
    assert!(host.log().iter().any(|line| line.text.contains("Permission denied")), "{:?}", host.log());
}

#[tokio::test]
async fn a_timed_out_invocation_kills_the_process_and_ends_the_other_invocations() {
    let beyond_its_time = async |mode| {
        let limit = Duration::from_secs(4);
        let started = Started::with(mode, &[("AzureFunctionsJobHost__functionTimeout", "00:00:04")]).await;
        assert!(started.host.is_up().await);
        let process = started.host.process_id();
        let stall = async |delay| {
            sleep(delay).await;
            let start = Instant::now();
            let answer = started.get("do/stall").await;
            // A request right after it gets the next process, not the one that is being killed.
            (answer, start.elapsed(), started.get("echo/x").await.0)
        };

        // The other invocation has half of its own time left.
        let neighbour = stall(limit / 2);
        let ((one, first, after_one), (other, _, after_other)) = tokio::join!(stall(Duration::ZERO), neighbour);

        assert_eq!((one, &other), ((500, String::new()), &(500, String::new())), "{mode:?}");
        assert!(first >= limit, "{mode:?}: {first:?}");
        assert_eq!((after_one, after_other), (200, 200), "{mode:?}");
        assert_ne!(started.host.process_id(), process, "{mode:?}");
        assert_eq!(started.host.starts(), 2, "{mode:?}: one kill, so the neighbour's time was not over");
        assert_eq!(started.lines_with("has exited"), 0, "{mode:?}: a kill by the host is no error");
    };
    let [one, other] = MODES;
    tokio::join!(beyond_its_time(one), beyond_its_time(other));
}

#[tokio::test]
async fn a_stop_kills_the_handler_and_a_restart_starts_another_one() {
    let started = Started::with(Mode::Proxying, &[]).await;
    assert!(started.host.is_up().await);
    let first = started.host.process_id().expect("it is up");

    let (broken, ()) = tokio::join!(started.get("do/stall"), async {
        eventually("it is asked", async || started.lines("asked /do/stall") == 1).await;
        started.host.restart().await;
    });

    assert_eq!(broken, (500, String::new()));
    assert_eq!(started.get("echo/x").await.0, 200);
    let second = started.host.process_id().expect("it is up");
    assert_ne!(first, second);
    assert!(!is_there(first));

    started.host.stop().await;

    assert!(!is_there(second));
    assert_eq!(started.get("echo/x").await.0, 503);
}

fn is_there(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

#[tokio::test]
async fn a_dropped_host_kills_its_handler() {
    let started = Started::with(Mode::Forwarding, &[]).await;
    assert!(started.host.is_up().await);
    let process = started.host.process_id().expect("it is up");

    drop(started);

    eventually("the handler is gone", async || !is_there(process)).await;
}

#[tokio::test]
async fn only_a_proxy_notices_that_a_caller_disconnects() {
    for (mode, end) in [(Mode::Forwarding, "finished"), (Mode::Proxying, "broken off")] {
        let started = Started::with(mode, &[]).await;
        let request = tokio::spawn(started.http.get(format!("{}do/linger", started.host.url())).send());
        eventually("the handler is at it", async || started.lines("lingering") == 1).await;

        request.abort();

        eventually("the handler's end", async || started.lines("finished") + started.lines("broken off") == 1).await;
        assert_eq!(started.lines(end), 1, "{mode:?}");
    }
}

#[tokio::test]
async fn a_timer_receives_its_envelope_on_both_kinds_of_host() {
    for mode in MODES {
        let started = Started::with(mode, &[]).await;
        for last in ["0001-01-01T00:00:00", "20"] {
            let Invocation::Succeeded { logs } = started.host.run_timer("tick").await else { panic!("it replies") };
            let echo: Value = serde_json::from_str(&logs[0]).expect("the echo");
            assert_eq!((&echo["method"], &echo["uri"]), (&json!("POST"), &json!("/tick")), "{mode:?}");
            for (header, value) in [
                ("content-type", "application/json; charset=utf-8"),
                ("x-azure-functions-hostversion", "4.1052.200.0"),
                ("user-agent", "Azure-Functions-Host/4.1052.200.0"),
            ] {
                assert_eq!(seen(&echo, header), [value], "{mode:?}");
            }
            assert_eq!(seen(&echo, "x-azure-functions-invocationid").len(), 1, "{mode:?}");
            let mut body: Value = serde_json::from_str(echo["body"].as_str().expect("a body")).expect("JSON");
            for (place, start) in [
                ("/Data/timer/ScheduleStatus/Last", last),
                ("/Data/timer/ScheduleStatus/LastUpdated", last),
                ("/Data/timer/ScheduleStatus/Next", "20"),
                ("/Metadata/sys/UtcNow", "20"),
                ("/Metadata/sys/RandGuid", ""),
            ] {
                let value = body.pointer_mut(place).unwrap_or_else(|| panic!("{place}")).take();
                assert!(value.as_str().is_some_and(|text| text.starts_with(start)), "{mode:?} {place}: {value}");
            }
            let rest = json!({
                "Data": { "timer": {
                    "Schedule": { "AdjustForDST": true },
                    "ScheduleStatus": { "Last": null, "Next": null, "LastUpdated": null },
                    "IsPastDue": false
                } },
                "Metadata": { "sys": { "MethodName": "tick", "UtcNow": null, "RandGuid": null } }
            });
            assert_eq!(body, rest, "{mode:?}");
        }
    }
}

#[tokio::test]
async fn a_timers_reply_decides_the_outcome_of_its_run() {
    for (reply, expected) in [
        ("200 application/json {}", Invocation::Succeeded { logs: vec![] }),
        (
            r#"200 application/json; {"Outputs":{},"Logs":["a","b"],"ReturnValue":null}"#,
            Invocation::Succeeded { logs: vec!["a".to_owned(), "b".to_owned()] },
        ),
        ("500 application/json {}", Invocation::Failed { cause: "answered with 500".to_owned() }),
        (
            "200 text/plain {}",
            Invocation::Failed { cause: "Invalid HttpResponseMessage: not application/json".to_owned() },
        ),
        ("204 application/json", Invocation::TimedOut),
        ("200 application/json", Invocation::TimedOut),
        ("200 application/json null", Invocation::TimedOut),
    ] {
        let times_out = expected == Invocation::TimedOut;
        // Short only where the time-out is awaited: other replies may be slow.
        let limit = if times_out { "00:00:00.5" } else { "00:04:00" };
        let settings = [("REPLY", reply), ("AzureFunctionsJobHost__functionTimeout", limit)];
        let started = Started::with(Mode::Proxying, &settings).await;
        assert!(started.host.is_up().await);

        assert_eq!(started.host.run_timer("tick").await, expected, "{reply}");

        eventually("another process", async || started.host.starts() == 1 + usize::from(times_out)).await;
    }
    let disabled = Started::with(Mode::Proxying, &[("AzureWebJobs.tick.Disabled", "1")]).await;
    assert_eq!(disabled.host.run_timer("tick").await, Invocation::NotRun);
}

#[tokio::test]
async fn the_handlers_output_is_logged_by_stream() {
    let started = Started::with(Mode::Proxying, &[]).await;
    assert_eq!(started.get("echo/x").await.0, 200);
    for (level, text) in [
        // %WHAT% is replaced by a setting.
        (Level::Information, r#"arguments ["serve", "now"]"#),
        (Level::Information, "asked /echo/x"),
        (Level::Warning, "Warning: nobody was asked"),
        (Level::Error, "something has failed"),
    ] {
        let logged = async || started.host.log().iter().any(|line| line.level == level && line.text == text);
        eventually(text, logged).await;
    }
}

#[tokio::test]
async fn a_package_that_the_host_would_not_serve_is_refused_with_the_reason() {
    let two_outputs = json!({ "bindings": [
        { "type": "httpTrigger", "direction": "in", "name": "req", "methods": ["get"] },
        { "type": "http", "direction": "out", "name": "res" },
        { "type": "queue", "direction": "out", "name": "item" }
    ] });
    let without = |pointer: &str| {
        let mut host = host_json();
        *host.pointer_mut(pointer).expect("it is there") = Value::Null;
        host
    };
    for (file, content, settings, fault) in [
        ("host.json", without("/version"), "0 * * * * *", "version"),
        ("host.json", without("/customHandler/enableProxyingHttpRequest"), "0 * * * * *", "envelope"),
        ("host.json", without("/customHandler/description/defaultExecutablePath"), "0 * * * * *", "defaultExecutable"),
        ("echo/function.json", two_outputs, "0 * * * * *", "echo: bindings that are not simulated"),
        ("echo/function.json", http_function("{*all}", &["get"], "anonymous"), "0 * * * * *", "{*all}"),
        ("echo/function.json", json!({}), "0 * * * * *", "no bindings"),
        ("host.json", host_json(), "* * * * *", "six fields"),
    ] {
        let package = package();
        write(package.path(), file, &content);
        let started = FunctionsHost::start(package.path(), Mode::Proxying, [("SCHEDULE", settings)]).await;
        let named = started.expect_err("a fault").to_string();
        assert!(named.contains(fault), "{fault}: {named}");
    }
    let unset: [(&str, &str); 0] = [];
    let fault = FunctionsHost::start(package().path(), Mode::Proxying, unset).await.expect_err("a fault");
    assert!(fault.to_string().contains("%SCHEDULE% is not set"), "{fault}");

    let empty = tempfile::tempdir().expect("a folder");
    let fault = FunctionsHost::start(empty.path(), Mode::Proxying, unset).await.expect_err("a fault");
    assert!(fault.to_string().contains("host.json"), "{fault}");
}
