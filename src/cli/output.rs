//! Output of the commands. The only place that writes to stdout: `println!` panics if the reader has closed the pipe,
//! which would abort the command's work.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use clap::Args;
use serde_json::Value;

/// The format of a result.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// Write one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the result could not be written: {0}")]
pub struct Unwritten(io::Error);

impl Output {
    pub(crate) fn write(self, text: &str, json: &Value) -> Result<(), Unwritten> {
        if self.json { write(&format!("{json:#}\n")) } else { write(text) }
    }
}

/// Writes a result to stdout. A closed pipe, as `head` leaves it, is not an error.
pub fn write(result: &str) -> Result<(), Unwritten> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(result.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Unwritten(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a message to stderr. Ignores errors: nobody may be reading it.
pub fn print_message(message: impl Display) {
    let _ = writeln!(io::stderr(), "maxconf: {message}");
}
