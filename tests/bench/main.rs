//! How the service's costs grow: with the rate of requests, the pool, the rooms on Pexip, the instances, the tokens seen,
//! the instant rooms stored. Runs the real program against the simulators, which take as long for a call as the real
//! systems, and in the same run the floor: only the calls that no implementation can do without.
//!
//! `cargo bench` prints tables, and writes them as JSON and as plots.

#![expect(clippy::disallowed_methods, reason = "measures real time and sends requests")]

mod backends;
mod callers;
mod figures;
mod floor;
mod growth;
mod load;
mod machine;
mod page;
mod plots;
mod program;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use maxconf::http::server;

use figures::Figures;
use growth::{Effort, Growth};
use machine::Machine;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Measures how the service's costs grow, against simulators of everything it depends on. Takes about 15 minutes; other
/// work on the machine disturbs it.
#[derive(Parser)]
struct Cli {
    /// Fewer and shorter measurements: less than two minutes.
    #[arg(long)]
    quick: bool,
    /// Measure only how costs grow with this. Can be repeated.
    #[arg(long, value_enum)]
    only: Vec<Growth>,
    /// Folder for figures.json and the plots, instead of `bench` in Cargo's target folder.
    #[arg(long, conflicts_with = "write")]
    output: Option<PathBuf>,
    /// Write the plots and the tables into the project's documents: `--write infra/docs`.
    #[arg(long, conflicts_with_all = ["quick", "only"])]
    write: Option<PathBuf>,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let code = runtime.block_on(async {
        // Dropping the measurement ends the programs that it has started.
        tokio::select! {
            done = measure(cli) => done.map_or_else(
                |error| {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                },
                |()| ExitCode::SUCCESS,
            ),
            code = server::stop_signal() => ExitCode::from(code),
        }
    });
    runtime.shutdown_background();
    code
}

async fn measure(cli: Cli) -> Result<(), Error> {
    let started = Instant::now();
    let effort = if cli.quick { Effort::quick() } else { Effort::full() };
    let all = [Growth::Rate, Growth::Pool, Growth::Rooms, Growth::Instances, Growth::Tokens, Growth::Records];
    let wanted: Vec<_> = all.into_iter().filter(|growth| cli.only.is_empty() || cli.only.contains(growth)).collect();
    let mut figures = Figures::new(Machine::this()?);
    for (done, growth) in wanted.iter().enumerate() {
        eprintln!("[{}/{}] {}", done + 1, wanted.len(), growth.title());
        figures.add(growth.measure(&effort).await?);
    }

    print!("{}", tables::all(&figures));
    if let Some(documents) = cli.write {
        plots::draw(&figures, &documents.join("pictures"))?;
        page::write(&figures, &documents.join("performance.md"))?;
    } else {
        let output = cli.output.map_or_else(target_folder, Ok)?;
        fs::create_dir_all(&output)?;
        fs::write(output.join("figures.json"), format!("{:#}\n", figures.json()))?;
        plots::draw(&figures, &output)?;
        println!("Figures and plots are in {}.", output.display());
    }
    eprintln!("{} s in all", started.elapsed().as_secs());
    Ok(())
}

/// `target/release/deps/<this program>` is where Cargo puts it.
fn target_folder() -> Result<PathBuf, Error> {
    let program = std::env::current_exe()?;
    Ok(program.ancestors().nth(3).unwrap_or(Path::new(".")).join("bench"))
}
