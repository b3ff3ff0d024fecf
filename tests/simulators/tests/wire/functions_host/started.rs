use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use maxconf_simulators::FunctionsHost;
use maxconf_simulators::functions_host::Mode;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{LIMIT, client};

pub(super) const HANDLER: &str = env!("CARGO_BIN_EXE_scripted-handler");

pub(super) fn write(folder: &Path, file: &str, content: &Value) {
    let path = folder.join(file);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, content.to_string()).expect("a file");
}

pub(super) fn host_json() -> Value {
    json!({
        "version": "2.0",
        "functionTimeout": "00:04:00",
        "customHandler": {
            "description": { "defaultExecutablePath": "handler", "workingDirectory": "", "arguments": ["serve", "%WHAT%"] },
            "enableForwardingHttpRequest": true,
            "enableProxyingHttpRequest": true
        },
        "extensions": { "http": { "routePrefix": "" } }
    })
}

pub(super) fn http_function(route: &str, methods: &[&str], level: &str) -> Value {
    json!({ "bindings": [
        { "type": "httpTrigger", "direction": "in", "name": "req", "authLevel": level, "methods": methods, "route": route },
        { "type": "http", "direction": "out", "name": "res" }
    ] })
}

/// A package with the scripted handler.
pub(super) fn package() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    // A copied file could still be open for writing in a process that another test starts.
    symlink(HANDLER, folder.path().join("handler")).expect("a link");
    write(folder.path(), "host.json", &host_json());
    for (name, route, methods, level) in [
        ("echo", "echo/{what}", &["get", "POST"][..], "anonymous"),
        ("made", "echo/made", &["put"], "anonymous"),
        ("locked", "locked", &["get"], "function"),
        ("off", "off", &["get"], "anonymous"),
        ("told", "do/{what}", &["get"], "anonymous"),
        ("exit", "do/exit/{code}", &["get"], "anonymous"),
    ] {
        write(folder.path(), &format!("{name}/function.json"), &http_function(route, methods, level));
    }
    let timer = json!({ "bindings": [
        { "type": "timerTrigger", "direction": "in", "name": "timer", "schedule": "%SCHEDULE%", "useMonitor": true }
    ] });
    write(folder.path(), "tick/function.json", &timer);
    folder
}

/// Starts the host with that package and additional settings.
pub(super) struct Started {
    pub(super) host: FunctionsHost,
    pub(super) http: Client,
    _package: TempDir,
}

impl Started {
    pub(super) async fn with(mode: Mode, settings: &[(&str, &str)]) -> Self {
        let package = package();
        let needed = [("SCHEDULE", "0 * * * * *"), ("WHAT", "now"), ("AzureWebJobs.off.Disabled", "true")];
        let settings = needed.iter().chain(settings).copied();
        let host = FunctionsHost::start(package.path(), mode, settings).await.expect("a package without faults");
        Self { host, http: client(), _package: package }
    }

    pub(super) async fn ask(&self, method: Method, path: &str) -> Response {
        let url = format!("{}{path}", self.host.url());
        let request = self.http.request(method, url).send();
        timeout(LIMIT, request).await.expect("an answer in time").expect("an answer")
    }

    pub(super) async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.ask(Method::GET, path).await;
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    pub(super) fn lines_with(&self, part: &str) -> usize {
        self.host.log().iter().filter(|line| line.text.contains(part)).count()
    }

    pub(super) fn lines(&self, text: &str) -> usize {
        self.host.log().iter().filter(|line| line.text == text).count()
    }
}
