//! `maxconf serve` is what `host.json` starts; `maxconf check-config` only looks at the settings; `maxconf pool` and
//! `maxconf doctor` are the operator's; `maxconf smoke` tests a service from outside.

#![warn(clippy::print_stderr, clippy::print_stdout)]

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use maxconf::app::{self, App};
use maxconf::cli::doctor;
use maxconf::cli::output::{Output, print_message, write};
use maxconf::cli::pool::{self, PoolCommand};
use maxconf::cli::reference::{self, ReferenceCommand};
use maxconf::cli::smoke::{self, Credentials, SmokeCommand};
use maxconf::config::{self, Config, ConfigParts};
use maxconf::domain::Clock;
use maxconf::http::routes::openapi;
use maxconf::http::server;
use maxconf::telemetry;
use tokio::runtime::Runtime;

const FAILED: u8 = 1;

/// What clap exits with where it does not understand a command, and a smoke test that comes to no result: its 1 says that
/// the service is broken.
const NO_RESULT: u8 = 2;

/// Room service for identity checks by video.
#[derive(Parser)]
#[command(name = "maxconf", version = telemetry::VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve requests until the process is ended. Never exits with 0: the Functions host would not start it again.
    Serve,
    /// Check the settings, say what is wrong with them, and do nothing else.
    CheckConfig,
    /// Write the OpenAPI document of the HTTP API. Needs no settings.
    Openapi,
    /// Write the tables of settings, audit events and metrics, as the documents have them. Needs no settings.
    Reference(ReferenceCommand),
    /// Look at the pool, fill it or empty it.
    ///
    /// Exits with 0, with 1 where something failed, with 78 where settings are at fault, with 130 or 143 where a signal
    /// ended it.
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Find out what is wrong: settings, network, certificates, clocks, accounts, Pexip, the pool. Changes nothing.
    ///
    /// Exits with 0 where nothing is not fine, with 1 otherwise, with 78 where settings are at fault.
    Doctor(Output),
    /// Test a service that runs somewhere, as its callers use it. Needs none of its settings.
    Smoke(Box<SmokeCommand>),
}

fn main() -> ExitCode {
    let command = Cli::command().after_long_help(settings_help()).get_matches();
    let cli = Cli::from_arg_matches(&command).unwrap_or_else(|error| error.exit());
    match cli.command {
        Command::Serve => configured(|config| exit_code(run(serve(config)))),
        Command::CheckConfig => {
            config::unknown_variables().iter().for_each(print_message);
            configured(|_| exit_code(write("The settings are complete and can be used.\n").map(|()| 0)))
        }
        Command::Openapi => exit_code(write(&format!("{:#}\n", openapi::document())).map(|()| 0)),
        Command::Reference(command) => exit_code(reference::run(&command)),
        Command::Pool(command) => configured(|config| exit_code(run(operate_pool(command, config)))),
        Command::Doctor(output) => {
            let (settings, unknown) = (ConfigParts::from_env(), config::unknown_variables());
            exit_code(run(doctor::run(settings, &unknown, Clock::system(), output)))
        }
        Command::Smoke(command) => exit_code_or(run(test(*command)), NO_RESULT),
    }
}

/// Does what needs complete settings, or says what is wrong with them.
fn configured(run: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match ConfigParts::from_env().complete() {
        Ok(config) => run(config),
        Err(invalid) => exit_code_or(Err(invalid), config::FAULTY),
    }
}

fn exit_code(ended: Result<u8, impl std::fmt::Display>) -> ExitCode {
    exit_code_or(ended, FAILED)
}

/// The command's own exit code; of one that failed this one, and why.
fn exit_code_or(ended: Result<u8, impl std::fmt::Display>, of_failure: u8) -> ExitCode {
    ExitCode::from(ended.unwrap_or_else(|error| {
        print_message(error);
        of_failure
    }))
}

/// Runs a command to its end. What cannot be called off, the look-up of a name that nobody answers, is not waited for.
fn run<T>(command: impl Future<Output = T>) -> T {
    let runtime = Runtime::new().expect("threads can be started");
    let ended = runtime.block_on(command);
    runtime.shutdown_background();
    ended
}

async fn serve(config: Config) -> Result<u8, server::ServeError> {
    let export = telemetry::start(&config.telemetry, telemetry::Format::Json, app::export_http);
    // Before anything that could take time: the Functions host knocks every 25 ms and counts the seconds.
    let listener = server::bind(&config.server).await?;
    config::log_unknown_variables();
    let app = App::build(config, Clock::system())?;
    let stopped = server::serve(listener, app, server::stop_signal()).await;
    if let Some(export) = export {
        export.finish().await;
    }
    stopped
}

async fn operate_pool(command: PoolCommand, config: Config) -> Result<u8, Box<dyn std::error::Error>> {
    let rooms = app::pool_alone(&config, &Clock::system())?;
    Ok(pool::run(command, rooms, server::stop_signal()).await?)
}

async fn test(command: SmokeCommand) -> Result<u8, Box<dyn std::error::Error>> {
    Ok(smoke::run(command, Credentials::from_env()?, server::stop_signal).await?)
}

fn settings_help() -> String {
    let mut help = "Settings, all from the environment:\n".to_owned();
    for setting in Config::settings() {
        help += &format!("\n  {}  [{}]\n      {}\n", setting.name, setting.default, setting.meaning);
    }
    help
}
