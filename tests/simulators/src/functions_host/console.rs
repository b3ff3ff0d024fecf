//! The handler's lines in the host's log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Level of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Information,
    Warning,
    Error,
}

/// A line of the host's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub level: Level,
    pub text: String,
}

/// Stream of the handler.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stream {
    Out,
    Err,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Console(Arc<Mutex<Vec<LogLine>>>);

impl Console {
    pub(super) fn lines(&self) -> Vec<LogLine> {
        self.kept().clone()
    }

    pub(super) fn write(&self, level: Level, text: impl Into<String>) {
        self.kept().push(LogLine { level, text: text.into() });
    }

    /// Logs each line of a pipe until it closes.
    pub(super) fn follow(&self, pipe: impl AsyncRead + Unpin + Send + 'static, stream: Stream) {
        let console = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(pipe).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let level = match stream {
                    Stream::Out => Level::Information,
                    Stream::Err if line.to_ascii_lowercase().contains("warn") => Level::Warning,
                    Stream::Err => Level::Error,
                };
                console.write(level, line);
            }
        });
    }

    fn kept(&self) -> MutexGuard<'_, Vec<LogLine>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
