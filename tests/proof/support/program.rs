use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::timeout;
use url::Url;

use super::{LIMIT, Settings};

/// The real program in its own process, with these settings and no other environment.
pub(crate) struct Program {
    child: Child,
    pub(crate) url: Url,
}

impl Program {
    /// Starts it and waits until it listens.
    pub(crate) async fn start(settings: &Settings) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_maxconf"))
            .arg("serve")
            .env_clear()
            .envs(settings.as_environment())
            // Logs only the address: a proof causes many warnings.
            .env("LOG_LEVEL", "off,maxconf::http::server=info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program can be run");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
        let (found, address) = oneshot::channel();
        thread::spawn(move || {
            let mut found = Some(found);
            // Reads to the end: a full pipe would block the program.
            for line in lines {
                let event: Value = serde_json::from_str(&line).unwrap_or_default();
                if let Some(address) = event["address"].as_str()
                    && let Some(found) = found.take()
                {
                    let _ = found.send(address.to_owned());
                }
            }
        });
        let address = timeout(LIMIT, address).await.expect("it listens").expect("it logs its address");
        Self { child, url: Url::parse(&format!("http://{address}/")).expect("a URL") }
    }

    /// Kills it as the Functions host does: without warning, at any step.
    pub(crate) fn kill(mut self) {
        let ended = self.child.try_wait().expect("the child's status");
        assert!(ended.is_none(), "it ended by itself: {ended:?}");
        self.child.kill().expect("the child's status");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
