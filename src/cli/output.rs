//! What commands write. `println!` and `eprintln!` would panic where nobody reads any more, in the middle of whatever is
//! being done.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use clap::Args;
use serde_json::Value;

/// How a result is written.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// Write one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// A result that nobody has got: its exit code would be all that is left of it.
#[derive(Debug, thiserror::Error)]
#[error("the result could not be written: {0}")]
pub struct Unwritten(io::Error);

impl Output {
    /// Writes a result in the form that is wanted.
    pub(crate) fn write(self, text: &str, json: &Value) -> Result<(), Unwritten> {
        if self.json { write(&format!("{json:#}\n")) } else { write(text) }
    }
}

/// Writes a result to stdout, all of it. A reader who has gone, as `head` does, has got what it wanted.
pub fn write(result: &str) -> Result<(), Unwritten> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(result.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Unwritten(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Says on stderr what is not the result, if anybody listens.
pub fn say(words: impl Display) {
    let _ = writeln!(io::stderr(), "maxconf: {words}");
}
