//! The OpenAPI document as one HTML page, without scripts or external files.

use std::collections::BTreeSet;
use std::fmt::Write;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use maxconf::http::openapi;
use pulldown_cmark::html::push_html;
use pulldown_cmark::{Options, Parser};
use serde_json::{Map, Value};

const STYLE: &str = "\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark }
h2 { margin-top: 3rem; border-top: 1px solid gray; padding-top: 1rem }
h2 code { margin-right: .5rem } code, pre { font: 14px/1.4 ui-monospace, monospace }
pre { overflow: auto; padding: .5rem; border: 1px solid gray }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0 }
td p { margin: 0 } nav { columns: 2 } nav a { display: block }";

/// Serves the page, and the document itself.
pub(crate) fn router() -> Router {
    let document = openapi::document();
    let page = page(&document);
    Router::new().route("/", get(async || Html(page))).route("/openapi.json", get(async || axum::Json(document)))
}

fn page(document: &Value) -> String {
    let info = &document["info"];
    let mut page = format!("<!doctype html><html lang=en><meta charset=utf-8><title>{}</title>", text(&info["title"]));
    page += &format!("<style>{STYLE}</style><h1>{} {}</h1>", text(&info["title"]), text(&info["version"]));
    page += &paragraph(&info["description"]);
    page += "<nav>";
    for (path, method, operation) in operations(document) {
        let (id, summary) = (text(&operation["operationId"]), text(&operation["summary"]));
        page += &format!("<a href=\"#{id}\"><code>{method} {}</code> {summary}</a>", escape(path));
    }
    page += "</nav>";
    let common = common_headers(document);
    let listed: Vec<_> = common.iter().map(|name| format!("<code>{}</code>", escape(name))).collect();
    page += &format!("<p>Each answer has these headers, unless it says that it has none: {}.</p>", listed.join(", "));
    for (path, method, operation) in operations(document) {
        page += &section(path, &method, operation, &common);
    }
    page += "<h2>How callers prove who they are</h2>";
    page += &table(["Scheme", "Type", ""], entries(&document["components"]["securitySchemes"]), |scheme| {
        [text(&scheme["type"]), paragraph(&scheme["description"])]
    });
    for (name, schema) in entries(&document["components"]["schemas"]) {
        page += &format!("<h2 id=\"{name}\">{name}</h2>{}", paragraph(&schema["description"]));
        page += &table(["Field", "Type", ""], entries(&schema["properties"]), |field| {
            [kind(field), format!("{}{}", paragraph(&field["description"]), example(field))]
        });
        for value in schema["enum"].as_array().into_iter().flatten() {
            page += &format!("<code>{}</code> ", text(value));
        }
    }
    page
}

/// Path, method and description of each operation.
fn operations(document: &Value) -> impl Iterator<Item = (&str, String, &Value)> {
    entries(&document["paths"]).flat_map(|(path, methods)| {
        entries(methods).map(move |(method, operation)| (path.as_str(), method.to_ascii_uppercase(), operation))
    })
}

/// Headers that every answer with headers has.
fn common_headers(document: &Value) -> BTreeSet<&str> {
    let answers = operations(document).flat_map(|(.., operation)| entries(&operation["responses"]));
    let headers = answers.map(|(_, answer)| headers(answer).collect::<BTreeSet<_>>());
    let promised = headers.filter(|headers| !headers.is_empty());
    promised.reduce(|common, headers| common.intersection(&headers).copied().collect()).unwrap_or_default()
}

fn headers(answer: &Value) -> impl Iterator<Item = &str> {
    entries(&answer["headers"]).map(|(name, _)| name.as_str())
}

fn section(path: &str, method: &str, operation: &Value, common: &BTreeSet<&str>) -> String {
    let id = text(&operation["operationId"]);
    let mut section =
        format!("<h2 id=\"{id}\"><code>{method} {}</code>{}</h2>", escape(path), text(&operation["summary"]));
    section += &paragraph(&operation["description"]);
    let schemes = operation["security"].as_array().into_iter().flatten().filter_map(Value::as_object);
    let schemes: Vec<_> = schemes.flat_map(Map::keys).map(String::as_str).collect();
    section += &format!("<p>Token: {}</p>", if schemes.is_empty() { "none".to_owned() } else { schemes.join(", ") });
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let parameters: Map<_, _> =
        parameters.map(|one| (one["name"].as_str().unwrap_or_default().to_owned(), one.clone())).collect();
    section += &table(["Parameter", "In", ""], parameters.iter(), |parameter| {
        [text(&parameter["in"]), format!("{}{}", paragraph(&parameter["description"]), example(parameter))]
    });
    section += &table(["Status", "Headers", ""], entries(&operation["responses"]), |answer| {
        let headers: Vec<_> = headers(answer).filter(|name| !common.contains(name)).map(escape).collect();
        let body = &answer["content"]["application/json"]["example"];
        [headers.join("<br>"), format!("{}{}", paragraph(&answer["description"]), block(body))]
    });
    section
}

fn table<'a>(
    head: [&str; 3],
    rows: impl Iterator<Item = (&'a String, &'a Value)>,
    cells: impl Fn(&Value) -> [String; 2],
) -> String {
    let mut table = String::new();
    for (name, value) in rows {
        let [second, third] = cells(value);
        write!(table, "<tr><td><code>{}</code><td>{second}<td>{third}", escape(name)).expect("text in memory");
    }
    if table.is_empty() {
        return table;
    }
    format!("<table><tr><th>{}<th>{}<th>{}{table}</table>", head[0], head[1], head[2])
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

/// A schema's type, or the name of the schema that it refers to.
fn kind(schema: &Value) -> String {
    let items = &schema["items"];
    let reference = [schema, items].iter().find_map(|schema| schema["$ref"].as_str()?.rsplit('/').next());
    match reference {
        Some(name) => format!("<a href=\"#{name}\">{name}</a>{}", if items.is_null() { "" } else { ", a list" }),
        None => text(&schema["type"]),
    }
}

fn example(value: &Value) -> String {
    let example = if value["examples"][0].is_null() { &value["example"] } else { &value["examples"][0] };
    if example.is_null() { String::new() } else { format!("<code>{}</code>", escape(&example.to_string())) }
}

fn block(value: &Value) -> String {
    if value.is_null() { String::new() } else { format!("<pre>{}</pre>", escape(&format!("{value:#}"))) }
}

/// Descriptions are Markdown with tables.
fn paragraph(value: &Value) -> String {
    let mut html = String::new();
    let markdown = value.as_str().unwrap_or_default();
    push_html(&mut html, Parser::new_ext(markdown, Options::ENABLE_TABLES));
    html
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

/// Escapes HTML, and shows text between backticks as code.
fn escape(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let marked = escaped.split('`').enumerate();
    marked.map(|(index, part)| if index % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}
