//! One function: its trigger, and which requests the host accepts for it.

use std::collections::HashMap;

use axum::http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use url::form_urlencoded;

use super::FUNCTION_KEY;
use super::package::PackageFault;

#[derive(Debug)]
pub(super) struct Function {
    /// The name of its folder.
    pub(super) name: String,
    pub(super) is_disabled: bool,
    pub(super) trigger: Trigger,
}

#[derive(Debug)]
pub(super) enum Trigger {
    Http { methods: Vec<String>, route: Vec<Segment>, needs_key: bool },
    Timer { binding: String },
}

#[derive(Debug)]
pub(super) enum Segment {
    Literal(String),
    Parameter,
    /// A parameter that may be missing; the last one of its route.
    OptionalParameter,
}

impl Function {
    /// `settings` replace `%NAME%` in bindings. A real host still serves the other functions if one is faulty; here a
    /// fault fails the whole package, so that tests notice it.
    pub(super) fn read(
        name: String,
        file: &Value,
        prefix: &str,
        settings: &HashMap<String, String>,
    ) -> Result<Self, PackageFault> {
        let fault = |text: String| PackageFault::of(format!("{name}: {text}"));
        let bindings = file["bindings"].as_array().ok_or_else(|| fault("no bindings".to_owned()))?;
        let kinds: Vec<_> =
            bindings.iter().map(|binding| (binding["direction"].as_str(), binding["type"].as_str())).collect();
        let trigger = match kinds[..] {
            [(Some("in"), Some("httpTrigger")), (Some("out"), Some("http"))] => {
                http(&name, &bindings[0], prefix).map_err(fault)?
            }
            [(Some("in"), Some("timerTrigger"))] => timer(&bindings[0], settings).map_err(fault)?,
            // With one binding more than these the host puts HTTP requests into an envelope.
            _ => return Err(fault(format!("bindings that are not simulated: {kinds:?}"))),
        };
        let switch = settings.get(&format!("AzureWebJobs.{name}.Disabled"));
        let is_disabled = file["disabled"] == true || switch.is_some_and(|value| value == "true" || value == "1");
        Ok(Self { name, is_disabled, trigger })
    }

    /// Number of route parameters in the path; `None` if the request is not for this function.
    pub(super) fn parameters(&self, method: &str, path: &str) -> Option<usize> {
        let Trigger::Http { methods, route, .. } = &self.trigger else { return None };
        let path: Vec<_> = path.trim_matches('/').split('/').collect();
        let route = match &route[..] {
            [before @ .., Segment::OptionalParameter] if before.len() == path.len() => before,
            whole => whole,
        };
        let matches = |(segment, given): (&Segment, &&str)| match segment {
            Segment::Literal(literal) => percent_decode_str(given).decode_utf8_lossy().eq_ignore_ascii_case(literal),
            Segment::Parameter | Segment::OptionalParameter => !given.is_empty(),
        };
        let is_meant = methods.iter().any(|allowed| allowed.eq_ignore_ascii_case(method))
            && route.len() == path.len()
            && route.iter().zip(&path).all(matches);
        is_meant.then(|| route.iter().filter(|segment| !matches!(segment, Segment::Literal(_))).count())
    }

    /// Whether the host forwards the request to the handler.
    pub(super) fn admits(&self, headers: &HeaderMap, query: Option<&str>) -> bool {
        let Trigger::Http { needs_key, .. } = &self.trigger else { return false };
        let in_header = || headers.get("x-functions-key").is_some_and(|key| key.as_bytes() == FUNCTION_KEY.as_bytes());
        let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        !needs_key || in_header() || pairs.any(|(name, value)| name == "code" && value == FUNCTION_KEY)
    }
}

fn http(name: &str, binding: &Value, prefix: &str) -> Result<Trigger, String> {
    let methods = binding["methods"].as_array().ok_or("a function without methods is not simulated")?;
    let methods = methods.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
    let template = binding["route"].as_str().unwrap_or(name);
    let whole = [prefix, template].join("/");
    let route: Vec<_> =
        whole.split('/').filter(|segment| !segment.is_empty()).map(segment).collect::<Result<_, _>>()?;
    if route.iter().rev().skip(1).any(|segment| matches!(segment, Segment::OptionalParameter)) {
        return Err(format!("a route with an optional parameter before its end, {whole}, is not simulated"));
    }
    let needs_key = binding["authLevel"].as_str().is_none_or(|level| !level.eq_ignore_ascii_case("anonymous"));
    Ok(Trigger::Http { methods, route, needs_key })
}

fn segment(text: &str) -> Result<Segment, String> {
    match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        None if text.contains('{') => Err(format!("a route with {text} is not simulated")),
        None => Ok(Segment::Literal(text.to_owned())),
        // A catch-all would make the timer's address reachable for callers.
        Some(name) => match name.strip_suffix('?').unwrap_or(name) {
            bare if bare.contains(['*', ':', '?', '=']) => Err(format!("a route with {text} is not simulated")),
            bare if bare.len() < name.len() => Ok(Segment::OptionalParameter),
            _ => Ok(Segment::Parameter),
        },
    }
}

fn timer(binding: &Value, settings: &HashMap<String, String>) -> Result<Trigger, String> {
    let name = binding["name"].as_str().ok_or("a binding without a name")?;
    let written = binding["schedule"].as_str().ok_or("a timer without a schedule")?;
    let schedule = match written.strip_prefix('%').and_then(|rest| rest.strip_suffix('%')) {
        Some(setting) => settings.get(setting).ok_or_else(|| format!("{written} is not set"))?,
        None => written,
    };
    if schedule.split_whitespace().count() != 6 {
        return Err(format!("{schedule:?} is no schedule of six fields"));
    }
    Ok(Trigger::Timer { binding: name.to_owned() })
}
