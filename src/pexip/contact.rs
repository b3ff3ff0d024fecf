//! Whether the management node can be reached, and whether it is meant to be.
//!
//! The operator switches Pexip off out of hours. `SERVICE_HOURS` refuse nothing: out of hours every call is made as
//! always, and only one that does not reach the node is reported as closed instead of failing.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rand::RngExt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tracing::info;

use super::PexipError;
use crate::domain::{Clock, ServiceHours};
use crate::outbound::DEFAULT_RETRY_AFTER;

/// The longest `Retry-After` in an answer.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// Seconds between two probes of a node that is switched off. Instances draw their own, so that they do not meet.
const PAUSE_WHILE_CLOSED: RangeInclusive<f64> = 30.0..=60.0;

/// Why Pexip cannot be reached: it is not meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The next opening, in the zone of the hours. `None` if there is none for over a year.
    pub until: Option<OffsetDateTime>,
    /// Time until then, at most a day.
    pub opens_in: Duration,
}

impl fmt::Display for Closed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until.and_then(|until| until.format(&Rfc3339).ok()) {
            Some(until) => write!(formatter, "closed until {until}"),
            None => formatter.write_str("closed"),
        }
    }
}

/// The service hours, and what the calls say about the node.
#[derive(Debug)]
pub(super) struct Contact {
    /// `None`: always open.
    hours: Option<ServiceHours>,
    clock: Clock,
    /// Whether the latest call did not reach the node.
    is_lost: AtomicBool,
    /// Whether closing was noticed and no call has reached the node since.
    is_closed: watch::Sender<bool>,
}

impl Contact {
    pub(super) fn new(hours: Option<ServiceHours>, clock: Clock) -> Self {
        Self { hours, clock, is_lost: AtomicBool::new(false), is_closed: watch::Sender::new(false) }
    }

    /// The time by our clock.
    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Notes the result of a call.
    pub(super) fn note<T>(&self, result: &Result<T, PexipError>) {
        let is_lost = result.as_ref().is_err_and(PexipError::is_out_of_reach);
        self.is_lost.store(is_lost, Ordering::Release);
        let changed =
            |is_closed: bool| self.is_closed.send_if_modified(|known| std::mem::replace(known, is_closed) != is_closed);
        if !is_lost {
            if changed(false) {
                info!("Pexip is back");
            }
        } else if let Some(closed) = self.out_of_hours()
            && changed(true)
        {
            info!(%closed, "Pexip is closed");
        }
    }

    /// `Some` if `error` means that Pexip is closed. An error of our own limits counts if the latest call did not
    /// reach the node.
    pub(super) fn closed(&self, error: &PexipError) -> Option<Closed> {
        let is_lost = match error {
            PexipError::Suspended { .. } | PexipError::Saturated | PexipError::OverBudget { .. } => self.is_lost(),
            _ => error.is_out_of_reach(),
        };
        if is_lost { self.out_of_hours() } else { None }
    }

    /// `Some` if Pexip is closed by the latest call.
    pub(super) fn closed_by_latest_call(&self) -> Option<Closed> {
        if self.is_lost() { self.out_of_hours() } else { None }
    }

    /// `Some` if Pexip is not meant to be up at that time, and the latest call did not reach the node.
    pub(super) fn closed_at(&self, time: OffsetDateTime) -> Option<Closed> {
        if self.is_lost() { self.out_of_hours_at(time) } else { None }
    }

    /// How long a failing node is left alone.
    pub(super) fn pause(&self) -> Duration {
        // A node that is up out of hours is used as always.
        let Some(Closed { opens_in, .. }) = self.out_of_hours().filter(|_| self.is_lost()) else {
            return DEFAULT_RETRY_AFTER;
        };
        let while_closed = Duration::from_secs_f64(rand::rng().random_range(PAUSE_WHILE_CLOSED));
        // The first probe after the opening comes soon, but not from all instances at once.
        while_closed.min(opens_in + DEFAULT_RETRY_AFTER.mul_f64(rand::rng().random_range(0.2..1.0)))
    }

    /// Waits until closing was noticed, or until a call has reached the node since.
    pub(super) async fn wait_until(&self, is_closed: bool) {
        let mut known = self.is_closed.subscribe();
        // The sender is part of `self`.
        let _ = known.wait_for(|known| *known == is_closed).await;
    }

    fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    /// `Some` if Pexip is not meant to be up now.
    pub(super) fn out_of_hours(&self) -> Option<Closed> {
        self.out_of_hours_at(self.clock.now_utc())
    }

    fn out_of_hours_at(&self, time: OffsetDateTime) -> Option<Closed> {
        let hours = self.hours.as_ref()?;
        if hours.is_open(time) {
            return None;
        }
        let until = hours.next_opening(time);
        let now = self.clock.now_utc();
        let opens_in = until.and_then(|until| (until - now).try_into().ok()).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
        Some(Closed { until, opens_in })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::{CallFailure, CertificateFault, ConnectStep};
    use crate::pexip::{Authentication, TokenError};

    const REFUSED: PexipError = PexipError::Failed(CallFailure::Unreachable(ConnectStep::TcpRefused));

    /// Opens on Monday 2 June 2025, 08:00 UTC, so many seconds after now.
    fn opening_in(seconds: u64) -> Contact {
        let hours = ServiceHours::parse("UTC Mon 08:00-17:00").expect("hours");
        let opening = SystemTime::UNIX_EPOCH + Duration::from_secs(1_748_851_200);
        Contact::new(Some(hours), Clock::from_fn(move || opening - Duration::from_secs(seconds)))
    }

    /// The same, after a call that did not reach the node.
    fn lost_and_opening_in(seconds: u64) -> Contact {
        let contact = opening_in(seconds);
        contact.note(&Err::<(), _>(REFUSED));
        contact
    }

    #[test]
    fn a_node_that_is_off_is_probed_every_half_to_whole_minute_and_soon_after_the_opening() {
        let pauses = |contact: Contact| (0..100).map(move |_| contact.pause());
        let seconds = Duration::from_secs;
        assert!(pauses(lost_and_opening_in(3600)).all(|pause| (seconds(30)..=seconds(60)).contains(&pause)));
        assert!(pauses(lost_and_opening_in(10)).all(|pause| (seconds(11)..seconds(15)).contains(&pause)));
        assert!(pauses(lost_and_opening_in(0)).all(|pause| pause == DEFAULT_RETRY_AFTER));
        let (least, most) = (pauses(lost_and_opening_in(3600)).min(), pauses(lost_and_opening_in(3600)).max());
        assert!(pauses(opening_in(3600)).all(|pause| pause == DEFAULT_RETRY_AFTER), "the node is up");
        assert!(most > least.map(|least| least + seconds(1)), "instances do not probe in step");
    }

    #[test]
    fn only_a_node_out_of_reach_is_closed_and_only_out_of_hours() {
        let out_of_reach = [
            REFUSED,
            CallFailure::Unreachable(ConnectStep::Dns).into(),
            CallFailure::Timeout.into(),
            CallFailure::ConnectionLost.into(),
            PexipError::Busy { status: 503, retry_after: None },
            TokenError::Busy { status: 502, retry_after: None }.into(),
            TokenError::Failed(CallFailure::Timeout).into(),
        ];
        let up = [
            PexipError::AccountRefused { status: 401, authentication: Authentication::Basic },
            PexipError::NotFound,
            TokenError::Refused { status: 401, code: None }.into(),
            PexipError::Busy { status: 429, retry_after: None },
            CallFailure::Unreadable.into(),
            CallFailure::Unreachable(ConnectStep::Certificate(CertificateFault::Expired)).into(),
        ];
        for error in &out_of_reach {
            assert!(opening_in(60).closed(error).is_some(), "{error}");
            assert_eq!(opening_in(0).closed(error), None, "{error}");
        }
        for error in &up {
            assert_eq!(opening_in(60).closed(error), None, "{error}");
        }
    }

    #[test]
    fn our_own_limits_mean_what_the_latest_call_met() {
        let contact = opening_in(60);
        let own = PexipError::Suspended { retry_in: DEFAULT_RETRY_AFTER };
        assert_eq!(contact.closed(&own), None);
        contact.note(&Err::<(), _>(REFUSED));
        let closed = contact.closed(&own).expect("closed");
        assert_eq!(
            (closed.opens_in, closed.to_string()),
            (Duration::from_secs(60), "closed until 2025-06-02T08:00:00Z".to_owned())
        );
        contact.note(&Err::<(), _>(PexipError::AccountRefused { status: 401, authentication: Authentication::Basic }));
        assert_eq!(contact.closed(&own), None);
    }

    #[tokio::test]
    async fn the_return_of_the_node_ends_the_wait_even_in_hours() {
        let contact = opening_in(60);
        contact.wait_until(false).await;
        contact.note(&Err::<(), _>(REFUSED));
        contact.wait_until(true).await;
        contact.note(&Err::<(), _>(PexipError::NotFound));
        contact.wait_until(false).await;
    }
}
