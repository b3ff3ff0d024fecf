//! Instructions that the processor executes for one request, counted by callgrind in the real program: a run with more
//! requests of a kind executes that many more. Only of the build profile `proof`, which `tests/run --full` builds anyway:
//! unoptimised, a request executes ten times as many, and where they go says little about the program on Azure.

use std::collections::HashMap;
use std::fs;
use std::iter::repeat_n;
use std::process::Stdio;

use maxconf_simulators::machine::report_missing;
use maxconf_simulators::{SelfSigned, World};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use url::Url;

use crate::support::{Bound, Callers, LIMIT, Pool, instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_maxconf");

/// Requests of each kind in every run: keys, connections and caches are there then.
const WARM_UP: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    PassMiddleware,
    Create,
    Read,
    CreateInstant,
    LookUp,
}

/// Whose rooms the program hands out, and what it is asked.
const OF_THE_POOL: [Request; 3] = [Request::PassMiddleware, Request::Create, Request::Read];
const INSTANT: [Request; 2] = [Request::CreateInstant, Request::LookUp];

impl Request {
    /// More requests of the cheaper kinds: what differs from run to run is the same for all.
    fn how_many(self) -> usize {
        match self {
            Self::PassMiddleware => 1000,
            Self::Create => 100,
            Self::Read | Self::CreateInstant | Self::LookUp => 300,
        }
    }

    /// Five percent above the count, for what another patch of the compiler may change.
    fn bound(self) -> Bound {
        let most = match self {
            Self::PassMiddleware => 122_300,
            Self::Create => 2_219_000,
            Self::Read => 402_900,
            Self::CreateInstant => 729_900,
            Self::LookUp => 507_200,
        };
        Bound { most, slack: 20 }
    }
}

/// Instructions of the program from its start to its end, for some requests of each kind and many of one.
async fn instructions(kinds: &[Request], many: Option<Request>) -> u64 {
    let world = World::start().await;
    let pool = Pool::fill(&world);
    let has_pool = kinds.contains(&Request::Create);
    let program = Counted::start(&if has_pool { pool.settings() } else { instant(&world) }).await;
    let callers = Callers::new(&world, program.url.clone());
    if has_pool {
        pool.wait_until_ready().await;
    }
    let name = callers.create().await;
    if has_pool {
        pool.wait_until_ready().await;
    }
    let requests = kinds.iter().copied().flat_map(|kind| repeat_n(kind, WARM_UP));
    for request in requests.chain(many.into_iter().flat_map(|kind| repeat_n(kind, kind.how_many()))) {
        match request {
            Request::PassMiddleware => callers.read_liveness().await,
            Request::Create => pool.create(&callers).await,
            Request::Read => callers.read(&name).await,
            Request::CreateInstant => drop(callers.create().await),
            Request::LookUp => callers.look_up(&name).await,
        }
    }
    program.stop().await
}

/// The real program under callgrind.
struct Counted {
    process: Child,
    url: Url,
    results: TempDir,
}

impl Counted {
    async fn start(settings: &HashMap<&'static str, String>) -> Self {
        let results = tempfile::tempdir().expect("a folder for the results");
        let authority = results.path().join("authority.pem");
        fs::write(&authority, SelfSigned::authority().pem()).expect("a file");
        let mut process = Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet"])
            .arg(format!("--callgrind-out-file={}", results.path().join("counts").display()))
            .args([PROGRAM, "serve"])
            .env_clear()
            .envs(settings)
            // The certificates of a whole system are most of a start.
            .env("SSL_CERT_FILE", authority)
            // Two threads would wake each other up, now more often and now less.
            .env("TOKIO_WORKER_THREADS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("valgrind can be run");
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let address = async {
            loop {
                let line = lines.next_line().await.expect("its log can be read").expect("it logs its address");
                let event: Value = serde_json::from_str(&line).expect("its log is JSON");
                if let Some(address) = event["address"].as_str() {
                    return address.to_owned();
                }
            }
        };
        let address = timeout(LIMIT, address).await.expect("it listens");
        // Read to the end: a full pipe would block the program.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { process, url: format!("http://{address}/").parse().expect("a URL"), results }
    }

    /// Instructions from start to end.
    async fn stop(mut self) -> u64 {
        let id = self.process.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-s", "TERM", &id]).status().await;
        assert!(sent.expect("kill can be run").success(), "the program ended by itself");
        timeout(LIMIT, self.process.wait()).await.expect("it ends").expect("its status");
        let counts = fs::read_to_string(self.results.path().join("counts")).expect("callgrind's results");
        let summary = counts.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
        summary.and_then(|total| total.trim().parse().ok()).expect("callgrind's total")
    }
}

async fn check(kinds: &[Request]) {
    if !PROGRAM.contains("/proof/") {
        return;
    }
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().await.is_err() {
        report_missing("valgrind is not installed", "INSTRUCTIONS ARE NOT COUNTED");
        return;
    }
    let without = instructions(kinds, None).await;
    for kind in kinds {
        let with = instructions(kinds, Some(*kind)).await;
        let each = (with - without) / kind.how_many() as u64;
        kind.bound().check(&format!("instructions: {kind:?}"), each);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_instruction_is_added_to_rooms_of_the_pool() {
    check(&OF_THE_POOL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_instruction_is_added_to_instant_rooms() {
    check(&INSTANT).await;
}
