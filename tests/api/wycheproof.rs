//! Runs the JOSE vectors of the Wycheproof project, if they are installed, through key set and signature check.

use std::path::{Path, PathBuf};

use maxconf::auth::{UnverifiedJws, usable_keys};
use serde_json::Value;

/// Vectors that are called invalid and are accepted all the same, by file and number. In both the signature is right,
/// and the key comes from a generator that makes weak ones (ROCA): for its publisher to know. Keys come from Entra only,
/// over https.
const ACCEPTED_THOUGH_INVALID: [(&str, u64); 2] = [("json_web_crypto_test.json", 46), ("json_web_key_test.json", 7)];

/// A vector by its file and number, and what became of it.
struct Tried {
    file: &'static str,
    id: u64,
    valid: bool,
    by_rs256: bool,
    accepted: bool,
}

#[test]
fn invalid_vectors_are_refused_and_valid_rs256_vectors_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/wycheproof");
    if !folder.is_dir() {
        println!("skipped: the Wycheproof vectors are not there");
        return;
    }
    let files = ["json_web_crypto_test.json", "json_web_key_test.json", "json_web_signature_test.json"];
    let tried: Vec<_> = files.into_iter().flat_map(|file| vectors(file, folder.join(file))).collect();
    assert_eq!(tried.len(), 83 + 26 + 401);

    let those = |condition: fn(&Tried) -> bool| {
        tried.iter().filter(|tried| condition(tried)).map(|tried| (tried.file, tried.id)).collect::<Vec<_>>()
    };
    assert_eq!(those(|tried| tried.accepted && !tried.valid), ACCEPTED_THOUGH_INVALID);
    assert_eq!(those(|tried| tried.accepted && !tried.by_rs256), []);
    assert_eq!(those(|tried| !tried.accepted && tried.valid && tried.by_rs256), []);
    assert_eq!(those(|tried| tried.accepted && tried.valid).len(), 10);
}

fn vectors(file: &'static str, path: PathBuf) -> Vec<Tried> {
    let text = std::fs::read_to_string(path).expect("a file of vectors");
    let vectors: Value = serde_json::from_str(&text).expect("JSON");
    let mut tried = Vec::new();
    for group in vectors["testGroups"].as_array().expect("groups") {
        // Symmetric keys have no public half.
        let published = if group["public"].is_null() { &group["private"] } else { &group["public"] };
        let entries = published["keys"].as_array().cloned().unwrap_or_else(|| vec![published.clone()]);
        let keys = usable_keys(entries, "https://issuer.example/", "tenant");
        for test in group["tests"].as_array().expect("tests") {
            // Some are in the JSON form, some are encrypted: no token of ours, but they must not get in either.
            let token = if test["jws"].is_null() { &test["jwe"] } else { &test["jws"] };
            let token = token.as_str().map_or_else(|| token.to_string(), ToOwned::to_owned);
            let read = UnverifiedJws::read(&token);
            let accepted =
                read.is_ok_and(|jws| keys.get(jws.kid()).is_some_and(|key| jws.verified_payload(key).is_ok()));
            tried.push(Tried {
                file,
                id: test["tcId"].as_u64().expect("a number"),
                valid: test["result"] == "valid",
                by_rs256: published["alg"] == "RS256" || published["keys"][0]["alg"] == "RS256",
                accepted,
            });
        }
    }
    tried
}
