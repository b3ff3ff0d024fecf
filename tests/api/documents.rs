//! The documents agree with the program and with each other.

use std::fs;
use std::path::{Path, PathBuf};

use maxconf::cli::reference;
use pulldown_cmark::{Event, Parser, Tag, TagEnd};

const DOCUMENTS: [&str; 4] = ["README.md", ".github", "infra", "infra/docs"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Markdown file in which something is explained.
fn documents() -> Vec<PathBuf> {
    let of_one = |name: &str| {
        let path = root().join(name);
        if path.is_file() {
            return vec![path];
        }
        let entries = fs::read_dir(&path).expect("a folder of documents").map(|entry| entry.expect("an entry").path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
    };
    let found: Vec<_> = DOCUMENTS.into_iter().flat_map(of_one).collect();
    assert!(found.len() > 10, "{found:?}");
    found
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> Vec<String> {
    let mut anchors = Vec::new();
    let mut heading: Option<String> = None;
    for event in Parser::new(page) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => anchors.extend(heading.take()),
            Event::Text(text) | Event::Code(text) => {
                let kept = text.chars().filter(|one| one.is_alphanumeric() || "-_ ".contains(*one));
                let kept = kept.map(|one| if one == ' ' { '-' } else { one.to_ascii_lowercase() });
                heading.as_mut().into_iter().for_each(|heading| heading.extend(kept.clone()));
            }
            _ => {}
        }
    }
    anchors
}

#[test]
fn the_reference_tables_are_those_of_the_program() {
    let files = reference::files(&root().join("infra")).expect("the pages with their sections");
    for (path, expected) in files {
        let stale = || format!("{} is stale: run `cargo run -- reference --write infra`", path.display());
        assert!(read(&path) == expected, "{}", stale());
    }
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    for document in documents() {
        let page = read(&document);
        for event in Parser::new(&page) {
            let Event::Start(Tag::Link { dest_url, .. }) = event else { continue };
            if dest_url.contains("://") {
                continue;
            }
            let (file, anchor) = dest_url.split_once('#').unwrap_or((&dest_url, ""));
            let target = if file.is_empty() { document.clone() } else { document.with_file_name("").join(file) };
            assert!(target.exists(), "{}: there is no {file}", document.display());
            let leads = anchor.is_empty() || anchors(&read(&target)).iter().any(|known| known == anchor);
            assert!(leads, "{}: {file} has no section {anchor}", document.display());
        }
    }
}

#[test]
fn every_file_that_a_document_names_exists() {
    for document in documents() {
        let page = read(&document);
        for named in page.split('`').skip(1).step_by(2) {
            let name = named.split([' ', ':']).next().unwrap_or_default();
            let is_ours = ["src/", "tests/", "infra/", ".github/"].iter().any(|folder| name.starts_with(folder));
            let is_pattern = name.contains(['*', '…', '<', '{']);
            assert!(!is_ours || is_pattern || root().join(name).exists(), "{}: there is no {name}", document.display());
        }
    }
}
