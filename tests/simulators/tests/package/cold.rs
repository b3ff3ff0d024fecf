//! Start-up time and memory of the packaged handler. The figures depend on the machine, so nothing is asserted.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use maxconf_simulators::FunctionsHost;
use maxconf_simulators::functions_host::Mode;
use maxconf_simulators::world::World;
use reqwest::Client;
use tokio::time::sleep;
use url::Url;

use crate::path;

const STARTS: usize = 21;

/// Time after which the work of a start is done.
const IDLE: Duration = Duration::from_secs(5);

const LIMIT: Duration = Duration::from_secs(120);

/// Longer than a lease: messages that a killed handler has leased become visible.
const LEASES_END: Duration = Duration::from_secs(61);

type Settings = HashMap<&'static str, String>;

#[derive(Default)]
struct Figures {
    first_answer: Vec<Duration>,
    first_create: Vec<Duration>,
    from_pool: usize,
    idle_kilobytes: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "of a package that was made: infra/package runs it"]
async fn a_cold_start_and_an_idle_handler() {
    let world = World::start().await;
    let settings = settings(&world);
    let host = FunctionsHost::start(&path("MAXCONF_PACKAGE"), Mode::Proxying, settings.clone()).await;
    let host = host.expect("a package without faults");
    host.run_timer("function_pool_maintenance").await;
    host.stop().await;

    let mut figures = Figures::default();
    for start in 1..=STARTS {
        world.queue.advance(LEASES_END);
        figures.start_once(&world, &settings, start == STARTS).await;
    }

    let size = fs::metadata(path("MAXCONF_PACKAGE").join("maxconf")).expect("the binary").len();
    println!("\n{}", summary("exec to first answer", &mut figures.first_answer));
    println!(
        "{}, {} of {STARTS} from the pool",
        summary("exec to first create", &mut figures.first_create),
        figures.from_pool
    );
    println!("idle {IDLE:?} after its first create: {} kB resident", figures.idle_kilobytes);
    println!("binary: {size} bytes");
}

/// A pool with a room for every start: a killed handler does not replace the room that it has handed out.
fn settings(world: &World) -> Settings {
    let mut settings = world.settings();
    settings.insert("POOL_TARGET_SIZE", (2 * STARTS).to_string());
    settings.insert("PEXIP_REQUESTS_PER_MINUTE", "10000".to_owned());
    settings
}

impl Figures {
    async fn start_once(&mut self, world: &World, settings: &Settings, look_at_it_idle: bool) {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let url: Url = format!("http://{address}/").parse().expect("a URL");
        let token = world.entra.token().build();
        let http = Client::builder().no_proxy().timeout(LIMIT).build().expect("a client");
        let mut command = Command::new(path("MAXCONF_PACKAGE").join("maxconf"));
        command.arg("serve").env_clear().envs(settings).stdout(Stdio::null());
        command.env("FUNCTIONS_CUSTOMHANDLER_PORT", address.port().to_string());

        let started = Instant::now();
        let mut handler = command.spawn().expect("it can be run");
        while http.get(url.clone()).send().await.is_err() {
            assert!(started.elapsed() < LIMIT, "it does not answer");
            sleep(Duration::from_millis(1)).await;
        }
        self.first_answer.push(started.elapsed());
        let create = url.join("room/create?uuiData=3132333435362c373635343332").expect("a path");
        let answer = http.post(create).bearer_auth(token).send().await.expect("an answer");
        self.first_create.push(started.elapsed());
        assert_eq!(answer.status(), 200);
        self.from_pool += usize::from(answer.headers()["room-source"] == "pool");

        if look_at_it_idle {
            sleep(IDLE).await;
            self.idle_kilobytes = resident_kilobytes(handler.id());
        }
        handler.kill().expect("a child of ours");
        handler.wait().expect("a child of ours");
    }
}

fn resident_kilobytes(process: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("Linux says so");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn summary(what: &str, times: &mut [Duration]) -> String {
    times.sort_unstable();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    format!("{what}: {median:.1?} in the middle, {most:.1?} at most, of {} starts", times.len())
}
