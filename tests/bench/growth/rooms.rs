use super::{Effort, columns, cost, create, maintenance, report, warmed_up};
use crate::Error;
use crate::backends::Backends;
use crate::figures::{Row, Table};

pub(crate) const KEY: &str = "rooms";

/// Creates a second, and ready rooms for them.
const RATE: u32 = 20;
const POOL: u32 = 60;

pub(super) async fn measure(effort: &Effort) -> Result<Vec<Table>, Error> {
    let mut rows = Vec::new();
    for size in effort.rooms {
        let backends = Backends::start().await?;
        backends.fill_pool(POOL);
        backends.add_handed_out(*size);
        let (program, callers) = warmed_up(&backends, POOL).await?;
        let run = maintenance(&backends, &program, &callers).await?;
        let programs = [program];
        let created = cost(&backends, &programs, effort.at(RATE), |_| create(&callers)).await?;

        let mut cells = run.to_vec();
        cells.extend(created.latencies(columns::CREATE_P50, columns::CREATE_P99));
        cells.extend([created.processor_time(columns::CREATE_CPU), created.calls()]);
        cells.push((columns::MEMORY, programs[0].resident_mebibytes()?));
        cells.extend(created.rest());
        report("rooms handed out", *size);
        rows.push(Row { size: *size, cells });
    }
    let title = "20 creates a second, by the rooms that were handed out and are still on Pexip";
    Ok(vec![Table { key: KEY, title, size: "rooms handed out", rows }])
}
