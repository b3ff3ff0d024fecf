//! `infra/logs.md` lists the events of the log and their fields, as the sources have them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

/// What stands on each line beside an event's own fields, which must not have these names.
const OF_EVERY_LINE: [&str; 8] = ["timestamp", "level", "target", "message", "span", "environment", "slot", "version"];

/// An event as a source or the page has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    message: String,
    level: String,
    target: String,
    fields: BTreeSet<String>,
}

/// The events of a source. Walks the tokens, so that it sees into other macros, `select!` above all.
fn events(tokens: TokenStream, target: &str) -> Vec<Event> {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let inner = tokens.iter().filter_map(|token| match token {
        TokenTree::Group(group) => Some(events(group.stream(), target)),
        _ => None,
    });
    let own = tokens.windows(3).filter_map(|window| match window {
        [TokenTree::Ident(level), TokenTree::Punct(bang), TokenTree::Group(arguments)]
            if bang.as_char() == '!' && LEVELS.iter().any(|known| level == known) =>
        {
            event(level.to_string(), arguments.stream(), target)
        }
        _ => None,
    });
    inner.flatten().chain(own).collect()
}

/// One event, unless it is the audit trail's: those are in `infra/docs/audit.md`.
fn event(level: String, arguments: TokenStream, target: &str) -> Option<Event> {
    let mut event = Event { message: String::new(), level, target: target.to_owned(), fields: BTreeSet::new() };
    for argument in split_at_commas(arguments) {
        let after_sigil = argument.iter().skip_while(|token| token.to_string() == "%" || token.to_string() == "?");
        match &after_sigil.collect::<Vec<_>>()[..] {
            [TokenTree::Ident(name), TokenTree::Punct(colon), ..] if name == "target" && colon.as_char() == ':' => {
                assert_eq!(target, "maxconf::telemetry::audit", "{target} logs to another target");
                return None;
            }
            [TokenTree::Literal(message)] => message.to_string().trim_matches('"').clone_into(&mut event.message),
            [TokenTree::Ident(name)] => assert!(event.fields.insert(name.to_string()), "{target}: {name} twice"),
            [TokenTree::Ident(name), TokenTree::Punct(equals), ..] if equals.as_char() == '=' => {
                assert!(event.fields.insert(name.to_string()), "{target}: {name} twice");
            }
            other => panic!("{target}: a form of field that is not known here: {other:?}"),
        }
    }
    Some(event)
}

fn split_at_commas(tokens: TokenStream) -> Vec<Vec<TokenTree>> {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ',');
    tokens.split(is_comma).filter(|part| !part.is_empty()).map(<[TokenTree]>::to_vec).collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap_or_else(|_| panic!("no {name}"))
}

/// Every source of the library and the program, with its target.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).expect("the sources").map(|entry| entry.expect("an entry").path());
    let mut found = Vec::new();
    for path in entries {
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
            let module = path.strip_prefix(root).expect("below it").with_extension("");
            let module = module.to_str().expect("a name of ours").replace('/', "::");
            found.push((path, format!("maxconf::{module}")));
        }
    }
    found
}

fn events_of_the_sources() -> Vec<Event> {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let of_one = |(path, target): (PathBuf, String)| {
        let source = fs::read_to_string(&path).expect("a source");
        let tokens = source.parse().unwrap_or_else(|_| panic!("{} is no Rust", path.display()));
        events(tokens, &target)
    };
    sources.into_iter().flat_map(of_one).collect()
}

/// The cells of the tables below this heading, up to the next one.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let below = page.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with('#'));
    let table = below.filter(|line| line.starts_with('|')).skip(2);
    table.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What stands between backticks.
fn named(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}

#[test]
fn the_page_lists_every_event_with_its_fields() {
    let page = read("infra/logs.md");
    let mut listed = Vec::new();
    for level in LEVELS {
        for row in rows(&page, &format!("## {level}")) {
            let [message, target, fields, meaning, to_do] = &row[..] else { panic!("not five cells: {row:?}") };
            assert!(!meaning.is_empty() && !to_do.is_empty(), "{message} is not explained");
            let target = format!("maxconf::{}", target.trim_matches('`'));
            listed.push(Event { message: message.clone(), level: level.to_owned(), target, fields: named(fields) });
        }
    }
    let logged: BTreeSet<_> = events_of_the_sources().into_iter().collect();

    assert!(logged.len() > 30, "the sources are not found any more: {logged:#?}");
    let unlisted: Vec<_> = logged.iter().filter(|event| !listed.contains(event)).collect();
    let unlogged: Vec<_> = listed.iter().filter(|event| !logged.contains(event)).collect();
    assert!(
        unlisted.is_empty() && unlogged.is_empty(),
        "infra/logs.md does not list {unlisted:#?}\nand lists {unlogged:#?}"
    );
    assert_eq!(listed.len(), logged.len(), "an event is listed twice");
}

#[test]
fn the_page_explains_every_field_once() {
    let page = read("infra/logs.md");
    let explained = rows(&page, "## Fields").iter().map(|row| named(&row[0])).collect::<Vec<_>>();
    let mut times = BTreeMap::<String, usize>::new();
    for name in explained.into_iter().flatten() {
        *times.entry(name).or_default() += 1;
    }
    let own: BTreeSet<_> = events_of_the_sources().into_iter().flat_map(|event| event.fields).collect();
    let reserved: BTreeSet<_> = OF_EVERY_LINE.map(ToOwned::to_owned).into();
    let taken: Vec<_> = own.intersection(&reserved).collect();
    assert!(taken.is_empty(), "each line has these already: {taken:?}");

    assert!(times.values().all(|count| *count == 1), "{times:?}");
    assert_eq!(times.into_keys().collect::<BTreeSet<_>>(), own.union(&reserved).cloned().collect());
}

/// One field name for one thing: a search for a failure or a room must find all events.
#[test]
fn what_failed_is_error_and_cause_belongs_to_a_request_alone() {
    let events = events_of_the_sources();
    let with = |field: &str| events.iter().filter(|event| event.fields.contains(field)).collect::<Vec<_>>();
    assert!(with("error").len() > 15, "{events:#?}");
    assert!(with("cause").iter().all(|event| event.message == "request"), "{:#?}", with("cause"));
    for event in &events {
        let others = ["name", "room_name", "err", "reasons", "duration", "id", "user", "dependency"];
        let foreign: Vec<_> = others.iter().filter(|name| event.fields.contains(**name)).collect();
        assert!(foreign.is_empty(), "{foreign:?} has another name elsewhere: {event:#?}");
        assert!(!event.message.is_empty(), "{event:#?}");
    }
}

#[test]
fn events_are_found_wherever_they_stand() {
    let source = r#"
        // warn!("a comment");
        /// warn!("a doc comment");
        fn f() {
            let text = "warn!(\"a text\")";
            tokio::select! { () = stop => tracing::warn!(%error, rooms = expired.len(), "in a macro, with a comma"), }
            match x { Err(error) => info!(room = %a.b(1, 2), ?state, code = match y { (a, _) => 1, _ => 2 }, "request") }
        }"#;
    let found = events(source.parse().expect("tokens"), "maxconf::x");
    let expected = [("in a macro, with a comma", "warn", "error rooms"), ("request", "info", "room state code")];
    let expected = expected.map(|(message, level, fields)| Event {
        message: message.to_owned(),
        level: level.to_owned(),
        target: "maxconf::x".to_owned(),
        fields: fields.split(' ').map(ToOwned::to_owned).collect(),
    });
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(expected));
}
