//! What is measured, one file for each thing that grows.

pub(crate) mod instances;
pub(crate) mod pool;
pub(crate) mod rate;
pub(crate) mod records;
pub(crate) mod rooms;
pub(crate) mod tokens;

use std::time::Duration;

use clap::ValueEnum;

use crate::Error;
use crate::backends::{Backends, THREADS};
use crate::callers::Callers;
use crate::figures::{Column, Table};
use crate::load::{Answers, Load};
use crate::machine;
use crate::program::Program;

/// Something that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Growth {
    Rate,
    Pool,
    Rooms,
    Instances,
    Tokens,
    Records,
}

/// How much is measured.
pub(crate) struct Effort {
    /// Duration of one load.
    seconds: u32,
    rates: &'static [u32],
    pools: &'static [u32],
    rooms: &'static [u32],
    instances: &'static [u32],
    tokens: &'static [u32],
    records: &'static [u32],
}

impl Effort {
    pub(crate) fn quick() -> Self {
        Self {
            seconds: 2,
            rates: &[5, 50, 200],
            pools: &[10, 1_000],
            rooms: &[10, 1_000],
            instances: &[1, 4],
            tokens: &[1, 1_000],
            records: &[10, 10_000],
        }
    }

    pub(crate) fn full() -> Self {
        Self {
            seconds: 8,
            rates: &[5, 10, 20, 50, 100, 200],
            pools: &[10, 100, 1_000, 10_000],
            rooms: &[10, 100, 1_000, 10_000],
            instances: &[1, 2, 4, 8, 16],
            tokens: &[1, 10, 100, 1_000, 10_000, 100_000],
            records: &[10, 100, 1_000, 10_000, 100_000, 1_000_000],
        }
    }

    fn at(&self, per_second: u32) -> Load {
        Load { per_second, requests: per_second * self.seconds }
    }
}

impl Growth {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Rate => "with the rate of requests",
            Self::Pool => "with the pool",
            Self::Rooms => "with the rooms on Pexip",
            Self::Instances => "with the instances",
            Self::Tokens => "with the tokens seen",
            Self::Records => "with the instant rooms stored",
        }
    }

    pub(crate) async fn measure(self, effort: &Effort) -> Result<Vec<Table>, Error> {
        match self {
            Self::Rate => rate::measure(effort).await,
            Self::Pool => pool::measure(effort).await,
            Self::Rooms => rooms::measure(effort).await,
            Self::Instances => instances::measure(effort).await,
            Self::Tokens => tokens::measure(effort).await,
            Self::Records => records::measure(effort).await,
        }
    }
}

/// Columns of several tables.
pub(crate) mod columns {
    use super::Column;

    pub(crate) const CREATE_P50: Column = Column::new("create_p50_ms", "create p50, ms", 1);
    pub(crate) const CREATE_P99: Column = Column::new("create_p99_ms", "p99, ms", 1);
    pub(crate) const CREATE_CPU: Column = Column::new("create_cpu_us", "CPU of a create, µs", 0);
    pub(crate) const CREATE_FLOOR_P50: Column = Column::new("create_floor_p50_ms", "floor p50, ms", 1);
    pub(crate) const CREATE_FLOOR_P99: Column = Column::new("create_floor_p99_ms", "floor p99, ms", 1);
    pub(crate) const READ_P50: Column = Column::new("read_p50_ms", "read p50, ms", 1);
    pub(crate) const READ_P99: Column = Column::new("read_p99_ms", "p99, ms", 1);
    pub(crate) const READ_CPU: Column = Column::new("read_cpu_us", "CPU of a read, µs", 0);
    pub(crate) const READ_FLOOR_P50: Column = Column::new("read_floor_p50_ms", "floor p50, ms", 1);
    pub(crate) const READ_FLOOR_P99: Column = Column::new("read_floor_p99_ms", "floor p99, ms", 1);
    pub(crate) const LOOK_UP_P50: Column = Column::new("look_up_p50_ms", "look-up p50, ms", 1);
    pub(crate) const LOOK_UP_P99: Column = Column::new("look_up_p99_ms", "p99, ms", 1);
    pub(crate) const LOOK_UP_CPU: Column = Column::new("look_up_cpu_us", "CPU of a look-up, µs", 0);
    pub(crate) const LOOK_UP_FLOOR_P50: Column = Column::new("look_up_floor_p50_ms", "floor p50, ms", 1);
    pub(crate) const LOOK_UP_FLOOR_P99: Column = Column::new("look_up_floor_p99_ms", "floor p99, ms", 1);
    pub(crate) const CALLS: Column = Column::new("pexip_calls_per_create", "Pexip calls of a create", 2);
    pub(crate) const RUN: Column = Column::new("maintenance_ms", "maintenance run, ms", 0);
    pub(crate) const RUN_CPU: Column = Column::new("maintenance_cpu_ms", "CPU of the run, ms", 1);
    pub(crate) const RUN_CALLS: Column = Column::new("maintenance_pexip_calls", "its calls to Pexip", 0);
    pub(crate) const MEMORY: Column = Column::new("resident_mib", "memory, MiB", 1);
    pub(crate) const SIMULATORS: Column = Column::new("simulators_cores", "cores of the simulators", 2);
    pub(crate) const TOOL: Column = Column::new("tool_cores", "of the load tool", 2);
    pub(crate) const FAILED: Column = Column::new("failed", "failed", 0);
}

/// What one load has cost.
struct Cost {
    answers: Answers,
    requests: u32,
    wall: Duration,
    /// Processor time until the work behind the answers was over.
    service: Duration,
    simulators: Duration,
    tool: Duration,
    calls_to_pexip: usize,
}

/// Processor time so far.
struct Spent {
    service: Duration,
    simulators: Duration,
    tool: Duration,
}

impl Spent {
    fn now(programs: &[Program]) -> Result<Self, Error> {
        let this = std::process::id();
        let service = programs.iter().map(Program::processor_time).sum::<Result<_, _>>()?;
        let simulators = machine::processor_time(this, |thread| thread == THREADS)?;
        Ok(Self { service, simulators, tool: machine::processor_time(this, |thread| thread != THREADS)? })
    }
}

/// Sends the load and measures it. Fails if a tenth of the requests does.
async fn cost<F>(
    backends: &Backends,
    programs: &[Program],
    load: Load,
    request: impl Fn(u32) -> F,
) -> Result<Cost, Error>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    backends.forget_calls();
    let (before, start) = (Spent::now(programs)?, std::time::Instant::now());
    let answers = load.send(request).await;
    let (wall, loaded) = (start.elapsed(), Spent::now(programs)?);
    backends.become_quiet().await?;
    let after = Spent::now(programs)?;
    if answers.failed * 10 > load.requests {
        return Err(format!("{} of {} failed: {:?}", answers.failed, load.requests, answers.failure).into());
    }
    Ok(Cost {
        answers,
        requests: load.requests,
        wall,
        // A thread that has ended is not counted any more.
        service: after.service.saturating_sub(before.service),
        simulators: loaded.simulators.saturating_sub(before.simulators),
        tool: loaded.tool.saturating_sub(before.tool),
        calls_to_pexip: backends.calls_to_pexip(),
    })
}

impl Cost {
    fn latencies(&self, p50: Column, p99: Column) -> [(Column, f64); 2] {
        [(p50, 50), (p99, 99)].map(|(column, percent)| (column, self.answers.percentile(percent).unwrap_or(f64::NAN)))
    }

    /// Processor time of the service for each request, in microseconds.
    fn processor_time(&self, column: Column) -> (Column, f64) {
        (column, self.service.as_secs_f64() * 1e6 / f64::from(self.requests))
    }

    fn calls(&self) -> (Column, f64) {
        let calls = u32::try_from(self.calls_to_pexip).unwrap_or(u32::MAX);
        (columns::CALLS, f64::from(calls) / f64::from(self.requests))
    }

    /// Cores that the simulators and the load tool used while requests came, and failed requests.
    fn rest(&self) -> [(Column, f64); 3] {
        let cores = |spent: Duration| spent.as_secs_f64() / self.wall.as_secs_f64();
        [
            (columns::SIMULATORS, cores(self.simulators)),
            (columns::TOOL, cores(self.tool)),
            (columns::FAILED, f64::from(self.answers.failed)),
        ]
    }
}

/// A program and its callers, warmed up: keys, connections and caches are there.
async fn warmed_up(backends: &Backends, pool: u32) -> Result<(Program, Callers), Error> {
    let program = Program::start(&backends.settings(pool)).await?;
    let callers = Callers::new(&backends.world, vec![program.url.clone()])?;
    let create = || {
        let callers = callers.clone();
        async move { callers.create().await.map(drop) }
    };
    cost(backends, std::slice::from_ref(&program), WARM_UP, |_| create()).await?;
    Ok((program, callers))
}

const WARM_UP: Load = Load { per_second: 20, requests: 20 };

/// A request of one of these callers.
fn create(callers: &Callers) -> impl Future<Output = Result<(), String>> + Send + use<> {
    let callers = callers.clone();
    async move { callers.create().await.map(drop) }
}

/// A maintenance run: its duration, processor time and calls to Pexip.
async fn maintenance(backends: &Backends, program: &Program, callers: &Callers) -> Result<[(Column, f64); 3], Error> {
    let run = Load { per_second: 1, requests: 1 };
    let request = |_| {
        let callers = callers.clone();
        async move { callers.run_maintenance().await.map(drop) }
    };
    let cost = cost(backends, std::slice::from_ref(program), run, request).await?;
    Ok([
        (columns::RUN, cost.answers.percentile(50).unwrap_or(f64::NAN)),
        (columns::RUN_CPU, cost.service.as_secs_f64() * 1e3),
        (columns::RUN_CALLS, f64::from(u32::try_from(cost.calls_to_pexip)?)),
    ])
}

/// Shows that the figures of one size are there.
fn report(what: &str, size: u32) {
    eprintln!("      {what}: {size}");
}
