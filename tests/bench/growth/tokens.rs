use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::try_join_all;
use tokio::task::spawn_blocking;

use super::rate::ROOMS_READ;
use super::{Effort, columns, cost, report, warmed_up};
use crate::Error;
use crate::backends::Backends;
use crate::callers::Callers;
use crate::figures::{Row, Table};

pub(crate) const KEY: &str = "tokens";

/// Reads a second.
const RATE: u32 = 100;

const POOL: u32 = 60;

/// Requests in progress while the tokens are shown.
const AT_A_TIME: usize = 32;

pub(super) async fn measure(effort: &Effort) -> Result<Vec<Table>, Error> {
    let backends = Backends::start().await?;
    backends.fill_pool(POOL);
    let (program, callers) = warmed_up(&backends, POOL).await?;
    let programs = [program];
    let names = Arc::new(backends.add_handed_out(ROOMS_READ));

    let (mut rows, mut tokens) = (Vec::new(), Vec::new());
    for size in effort.tokens {
        let seen = tokens.len();
        tokens.extend(issue(&backends, *size as usize - seen).await?);
        show(&callers, Arc::new(tokens[seen..].to_vec())).await?;
        let read = cost(&backends, &programs, effort.at(RATE), |number| {
            // Far from one another: a cache that keeps the last ones has none of them.
            let token = tokens[number as usize * 7_919 % tokens.len()].clone();
            let (callers, names) = (callers.clone(), Arc::clone(&names));
            async move { callers.read_with(&token, &names[number as usize % names.len()]).await }
        });
        let read = read.await?;

        let mut cells = read.latencies(columns::READ_P50, columns::READ_P99).to_vec();
        cells.push(read.processor_time(columns::READ_CPU));
        cells.push((columns::MEMORY, programs[0].resident_mebibytes()?));
        cells.extend(read.rest());
        report("tokens seen", *size);
        rows.push(Row { size: *size, cells });
    }
    let title = "100 reads by IDIM a second, by the number of tokens that the instance has seen";
    Ok(vec![Table { key: KEY, title, size: "tokens seen", rows }])
}

/// Signs tokens on all cores: each takes half a millisecond.
async fn issue(backends: &Backends, count: usize) -> Result<Vec<String>, Error> {
    let cores = std::thread::available_parallelism()?.get();
    let shares = (0..cores).map(|core| (count + core) / cores).map(|share| {
        let token = backends.world.entra.token();
        spawn_blocking(move || {
            (0..share).map(|number| token.clone().claim("uti", number.to_string()).build()).collect::<Vec<_>>()
        })
    });
    Ok(try_join_all(shares).await?.into_iter().flatten().collect())
}

/// Lets the service verify each token once.
async fn show(callers: &Callers, tokens: Arc<Vec<String>>) -> Result<(), Error> {
    let next = Arc::new(AtomicUsize::new(0));
    let shows = (0..AT_A_TIME).map(|_| {
        let (callers, tokens, next) = (callers.clone(), Arc::clone(&tokens), Arc::clone(&next));
        tokio::spawn(async move {
            while let Some(token) = tokens.get(next.fetch_add(1, Ordering::Relaxed)) {
                callers.show(token).await?;
            }
            Ok::<_, String>(())
        })
    });
    for shown in try_join_all(shows).await? {
        shown?;
    }
    Ok(())
}
