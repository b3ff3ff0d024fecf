use std::io;
use std::process::{Command, Stdio};
use std::thread;

use maxconf_simulators::machine;
use url::Url;

use super::companion::Companion;

/// Without a screen, without anything kept or fetched besides the page, and without a way off this machine.
const FLAGS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--user-data-dir=.",
];

/// A real browser that has opened one page.
pub(crate) struct Browser {
    _chromium: Companion,
}

impl Browser {
    /// Opens `page` in a new profile. `None` if this machine has no browser, which is said out loud; on CI that is a
    /// failure.
    pub(crate) fn open(page: &Url) -> Option<Self> {
        let Some(program) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| runs(name))
        else {
            machine::report_missing("chromium is not installed", "NO BROWSER IS AVAILABLE, none was asked about CORS");
            return None;
        };
        let mut command = Command::new(program);
        command.args(FLAGS).arg(page.as_str());
        // On a machine without a desktop it reports what it misses of one.
        let (chromium, mut output) = Companion::start(&command, Stdio::null());
        thread::spawn(move || io::copy(&mut output, &mut io::sink()));
        Some(Self { _chromium: chromium })
    }
}

fn runs(program: &str) -> bool {
    let version = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}
