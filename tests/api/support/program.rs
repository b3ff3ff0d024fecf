use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use serde_json::Value;
use url::Url;

use super::eventually;

/// The real program in a process, with only these environment variables.
pub(crate) struct Program {
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// The result of a program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

impl Program {
    pub(crate) fn start<'a>(arguments: &[&str], settings: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_maxconf"));
        program.args(arguments);
        Self::spawn(program, settings)
    }

    /// Starts the service with a limit on its file descriptors.
    pub(crate) fn serve_with_files<'a>(files: u32, settings: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", r#"ulimit -n "$0" && exec "$@""#, &files.to_string()]);
        shell.args([env!("CARGO_BIN_EXE_maxconf"), "serve"]);
        Self::spawn(shell, settings)
    }

    fn spawn<'a>(mut command: Command, settings: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let mut child = command
            .env_clear()
            .envs(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be run");
        let stdout = Output::of(child.stdout.take().expect("stdout is piped"));
        let stderr = Output::of(child.stderr.take().expect("stderr is piped"));
        Self { child, stdout, stderr }
    }

    /// Runs the program until it ends.
    pub(crate) async fn run<'a>(arguments: &[&str], settings: impl IntoIterator<Item = (&'a str, String)>) -> Ended {
        Self::start(arguments, settings).ended().await
    }

    /// Waits until the program listens, and returns its URL from the log.
    pub(crate) async fn url(&self) -> Url {
        let address = || self.events().into_iter().find(|event| event["message"] == "listening");
        eventually("the program listens", async || address().is_some()).await;
        let event = address().expect("the listening event");
        Url::parse(&format!("http://{}/", event["address"].as_str().expect("an address"))).expect("a URL")
    }

    /// The log so far. Fails if a line is not JSON.
    pub(crate) fn events(&self) -> Vec<Value> {
        let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line:?}"));
        self.stdout().iter().map(parse).collect()
    }

    pub(crate) fn stdout(&self) -> Vec<String> {
        self.stdout.lines()
    }

    pub(crate) fn stderr(&self) -> Vec<String> {
        self.stderr.lines()
    }

    /// Resident memory in MiB; `None` if the system does not report it.
    pub(crate) fn resident_mib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
        Some(kibibytes.parse::<u64>().expect("a number") / 1024)
    }

    /// Sends a signal: its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill can be run").success(), "{name} could not be sent");
    }

    /// Waits until the program ends.
    pub(crate) async fn ended(mut self) -> Ended {
        let child = Mutex::new(&mut self.child);
        let status = || child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().expect("the child's status");
        eventually("the program ends", async || status().is_some()).await;
        let code = status().and_then(|status| status.code());
        Ended { code, stdout: self.stdout.complete(), stderr: self.stderr.complete() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a pipe, read immediately so that the program never blocks on it.
struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { lines, reader: Some(reader) }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All lines up to the end of the pipe.
    fn complete(&mut self) -> Vec<String> {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("a reader that does not panic");
        }
        self.lines()
    }
}
