use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::timeout;
use url::Url;

use super::Settings;

/// On an idle machine it listens within a fraction of a second.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The real program in a process of its own, with these settings and no other environment.
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
            // Its address, and nothing of all that a proof makes it warn of.
            .env("LOG_LEVEL", "off,maxconf::http::server=info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program can be run");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
        let (found, address) = oneshot::channel();
        thread::spawn(move || {
            let mut found = Some(found);
            // Reads on after the line that counts: a full pipe would stop the program.
            for line in lines {
                let event: Value = serde_json::from_str(&line).unwrap_or_default();
                if let Some(address) = event["address"].as_str()
                    && let Some(found) = found.take()
                {
                    let _ = found.send(address.to_owned());
                }
            }
        });
        let address = timeout(START_LIMIT, address).await.expect("it listens in time").expect("it says where");
        Self { child, url: Url::parse(&format!("http://{address}/")).expect("a URL") }
    }

    /// Ends it as the Functions host does: with no warning, wherever it is.
    pub(crate) fn kill(mut self) {
        let ended = self.child.try_wait().expect("a child of ours");
        assert!(ended.is_none(), "it has ended by itself: {ended:?}");
        self.child.kill().expect("a child of ours");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
