//! An app without a screen that uses Pexip's own client package, as a citizen's or an agent's browser does.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use url::Url;

use crate::npm;

/// Time limit of a start: Node.js needs a second or two beside a cold build.
const LIMIT: Duration = Duration::from_secs(120);

/// A Node.js process that joins one room with the package `@pexip/infinity-api`. Dropping this ends it.
///
/// Every answer is JSON: `status` and `result` of the Conferencing Node, or `error` if the package refused a request or
/// an answer.
#[derive(Debug)]
pub struct InfinityApp {
    process: Child,
    commands: ChildStdin,
    answers: UnboundedReceiver<String>,
}

impl InfinityApp {
    /// Starts an app. `None`, with a message, if this machine cannot run it; on CI that is a failure.
    pub fn start() -> Option<Self> {
        let program =
            npm::program("infinity", "main.js", "PEXIP'S OWN CLIENT IS NOT AVAILABLE, its tests did not run")?;
        let process = Command::new("node").arg(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = process.expect("node, which was there a moment ago");
        let commands = process.stdin.take().expect("its input");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        let (answered, answers) = mpsc::unbounded_channel();
        // The task ends with the process; the receiver may be dropped before.
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| answered.send(line)));
        Some(Self { process, commands, answers })
    }

    /// Requests a token of a Conferencing Node, with the PIN if there is one.
    pub async fn join(&mut self, node: &Url, alias: &str, pin: Option<&str>) -> Value {
        let node = node.as_str().trim_end_matches('/');
        self.ask("join", json!({"node": node, "alias": alias, "pin": pin, "name": "An app"})).await
    }

    /// Connects media.
    pub async fn call(&mut self) -> Value {
        self.ask("call", Value::Null).await
    }

    /// Renews the token.
    pub async fn refresh(&mut self) -> Value {
        self.ask("refresh", Value::Null).await
    }

    /// Lists the participants.
    pub async fn participants(&mut self) -> Value {
        self.ask("participants", Value::Null).await
    }

    /// Reads the conference's status.
    pub async fn status(&mut self) -> Value {
        self.ask("status", Value::Null).await
    }

    /// Opens the stream of events.
    pub async fn watch(&mut self) -> Value {
        self.ask("watch", Value::Null).await
    }

    /// Data of the next event with this name; null if the stream ends first.
    pub async fn event(&mut self, name: &str) -> Value {
        self.ask("event", json!(name)).await
    }

    /// Ends the conference for all participants.
    pub async fn disconnect(&mut self) -> Value {
        self.ask("disconnect", Value::Null).await
    }

    /// Releases the token.
    pub async fn leave(&mut self) -> Value {
        self.ask("leave", Value::Null).await
    }

    async fn ask(&mut self, command: &str, argument: Value) -> Value {
        writeln!(self.commands, "{}", json!([command, argument])).expect("the app runs and reads");
        let answer = tokio::time::timeout(LIMIT, self.answers.recv()).await.expect("the app answers in time");
        serde_json::from_str(&answer.expect("the app runs")).expect("JSON")
    }
}

impl Drop for InfinityApp {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
