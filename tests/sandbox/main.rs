//! The sandbox: simulators of Storage Queue, Pexip, Entra and Genesys on loopback, the real service that calls them, a
//! full pool, a page with its API, and commands to copy. Runs until Ctrl-C, or until a given command ends.

mod guide;
mod reference;
mod world;

use std::collections::HashMap;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use maxconf::app::{self, App};
use maxconf::config::{Config, InvalidConfig};
use maxconf::domain::Clock;
use maxconf::http::server;
use maxconf::telemetry;
use maxconf_simulators::{Server, World};
use reqwest::Client;
use tokio::process::Command;
use tokio::time::{Instant, sleep};
use url::Url;

/// Interval of the Functions host's timer.
const TIMER: Duration = Duration::from_secs(60);

/// Limit for filling the pool.
const FILL_LIMIT: Duration = Duration::from_secs(120);

/// Runs the room service with simulators of everything it depends on.
#[derive(Parser)]
struct Cli {
    /// Port of the service. If it is in use, a free one is chosen.
    #[arg(long, default_value_t = 7071)]
    port: u16,
    /// Start only the simulators of Pexip, Entra and Genesys, for a service that runs elsewhere with the settings of
    /// local.settings.json.
    #[arg(long)]
    simulators_only: bool,
    /// Where the rooms come from that the service hands out.
    #[arg(long, value_enum, default_value_t)]
    room_source: RoomSource,
    /// Command to run against the service instead of waiting for Ctrl-C. Its environment has the service's address,
    /// credentials to call it, and the service's settings.
    #[arg(trailing_var_arg = true, conflicts_with = "simulators_only")]
    command: Vec<OsString>,
}

/// A value of `ROOM_SOURCE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
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
    let settings = world::settings(&world, cli.room_source);
    let config = read_config(&settings, cli.port)?;
    let export = if cli.command.is_empty() {
        telemetry::start(&config.telemetry, telemetry::Format::Readable, app::export_http)
    } else {
        None
    };
    let listener = match server::bind(&config.server) {
        Ok(listener) => listener,
        Err(_) => server::bind(&read_config(&settings, 0)?.server)?,
    };
    let url: Url = format!("http://{}/", listener.local_addr()?).parse()?;
    let app = App::build(config, Clock::system())?;
    let serving = tokio::spawn(app.serve(listener, server::stop_signal()));

    let timer = tokio::spawn(drive_timer(url.clone()));
    if let Some((program, arguments)) = cli.command.split_first() {
        wait_for_rooms(&world, cli.room_source).await?;
        let _node = world::conferencing_node(&world, &url).await;
        let ended =
            Command::new(program).args(arguments).envs(world::environment(&world, settings, &url)).status().await?;
        return Ok(ended.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from));
    }
    world::show_traffic(&world);
    wait_for_rooms(&world, cli.room_source).await?;
    let node = world::conferencing_node(&world, &url).await;
    let reference = Server::start(reference::router()).await;
    guide::print(&world, cli.room_source, &node, &url, &reference.url());

    serving.await??;
    if let Some(export) = export {
        export.finish().await;
    }
    timer.abort();
    println!("\nThe sandbox has stopped. It leaves no files or processes.");
    Ok(ExitCode::SUCCESS)
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
async fn wait_for_rooms(world: &World, source: RoomSource) -> Result<(), String> {
    if source == RoomSource::Instant {
        return Ok(());
    }
    let start = Instant::now();
    while world::ready_rooms(world) < world::POOL_SIZE {
        if start.elapsed() > FILL_LIMIT {
            return Err(format!("only {} of {} rooms are ready", world::ready_rooms(world), world::POOL_SIZE));
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
