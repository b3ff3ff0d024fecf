//! The sandbox: simulators of Storage Queue, Pexip, Entra and Genesys on loopback, the real service that calls them, a
//! full pool, a console to see it at work, and commands to copy. Runs until Ctrl-C, or until a given command ends.

mod console;
mod guide;
mod pages;
mod reference;
mod website;
mod widget;
mod world;

use std::collections::HashMap;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use maxconf::app::{self, App};
use maxconf::config::{Config, InvalidConfig};
use maxconf::domain::Clock;
use maxconf::http::server;
use maxconf::telemetry;
use maxconf_simulators::World;
use reqwest::Client;
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::{Instant, sleep};
use url::Url;

use console::Console;

/// Port of the console. If it is in use, a free one is chosen.
const CONSOLE_PORT: u16 = 7070;

/// Interval of the Functions host's timer.
const TIMER: Duration = Duration::from_secs(60);

/// Limit for filling the pool.
const FILL_LIMIT: Duration = Duration::from_secs(120);

/// Runs the room service with simulators of everything it depends on.
#[derive(Parser)]
struct Cli {
    /// Port of the service. If it is in use, a free one is chosen; the console's too if this is 0.
    #[arg(long, default_value_t = 7071)]
    port: u16,
    /// Start only the simulators of Pexip, Entra and Genesys, for a service that runs elsewhere with the settings of
    /// local.settings.json.
    #[arg(long)]
    simulators_only: bool,
    /// Where the rooms come from that the service hands out.
    #[arg(long, value_enum, default_value_t)]
    room_source: RoomSource,
    /// Validity of an instant room in seconds (`INSTANT_ROOM_LIFETIME_SECONDS`): a short one lets its end be seen.
    #[arg(long, value_name = "SECONDS")]
    room_lifetime: Option<u32>,
    /// Command to run against the service instead of waiting for Ctrl-C. Its environment has the service's address,
    /// credentials to call it, and the service's settings.
    #[arg(trailing_var_arg = true, conflicts_with = "simulators_only")]
    command: Vec<OsString>,
}

/// A value of `ROOM_SOURCE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum RoomSource {
    /// Rooms that were made in advance.
    #[default]
    Pool,
    /// Rooms that Conferencing Nodes look up at the service when somebody dials them.
    Instant,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let cli = Cli::parse();
    if cli.simulators_only {
        let world = world::start_for_local_settings().await?;
        let node = world::conferencing_node(&world, &world::LOCAL_SERVICE.parse()?).await;
        guide::print_simulators(&world, &node);
        tokio::signal::ctrl_c().await?;
        return Ok(ExitCode::SUCCESS);
    }

    let world = world::start().await;
    if let Some((program, arguments)) = cli.command.split_first() {
        return run_command(&cli, &world, program, arguments).await;
    }
    show(&cli, Arc::new(world)).await
}

/// Runs the console and two instances of the service until Ctrl-C.
async fn show(cli: &Cli, world: Arc<World>) -> Result<ExitCode, Box<dyn std::error::Error>> {
    // First: they make the simulated systems be the operator's.
    let mut settings = cli.settings(&world);
    let port = if cli.port == 0 { 0 } else { CONSOLE_PORT };
    let console = Console::start(Arc::clone(&world), cli.room_source, port, cli.port).await;
    println!("The console: {}", console.url());
    world::put_behind_console(&mut settings, &console.url());
    let config = read_config(&settings, 0)?;
    let (export, _log) = telemetry::start(&config.telemetry, telemetry::Format::Readable, app::export_http);
    world::show_traffic(&world);
    console.start_instances(settings).await?;
    let timer = tokio::spawn(drive_timer(console.service()));
    wait_for_rooms(&world, cli.room_source, world::CONSOLE_POOL_SIZE).await?;
    console.back_up();
    guide::print(&world, cli.room_source, console.node(), &console.service(), &console.url());

    server::stop_signal().await;
    timer.abort();
    console.stop_instances().await;
    if let Some(export) = export {
        export.finish().await;
    }
    println!("\nThe sandbox has stopped. It leaves no files or processes.");
    Ok(ExitCode::SUCCESS)
}

/// Runs a command against one instance of the service, and ends with it.
async fn run_command(
    cli: &Cli,
    world: &World,
    program: &OsString,
    arguments: &[OsString],
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let settings = cli.settings(world);
    let config = read_config(&settings, cli.port)?;
    let listener = match server::bind(&config.server) {
        Ok(listener) => listener,
        Err(_) => server::bind(&read_config(&settings, 0)?.server)?,
    };
    let url: Url = format!("http://{}/", listener.local_addr()?).parse()?;
    let app = App::build(config, Clock::system())?;
    tokio::spawn(app.serve(listener, server::stop_signal()));
    tokio::spawn(drive_timer(url.clone()));
    wait_for_rooms(world, cli.room_source, world::POOL_SIZE).await?;
    let _node = world::conferencing_node(world, &url).await;
    let ended = Command::new(program).args(arguments).envs(world::environment(world, settings, &url)).status().await?;
    Ok(ended.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

impl Cli {
    fn settings(&self, world: &World) -> HashMap<&'static str, String> {
        let mut settings = world::settings(world, self.room_source);
        settings.extend(self.room_lifetime.map(|seconds| ("INSTANT_ROOM_LIFETIME_SECONDS", seconds.to_string())));
        settings
    }
}

impl RoomSource {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Instant => "instant",
        }
    }
}

fn read_config(settings: &HashMap<&'static str, String>, port: u16) -> Result<Config, InvalidConfig> {
    Config::read(|name| match name {
        "FUNCTIONS_CUSTOMHANDLER_PORT" => Some(port.to_string().into()),
        name => settings.get(name).map(Into::into),
    })
}

/// Calls the timer function, as the Functions host does.
#[expect(clippy::disallowed_methods, reason = "a caller of the service, not a part of it")]
async fn drive_timer(service: Url) {
    let http = Client::builder().no_proxy().build().expect("a client without special settings");
    let address = service.join("function_pool_maintenance").expect("a path");
    loop {
        if let Err(error) = http.post(address.clone()).json(&serde_json::json!({})).send().await {
            eprintln!("the timer could not reach the service: {error}");
        }
        sleep(TIMER).await;
    }
}

/// Waits for a full pool, if there is to be one.
async fn wait_for_rooms(world: &World, source: RoomSource, rooms: usize) -> Result<(), String> {
    if source == RoomSource::Instant {
        return Ok(());
    }
    let start = Instant::now();
    while world::ready_rooms(world) < rooms {
        if start.elapsed() > FILL_LIMIT {
            return Err(format!("only {} of {rooms} rooms are ready", world::ready_rooms(world)));
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
