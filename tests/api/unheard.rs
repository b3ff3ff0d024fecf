//! Commands whose words nobody gets: the reader has gone, as `head` does, or the disk is full.

use std::fs::OpenOptions;
use std::process::Stdio;

use maxconf_simulators::{Fault, Matching, Times};
use reqwest::Method;
use tokio::process::Command;

use crate::support::{World, within};

/// Each command that has a result, with its code where the result cannot be written.
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

/// A pipe that nobody reads any more.
fn nobody() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer.into()
}

fn full_disk() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("a device of Linux").into()
}

/// Runs a command of an operator in this world. Returns its code and what can still be heard.
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
    let ended = within(command, child.wait_with_output()).await.expect("a child of ours");
    (ended.status.code(), String::from_utf8([ended.stdout, ended.stderr].concat()).expect("text"))
}

#[tokio::test]
async fn a_reader_who_has_gone_changes_nothing_and_a_result_that_is_lost_is_said() {
    let world = World::start().await;
    // The queue is there.
    assert_eq!(run(&world, "pool fill", Stdio::piped(), Stdio::piped()).await.0, Some(0));
    for (command, unwritten) in COMMANDS {
        let (code, heard) = run(&world, command, Stdio::piped(), Stdio::null()).await;
        assert!(!heard.is_empty(), "{command}: {code:?}");

        let gone = run(&world, command, nobody(), Stdio::piped()).await;
        assert_eq!(gone, (code, String::new()), "{command}");

        let (code, words) = run(&world, command, full_disk(), Stdio::piped()).await;
        assert_eq!(code, Some(unwritten), "{command}: {words}");
        let is_said = words.starts_with("maxconf: the result could not be written: ") && words.lines().count() == 1;
        assert!(is_said, "{command}: {words}");
    }
}

/// A fill, or a smoke test with rooms to delete, would be broken off midway.
#[tokio::test]
async fn what_is_said_meanwhile_stops_no_work_where_nobody_listens() {
    let world = World::start().await;
    let creates = Matching::method(Method::POST).path_contains("/conference/");
    let wait =
        Fault::StatusWith { status: 429, headers: vec![("retry-after".into(), "1".into())], body: String::new() };
    world.pexip.traffic().inject(creates.clone(), Times::Once, wait);

    let (code, result) = run(&world, "pool fill --json", Stdio::piped(), nobody()).await;

    assert_eq!(code, Some(0), "{result}");
    let (asked, made) = (world.pexip.traffic().count(&creates), world.pexip.rooms().len());
    assert_eq!(asked, made + 1, "it was told to wait once: {result}");

    let (code, result) = run(&world, "smoke --wait 1 --url http://127.0.0.1:1/", Stdio::piped(), nobody()).await;
    assert_eq!(code, Some(4), "{result}");
}
