use super::{Effort, columns, cost, create, maintenance, report, warmed_up};
use crate::Error;
use crate::backends::Backends;
use crate::figures::{Row, Table};

pub(crate) const KEY: &str = "pool";

/// Creates a second.
const RATE: u32 = 20;

pub(super) async fn measure(effort: &Effort) -> Result<Vec<Table>, Error> {
    let mut rows = Vec::new();
    for size in effort.pools {
        let backends = Backends::start().await?;
        backends.fill_pool(*size);
        let (program, callers) = warmed_up(&backends, *size).await?;
        let run = maintenance(&backends, &program, &callers).await?;
        let programs = [program];
        let created = cost(&backends, &programs, effort.at(RATE), |_| create(&callers)).await?;

        let mut cells = created.latencies(columns::CREATE_P50, columns::CREATE_P99).to_vec();
        cells.extend([created.processor_time(columns::CREATE_CPU), created.calls()]);
        cells.extend(run);
        cells.push((columns::MEMORY, programs[0].resident_mebibytes()?));
        cells.extend(created.rest());
        report("rooms in the pool", *size);
        rows.push(Row { size: *size, cells });
    }
    Ok(vec![Table { key: KEY, title: "20 creates a second, by the size of the pool", size: "rooms in the pool", rows }])
}
