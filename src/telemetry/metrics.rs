//! Every metric with its labels and meaning, from which `maxconf reference` makes the table in
//! `infra/docs/telemetry.md`.
//!
//! Recorded by OpenTelemetry's global meter, which discards everything if no destination is set. A [`LabelValue`] is
//! fixed text, a status or a route's template, never text of a caller: label cardinality stays bounded.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::metrics::{self, Meter};
use opentelemetry::{KeyValue, StringValue, global};
use reqwest::StatusCode;

use crate::domain::named_enum;

/// On every metric: the deployment slot, from `MAXCONF_SLOT`.
pub const SLOT: &str = "slot";

/// Description of a metric.
#[derive(Debug)]
pub struct About {
    pub name: &'static str,
    pub kind: Kind,
    /// In UCUM; braces name what is counted.
    pub unit: &'static str,
    /// Beside [`SLOT`].
    pub labels: &'static [Label],
    /// For an operator.
    pub meaning: &'static str,
}

named_enum! {
    /// How values of a metric are aggregated.
    pub enum Kind {
        /// Sum since the last report.
        Counter = "counter",
        /// Latest value since the last report, if there was one.
        Gauge = "gauge",
        /// Distribution since the last report.
        Histogram = "histogram",
    }
}

/// A dimension of a metric.
#[derive(Debug)]
pub struct Label {
    pub name: &'static str,
    /// All values; empty for routes, statuses and problem codes, whose values are fixed too, but too many to list.
    pub values: &'static [&'static str],
}

const SYSTEM: Label = Label { name: "system", values: &["pexip", "queue", "records", "entra", "genesys"] };
const OUTCOME: Label = Label {
    name: "outcome",
    values: &[
        "ok",
        "refused",
        "rejected",
        "busy",
        "unreachable",
        "timeout",
        "connection_lost",
        "unreadable",
        "given_up",
    ],
};
/// `ok`, or why a guard refused the request. A test in `auth` compares the list with the reasons there.
const AUTH_REASON: Label = Label {
    name: "reason",
    values: &[
        "ok",
        // No token that could be verified.
        "missing",
        "repeated",
        "malformed",
        "wrong",
        // Entra, 401.
        "segments",
        "header",
        "algorithm",
        "token_type",
        "key_id",
        "header_member",
        "payload",
        "token_version",
        "unknown_key",
        "signature",
        "claims",
        "issuer",
        "tenant",
        "audience",
        "expired",
        "not_yet_valid",
        "issued_in_future",
        "lifetime_too_long",
        // Entra, 403.
        "delegated_token",
        "public_client",
        "client_not_allowed",
        "role_missing",
        "not_an_application",
        "no_client_id",
        // Entra, 503.
        "keys_unavailable",
        "key_to_come",
        // Genesys.
        "unknown_token",
        "other_organization",
        "partner_user",
        "call_forbidden",
        "no_user",
        "user_inactive",
        "other_division",
        "unavailable",
        "unreadable_answer",
        "too_many_lookups",
    ],
};
const ANSWER: Label = Label { name: "answer", values: &["success", "reject", "continue", "unavailable"] };
const ROUTE: Label = Label { name: "route", values: &[] };
const STATUS: Label = Label { name: "status", values: &[] };

/// Defines each metric as a static, and `ALL` with their descriptions.
macro_rules! metrics {
    ($($id:ident: $instrument:ident = $name:literal, $unit:literal, $labels:expr, $meaning:literal;)+) => {
        $(
            pub static $id: $instrument =
                $instrument::new(About { name: $name, kind: $instrument::KIND, unit: $unit, labels: $labels, meaning: $meaning });
        )+

        /// All metrics, in the order of the reference page.
        pub static ALL: &[&About] = &[$(&$id.about),+];
    };
}

metrics! {
    QUEUE_MESSAGES: Gauge = "maxconf.pool.queue_messages", "{message}", &[],
        "Messages in the queue, hidden and leased ones included, by the queue's approximate count. Set by each maintenance run.";
    ROOMS: Gauge = "maxconf.pool.rooms", "{room}",
        &[Label { name: "state", values: &["ready", "warming", "past_age", "handed_out", "unmarked"] }],
        "Our rooms on Pexip. Without a tag: ready, warming (younger than POOL_READY_DELAY_SECONDS) or past_age (older than POOL_ROOM_MAX_AGE_SECONDS); handed_out; unmarked (marks missing or changed). Set by each maintenance run.";
    MAX_ROOMS: Gauge = "maxconf.pool.max_rooms", "{room}", &[],
        "POOL_MAX_ROOMS. Set by each maintenance run.";
    POOL_TARGET: Gauge = "maxconf.pool.target", "{room}", &[],
        "Ready rooms to keep: POOL_TARGET_SIZE, or 0 with ROOM_SOURCE=instant. Set by each maintenance run.";
    POISON: Gauge = "maxconf.pool.poison", "{message}", &[],
        "Messages in the poison queue, which are not room names. Set by each maintenance run.";
    WITHOUT_DIALLED_LEG: Gauge = "maxconf.pool.rooms_without_dialled_leg", "{room}", &[],
        "Rooms of ours in which somebody has been for over 60 s without any leg that Pexip dialled: the agent is not called. Set by each maintenance run, if ROOM_AUTOMATIC_PARTICIPANTS or, for instant rooms, INSTANT_ROOM_DIAL_OUT is set.";
    UNRECOGNISED_LEGS: Gauge = "maxconf.pool.unrecognised_legs", "{leg}", &[],
        "Legs in our rooms that were dialled out and have no alias of the room's automatic participants. They count as people. Set by each maintenance run.";
    PREFETCHED: Observed = "maxconf.pool.prefetched", "{room}", &[],
        "Ready rooms in this instance's prefetch.";
    OWED: Observed = "maxconf.pool.owed", "{room}", &[],
        "Rooms that this instance took and its refill has not replaced yet.";
    HANDED_OUT: Counter = "maxconf.pool.handed_out", "{room}", &[Label { name: "source", values: &["pool", "direct", "instant"] }],
        "Rooms handed out to IDIM.";
    REPLAYED: Counter = "maxconf.pool.replayed", "{request}", &[],
        "Creates answered with the room of an earlier request, because they repeat its Idempotency-Key.";
    DIRECT_CREATES: Counter = "maxconf.pool.direct_creates", "{room}", &[],
        "Direct rooms: made for one request, because no room was ready.";
    REFUSALS: Counter = "maxconf.pool.refusals", "{request}", &[Label { name: "code", values: &[] }],
        "Valid creates that got no room, by the problem's code.";
    CLAIM_CONFLICTS: Counter = "maxconf.pool.claim_conflicts", "{message}",
        &[Label { name: "reason", values: &["claimed_before", "message_gone"] }],
        "Claims that failed. claimed_before: the room was claimed by way of another message, so somebody added or copied messages, or an instance ended during a claim; message_gone: the message was received again or deleted.";
    DESTROYED: Counter = "maxconf.pool.destroyed", "{room}", &[],
        "Rooms that were destroyed because they cannot be handed out.";
    SWEPT: Counter = "maxconf.pool.swept", "{room}",
        &[Label { name: "reason", values: &["unused", "past_lifetime", "past_absolute_lifetime", "ended", "interrupted"] }],
        "Rooms deleted because of their age, because their conference had ended, or because a caller's delete was interrupted.";
    SWEEP_CAPPED: Counter = "maxconf.pool.sweep_capped", "{run}", &[],
        "Sweeps that found more rooms than SWEEP_MAX_DELETIONS.";
    CREATE_DURATION: Histogram = "maxconf.create.duration", "s",
        &[Label { name: "part", values: &["service", "queue", "records", "pexip"] }],
        "Duration of a successful create by part: calls to the queue, to the room records, to Pexip (for a direct room with the wait for a look-up that several share), and service, the rest, with the wait for a room. A claim calls queue and records at the same time.";
    HTTP_REQUESTS: Counter = "maxconf.http.requests", "{request}", &[ROUTE, STATUS],
        "Requests, except the Functions host's probe of /. Status 499: the caller hung up before the answer.";
    HTTP_DURATION: Histogram = "maxconf.http.duration", "s", &[ROUTE, STATUS],
        "Duration of these requests.";
    UPSTREAM_CALLS: Counter = "maxconf.upstream.calls", "{call}", &[SYSTEM, OUTCOME],
        "Calls to other systems. ok: an answer, also a not-found one; refused: our credentials; rejected: our request; busy: overloaded or failing; given_up: cancelled before the answer.";
    UPSTREAM_DURATION: Histogram = "maxconf.upstream.duration", "s", &[SYSTEM],
        "Duration of these calls.";
    BREAKER_OPEN: Observed = "maxconf.breaker.open", "1", &[SYSTEM],
        "1 while the circuit breaker of the system is open or probing; for Entra, while its keys cannot be read.";
    BUDGET_LEFT: Observed = "maxconf.pexip.budget_left", "{call}", &[],
        "Calls to Pexip left in this instance's request budget.";
    SERVICE_OPEN: Observed = "maxconf.service.open", "1", &[],
        "1 in SERVICE_HOURS, 0 outside of them, whether Pexip answers or not. Always 1 without hours.";
    TOKEN_FETCHES: Counter = "maxconf.pexip.token_fetches", "{fetch}", &[OUTCOME],
        "Fetches of an OAuth2 token at Pexip, by outcome. They are calls to Pexip as well.";
    AUTH_RESULTS: Counter = "maxconf.auth.results", "{request}",
        &[Label { name: "guard", values: &["entra", "genesys", "event_sink", "policy"] }, AUTH_REASON],
        "Requests at a guard: ok, or the reason of the refusal.";
    JWKS_AGE: Observed = "maxconf.entra.keys_age", "s", &[Label { name: "token_version", values: &["v1", "v2"] }],
        "Time since the keys for these tokens of Entra were last read. Missing before the first read.";
    GENESYS_LOOKUPS: Counter = "maxconf.genesys.lookups", "{request}",
        &[Label { name: "answered_by", values: &["genesys", "cache", "stale"] }],
        "Verifications of Genesys tokens: a call to Genesys, a cached verdict, or a stale verdict while Genesys is unavailable.";
    EVENTS: Counter = "maxconf.event_sink.events", "{event}",
        &[Label {
            name: "kind",
            values: &["sink", "conference_started", "conference_updated", "conference_ended", "participant", "other"],
        }],
        "Events from Conferencing Nodes.";
    POLICY_LOOK_UPS: Counter = "maxconf.policy.lookups", "{request}", &[ANSWER],
        "Look-ups by Conferencing Nodes. success: an instant room that can be joined; reject: an instant room's name that cannot; continue: anything else; unavailable: the room records did not answer in time, or too many look-ups were made at once, and the node looked into its own database.";
    POLICY_DURATION: Histogram = "maxconf.policy.duration", "s", &[ANSWER],
        "Duration of these look-ups.";
    INSTANT_ON: Gauge = "maxconf.instant.on", "1", &[],
        "1 where a create can get an instant room, because ROOM_SOURCE or POOL_EMPTY is instant; else 0. Set by each maintenance run.";
    INSTANT_ROOMS_MADE: Counter = "maxconf.instant.made", "{room}", &[Label { name: "valid", values: &["now", "later"] }],
        "Instant rooms that were made. now: it can be joined at once; later: its validity begins later.";
    INSTANT_ROOMS_ENDED: Counter = "maxconf.instant.ended", "{room}",
        &[Label { name: "reason", values: &["deleted", "conference_ended", "destroyed"] }],
        "Instant rooms that were ended before their validity was over: by IDIM, because their conference had ended, or because no caller has them.";
    INSTANT_CONFERENCES_DISCONNECTED: Counter = "maxconf.instant.disconnected", "{conference}", &[],
        "Conferences of instant rooms that were still running when a maintenance run found their room ended or its validity over.";
    TASK_RESTARTS: Counter = "maxconf.tasks.restarts", "{restart}",
        &[Label {
            name: "task",
            values: &["entra_keys", "prefetch", "refill", "reopening", "ended_rooms", "pexip_tokens"],
        }],
        "Background tasks that panicked or returned and were started again.";
}

/// Value of a label. Only fixed text, statuses and route templates become one.
#[derive(Clone, Debug)]
pub struct LabelValue(StringValue);

impl From<&'static str> for LabelValue {
    fn from(text: &'static str) -> Self {
        Self(text.into())
    }
}

impl From<StatusCode> for LabelValue {
    fn from(status: StatusCode) -> Self {
        Self(status.as_str().to_owned().into())
    }
}

impl LabelValue {
    /// The template of a route, such as `/room/{name}`. Never the path of a request.
    pub(crate) fn route(template: &str) -> Self {
        Self(template.to_owned().into())
    }
}

static THIS_SLOT: OnceLock<StringValue> = OnceLock::new();

/// Sets the slot of this process. Must be called before the first measurement.
pub(super) fn set_slot(slot: &str) {
    // Fails only if another test in this process has set it.
    let _ = THIS_SLOT.set(slot.to_owned().into());
}

/// The labels of a measurement; `values` are in the order of the metric's labels.
fn attributes(about: &About, values: Vec<LabelValue>) -> Vec<KeyValue> {
    debug_assert_eq!(about.labels.len(), values.len(), "{}", about.name);
    let labels = about.labels.iter().zip(values).map(|(label, value)| {
        let is_known = label.values.is_empty() || label.values.contains(&value.0.as_str());
        debug_assert!(is_known, "{} has no {} {}", about.name, label.name, value.0.as_str());
        KeyValue::new(label.name, value.0)
    });
    labels.chain(THIS_SLOT.get().map(|slot| KeyValue::new(SLOT, slot.clone()))).collect()
}

fn meter() -> Meter {
    global::meter("maxconf")
}

/// Counts events.
#[derive(Debug)]
pub struct Counter {
    about: About,
    instrument: OnceLock<metrics::Counter<u64>>,
}

impl Counter {
    const KIND: Kind = Kind::Counter;

    const fn new(about: About) -> Self {
        Self { about, instrument: OnceLock::new() }
    }

    /// Adds one.
    pub fn count<const N: usize>(&self, labels: [LabelValue; N]) {
        let make = || meter().u64_counter(self.about.name).with_unit(self.about.unit).build();
        self.instrument.get_or_init(make).add(1, &attributes(&self.about, labels.into()));
    }
}

/// Records a number that was read now and then.
#[derive(Debug)]
pub struct Gauge {
    about: About,
    instrument: OnceLock<metrics::Gauge<u64>>,
}

impl Gauge {
    const KIND: Kind = Kind::Gauge;

    const fn new(about: About) -> Self {
        Self { about, instrument: OnceLock::new() }
    }

    /// Records the number as the current one.
    pub fn set<const N: usize>(&self, number: usize, labels: [LabelValue; N]) {
        let make = || meter().u64_gauge(self.about.name).with_unit(self.about.unit).build();
        self.instrument.get_or_init(make).record(number as u64, &attributes(&self.about, labels.into()));
    }
}

/// Records durations.
#[derive(Debug)]
pub struct Histogram {
    about: About,
    instrument: OnceLock<metrics::Histogram<f64>>,
}

/// Bounds of the buckets, in seconds. The middle buckets resolve delays that citizens notice; the last ones match the
/// deadlines.
const BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0];

impl Histogram {
    const KIND: Kind = Kind::Histogram;

    const fn new(about: About) -> Self {
        Self { about, instrument: OnceLock::new() }
    }

    /// Records one duration.
    pub fn record<const N: usize>(&self, time: Duration, labels: [LabelValue; N]) {
        let make = || {
            let bounds = BOUNDS.to_vec();
            meter().f64_histogram(self.about.name).with_unit(self.about.unit).with_boundaries(bounds).build()
        };
        self.instrument.get_or_init(make).record(time.as_secs_f64(), &attributes(&self.about, labels.into()));
    }
}

/// Reads a number at each report.
#[derive(Debug)]
pub struct Observed {
    about: About,
}

impl Observed {
    const KIND: Kind = Kind::Gauge;

    const fn new(about: About) -> Self {
        Self { about }
    }

    /// Calls `read` at each report from now on. Must be called once per process; `read` must not block.
    pub fn observe_with<const N: usize, I>(&'static self, read: impl Fn() -> I + Send + Sync + 'static)
    where
        I: IntoIterator<Item = (u64, [LabelValue; N])>,
    {
        let observe = move |observer: &dyn metrics::AsyncInstrument<u64>| {
            for (number, labels) in read() {
                observer.observe(number, &attributes(&self.about, labels.into()));
            }
        };
        meter().u64_observable_gauge(self.about.name).with_unit(self.about.unit).with_callback(observe).build();
    }
}
