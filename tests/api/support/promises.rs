use std::collections::BTreeSet;

use maxconf::http::routes;
use reqwest::Method;
use serde_json::Value;

use super::Answer;

/// Routes of the Functions host itself, which the document leaves out on purpose.
const OF_THE_HOST: [&str; 2] = ["/", "/function_pool_maintenance"];

/// Headers that HTTP itself needs (RFC 9110, RFC 9112), with the body's type, which the document has elsewhere.
const OF_HTTP: [&str; 5] = ["connection", "content-length", "content-type", "date", "transfer-encoding"];

const PROBLEM: &str = "application/problem+json";

/// What the API's document promises about answers.
#[derive(Debug)]
pub(crate) struct Promises(Value);

impl Default for Promises {
    fn default() -> Self {
        Self(routes::document())
    }
}

impl Promises {
    /// How an answer differs from what the document promises; `None` if it does not.
    pub(crate) fn broken_by(&self, method: &Method, path: &str, answer: &Answer) -> Option<String> {
        let unpromised = match method {
            // Answered like a GET; the host lets none through.
            &Method::HEAD => None,
            _ if OF_THE_HOST.contains(&path) => None,
            _ => match self.operation(method, path) {
                Some(operation) => self.unpromised(operation, answer),
                // A preflight for what is not there leads to a 404 only.
                None if method == Method::OPTIONS && path.starts_with("/public/") => None,
                None => undescribed(answer),
            },
        };
        unpromised.map(|what| format!("the document does not promise {what} for {method} {path}: {answer:?}"))
    }

    /// Everything that is promised, each as the operation's id, a status, and a code, the type of another body, or a
    /// header.
    pub(crate) fn all(&self) -> BTreeSet<String> {
        let paths = self.0["paths"].as_object().expect("paths").values();
        let operations = paths.flat_map(|path| path.as_object().expect("operations").values());
        operations.flat_map(promised_by).collect()
    }

    /// Those that this answer keeps; none if it is no operation's.
    pub(crate) fn kept_by(&self, method: &Method, path: &str, answer: &Answer) -> BTreeSet<String> {
        let Some(operation) = self.operation(method, path) else { return BTreeSet::new() };
        let body = match answer.header("content-type") {
            PROBLEM => answer.json()["code"].as_str().expect("a code").to_owned(),
            other => other.to_owned(),
        };
        let headers = answer.headers.keys().map(|name| name.as_str().to_owned());
        [body].into_iter().chain(headers).map(|what| promise(operation, answer.status.as_str(), &what)).collect()
    }

    /// The operation that a request is for. A path without a parameter in it goes first.
    fn operation(&self, method: &Method, path: &str) -> Option<&Value> {
        let paths = self.0["paths"].as_object().expect("paths");
        let exact = paths.get_key_value(path);
        // A path without a parameter has its own methods only (OpenAPI 3.1, path templating).
        let mut candidates =
            exact.into_iter().chain(paths.iter().filter(|(template, _)| exact.is_none() && matches(template, path)));
        candidates.find_map(|(_, operations)| {
            let mut operations = operations.as_object().expect("operations").iter();
            // Methods are case-sensitive; the document writes them in lower case.
            operations.find(|(name, _)| name.to_ascii_uppercase() == method.as_str()).map(|(_, operation)| operation)
        })
    }

    fn unpromised(&self, operation: &Value, answer: &Answer) -> Option<String> {
        let promised = &operation["responses"];
        let Some(promised) = promised.get(answer.status.as_str()) else {
            return Some(format!("the status {}", answer.status));
        };
        let headers = promised["headers"].as_object();
        let is_promised = |name: &str| headers.into_iter().flatten().any(|(one, _)| one.eq_ignore_ascii_case(name));
        if let Some(name) =
            answer.headers.keys().find(|name| !OF_HTTP.contains(&name.as_str()) && !is_promised(name.as_str()))
        {
            return Some(format!("the header {name}"));
        }
        for (name, reference) in headers.into_iter().flatten() {
            let header = self.referred(reference);
            let value = answer.header(name);
            if value.is_empty() && header["required"] == true {
                return Some(format!("to leave out {name}"));
            }
            let fixed = &header["schema"]["const"];
            if !value.is_empty() && !fixed.is_null() && fixed.to_string().trim_matches('"') != value {
                return Some(format!("{name}: {value}"));
            }
        }
        let content_type = answer.header("content-type");
        let body = match promised["content"].as_object() {
            None if content_type.is_empty() => return None,
            None => return Some(format!("a body of {content_type}")),
            Some(bodies) => bodies.get(content_type),
        };
        let Some(body) = body else {
            return Some(format!("the body's type {content_type:?}"));
        };
        let codes = codes(body)?;
        let code = &answer.json()["code"];
        (!codes.contains(code)).then(|| format!("the code {code}"))
    }

    fn referred(&self, reference: &Value) -> &Value {
        let pointer = reference["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        self.0.pointer(pointer.expect("a reference")).expect("what is referred to")
    }
}

/// What one operation promises.
fn promised_by(operation: &Value) -> impl Iterator<Item = String> {
    let answers = operation["responses"].as_object().expect("answers");
    answers.iter().flat_map(move |(status, answer)| {
        let headers = answer["headers"].as_object().into_iter().flatten().map(|(name, _)| name.to_ascii_lowercase());
        let bodies = match answer["content"].as_object() {
            None => vec![String::new()],
            Some(bodies) => bodies.iter().flat_map(|(kind, body)| words(kind, body)).collect(),
        };
        bodies.into_iter().chain(headers).map(|what| promise(operation, status, &what)).collect::<Vec<_>>()
    })
}

/// The codes of a problem, or the type of another body.
fn words(kind: &str, body: &Value) -> Vec<String> {
    match codes(body) {
        Some(codes) => codes.iter().map(|code| code.as_str().expect("a code").to_owned()).collect(),
        None => vec![kind.to_owned()],
    }
}

fn codes(body: &Value) -> Option<&Vec<Value>> {
    body["schema"]["allOf"][1]["properties"]["code"]["enum"].as_array()
}

fn promise(operation: &Value, status: &str, what: &str) -> String {
    format!("{} {status} {what}", operation["operationId"].as_str().expect("an id"))
}

/// What belongs to no operation is refused.
fn undescribed(answer: &Answer) -> Option<String> {
    let refused = answer.text.contains(r#""code":"#) && answer.status.is_client_error();
    (!refused).then(|| format!("the status {}", answer.status))
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    let same = |(wanted, given): (&&str, &&str)| (wanted.starts_with('{') && !given.is_empty()) || wanted == given;
    template.len() == path.len() && template.iter().zip(&path).all(same)
}
