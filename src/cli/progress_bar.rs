//! How far a command is: a bar on stderr where that is a terminal; elsewhere a line for each wait, and nothing more.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressDrawTarget, ProgressStyle};

use crate::cli::output::say;

/// Gone when dropped.
#[derive(Debug)]
pub(crate) struct ProgressBar {
    bar: indicatif::ProgressBar,
    /// Never held across an await.
    last_said: Mutex<String>,
}

impl ProgressBar {
    pub(crate) fn begin() -> Self {
        let bar = indicatif::ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style =
            ProgressStyle::with_template("{bar:32} {pos} of {len}  {wide_msg}").expect("a template without errors");
        bar.set_style(style);
        Self { bar, last_said: Mutex::default() }
    }

    pub(crate) fn plan(&self, total: usize) {
        self.bar.set_length(total as u64);
    }

    pub(crate) fn advance(&self, done: usize) {
        self.bar.set_message("");
        self.bar.set_position(done as u64);
    }

    /// One more is done.
    pub(crate) fn step(&self) {
        self.bar.set_message("");
        self.bar.inc(1);
    }

    /// What is waited for.
    pub(crate) fn say(&self, wait: &str) {
        if !self.bar.is_hidden() {
            self.bar.set_message(wait.to_owned());
            return;
        }
        let mut last = self.last_said.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != wait {
            say(wait);
            wait.clone_into(&mut last);
        }
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
