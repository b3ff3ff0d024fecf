//! `maxconf pool`: reports on the pool, fills it, empties it. Results go to stdout, everything else to stderr.

mod report;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Subcommand;

use crate::cli::output::{Output, Unwritten, print_message};
use crate::cli::progress_bar::ProgressBar;
use crate::rooms::{OnProgress, PoolError, PoolStatus, Progress, RoomPool};
use report::Report;

#[derive(Debug, Subcommand)]
pub enum PoolCommand {
    /// Report what is in the pool and what a sweep would delete. Changes nothing.
    Status {
        #[command(flatten)]
        output: Output,
    },
    /// Make the missing rooms, as the timer does, but do not sweep.
    Fill {
        /// Report how many rooms would be made, and make none.
        #[arg(long)]
        dry_run: bool,
        /// Wait for Pexip first, and until the rooms can be joined. At most so many seconds for everything, 900 by
        /// default.
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "900")]
        #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400), conflicts_with = "dry_run")]
        wait: Option<u64>,
        #[command(flatten)]
        output: Output,
    },
    /// Empty the pool: delete every ready room without participants, and its message.
    ///
    /// If the service keeps running, set its target size to 0 first. Otherwise its timer fills the pool again.
    Drain {
        /// Report how much would be deleted, and delete nothing.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum PoolCommandError {
    #[error("{0}; {remedy}", remedy = .0.remedy())]
    Failed(#[from] PoolError),
    #[error(
        "{messages} messages stay hidden or leased. Stop the instances that hold them, or set POOL_TARGET_SIZE=0 there. \
         Then run the command again"
    )]
    HiddenMessages { messages: usize },
    #[error("nothing was deleted: there is no terminal to ask for confirmation. Add --yes")]
    NoTerminal,
    #[error("nothing was deleted")]
    Declined,
    #[error("nothing was deleted: the confirmation cannot be read: {0}")]
    Unanswered(#[from] std::io::Error),
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
}

/// Runs a command until it ends or `stop` resolves. Returns the exit code: 0, or that of `stop`.
pub async fn run(command: PoolCommand, pool: RoomPool, stop: impl Future<Output = u8>) -> Result<u8, PoolCommandError> {
    // Outside the `select!`: at the confirmation Ctrl-C must end the process at once.
    if matches!(command, PoolCommand::Drain { dry_run: false, yes: false, .. }) {
        confirm(&pool).await?;
    }
    tokio::select! {
        result = execute(command, &pool) => result.map(|()| 0),
        code = stop => {
            print_message("stopped. Run the command again to continue. The sweep deletes the rooms that were in progress.");
            Ok(code)
        }
    }
}

async fn execute(command: PoolCommand, pool: &RoomPool) -> Result<(), PoolCommandError> {
    match command {
        PoolCommand::Status { output } => Report::of_status(&status(pool).await?).write(output)?,
        PoolCommand::Fill { dry_run: true, output, .. } => Report::of_missing(&status(pool).await?).write(output)?,
        PoolCommand::Fill { dry_run: false, wait, output } => {
            let wait = wait.map(Duration::from_secs);
            let filled = with_progress(async |on_progress| pool.fill(wait, on_progress).await).await?;
            Report::of_fill(&filled).write(output)?;
            if let Some(error) = filled.stopped_by {
                return Err(error.into());
            }
        }
        PoolCommand::Drain { dry_run: true, output, .. } => Report::of_drainable(&status(pool).await?).write(output)?,
        PoolCommand::Drain { dry_run: false, output, .. } => {
            let drained = with_progress(async |on_progress| pool.drain(on_progress).await).await;
            Report::of_drain(&drained).write(output)?;
            if let Some(error) = drained.stopped_by {
                return Err(error.into());
            }
            if drained.out_of_sight > 0 {
                return Err(PoolCommandError::HiddenMessages { messages: drained.out_of_sight });
            }
        }
    }
    Ok(())
}

async fn status(pool: &RoomPool) -> Result<PoolStatus, PoolError> {
    with_progress(async |on_progress| pool.status(on_progress).await).await
}

/// Shows a progress bar while `work` runs.
async fn with_progress<T>(work: impl AsyncFnOnce(OnProgress<'_>) -> T) -> T {
    let bar = ProgressBar::new();
    work(&|progress| match progress {
        Progress::Planned(total) => bar.set_total(total),
        Progress::Done(done) => bar.set_done(done),
        Progress::Waiting { pause, reason } => {
            bar.show_wait(&format!("{reason}; waiting {} s", pause.as_secs().max(1)));
        }
    })
    .await
}

/// Asks for confirmation on the terminal, and says how much will be deleted.
async fn confirm(pool: &RoomPool) -> Result<(), PoolCommandError> {
    if !std::io::stdin().is_terminal() {
        return Err(PoolCommandError::NoTerminal);
    }
    let status = status(pool).await?;
    let PoolStatus { queue, prefix, census, .. } = &status;
    write!(
        std::io::stderr(),
        "This deletes up to {} rooms named {prefix}… and empties the queue {queue}. Continue? [y/N] ",
        census.in_pool()
    )?;
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(PoolCommandError::Declined),
    }
}
