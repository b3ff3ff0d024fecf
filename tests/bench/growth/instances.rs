use futures_util::future::try_join_all;

use super::{Effort, WARM_UP, columns, cost, create, report};
use crate::Error;
use crate::backends::Backends;
use crate::callers::Callers;
use crate::figures::{Row, Table};
use crate::load::Load;
use crate::program::Program;

pub(crate) const KEY: &str = "instances";

/// Creates a second, of all instances together, and ready rooms for them.
const RATE: u32 = 40;
const POOL: u32 = 200;

pub(super) async fn measure(effort: &Effort) -> Result<Vec<Table>, Error> {
    let mut rows = Vec::new();
    for size in effort.instances {
        let backends = Backends::start().await?;
        backends.fill_pool(POOL);
        let settings = backends.settings(POOL);
        let programs = try_join_all((0..*size).map(|_| Program::start(&settings))).await?;
        let callers = Callers::new(&backends.world, programs.iter().map(|program| program.url.clone()).collect())?;
        let warm_up = Load { requests: WARM_UP.requests * size, per_second: RATE };
        cost(&backends, &programs, warm_up, |_| create(&callers)).await?;
        let created = cost(&backends, &programs, effort.at(RATE), |_| create(&callers)).await?;

        let memory: f64 = programs.iter().map(Program::resident_mebibytes).sum::<Result<_, _>>()?;
        let mut cells = created.latencies(columns::CREATE_P50, columns::CREATE_P99).to_vec();
        cells.extend([created.processor_time(columns::CREATE_CPU), created.calls()]);
        cells.push((columns::MEMORY, memory / f64::from(*size)));
        cells.extend(created.rest());
        report("instances", *size);
        rows.push(Row { size: *size, cells });
    }
    let title = "40 creates a second in all, by the number of instances (memory of one)";
    Ok(vec![Table { key: KEY, title, size: "instances", rows }])
}
