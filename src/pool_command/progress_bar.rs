use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::room_pool::Progress;

/// A bar on stderr, where that is a terminal; elsewhere a line for each wait, and nothing more. Gone when dropped.
#[derive(Debug)]
pub(super) struct PoolProgress {
    bar: ProgressBar,
    /// Never held across an await.
    last_wait: Mutex<String>,
}

impl PoolProgress {
    pub(super) fn begin() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style =
            ProgressStyle::with_template("{bar:32} {pos} of {len}  {wide_msg}").expect("a template without errors");
        bar.set_style(style);
        Self { bar, last_wait: Mutex::default() }
    }

    pub(super) fn show(&self, now: Progress) {
        match now {
            Progress::Planned(total) => self.bar.set_length(total as u64),
            Progress::Done(done) => {
                self.bar.set_message("");
                self.bar.set_position(done as u64);
            }
            Progress::Waiting { pause, reason } => {
                self.show_wait(format!("{reason}; waiting {} s", pause.as_secs().max(1)));
            }
        }
    }

    fn show_wait(&self, wait: String) {
        if !self.bar.is_hidden() {
            self.bar.set_message(wait);
            return;
        }
        let mut last = self.last_wait.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != wait {
            eprintln!("maxconf: {wait}");
            *last = wait;
        }
    }
}

impl Drop for PoolProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
