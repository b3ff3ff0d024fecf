use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use maxconf_simulators::npm;
use maxconf_simulators::queue::{ACCOUNT, ACCOUNT_KEY};

/// Loading its telemetry library takes seconds even on an idle machine, and a cold build may run beside it.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Microsoft's emulator of Queue Storage, in memory, one for the whole test process.
pub(crate) struct Azurite {
    connection_string: String,
    /// Closed when this process ends, however it ends; then the wrapper around the emulator kills it.
    _while_open: Option<ChildStdin>,
}

/// Outlives everything but its standard input, then takes the emulator along. Interrupts are left to the test process.
const WRAPPER: &str = r#"
trap '' INT TERM HUP
scratch=$(mktemp -d) && cd "$scratch" || exit 1
"$@" & emulator=$!
exec >/dev/null 2>&1
read -r _
kill -9 "$emulator"
wait "$emulator"
rm -rf "$scratch"
"#;

impl Azurite {
    /// The emulator, started by whoever comes first. `None` if this machine has none, which is said out loud; on CI
    /// that is a failure.
    pub(crate) fn get() -> Option<&'static Self> {
        static AZURITE: OnceLock<Option<Azurite>> = OnceLock::new();
        AZURITE.get_or_init(Self::find_or_start).as_ref()
    }

    /// Connection string with the published account key.
    pub(crate) fn connection_string(&self) -> &str {
        &self.connection_string
    }

    fn find_or_start() -> Option<Self> {
        if let Some(connection_string) = variable("MAXCONF_AZURITE") {
            return Some(Self { connection_string, _while_open: None });
        }
        let program = npm::program(
            "azurite",
            "node_modules/azurite/dist/src/queue/main.js",
            "AZURITE IS NOT AVAILABLE, the queue tests ran on the simulator only",
        )?;
        Some(Self::start(&program))
    }

    fn start(program: &Path) -> Self {
        let mut wrapper = Command::new("sh")
            .args(["-c", WRAPPER, "azurite", "node"])
            .arg(program)
            .args(["--queueHost", "127.0.0.1", "--queuePort", "0", "--silent"])
            .args(["--disableTelemetry", "--inMemoryPersistence"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let while_open = wrapper.stdin.take();
        let output = BufReader::new(wrapper.stdout.take().expect("its output"));
        let (found, endpoint) = mpsc::channel();
        // Reads on after the line that counts: a full pipe would stop the emulator.
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("listens on ") {
                    // Nobody waits for a second one.
                    let _ = found.send(url.trim().to_owned());
                }
            }
            let _ = wrapper.wait();
        });
        let url = endpoint.recv_timeout(START_LIMIT).expect("Azurite ended or did not listen within a minute");
        let connection_string = format!(
            "DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};QueueEndpoint={url}/{ACCOUNT};"
        );
        Self { connection_string, _while_open: while_open }
    }
}

fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "about the machine that the tests run on, not about the service")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
