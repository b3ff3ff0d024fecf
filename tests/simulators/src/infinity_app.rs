//! An app without a screen on Pexip's own client package: what a citizen's or an agent's browser would do.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use url::Url;

use crate::npm;

/// Node.js needs a second or two to start beside a cold build.
const LIMIT: Duration = Duration::from_secs(120);

/// A Node.js process that joins one room, with the package `@pexip/infinity-api`. It ends with this.
///
/// Every answer is JSON: `status` and `result` as the Conferencing Node gave them, or `error` if the package itself had
/// something against a request or an answer.
#[derive(Debug)]
pub struct InfinityApp {
    process: Child,
    commands: ChildStdin,
    answers: UnboundedReceiver<String>,
}

impl InfinityApp {
    /// Starts an app. `None` if this machine cannot run it, which is said out loud; on CI that is a failure.
    pub fn start() -> Option<Self> {
        let program =
            npm::program("infinity", "main.js", "PEXIP'S OWN CLIENT IS NOT AVAILABLE, its tests did not run")?;
        let process = Command::new("node").arg(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = process.expect("node, which was there a moment ago");
        let commands = process.stdin.take().expect("its input");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        let (answered, answers) = mpsc::unbounded_channel();
        // Ends with the process, whose answers nobody may be waiting for any more.
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| answered.send(line)));
        Some(Self { process, commands, answers })
    }

    /// Asks a Conferencing Node for a token. No PIN is sent without one.
    pub async fn join(&mut self, node: &Url, alias: &str, pin: Option<&str>) -> Value {
        let node = node.as_str().trim_end_matches('/');
        self.ask("join", json!({"node": node, "alias": alias, "pin": pin, "name": "An app"})).await
    }

    /// Agrees on picture and sound.
    pub async fn call(&mut self) -> Value {
        self.ask("call", Value::Null).await
    }

    /// Renews the token.
    pub async fn refresh(&mut self) -> Value {
        self.ask("refresh", Value::Null).await
    }

    /// Asks who is in the room.
    pub async fn participants(&mut self) -> Value {
        self.ask("participants", Value::Null).await
    }

    /// Asks how the conference is.
    pub async fn status(&mut self) -> Value {
        self.ask("status", Value::Null).await
    }

    /// Opens the stream of events.
    pub async fn watch(&mut self) -> Value {
        self.ask("watch", Value::Null).await
    }

    /// Data of the next event of this name from the stream, null if the stream ends without one.
    pub async fn event(&mut self, name: &str) -> Value {
        self.ask("event", json!(name)).await
    }

    /// Ends the conference for everybody.
    pub async fn disconnect(&mut self) -> Value {
        self.ask("disconnect", Value::Null).await
    }

    /// Gives the token back.
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
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
