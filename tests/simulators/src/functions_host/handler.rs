//! The handler's process: started, probed, started again, killed.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
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

/// How often the host knocks until somebody answers.
const PROBE_INTERVAL: Duration = Duration::from_millis(25);

/// The host gives up with this many errors, unless they are far between.
const MOST_ERRORS: usize = 3;
const FAR_BETWEEN: Duration = Duration::from_secs(30 * 60);

/// An exit that asks for another start and is no error.
const RESTART_PLEASE: i32 = 200;

/// The handler, whichever process it is at the moment. Dropped, it is killed.
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
    /// It has answered the probe. After an exit with 0 it is still taken for up.
    Up(Process),
    /// The host does not run any more.
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

/// How a process came to its end.
enum Ending {
    CannotStart(io::Error),
    NotReady,
    Exit(Option<i32>),
    /// By the host, which starts another one.
    Killed,
    /// By the host, which stops.
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

    /// The process to ask, once it is up; `None` if the host does not run any more. A start that takes longer than the
    /// host's patience is the host's end.
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

    /// Kills the process and lets another one be started, as after a swap.
    pub(super) async fn restart(&self) {
        if let Some(process) = self.process().await {
            process.kill().await;
        }
    }

    /// Kills the process for good.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        let mut status = self.status.clone();
        // Its sender is gone: then so is the process.
        let _ended = status.wait_for(|status| matches!(status, Status::Down)).await;
    }

    /// The process at this moment.
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
    /// SIGKILL, for this process only: the host gives no warning. Returns once it is dead; from before that on, requests
    /// wait for the next one.
    pub(super) async fn kill(&self) {
        self.kill.cancel();
        self.is_gone.cancelled().await;
    }
}

/// Keeps a process going.
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
                Ending::Killed | Ending::Exit(Some(RESTART_PLEASE)) => continue,
                Ending::Exit(code) => format!("the handler has exited with {code:?}"),
                Ending::NotReady => "the handler did not answer the probe in time".to_owned(),
                Ending::CannotStart(error) => format!("the handler could not be started: {error}"),
            };
            self.console.write(Level::Error, error);
            if last_error.replace(Instant::now()).is_some_and(|last| last.elapsed() > FAR_BETWEEN) {
                errors = 0;
            }
            errors += 1;
            if errors == MOST_ERRORS {
                self.console
                    .write(Level::Error, "Exceeded http worker restart retry count. Shutting down Functions Host");
                break;
            }
        }
        self.status.send_replace(Status::Down);
    }

    /// Starts a process and stays with it until its end.
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
                // The host would go on knocking at a door that nobody is behind.
                Some(0) => Ending::NotReady,
                code => Ending::Exit(code),
            }),
            () = self.stop.cancelled() => Some(Ending::Stopped),
            ready = timeout(self.package.initialization_timeout, knock(address)) => {
                ready.err().map(|_| Ending::NotReady)
            }
        };
        let ending = if let Some(early) = early {
            early
        } else {
            self.status.send_replace(Status::Up(process));
            self.end_of(&mut child, &kill).await
        };
        // Before its connections break: whoever asks again at once is not to be sent to it.
        if matches!(ending, Ending::Killed) {
            self.status.send_replace(Status::Starting);
        }
        // Nothing is left to kill of a process that has exited.
        let _killed = child.kill().await;
        ending
    }

    /// Of a process that has answered the probe.
    async fn end_of(&self, child: &mut Child, kill: &CancellationToken) -> Ending {
        let exited = async {
            match child.wait().await.ok().and_then(|status| status.code()) {
                // To hosts before 2026 nothing has happened: callers are refused until somebody recycles the host.
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

/// A port that was free a moment ago, as the host chooses it.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Until there is an answer, whatever it is.
async fn knock(address: SocketAddr) {
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
