use maxconf_simulators::world::RECORDS;

use super::rate::{look_ups, start};
use super::{Effort, columns, cost, create, report};
use crate::Error;
use crate::backends::Backends;
use crate::figures::{Row, Table};

pub(crate) const KEY: &str = "records";

const LOOK_UPS_A_SECOND: u32 = 200;
const CREATES_A_SECOND: u32 = 50;

/// Rooms that are looked up.
const NAMES: u32 = 50;

pub(super) async fn measure(effort: &Effort) -> Result<Vec<Table>, Error> {
    let backends = Backends::start().await?;
    let (program, callers) = start(&backends).await?;
    let programs = [program];
    let mut names = Vec::new();
    for _ in 0..NAMES {
        names.push(callers.create().await?);
    }

    let (mut rows, mut stored) = (Vec::new(), 0);
    for size in effort.records {
        for number in stored..*size {
            // Nobody asks for these: they only lie in the container.
            backends.world.blobs.put(RECORDS, &format!("instant/vbi-01jd5p3xk8qqqqqqqqqq{number:07}"), "{}");
        }
        stored = *size;
        let looked_up = look_ups(&backends, &programs, effort, LOOK_UPS_A_SECOND, &callers, names.clone()).await?;
        let created = cost(&backends, &programs, effort.at(CREATES_A_SECOND), |_| create(&callers)).await?;

        let mut cells = looked_up.latencies(columns::LOOK_UP_P50, columns::LOOK_UP_P99).to_vec();
        cells.push(looked_up.processor_time(columns::LOOK_UP_CPU));
        cells.extend(created.latencies(columns::CREATE_P50, columns::CREATE_P99));
        cells.push(created.processor_time(columns::CREATE_CPU));
        cells.push((columns::MEMORY, programs[0].resident_mebibytes()?));
        cells.extend(looked_up.rest());
        report("instant rooms stored", *size);
        rows.push(Row { size: *size, cells });
    }
    let title = "200 look-ups and 50 creates a second, by the instant rooms stored";
    Ok(vec![Table { key: KEY, title, size: "instant rooms stored", rows }])
}
