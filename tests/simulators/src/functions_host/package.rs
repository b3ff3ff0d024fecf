//! The package: `host.json`, and one folder with a `function.json` for each function.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::Mode;
use super::function::Function;

/// Prefix of settings that override `host.json`; each `__` descends one level.
const OVERRIDE: &str = "AzureFunctionsJobHost__";

/// Why the host would not serve this package, or would serve it in a way that is not simulated.
#[derive(Debug)]
pub struct PackageFault(String);

/// The parsed package.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) root: PathBuf,
    pub(super) executable: PathBuf,
    pub(super) working_directory: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) initialization_timeout: Duration,
    /// `None` for no limit.
    pub(super) function_timeout: Option<Duration>,
    pub(super) functions: Vec<Function>,
}

impl Package {
    pub(super) fn read(root: &Path, mode: Mode, settings: &HashMap<String, String>) -> Result<Self, PackageFault> {
        let mut host = json_file(&root.join("host.json"))?;
        for (name, value) in settings {
            if let Some(path) = name.strip_prefix(OVERRIDE) {
                set(&mut host, path, value);
            }
        }
        if host["version"] != "2.0" {
            return Err(PackageFault::of("host.json: version is not 2.0"));
        }
        let handler = &host["customHandler"];
        let flag = match mode {
            Mode::Forwarding => "enableForwardingHttpRequest",
            Mode::Proxying => "enableProxyingHttpRequest",
        };
        if handler[flag] != true && handler[flag] != "true" {
            return Err(PackageFault::of(format!("host.json: without {flag} every request is put into an envelope")));
        }
        let description = &handler["description"];
        let executable = description["defaultExecutablePath"]
            .as_str()
            .ok_or_else(|| PackageFault::of("host.json: no customHandler.description.defaultExecutablePath"))?;
        // A name without a file beside host.json would be searched on PATH, where our handler is not.
        let executable = root.join(executable);
        if !executable.is_file() {
            return Err(PackageFault::of(format!("{} is no file", executable.display())));
        }
        let prefix = host["extensions"]["http"]["routePrefix"].as_str().unwrap_or("api");
        Ok(Self {
            executable,
            working_directory: root.join(description["workingDirectory"].as_str().unwrap_or_default()),
            arguments: arguments(&description["arguments"], settings),
            initialization_timeout: time_span(&handler["initializationTimeout"])?.unwrap_or(Duration::from_secs(30)),
            function_timeout: match &host["functionTimeout"] {
                Value::String(text) if text == "-1" => None,
                value => Some(time_span(value)?.unwrap_or(Duration::from_secs(30 * 60))),
            },
            functions: functions(root, prefix, settings)?,
            root: root.to_owned(),
        })
    }

    /// The function for a request. If several routes match, the one with the fewest parameters is chosen.
    pub(super) fn function_for(&self, method: &str, path: &str) -> Option<&Function> {
        let matching =
            self.functions.iter().filter_map(|function| Some((function.parameters(method, path)?, function)));
        matching.min_by_key(|(parameters, _)| *parameters).map(|(_, function)| function)
    }

    pub(super) fn function_named(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }
}

impl PackageFault {
    pub(super) fn of(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn file(path: &Path, error: &impl std::fmt::Display) -> Self {
        Self(format!("{}: {error}", path.display()))
    }
}

impl std::fmt::Display for PackageFault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for PackageFault {}

fn functions(root: &Path, prefix: &str, settings: &HashMap<String, String>) -> Result<Vec<Function>, PackageFault> {
    let mut functions = Vec::new();
    let entries = fs::read_dir(root).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    for entry in entries.map_err(|error| PackageFault::file(root, &error))? {
        let file = entry.path().join("function.json");
        if file.is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            functions.push(Function::read(name, &json_file(&file)?, prefix, settings)?);
        }
    }
    if functions.is_empty() {
        return Err(PackageFault::of(format!("{}: no functions found", root.display())));
    }
    Ok(functions)
}

fn json_file(path: &Path) -> Result<Value, PackageFault> {
    let text = fs::read_to_string(path).map_err(|error| PackageFault::file(path, &error))?;
    serde_json::from_str(&text).map_err(|error| PackageFault::file(path, &error))
}

fn set(host: &mut Value, path: &str, value: &str) {
    let place = path.split("__").fold(host, |place, key| {
        if !place.is_object() {
            *place = Value::Object(serde_json::Map::new());
        }
        &mut place[key]
    });
    *place = Value::String(value.to_owned());
}

/// Replaces `%NAME%` with the setting, or with nothing. The host joins arguments with blanks and does not quote them.
fn arguments(listed: &Value, settings: &HashMap<String, String>) -> Vec<String> {
    let listed = listed.as_array().into_iter().flatten().filter_map(Value::as_str);
    let joined = listed.map(|argument| expand(argument, settings)).collect::<Vec<_>>().join(" ");
    joined.split_whitespace().map(ToOwned::to_owned).collect()
}

fn expand(text: &str, settings: &HashMap<String, String>) -> String {
    let mut parts = text.split('%');
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    while let (Some(name), Some(behind)) = (parts.next(), parts.next()) {
        expanded += settings.get(name).map_or("", String::as_str);
        expanded += behind;
    }
    expanded
}

/// `hh:mm:ss`, with or without a fraction of a second.
fn time_span(value: &Value) -> Result<Option<Duration>, PackageFault> {
    let Some(text) = value.as_str() else { return Ok(None) };
    let parts: Option<Vec<f64>> = text.split(':').map(|part| part.parse().ok()).collect();
    match parts.as_deref() {
        Some([hours, minutes, seconds]) => Ok(Some(Duration::from_secs_f64(hours * 3600.0 + minutes * 60.0 + seconds))),
        _ => Err(PackageFault::of(format!("host.json: {text:?} is no time span"))),
    }
}
