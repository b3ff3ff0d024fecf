use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use maxconf_simulators::npm;
use maxconf_simulators::queue::{ACCOUNT, ACCOUNT_KEY};

use super::companion::Companion;

/// Loading its telemetry library takes seconds even on an idle machine, and a cold build may run beside it.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Microsoft's emulators of Queue and Blob Storage, in memory, one for the whole test process.
pub(crate) struct Azurite {
    connection_string: String,
    _emulators: Vec<Companion>,
}

impl Azurite {
    /// The emulator, started by the first test that needs it. `None`, with a message, if this machine has none; on CI
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
            return Some(Self { connection_string, _emulators: Vec::new() });
        }
        let program = |service: &str| {
            npm::program(
                "azurite",
                &format!("node_modules/azurite/dist/src/{service}/main.js"),
                "AZURITE IS NOT AVAILABLE, the tests of queue and records ran on the simulators only",
            )
        };
        let (queue, blob) = (Emulator::start("queue", &program("queue")?), Emulator::start("blob", &program("blob")?));
        let endpoints = format!("QueueEndpoint={};BlobEndpoint={};", queue.url(), blob.url());
        let connection_string =
            format!("DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};{endpoints}");
        Some(Self { connection_string, _emulators: vec![queue.program, blob.program] })
    }
}

/// One of the services, starting.
struct Emulator {
    program: Companion,
    endpoint: mpsc::Receiver<String>,
}

impl Emulator {
    fn start(service: &str, program: &Path) -> Self {
        let mut command = Command::new("node");
        command.arg(program).args([format!("--{service}Host"), "127.0.0.1".to_owned()]);
        command.args([format!("--{service}Port"), "0".to_owned()]);
        command.args(["--silent", "--disableTelemetry", "--inMemoryPersistence"]);
        let (program, output) = Companion::start(&command, Stdio::inherit());
        let (found, endpoint) = mpsc::channel();
        // Reads on after the line that counts: a full pipe would stop the emulator.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some((_, url)) = line.split_once("listens on ") {
                    // Nobody waits for a second one.
                    let _ = found.send(url.trim().to_owned());
                }
            }
        });
        Self { program, endpoint }
    }

    fn url(&self) -> String {
        let url = self.endpoint.recv_timeout(START_LIMIT).expect("Azurite ended or did not listen in time");
        format!("{url}/{ACCOUNT}")
    }
}

fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "about the machine that the tests run on, not about the service")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
