use std::sync::Arc;

use super::{Cost, Effort, columns, cost, create, report, warmed_up};
use crate::Error;
use crate::backends::Backends;
use crate::callers::Callers;
use crate::figures::{Row, Table};
use crate::floor::Floor;
use crate::program::Program;

/// Enough that every taken room is replaced before it is needed.
const POOL: u32 = 600;

/// More than are read while one call to Pexip takes.
pub(super) const ROOMS_READ: u32 = 200;

pub(crate) const POOL_ROOMS: &str = "rate";
pub(crate) const INSTANT_ROOMS: &str = "rate_instant";

pub(super) async fn measure(effort: &Effort) -> Result<Vec<Table>, Error> {
    Ok(vec![pool_rooms(effort).await?, instant_rooms(effort).await?])
}

async fn pool_rooms(effort: &Effort) -> Result<Table, Error> {
    let backends = Backends::start().await?;
    backends.fill_pool(POOL);
    let (program, callers) = warmed_up(&backends, POOL).await?;
    let programs = [program];
    // Many, since reads of one room share a look-up.
    let names = Arc::new(backends.add_handed_out(ROOMS_READ));
    let on_the_floor = effort.rates.iter().map(|rate| effort.at(*rate).requests).sum();
    let floor = Floor::start(&backends.world, on_the_floor).await?;
    callers.read(&names[0]).await?;

    let mut rows = Vec::new();
    for rate in effort.rates {
        let load = effort.at(*rate);
        let created = cost(&backends, &programs, load, |_| create(&callers)).await?;
        let read = cost(&backends, &programs, load, |number| {
            let (callers, names) = (callers.clone(), Arc::clone(&names));
            async move { callers.read(&names[number as usize % names.len()]).await }
        });
        let read = read.await?;
        let create_floor = cost(&backends, &programs, load, |_| {
            let floor = floor.clone();
            async move { floor.create().await }
        });
        let create_floor = create_floor.await?;
        let read_floor = cost(&backends, &programs, load, |number| {
            let (floor, names) = (floor.clone(), Arc::clone(&names));
            async move { floor.read(&names[number as usize % names.len()]).await }
        });
        let read_floor = read_floor.await?;

        let mut cells = created.latencies(columns::CREATE_P50, columns::CREATE_P99).to_vec();
        cells.extend(create_floor.latencies(columns::CREATE_FLOOR_P50, columns::CREATE_FLOOR_P99));
        cells.extend([created.processor_time(columns::CREATE_CPU), created.calls()]);
        cells.extend(read.latencies(columns::READ_P50, columns::READ_P99));
        cells.extend(read_floor.latencies(columns::READ_FLOOR_P50, columns::READ_FLOOR_P99));
        cells.push(read.processor_time(columns::READ_CPU));
        cells.extend(created.rest());
        report("requests a second", *rate);
        rows.push(Row { size: *rate, cells });
    }
    Ok(Table { key: POOL_ROOMS, title: "Rooms of the pool, by rate", size: "requests a second", rows })
}

async fn instant_rooms(effort: &Effort) -> Result<Table, Error> {
    let backends = Backends::start().await?;
    let (program, callers) = start(&backends).await?;
    let programs = [program];
    let name = callers.create().await?;
    callers.look_up(&name).await?;
    let floor = Floor::start(&backends.world, 0).await?;

    let mut rows = Vec::new();
    for rate in effort.rates {
        let load = effort.at(*rate);
        let created = cost(&backends, &programs, load, |_| create(&callers)).await?;
        let looked_up = look_ups(&backends, &programs, effort, *rate, &callers, vec![name.clone()]).await?;
        let create_floor = cost(&backends, &programs, load, |number| {
            let floor = floor.clone();
            async move { floor.create_instant(number).await }
        });
        let create_floor = create_floor.await?;
        let look_up_floor = cost(&backends, &programs, load, |_| {
            let floor = floor.clone();
            async move { floor.look_up().await }
        });
        let look_up_floor = look_up_floor.await?;

        let mut cells = created.latencies(columns::CREATE_P50, columns::CREATE_P99).to_vec();
        cells.extend(create_floor.latencies(columns::CREATE_FLOOR_P50, columns::CREATE_FLOOR_P99));
        cells.push(created.processor_time(columns::CREATE_CPU));
        cells.extend(looked_up.latencies(columns::LOOK_UP_P50, columns::LOOK_UP_P99));
        cells.extend(look_up_floor.latencies(columns::LOOK_UP_FLOOR_P50, columns::LOOK_UP_FLOOR_P99));
        cells.push(looked_up.processor_time(columns::LOOK_UP_CPU));
        cells.extend(created.rest());
        report("requests a second", *rate);
        rows.push(Row { size: *rate, cells });
    }
    Ok(Table { key: INSTANT_ROOMS, title: "Instant rooms, by rate", size: "requests a second", rows })
}

/// A service whose rooms are all instant.
pub(super) async fn start(backends: &Backends) -> Result<(Program, Callers), Error> {
    let program = Program::start(&backends.instant_settings()).await?;
    let callers = Callers::new(&backends.world, vec![program.url.clone()])?;
    for _ in 0..super::WARM_UP.requests {
        callers.create().await?;
    }
    Ok((program, callers))
}

/// Look-ups of these rooms in turn.
pub(super) async fn look_ups(
    backends: &Backends,
    programs: &[Program],
    effort: &Effort,
    rate: u32,
    callers: &Callers,
    names: Vec<String>,
) -> Result<Cost, Error> {
    cost(backends, programs, effort.at(rate), |number| {
        let (callers, name) = (callers.clone(), names[number as usize % names.len()].clone());
        async move { callers.look_up(&name).await }
    })
    .await
}
