//! Commands whose output is lost: the reader has closed the pipe, as `head` does, or the disk is full.

use std::fs::OpenOptions;
use std::process::Stdio;

use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;
use tokio::process::Command;

use crate::support::{World, within};

/// Each command that has a result, with its exit code if the result cannot be written.
const COMMANDS: [(&str, i32); 8] = [
    ("check-config", 1),
    ("openapi", 1),
    ("doctor", 1),
    ("doctor --json", 1),
    ("pool status", 1),
    ("pool drain --dry-run --json", 1),
    ("smoke --wait 0 --url http://127.0.0.1:1/", 2),
    ("smoke --wait 0 --json --url http://127.0.0.1:1/", 2),
];

/// A pipe whose reader has closed it.
fn closed_pipe() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer.into()
}

fn full_disk() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("a device of Linux").into()
}

/// Runs an operator's command in this world. Returns its exit code and its output.
async fn run(world: &World, command: &str, stdout: Stdio, stderr: Stdio) -> (Option<i32>, String) {
    let child = Command::new(env!("CARGO_BIN_EXE_maxconf"))
        .args(command.split(' '))
        .env_clear()
        .envs(world.settings())
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .kill_on_drop(true)
        .spawn()
        .expect("the program can be run");
    let ended = within(command, child.wait_with_output()).await.expect("the program's output");
    (ended.status.code(), String::from_utf8([ended.stdout, ended.stderr].concat()).expect("text"))
}

#[tokio::test]
async fn a_closed_pipe_keeps_the_exit_code_and_a_lost_result_is_an_error() {
    let world = World::start().await;
    // Makes the queue exist.
    assert_eq!(run(&world, "pool fill", Stdio::piped(), Stdio::piped()).await.0, Some(0));
    for (command, unwritten) in COMMANDS {
        let (code, output) = run(&world, command, Stdio::piped(), Stdio::null()).await;
        assert!(!output.is_empty(), "{command}: {code:?}");

        let unread = run(&world, command, closed_pipe(), Stdio::piped()).await;
        assert_eq!(unread, (code, String::new()), "{command}");

        let (code, error) = run(&world, command, full_disk(), Stdio::piped()).await;
        assert_eq!(code, Some(unwritten), "{command}: {error}");
        let is_reported = error.starts_with("maxconf: the result could not be written: ") && error.lines().count() == 1;
        assert!(is_reported, "{command}: {error}");
    }
}

/// Otherwise a fill, or a smoke test with rooms to delete, would stop midway.
#[tokio::test]
async fn progress_messages_to_a_closed_pipe_do_not_stop_the_command() {
    let world = World::start().await;
    let creates = Matching::method(Method::POST).path_contains("/conference/");
    let wait =
        Fault::StatusWith { status: 429, headers: vec![("retry-after".into(), "1".into())], body: String::new() };
    world.pexip.traffic().inject(creates.clone(), Times::Once, wait);

    let (code, result) = run(&world, "pool fill --json", Stdio::piped(), closed_pipe()).await;

    assert_eq!(code, Some(0), "{result}");
    let (calls, made) = (world.pexip.traffic().count(&creates), world.pexip.rooms().len());
    assert_eq!(calls, made + 1, "Pexip answered 429 once: {result}");

    let (code, result) = run(&world, "smoke --wait 1 --url http://127.0.0.1:1/", Stdio::piped(), closed_pipe()).await;
    assert_eq!(code, Some(4), "{result}");
}
