//! Tests of a built package before its release: `infra/package` unpacks it and runs these tests on it.

mod cold;
mod inventory;
mod served;

use std::env;
use std::path::PathBuf;

/// A file or folder that `infra/package` names.
fn path(name: &str) -> PathBuf {
    variable(name).into()
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("infra/package sets {name}"))
}
