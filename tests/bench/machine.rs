//! The machine that everything runs on, and the processor time of programs and threads.

use std::fs;
use std::path::Path;
use std::time::Duration;

use maxconf::telemetry;

use crate::Error;

/// What a reader must know to compare figures.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) gibibytes: u64,
    pub(crate) commit: &'static str,
}

impl Machine {
    pub(crate) fn this() -> Result<Self, Error> {
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let processor = field(&fs::read_to_string("/proc/cpuinfo")?, "model name");
        let memory = field(&fs::read_to_string("/proc/meminfo")?, "MemTotal").unwrap_or_default();
        let kibibytes: u64 = memory.trim_end_matches(" kB").parse()?;
        Ok(Self {
            processor: processor.unwrap_or_else(|| "unknown processor".to_owned()),
            cores: std::thread::available_parallelism()?.get(),
            gibibytes: kibibytes.div_ceil(1024 * 1024),
            commit: telemetry::COMMIT,
        })
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { processor, cores, gibibytes, commit } = self;
        write!(formatter, "{cores} cores ({processor}), {gibibytes} GiB, commit {commit}")
    }
}

/// Processor time of the threads of a process whose name `is_counted`. In nanoseconds, where `/proc/<pid>/stat` counts in
/// hundredths of a second; threads that have ended are not in it.
pub(crate) fn processor_time(process: u32, is_counted: impl Fn(&str) -> bool) -> Result<Duration, Error> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        nanoseconds += of_thread(&thread?.path(), &is_counted).unwrap_or_default();
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// `None` if the thread has ended meanwhile.
fn of_thread(thread: &Path, is_counted: impl Fn(&str) -> bool) -> Option<u64> {
    let name = fs::read_to_string(thread.join("comm")).ok()?;
    if !is_counted(name.trim_end()) {
        return Some(0);
    }
    fs::read_to_string(thread.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
}

/// Resident memory of a process in MiB.
pub(crate) fn resident_mebibytes(process: u32) -> Result<f64, Error> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kibibytes: u32 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(f64::from(kibibytes) / 1024.0)
}
