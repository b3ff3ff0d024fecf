//! The operator's commands: look at the pool, fill it, empty it. Results go to stdout, everything else to stderr.

mod report;

use std::io::{IsTerminal, Write};

use clap::Subcommand;

use crate::cli::output::{Output, Unwritten, say};
use crate::cli::progress_bar::ProgressBar;
use crate::rooms::{PoolError, PoolStatus, Progress, RoomPool};
use report::Report;

/// What an operator can ask of the pool.
#[derive(Debug, Subcommand)]
pub enum PoolCommand {
    /// Say what is in the pool and what a sweep would end. Changes nothing.
    Status {
        #[command(flatten)]
        output: Output,
    },
    /// Make the rooms that are missing, as the timer does, and leave the sweep to it.
    Fill {
        /// Say how many rooms would be made, and make none.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Empty the pool for a take-over or for good: delete each ready room that nobody is in. A service that goes on
    /// running needs a target size of 0 first, or its timer fills the pool again.
    Drain {
        /// Say how much there is to delete, and delete nothing.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask before the rooms are deleted.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        output: Output,
    },
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PoolCommandError {
    #[error("{0}; {remedy}", remedy = .0.remedy())]
    Failed(#[from] PoolError),
    #[error(
        "messages that stay hidden or leased: {messages}; stop the instances that hold them, or set POOL_TARGET_SIZE=0 \
         there, and run it again"
    )]
    OutOfSight { messages: usize },
    #[error("nothing was deleted: there is no terminal on which to ask; say --yes")]
    NobodyToAsk,
    #[error("nothing was deleted")]
    Declined,
    #[error("nothing was deleted: the question had no answer: {0}")]
    Unanswered(#[from] std::io::Error),
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
}

/// Runs a command, until `stop` comes. Returns the exit code where nothing went wrong: 0, or that of `stop`.
pub async fn run(command: PoolCommand, pool: RoomPool, stop: impl Future<Output = u8>) -> Result<u8, PoolCommandError> {
    // Before signals are listened to: at the question Ctrl-C simply ends the process.
    if matches!(command, PoolCommand::Drain { dry_run: false, yes: false, .. }) {
        confirm(&pool).await?;
    }
    tokio::select! {
        done = carry_out(command, &pool) => done.map(|()| 0),
        code = stop => {
            say("stopped; run it again to go on. The sweep removes the rooms that were being worked on.");
            Ok(code)
        }
    }
}

async fn carry_out(command: PoolCommand, pool: &RoomPool) -> Result<(), PoolCommandError> {
    match command {
        PoolCommand::Status { output } => {
            Report::of_status(&status(pool).await?).write(output)?;
            Ok(())
        }
        PoolCommand::Fill { dry_run: true, output } => {
            Report::of_missing(&status(pool).await?).write(output)?;
            Ok(())
        }
        PoolCommand::Fill { dry_run: false, output } => fill(pool, output).await,
        PoolCommand::Drain { dry_run: true, output, .. } => {
            Report::of_drainable(&status(pool).await?).write(output)?;
            Ok(())
        }
        PoolCommand::Drain { dry_run: false, output, .. } => drain(pool, output).await,
    }
}

async fn status(pool: &RoomPool) -> Result<PoolStatus, PoolError> {
    let progress = ProgressBar::begin();
    pool.status(&|now| show(&progress, now)).await
}

async fn fill(pool: &RoomPool, output: Output) -> Result<(), PoolCommandError> {
    let progress = ProgressBar::begin();
    let filled = pool.fill(&|now| show(&progress, now)).await?;
    drop(progress);
    Report::of_fill(&filled).write(output)?;
    filled.stopped_by.map_or(Ok(()), |error| Err(error.into()))
}

async fn drain(pool: &RoomPool, output: Output) -> Result<(), PoolCommandError> {
    let progress = ProgressBar::begin();
    let drained = pool.drain(&|now| show(&progress, now)).await;
    drop(progress);
    Report::of_drain(&drained).write(output)?;
    match drained.stopped_by {
        Some(error) => Err(error.into()),
        None if drained.out_of_sight > 0 => Err(PoolCommandError::OutOfSight { messages: drained.out_of_sight }),
        None => Ok(()),
    }
}

fn show(bar: &ProgressBar, now: Progress) {
    match now {
        Progress::Planned(total) => bar.plan(total),
        Progress::Done(done) => bar.advance(done),
        Progress::Waiting { pause, reason } => bar.say(&format!("{reason}; waiting {} s", pause.as_secs().max(1))),
    }
}

/// Asks on the terminal, with the numbers at hand.
async fn confirm(pool: &RoomPool) -> Result<(), PoolCommandError> {
    if !std::io::stdin().is_terminal() {
        return Err(PoolCommandError::NobodyToAsk);
    }
    let status = status(pool).await?;
    let PoolStatus { queue, prefix, census, .. } = &status;
    write!(
        std::io::stderr(),
        "This deletes up to {} rooms named {prefix}… and empties the queue {queue}. Go on? [y/N] ",
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
