//! The files that the Functions host reads, against the service that they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use maxconf::config::Config;
use maxconf::http::routes;
use maxconf_simulators::{operator, pexip};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::TestApp;

/// One folder with its `function.json`. The folder's name is the function's.
struct Function {
    name: String,
    bindings: Vec<Value>,
}

impl Function {
    /// Route and methods of an HTTP function.
    fn http(&self) -> Option<(&str, Vec<Method>)> {
        let trigger = self.bindings.iter().find(|binding| binding["type"] == "httpTrigger")?;
        let methods = trigger["methods"].as_array().expect("methods").iter();
        let methods = methods.map(|method| method.as_str().expect("a method").to_ascii_uppercase().parse());
        let methods = methods.collect::<Result<_, _>>().expect("methods that HTTP knows");
        Some((trigger["route"].as_str().expect("a route"), methods))
    }

    fn is_timer(&self) -> bool {
        self.bindings.iter().any(|binding| binding["type"] == "timerTrigger")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn json_file(path: impl AsRef<Path>) -> Value {
    let path = root().join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn functions() -> Vec<Function> {
    let folders = fs::read_dir(root()).expect("the repository").map(|entry| entry.expect("an entry").file_name());
    let names = folders.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("function_"));
    let functions: Vec<_> = names
        .map(|name| {
            let file = json_file(Path::new(&name).join("function.json"));
            let bindings = file["bindings"].as_array().expect("bindings").clone();
            Function { name, bindings }
        })
        .collect();
    assert!(functions.len() >= 5, "the functions were found");
    functions
}

/// An address that the route matches.
fn example(route: &str) -> String {
    route
        .replace("{probe?}", "live")
        .replace("{probe}", "live")
        .replace("{name}", "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq")
        .trim_start_matches('/')
        .to_owned()
}

/// A service with nothing switched off.
async fn with_every_route() -> TestApp {
    TestApp::with()
        .set("PEXIP_EVENT_USERNAME", "nodes")
        .set("PEXIP_EVENT_PASSWORD", "password")
        .set("PEXIP_POLICY_USERNAME", "nodes")
        .set("PEXIP_POLICY_PASSWORD", "password")
        .start()
        .await
}

/// Whether the service has a route for this address and method; a refusal counts.
async fn is_served(app: &TestApp, method: &Method, route: &str) -> bool {
    let answer = app.send(app.request(method.clone(), &example(route))).await;
    let code = || answer.json()["code"].clone();
    !(answer.status == 405 || answer.status == 404 && code() == "not_found")
}

/// Proxying works for a function with exactly these two bindings; with any other the host wraps the request in an
/// envelope. The host's own keys would stop the preflight, which carries none, and Entra and Genesys decide anyway.
#[test]
fn every_http_function_is_one_anonymous_trigger_and_one_answer() {
    for Function { name, bindings } in functions().iter().filter(|function| !function.is_timer()) {
        let (kinds, directions): (Vec<_>, Vec<_>) =
            bindings.iter().map(|binding| (binding["type"].as_str(), binding["direction"].as_str())).unzip();
        assert_eq!(kinds, [Some("httpTrigger"), Some("http")], "{name}");
        assert_eq!(directions, [Some("in"), Some("out")], "{name}");
        assert_eq!(bindings[0]["authLevel"], "anonymous", "{name}");
    }
}

#[tokio::test]
async fn every_http_function_is_served_with_each_of_its_methods() {
    let app = with_every_route().await;
    for function in functions() {
        let Some((route, methods)) = function.http() else { continue };
        for method in methods {
            assert!(is_served(&app, &method, route).await, "{}: {method} /{route} is not served", function.name);
        }
    }
}

#[tokio::test]
async fn the_timer_has_its_functions_name_as_path_and_its_schedule_from_the_settings() {
    let app = TestApp::start().await;
    let functions = functions();
    let timers: Vec<_> = functions.iter().filter(|function| function.is_timer()).collect();
    assert_eq!(timers.len(), 1);
    for Function { name, bindings } in timers {
        assert_eq!(bindings.len(), 1, "{name}");
        assert_eq!(bindings[0]["schedule"], "%POOL_TIMER_SCHEDULE%", "{name}");
        // On every start and scale-out, all instances at once.
        assert_eq!(bindings[0]["runOnStartup"], false, "{name}");
        let answer = app.send(app.request(Method::POST, name)).await;
        assert!(answer.status == 200 && answer.json().is_object(), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn every_route_of_the_service_can_be_reached_through_a_function() {
    let app = with_every_route().await;
    let functions = functions();
    // Of the host itself: its probe and its timer.
    let mut reachable: BTreeSet<(String, String)> = functions
        .iter()
        .filter(|function| function.is_timer())
        .map(|function| ("POST".to_owned(), format!("/{}", function.name)))
        .collect();
    reachable.insert(("GET".to_owned(), "/".to_owned()));

    for route in all_routes() {
        let mut served = Vec::new();
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
            if is_served(&app, &method, &route).await {
                served.push(method);
            }
        }
        // A preflight for what is not there leads to a 404 only.
        if served == [Method::OPTIONS] {
            continue;
        }
        for method in served {
            if reachable.contains(&(method.to_string(), route.clone())) {
                continue;
            }
            let function = functions.iter().find(|function| {
                function.http().is_some_and(|(template, methods)| {
                    methods.contains(&method) && template_matches(template, example(&route).as_str())
                })
            });
            assert!(function.is_some(), "no function leads to {method} {route}");
        }
    }
}

#[test]
fn each_route_names_the_function_that_leads_to_it() {
    let functions = functions();
    let mut named = BTreeSet::new();
    for (method, path, folder) in routes::functions() {
        // The probe of the host itself needs no function.
        let Some(folder) = folder else {
            assert_eq!(path, "/");
            continue;
        };
        let function = functions.iter().find(|function| function.name == folder);
        let function = function.unwrap_or_else(|| panic!("{method} {path}: there is no {folder}"));
        match function.http() {
            Some((template, methods)) => {
                assert!(methods.contains(&method), "{folder} does not pass on {method}");
                assert!(template_matches(template, &example(path)), "{folder} does not lead to {path}");
            }
            None => assert!(function.is_timer() && path.trim_start_matches('/') == folder, "{folder}"),
        }
        named.insert(folder.to_owned());
    }
    assert_eq!(named, functions.into_iter().map(|function| function.name).collect());
}

/// Every path given to the router: those of the declared routes, and literals in the source.
fn all_routes() -> BTreeSet<String> {
    let mut routes: BTreeSet<_> = routes::functions().into_iter().map(|(_, path, _)| path.to_owned()).collect();
    for file in rust_files(&root().join("src")) {
        let source = fs::read_to_string(&file).expect("a source file");
        for unseen in [".nest(", ".nest_service(", ".route_service(", ".fallback_service("] {
            assert!(!source.contains(unseen), "{}: this test does not see the paths of {unseen}", file.display());
        }
        for call in source.split(".route(").skip(1) {
            if call.starts_with("path, handler)") && file.ends_with("src/http/routes.rs") {
                continue;
            }
            let literal = call.trim_start().strip_prefix('"').and_then(|path| path.split('"').next());
            let literal =
                literal.unwrap_or_else(|| panic!("{}: a path is neither declared nor a literal", file.display()));
            routes.insert(literal.to_owned());
        }
    }
    assert!(routes.contains("/room/create"), "the routes were found: {routes:?}");
    routes
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.chain(folders.iter().flat_map(|folder| rust_files(folder))).collect()
}

fn template_matches(template: &str, path: &str) -> bool {
    let (mut template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    if template.len() > path.len() && template.last().is_some_and(|last| last.ends_with("?}")) {
        template.pop();
    }
    let same = |(wanted, given): (&&str, &&str)| wanted.starts_with('{') || wanted == given;
    template.len() == path.len() && template.iter().zip(&path).all(same)
}

#[test]
fn the_host_starts_the_service_and_passes_requests_on_as_they_are() {
    let host = json_file("host.json");

    let handler = &host["customHandler"];
    assert_eq!(handler["description"]["defaultExecutablePath"], "maxconf");
    assert_eq!(handler["description"]["arguments"], json!(["serve"]));
    // A host that knows proxying does that, an older one forwards.
    assert_eq!(
        (&handler["enableForwardingHttpRequest"], &handler["enableProxyingHttpRequest"]),
        (&json!(true), &json!(true))
    );
    // Without it every path starts with /api.
    assert_eq!(host["extensions"]["http"]["routePrefix"], "");
}

#[test]
fn settings_named_in_function_files_exist_and_have_a_local_value() {
    let known: BTreeSet<_> = Config::settings().map(|setting| setting.name).collect();
    let local = local_values();
    for function in functions() {
        for binding in &function.bindings {
            for value in binding.as_object().expect("an object").values().filter_map(Value::as_str) {
                let named = value.strip_prefix('%').and_then(|rest| rest.strip_suffix('%'));
                let Some(name) = named else { continue };
                assert!(known.contains(name), "{}: {name} is no setting of the service", function.name);
                assert!(local.contains_key(name), "{}: {name} has no value in local.settings.json", function.name);
            }
        }
    }
}

fn local_values() -> BTreeMap<String, String> {
    let file = json_file("local.settings.json");
    let values = file["Values"].as_object().expect("values").iter();
    values.map(|(name, value)| (name.clone(), value.as_str().expect("a string").to_owned())).collect()
}

#[test]
fn the_local_settings_are_complete_and_known() {
    let hosts_own = ["FUNCTIONS_WORKER_RUNTIME"];
    let values = local_values();
    for name in values.keys() {
        let known = hosts_own.contains(&name.as_str()) || Config::settings().any(|setting| setting.name == name);
        assert!(known, "{name} is neither the host's nor the service's setting");
    }
    assert_eq!(values["FUNCTIONS_WORKER_RUNTIME"], "custom");
    let config = Config::read(|name| values.get(name).map(OsString::from));
    assert!(config.is_ok(), "{config:?}");
}

#[test]
fn the_local_settings_are_the_operators() {
    let values = local_values();
    for (name, value) in operator::SETTINGS {
        assert_eq!(values.get(name).map(String::as_str), Some(value), "{name}");
    }
}

#[test]
fn the_local_settings_hold_no_secret_but_the_simulators_published_ones() {
    let published =
        ["UseDevelopmentStorage=true", pexip::PASSWORD, operator::EVENT_ACCOUNT.1, operator::POLICY_ACCOUNT.1];
    for (name, value) in local_values() {
        let upper = name.to_ascii_uppercase();
        let secret = ["PASSWORD", "SECRET", "KEY", "TOKEN", "STORAGE", "CONNECTION"];
        let may_be_secret = secret.iter().any(|part| upper.contains(part));
        assert!(!may_be_secret || published.contains(&value.as_str()), "{name} looks like a secret");
        assert!(!value.contains("AccountKey") && !value.contains("SharedAccessSignature"), "{name} holds a credential");
    }
}
