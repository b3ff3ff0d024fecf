//! The real program in a process of its own.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use url::Url;

use crate::Error;
use crate::machine;

const START_LIMIT: Duration = Duration::from_secs(30);

/// An instance. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Program {
    _process: Child,
    id: u32,
    pub(crate) url: Url,
}

impl Program {
    /// Starts it with these settings and no other environment, and waits until it listens.
    pub(crate) async fn start(settings: &HashMap<&'static str, String>) -> Result<Self, Error> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_maxconf"))
            .arg("serve")
            .env_clear()
            .envs(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
        let id = process.id().ok_or("it has ended")?;
        let address = async {
            while let Some(line) = lines.next_line().await? {
                let event: Value = serde_json::from_str(&line)?;
                if let Some(address) = event["address"].as_str() {
                    return Ok(address.to_owned());
                }
            }
            Err(Error::from("the program ended before it listened"))
        };
        let address = timeout(START_LIMIT, address).await??;
        // Read to the end: a full pipe would block the program.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { _process: process, id, url: format!("http://{address}/").parse()? })
    }

    pub(crate) fn processor_time(&self) -> Result<Duration, Error> {
        machine::processor_time(self.id, |_| true)
    }

    pub(crate) fn resident_mebibytes(&self) -> Result<f64, Error> {
        machine::resident_mebibytes(self.id)
    }
}
