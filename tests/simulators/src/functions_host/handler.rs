//! The handler's process: start, probe, restart and kill.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::console::{Console, Level, LogLine, Stream};
use super::package::Package;
use super::wire;
use crate::identifier::guid;

/// Interval of the host's probes during a start.
const PROBE_INTERVAL: Duration = Duration::from_millis(25);

/// The host stops after this many errors; an interval of [`ERROR_WINDOW`] between two errors resets the count.
const MAX_ERRORS: usize = 3;
const ERROR_WINDOW: Duration = Duration::from_secs(30 * 60);

/// Exit code that requests a restart and is not counted as an error.
const RESTART_EXIT_CODE: i32 = 200;

/// The handler, across restarts of its process. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct Handler {
    status: watch::Receiver<Status>,
    starts: Arc<AtomicUsize>,
    console: Console,
    longest_wait: Duration,
    stop: CancellationToken,
    _stops: DropGuard,
}

#[derive(Clone, Debug)]
enum Status {
    Starting,
    /// The process has answered the probe. After an exit with 0 it still counts as up.
    Up(Process),
    /// The host has stopped.
    Down,
}

/// A process that has answered the probe.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) address: SocketAddr,
    pub(super) id: u32,
    kill: CancellationToken,
    is_gone: CancellationToken,
}

/// How a process ended.
enum Ending {
    CannotStart(io::Error),
    NotReady,
    Exit(Option<i32>),
    /// Killed by the host, which starts another one.
    Killed,
    /// Killed by the host, which stops.
    Stopped,
}

impl Handler {
    pub(super) fn start(package: Arc<Package>, settings: HashMap<String, String>) -> Self {
        let longest_wait = package.initialization_timeout * 4;
        let (tell, status) = watch::channel(Status::Starting);
        let (stop, console, starts) = (CancellationToken::new(), Console::default(), Arc::default());
        let supervisor = Supervisor {
            package,
            settings,
            status: tell,
            starts: Arc::clone(&starts),
            console: console.clone(),
            stop: stop.clone(),
        };
        tokio::spawn(supervisor.supervise());
        Self { status, starts, console, longest_wait, stop: stop.clone(), _stops: stop.drop_guard() }
    }

    /// The process, once it is up; `None` if the host has stopped. The host stops if a start exceeds its time limit.
    pub(super) async fn process(&self) -> Option<Process> {
        let mut status = self.status.clone();
        let known = timeout(self.longest_wait, status.wait_for(|status| !matches!(status, Status::Starting))).await;
        match known {
            Ok(Ok(status)) => match &*status {
                Status::Up(process) => Some(process.clone()),
                Status::Starting | Status::Down => None,
            },
            Ok(Err(_)) => None,
            Err(_) => {
                self.console.write(Level::Error, "the handler has not come up: the host stops");
                self.stop.cancel();
                None
            }
        }
    }

    /// Kills the process and starts another one, as a swap does.
    pub(super) async fn restart(&self) {
        if let Some(process) = self.process().await {
            process.kill().await;
        }
    }

    /// Kills the process and stops the host.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        let mut status = self.status.clone();
        // The sender is dropped with the process.
        let _ended = status.wait_for(|status| matches!(status, Status::Down)).await;
    }

    /// The current process.
    pub(super) fn process_now(&self) -> Option<Process> {
        match &*self.status.borrow() {
            Status::Up(process) => Some(process.clone()),
            Status::Starting | Status::Down => None,
        }
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(*self.status.borrow(), Status::Down)
    }

    pub(super) fn starts(&self) -> usize {
        self.starts.load(Ordering::Relaxed)
    }

    pub(super) fn log(&self) -> Vec<LogLine> {
        self.console.lines()
    }
}

impl Process {
    /// Sends SIGKILL to this process, without a warning, as the host does. Returns once it has ended; requests wait for
    /// the next process from before that.
    pub(super) async fn kill(&self) {
        self.kill.cancel();
        self.is_gone.cancelled().await;
    }
}

/// Runs the process and restarts it.
struct Supervisor {
    package: Arc<Package>,
    settings: HashMap<String, String>,
    status: watch::Sender<Status>,
    starts: Arc<AtomicUsize>,
    console: Console,
    stop: CancellationToken,
}

impl Supervisor {
    async fn supervise(self) {
        let (mut errors, mut last_error): (usize, Option<Instant>) = (0, None);
        loop {
            self.status.send_replace(Status::Starting);
            let error = match self.run_one().await {
                Ending::Stopped => break,
                Ending::Killed | Ending::Exit(Some(RESTART_EXIT_CODE)) => continue,
                Ending::Exit(code) => format!("the handler has exited with {code:?}"),
                Ending::NotReady => "the handler did not answer the probe in time".to_owned(),
                Ending::CannotStart(error) => format!("the handler could not be started: {error}"),
            };
            self.console.write(Level::Error, error);
            if last_error.replace(Instant::now()).is_some_and(|last| last.elapsed() > ERROR_WINDOW) {
                errors = 0;
            }
            errors += 1;
            if errors == MAX_ERRORS {
                self.console
                    .write(Level::Error, "Exceeded http worker restart retry count. Shutting down Functions Host");
                break;
            }
        }
        self.status.send_replace(Status::Down);
    }

    /// Starts a process and waits for its end.
    async fn run_one(&self) -> Ending {
        let (mut child, address) = match free_address().and_then(|address| Ok((self.spawn(address)?, address))) {
            Ok(started) => started,
            Err(error) => return Ending::CannotStart(error),
        };
        self.starts.fetch_add(1, Ordering::Relaxed);
        let (kill, is_gone) = (CancellationToken::new(), CancellationToken::new());
        let _tells = is_gone.clone().drop_guard();
        let id = child.id().expect("it is not waited for yet");
        let process = Process { address, id, kill: kill.clone(), is_gone };
        let early = tokio::select! {
            exit = child.wait() => Some(match exit.ok().and_then(|status| status.code()) {
                // The real host would continue to probe.
                Some(0) => Ending::NotReady,
                code => Ending::Exit(code),
            }),
            () = self.stop.cancelled() => Some(Ending::Stopped),
            ready = timeout(self.package.initialization_timeout, probe_until_answered(address)) => {
                ready.err().map(|_| Ending::NotReady)
            }
        };
        let ending = if let Some(early) = early {
            early
        } else {
            self.status.send_replace(Status::Up(process));
            self.end_of(&mut child, &kill).await
        };
        // Before its connections break: an immediate retry must not reach this process.
        if matches!(ending, Ending::Killed) {
            self.status.send_replace(Status::Starting);
        }
        // A process that has exited need not be killed.
        let _killed = child.kill().await;
        ending
    }

    /// Handles the exit of a process that had answered the probe.
    async fn end_of(&self, child: &mut Child, kill: &CancellationToken) -> Ending {
        let exited = async {
            match child.wait().await.ok().and_then(|status| status.code()) {
                // Hosts before 2026 do not react: callers are refused until an operator recycles the host.
                Some(0) => std::future::pending().await,
                code => code,
            }
        };
        tokio::select! {
            code = exited => Ending::Exit(code),
            () = kill.cancelled() => Ending::Killed,
            () = self.stop.cancelled() => Ending::Stopped,
        }
    }

    fn spawn(&self, address: SocketAddr) -> io::Result<Child> {
        let (port, id) = (address.port().to_string(), guid());
        let mut child = Command::new(&self.package.executable)
            .args(&self.package.arguments)
            .current_dir(&self.package.working_directory)
            .env_clear()
            .envs(&self.settings)
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", &port)
            .env("FUNCTIONS_HTTPWORKER_PORT", &port)
            .env("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", &id)
            .env("FUNCTIONS_HTTPWORKER_ID", &id)
            .env("FUNCTIONS_APP_ROOT_PATH", &self.package.root)
            .env("FUNCTIONS_WORKER_RUNTIME", "custom")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        self.console.follow(child.stdout.take().expect("it is piped"), Stream::Out);
        self.console.follow(child.stderr.take().expect("it is piped"), Stream::Err);
        Ok(child)
    }
}

/// A free port that no other process gets before the handler binds it. Without that, a probe of a handler that never
/// listens could be answered by a handler of another test.
///
/// Closed first on this side, the connection leaves the port in `TIME_WAIT` for a minute: the kernel does not choose such
/// a port for others, but it can be bound by its number.
fn free_address() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let client = TcpStream::connect(address)?;
    drop(listener.accept()?);
    drop(client);
    Ok(address)
}

/// Probes until there is any answer.
async fn probe_until_answered(address: SocketAddr) {
    loop {
        let probe = Request::get("/").header("host", address.to_string()).body(Body::empty()).expect("a request");
        if let Ok(stream) = wire::connect(address).await
            && wire::send(stream, probe).await.is_ok()
        {
            return;
        }
        sleep(PROBE_INTERVAL).await;
    }
}
