use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing::{Dispatch, Level};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Prints the log of this process's services at the level in `MAXCONF_TEST_LOG`, which takes what `LOG_LEVEL` takes.
/// The test harness shows it for a test that fails, and for all tests with `--nocapture`.
pub(crate) fn print_log_if_wanted() {
    #[expect(clippy::disallowed_methods, reason = "a variable for tests, not a setting")]
    let Ok(level) = std::env::var("MAXCONF_TEST_LOG") else { return };
    let level: Targets = level.parse().expect("MAXCONF_TEST_LOG is a log level or a list of directives");
    let printed = tracing_subscriber::fmt::layer().compact().with_test_writer().with_filter(level);
    // Fails if an earlier test of this process has done it.
    let _ = tracing_subscriber::registry().with(printed).try_init();
}

/// What this thread logs, at every level and in the program's own form, until it is dropped. A test runs on one
/// thread, and so does the service that it starts.
pub(crate) struct CapturedLog {
    written: Written,
    _until_dropped: DefaultGuard,
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

/// A second subscriber beside every captured log. With only one in the process, `tracing` caches an event that first
/// occurs on a thread without subscriber as disabled for all threads.
static SECOND_SUBSCRIBER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

impl CapturedLog {
    pub(crate) fn start() -> Self {
        LazyLock::force(&SECOND_SUBSCRIBER);
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_max_level(Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        Self { written, _until_dropped: tracing::subscriber::set_default(subscriber) }
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.written.bytes().len()
    }

    /// What was logged after the first `start` bytes.
    pub(crate) fn after(&self, start: usize) -> String {
        String::from_utf8(self.written.bytes()[start..].to_vec()).expect("a log of text")
    }

    /// The lines about requests.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let events =
            self.after(0).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>();
        events.into_iter().filter(|event| event["message"] == "request").collect()
    }
}

impl Written {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
