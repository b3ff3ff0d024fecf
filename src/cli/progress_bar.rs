//! Progress of a command: a bar on stderr if that is a terminal; otherwise one line for each wait.

use indicatif::{ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

use crate::cli::output::print_message;

/// Removed from the terminal on drop.
#[derive(Debug)]
pub(crate) struct ProgressBar {
    bar: indicatif::ProgressBar,
    last_wait: Mutex<String>,
}

impl ProgressBar {
    pub(crate) fn new() -> Self {
        let bar = indicatif::ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:32} {pos} of {len}  {wide_msg}").expect("the template is valid");
        bar.set_style(style);
        Self { bar, last_wait: Mutex::default() }
    }

    pub(crate) fn set_total(&self, total: usize) {
        self.bar.set_length(total as u64);
    }

    pub(crate) fn set_done(&self, done: usize) {
        self.bar.set_message("");
        self.bar.set_position(done as u64);
    }

    pub(crate) fn increment(&self) {
        self.bar.set_message("");
        self.bar.inc(1);
    }

    pub(crate) fn show_wait(&self, wait: &str) {
        if !self.bar.is_hidden() {
            self.bar.set_message(wait.to_owned());
            return;
        }
        let mut last = self.last_wait.lock();
        if *last != wait {
            print_message(wait);
            wait.clone_into(&mut last);
        }
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
