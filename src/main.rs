//! The program: parses the command line, runs one command, and exits with its code.

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
use maxconf::exit_code;
use maxconf::http::routes;
use maxconf::http::server;
use maxconf::outbound;
use maxconf::telemetry::{self, Export, LogWriter};
use tokio::runtime::Runtime;

/// Room service for identity checks by video.
#[derive(Parser)]
#[command(name = "maxconf", version = telemetry::VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve requests until a signal stops the process. Never exits with 0: the Functions host would not restart it.
    Serve,
    /// Check the settings and report every fault.
    CheckConfig,
    /// Write the OpenAPI document of the HTTP API. Needs no settings.
    Openapi {
        /// Write the gateway's list of operations instead (`infra/gateway/operations.json`).
        #[arg(long)]
        operations: bool,
    },
    /// Write the tables of settings, audit events and metrics, as the documents have them. Needs no settings.
    Reference(ReferenceCommand),
    /// Report on the pool, fill it or empty it.
    ///
    /// Exit codes: 0 = done, 1 = failed, 78 = invalid settings, 130 or 143 = stopped by SIGINT or SIGTERM.
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Examine settings, network, certificates, clocks, accounts, Pexip and the pool. Changes nothing.
    ///
    /// Each check is fine, a warning, not fine, or could not tell. Exit codes: 0 = no check is not fine, 1 = a check is
    /// not fine, 78 = invalid settings.
    Doctor(Output),
    /// Test a deployed service from outside, as its callers use it. Needs none of its settings.
    Smoke(Box<SmokeCommand>),
}

fn main() -> ExitCode {
    let command = Cli::command().after_long_help(help()).get_matches();
    let cli = Cli::from_arg_matches(&command).unwrap_or_else(|error| error.exit());
    match cli.command {
        Command::Serve => with_config(|config| {
            outbound::load_certificates();
            // The log ends last: the runtime's last tasks write to it.
            let (ended, _log) = run(serve(config));
            code(ended)
        }),
        Command::CheckConfig => {
            config::unknown_variables().iter().for_each(print_message);
            with_config(|_| code(write("The settings are complete and valid.\n").map(|()| exit_code::DONE)))
        }
        Command::Openapi { operations } => {
            let text = if operations { routes::gateway_operations() } else { format!("{:#}\n", routes::document()) };
            code(write(&text).map(|()| exit_code::DONE))
        }
        Command::Reference(command) => code(reference::run(&command)),
        Command::Pool(command) => with_config(|config| code(run(operate_pool(command, config)))),
        Command::Doctor(output) => {
            let (settings, unknown) = (ConfigParts::from_env(), config::unknown_variables());
            code(run(doctor::run(settings, &unknown, Clock::system(), output)))
        }
        Command::Smoke(command) => code_or(run(smoke_test(*command)), exit_code::NOT_RUN),
    }
}

/// Runs a command with complete settings, or reports every fault.
fn with_config(run: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match ConfigParts::from_env().complete() {
        Ok(config) => run(config),
        Err(invalid) => code_or(Err(invalid), exit_code::INVALID_SETTINGS),
    }
}

fn code(result: Result<u8, impl std::fmt::Display>) -> ExitCode {
    code_or(result, exit_code::FAILED)
}

/// The command's own exit code, or `of_failure` after reporting the error.
fn code_or(result: Result<u8, impl std::fmt::Display>, of_failure: u8) -> ExitCode {
    ExitCode::from(result.unwrap_or_else(|error| {
        print_message(error);
        of_failure
    }))
}

/// Runs a command to its end. Does not wait for blocking calls that cannot be cancelled, such as a DNS look-up.
///
/// On as many threads as there are processors, or `TOKIO_WORKER_THREADS`. One thread takes less processor time for each
/// request, but callers who send thousands of requests on one connection hold up the others longer.
fn run<T>(command: impl Future<Output = T>) -> T {
    let runtime = Runtime::new().expect("threads can be started");
    let output = runtime.block_on(command);
    runtime.shutdown_background();
    output
}

async fn serve(config: Config) -> (Result<u8, Box<dyn std::error::Error>>, LogWriter) {
    let (export, log) = telemetry::start(&config.telemetry, telemetry::Format::Json, app::export_http);
    (serve_until_stopped(config, export).await, log)
}

async fn serve_until_stopped(config: Config, export: Option<Export>) -> Result<u8, Box<dyn std::error::Error>> {
    // First, since the Functions host polls the port every 25 ms and gives up after some seconds.
    let listener = server::bind(&config.server)?;
    config::log_unknown_variables();
    let app = App::build(config, Clock::system())?;
    let stopped = app.serve(listener, server::stop_signal()).await;
    if let Some(export) = export {
        export.finish().await;
    }
    Ok(stopped?)
}

async fn operate_pool(command: PoolCommand, config: Config) -> Result<u8, Box<dyn std::error::Error>> {
    let rooms = app::pool_alone(config, Clock::system())?;
    Ok(pool::run(command, rooms, server::stop_signal()).await?)
}

async fn smoke_test(command: SmokeCommand) -> Result<u8, Box<dyn std::error::Error>> {
    Ok(smoke::run(command, Credentials::from_env()?, server::stop_signal).await?)
}

/// What `--help` shows after the commands: exit codes and settings.
fn help() -> String {
    let mut help = "Exit codes:\n".to_owned();
    for (code, meaning) in exit_code::MEANINGS {
        help += &format!("  {code:<3}  {meaning}\n");
    }
    help += "\nSettings, all from the environment:\n";
    for setting in Config::settings() {
        help += &format!("\n  {}  [{}]\n      {}\n", setting.name, setting.default, setting.meaning);
    }
    help
}
