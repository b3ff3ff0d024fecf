//! Examines the management node, and what rooms need there.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use super::finding::{Finding, Findings, Verdict};
use super::locations::{Locations, Selection};
use super::tls::Trust;
use super::{CALL_LIMIT, INVALID_SETTINGS, NO_ANSWER, host, in_time, no_client, policy};
use crate::app;
use crate::config::{BasicAccount, ConfigParts, Faulty, PexipConfig, RoomConfig};
use crate::domain::{Clock, HostPin, RoomProperties, ServiceHours};
use crate::pexip::{
    Alarm, ConferencingNode, EventSinkRecord, PexipClient, PexipError, SeveralNamesSupport, SystemLocation, TokenError,
};

pub(super) const CHECKS: [&str; 19] = [
    "hours",
    "name",
    "connection",
    "certificate",
    "clock",
    "account",
    "release",
    "pins",
    "shown_pins",
    "several_names",
    "automatic_participants",
    "room_properties",
    "ready_delay",
    "event_sink",
    "policy_server",
    "policy_switches",
    "policy_locations",
    "policy_answers",
    "writing",
];

/// The releases that this service was written for.
const KNOWN_RELEASES: RangeInclusive<u32> = 38..=41;

/// The service's route for events. A gateway may add a prefix.
const EVENTS_PATH: &str = "/public/event_sink";

/// The least time that the vendor gives for the replication of a new room to the Conferencing Nodes.
const LEAST_REPLICATION_TIME: Duration = Duration::from_secs(90);

const CHECK_LOAD: &str = "check the load of the management node";

pub(super) async fn examine(
    config: &PexipConfig,
    settings: &ConfigParts,
    clock: &Clock,
    findings: &mut Findings,
) -> Result<(), Finding> {
    let hours = settings.service_hours.as_ref().ok().and_then(Option::as_ref);
    findings.push(service_hours(&settings.service_hours, clock.now_utc()));
    let trust = Trust { certificates: &config.trusted_certificates, setting: "PEXIP_CA_FILE" };
    let is_closed = hours.is_some_and(|hours| !hours.is_open(clock.now_utc()));
    host::examine(&config.management_url, trust, clock, findings).await.map_err(|failed| match failed.check {
        "name" | "connection" if is_closed => closed(&failed),
        _ => failed,
    })?;
    let http = app::pexip_http(config).map_err(no_client("account"))?;
    let (Ok(rooms), Ok(account)) = (&settings.room, &settings.pexip_account) else {
        findings.push(host::clock(&config.management_url, &http, clock).await);
        return Err(Finding::could_not_tell("account", INVALID_SETTINGS));
    };
    let pexip =
        app::pexip_client(config, account, hours.cloned(), &rooms.prefix, clock).map_err(no_client("account"))?;
    let (clocks, counted) =
        tokio::join!(host::clock(&config.management_url, &http, clock), in_time(CALL_LIMIT, pexip.count_ours()));
    let account = check_account(counted, &pexip, clocks.verdict == Verdict::Fine);
    findings.push(clocks);
    findings.push(account?);
    let host_pin = rooms.host_pin();
    let (release, pins, shown_pins, several_names, participants, properties, event_sink, policy) = tokio::join!(
        release(&pexip),
        pins(&pexip, &host_pin),
        shown_pins(&pexip),
        several_names(&pexip),
        automatic_participants(&pexip, rooms),
        room_properties(&pexip, &rooms.properties),
        event_sink(&pexip, &settings.pexip_events),
        policy::examine(&pexip, settings, clock),
    );
    findings.extend([release, pins, shown_pins, several_names, participants, properties, event_sink].map(Finding::of));
    findings.extend(policy);
    findings.push(ready_delay(settings));
    findings.push(Finding::could_not_tell(
        "writing",
        "not tried: it would change the node. The account must be allowed to create, change and delete conferences",
    ));
    Ok(())
}

fn service_hours(hours: &Result<Option<ServiceHours>, Faulty>, now: OffsetDateTime) -> Finding {
    let check = "hours";
    let hours = match hours {
        Ok(Some(hours)) => hours,
        Ok(None) => return Finding::fine(check, "always open: SERVICE_HOURS is not set"),
        Err(_) => return Finding::could_not_tell(check, INVALID_SETTINGS),
    };
    let (state, until) =
        if hours.is_open(now) { ("open", hours.next_closing(now)) } else { ("closed", hours.next_opening(now)) };
    let until = until.and_then(|until| until.format(&Rfc3339).ok());
    Finding::fine(check, format!("{state} until {}, by SERVICE_HOURS", until.as_deref().unwrap_or("further notice")))
}

/// Out of hours a node that cannot be reached is as it is meant to be.
fn closed(failed: &Finding) -> Finding {
    Finding::could_not_tell(failed.check, format!("Pexip is closed by SERVICE_HOURS: {}", failed.says))
}

/// `counted` is the answer to the first call; `None` if there was none in time.
fn check_account(
    counted: Option<Result<usize, PexipError>>,
    pexip: &PexipClient,
    clocks_agree: bool,
) -> Result<Finding, Finding> {
    let by = pexip.authentication().as_str();
    let is_closed = match &counted {
        Some(Ok(_)) => false,
        Some(Err(error)) => pexip.closed(error).is_some(),
        None => pexip.out_of_hours().is_some(),
    };
    let (says, to_do) = match counted {
        Some(Ok(rooms)) => {
            let says = format!("{by}: it may read conferences; {rooms} rooms of this service exist");
            return Ok(Finding::fine("account", says));
        }
        // A management node always has a list of conferences, even if it is empty.
        Some(Err(error @ PexipError::NotFound)) => {
            ("not Pexip's management node, but another server answers (404)".to_owned(), error.remedy())
        }
        Some(Err(error @ PexipError::NoToken(TokenError::Refused { status: 404, .. }))) => {
            ("the node has no token endpoint (404)".to_owned(), error.remedy())
        }
        Some(Err(error @ PexipError::NoToken(TokenError::Refused { .. }))) if !clocks_agree => {
            (format!("{error}; the clocks differ"), "correct the clock: an assertion is valid for minutes only")
        }
        Some(Err(error)) => (error.to_string(), error.remedy()),
        None => (NO_ANSWER.to_owned(), CHECK_LOAD),
    };
    let failed = Finding::not_fine("account", format!("{by}: {says}"), to_do);
    Err(if is_closed { closed(&failed) } else { failed })
}

/// Reads something that only the doctor needs, so the account may lack the right to, and an old release the route.
pub(super) async fn read<T>(
    check: &'static str,
    call: impl Future<Output = Result<T, PexipError>>,
) -> Result<T, Finding> {
    match in_time(CALL_LIMIT, call).await {
        Some(Ok(found)) => Ok(found),
        Some(Err(PexipError::AccountRefused { .. })) => {
            Err(Finding::could_not_tell(check, "the account may not read it"))
        }
        Some(Err(PexipError::NotFound)) => Err(Finding::could_not_tell(check, "this release does not provide it")),
        Some(Err(error)) => Err(Finding::not_fine(check, error.to_string(), error.remedy())),
        None => Err(Finding::not_fine(check, NO_ANSWER, CHECK_LOAD)),
    }
}

async fn release(pexip: &PexipClient) -> Result<Finding, Finding> {
    Ok(check_nodes(&read("release", pexip.conferencing_nodes()).await?))
}

fn check_nodes(nodes: &[ConferencingNode]) -> Finding {
    let in_service = nodes.iter().filter(|node| !node.maintenance_mode).count();
    let reason = maintenance_reason(nodes);
    if in_service == 0 {
        let says = format!("none of {} Conferencing Nodes is in service{reason}: nobody can join a room", nodes.len());
        return Finding::not_fine("release", says, "take a Conferencing Node out of maintenance mode");
    }
    let releases: BTreeSet<_> = nodes.iter().map(|node| release_number(&node.version)).collect();
    let Some(releases) = releases.into_iter().collect::<Option<Vec<_>>>() else {
        return Finding::could_not_tell("release", "the Conferencing Nodes report no release");
    };
    let named: Vec<_> = releases.iter().map(ToString::to_string).collect();
    let says =
        format!("{}; {in_service} of {} Conferencing Nodes in service{reason}", named.join(" and "), nodes.len());
    if releases.len() > 1 {
        return Finding::warning("release", says, "finish the upgrade: the nodes have different releases");
    }
    if releases.iter().any(|release| !KNOWN_RELEASES.contains(release)) {
        let (first, last) = KNOWN_RELEASES.into_inner();
        let to_do = format!("test it before citizens use it: this service was written for releases {first} to {last}");
        return Finding::warning("release", says, to_do);
    }
    Finding::fine("release", says)
}

/// The operators' reasons for maintenance in parentheses, after a blank; empty if there are none.
fn maintenance_reason(nodes: &[ConferencingNode]) -> String {
    let in_maintenance = nodes.iter().filter(|node| node.maintenance_mode);
    let reasons: BTreeSet<_> =
        in_maintenance.map(|node| node.maintenance_mode_reason.escape_debug().to_string()).collect();
    let reasons: Vec<_> = reasons.into_iter().filter(|reason| !reason.is_empty()).collect();
    if reasons.is_empty() { String::new() } else { format!(" (maintenance: {})", reasons.join("; ")) }
}

/// The release in `40 (79715.0.0)`.
fn release_number(version: &str) -> Option<u32> {
    version.split(|one: char| !one.is_ascii_digit()).next()?.parse().ok()
}

async fn pins(pexip: &PexipClient, host_pin: &HostPin) -> Result<Finding, Finding> {
    let Some(least) = read("pins", pexip.min_pin_length()).await? else {
        return Ok(Finding::could_not_tell("pins", "this release reports no minimum PIN length"));
    };
    let (setting, length) = match host_pin {
        HostPin::PerRoom { length } => ("ROOM_PIN_LENGTH", *length),
        HostPin::Fixed(pin) => ("ROOM_HOST_PIN", pin.expose().len()),
    };
    if length >= least {
        return Ok(Finding::fine("pins", format!("{setting} is long enough: the node requires {least} digits")));
    }
    Ok(Finding::not_fine(
        "pins",
        format!("{setting} is too short: the node requires {least} digits, so no room can be made"),
        format!("set {setting} to at least {least} digits, or lower the node's minimum PIN length"),
    ))
}

/// Without the PINs no room can be answered.
async fn shown_pins(pexip: &PexipClient) -> Result<Finding, Finding> {
    let check = "shown_pins";
    Ok(match read(check, pexip.shows_pins()).await? {
        Some(true) => Finding::fine(check, "the account sees the PINs of rooms"),
        Some(false) => Finding::not_fine(
            check,
            "the newest rooms have no PINs, as the account sees them: no room can be handed out",
            "give the account's role, or that of the OAuth2 client, the right to see the PINs of conferences",
        ),
        None => Finding::could_not_tell(check, "no room of this service exists"),
    })
}

/// Whether rooms can be looked up together, which the vendor does not document.
async fn several_names(pexip: &PexipClient) -> Result<Finding, Finding> {
    let check = "several_names";
    let does = match read(check, pexip.several_names_support()).await? {
        SeveralNamesSupport::Supported => {
            return Ok(Finding::fine(check, "the node looks up several rooms by name in one call"));
        }
        SeveralNamesSupport::Unknown => {
            return Ok(Finding::could_not_tell(check, "fewer than two rooms of this service exist"));
        }
        SeveralNamesSupport::Refused => "refuses to look up several rooms by name in one call (400)",
        SeveralNamesSupport::Ignored => "lists other rooms when several are looked up by name in one call",
    };
    let to_do = "check that PEXIP_REQUESTS_PER_MINUTE is enough: infra/docs/sizing.md has the number of calls";
    Ok(Finding::warning(check, format!("the node {does}, so each one is looked up by itself"), to_do))
}

async fn automatic_participants(pexip: &PexipClient, rooms: &RoomConfig) -> Result<Finding, Finding> {
    let check = "automatic_participants";
    let ids = &rooms.automatic_participants;
    if ids.is_empty() {
        return Ok(Finding::fine(check, "none are configured"));
    }
    let look_up = async {
        let mut missing = Vec::new();
        for id in ids {
            if !pexip.finds_automatic_participant(*id).await? {
                missing.push(id.to_string());
            }
        }
        Ok(missing)
    };
    let missing = read(check, look_up).await?;
    if missing.is_empty() {
        return Ok(Finding::fine(check, format!("{} of {} exist", ids.len(), ids.len())));
    }
    Ok(Finding::not_fine(
        check,
        format!("{} do not exist on the node, so no room can be made", missing.join(", ")),
        "correct ROOM_AUTOMATIC_PARTICIPANTS: it lists the node's ids",
    ))
}

/// Whether the node keeps what rooms are made with: a release ignores fields that it does not know.
async fn room_properties(pexip: &PexipClient, properties: &RoomProperties) -> Result<Finding, Finding> {
    let check = "room_properties";
    if properties.is_empty() {
        return Ok(Finding::fine(check, "none are configured"));
    }
    let Some(newest) = read(check, pexip.newest_object()).await? else {
        return Ok(Finding::could_not_tell(check, "no room of this service exists"));
    };
    let differing = properties.differing_in(&newest);
    if differing.is_empty() {
        return Ok(Finding::fine(check, "the newest room has the values of ROOM_PROPERTIES"));
    }
    Ok(Finding::warning(
        check,
        format!("the newest room has other values than ROOM_PROPERTIES in {}", differing.join(", ")),
        "if it was made before the setting was changed, maxconf pool drain and fill replace the pool; otherwise the \
         node's release does not know these fields",
    ))
}

fn ready_delay(settings: &ConfigParts) -> Finding {
    let check = "ready_delay";
    let Ok(pool) = &settings.pool else { return Finding::could_not_tell(check, INVALID_SETTINGS) };
    let seconds = pool.ready_delay.as_secs();
    if pool.ready_delay >= LEAST_REPLICATION_TIME {
        return Finding::fine(check, format!("new rooms stay hidden for {seconds} s while they are replicated"));
    }
    Finding::warning(
        check,
        format!("new rooms stay hidden for {seconds} s only, and replicating one takes at least 90 s"),
        "set POOL_READY_DELAY_SECONDS to 120: a citizen who joins a room too early is told that it does not exist",
    )
}

async fn event_sink(pexip: &PexipClient, events: &Result<Option<BasicAccount>, Faulty>) -> Result<Finding, Finding> {
    let check = "event_sink";
    let account = match events {
        Ok(Some(account)) => account,
        Ok(None) => return Ok(Finding::fine(check, "events are off: PEXIP_EVENT_USERNAME is not set")),
        Err(_) => return Ok(Finding::could_not_tell(check, INVALID_SETTINGS)),
    };
    let (sinks, alarms) = tokio::join!(read(check, pexip.event_sinks()), read(check, pexip.alarms()));
    let (sinks, alarms) = (sinks?, alarms?);
    let ours = check_sinks(&sinks, account)?;
    if alarms.iter().any(Alarm::is_about_an_event_sink) {
        let to_do = "check that the Conferencing Nodes can reach the service, then restart the event sink on Pexip";
        return Err(Finding::not_fine(check, "an alarm reports that an event sink has stopped", to_do));
    }
    let selects = |location: &SystemLocation| ours.iter().any(|sink| location.selects(sink));
    let to_do = "select the event sink in each location whose Conferencing Nodes host the calls";
    Ok(match Locations::read(check, pexip).await?.selection(selects) {
        Selection::All(names) => Finding::fine(
            check,
            format!("one posts to {EVENTS_PATH} with our account from {names}, and no alarm is raised"),
        ),
        Selection::None(names) => Finding::not_fine(check, format!("no location selects it, not even {names}"), to_do),
        Selection::Some { without } => {
            let says = format!("{without} does not select it, so its nodes report no end of a call");
            Finding::warning(check, says, to_do)
        }
    })
}

/// The sinks with the right path, account and events. Other environments on the same platform have sinks too.
fn check_sinks<'a>(sinks: &'a [EventSinkRecord], account: &BasicAccount) -> Result<Vec<&'a EventSinkRecord>, Finding> {
    let not_fine = |says: String, to_do: String| Err(Finding::not_fine("event_sink", says, to_do));
    let has_path = |sink: &&EventSinkRecord| {
        Url::parse(&sink.url).is_ok_and(|url| url.path().trim_end_matches('/').ends_with(EVENTS_PATH))
    };
    let here: Vec<_> = sinks.iter().filter(has_path).collect();
    if here.is_empty() {
        return not_fine(
            format!("no event sink of the platform posts to {EVENTS_PATH}"),
            format!(
                "create an event sink on Pexip with this service's address and {EVENTS_PATH} and the account of \
                 PEXIP_EVENT_USERNAME, and select it in each location"
            ),
        );
    }
    let ours: Vec<_> = here.into_iter().filter(|sink| sink.username == account.username).collect();
    if ours.is_empty() {
        return not_fine(
            "it posts with another account, which the service refuses".to_owned(),
            "set the event sink's account to PEXIP_EVENT_USERNAME and PEXIP_EVENT_PASSWORD".to_owned(),
        );
    }
    let sends_ends = |sink: &EventSinkRecord| {
        !sink.filter_events || sink.events.iter().any(|event| event.name == "conference_ended")
    };
    let ours: Vec<_> = ours.into_iter().filter(|sink| sends_ends(sink)).collect();
    if ours.is_empty() {
        return not_fine(
            "it does not send conference_ended".to_owned(),
            "add conference_ended to the events that the event sink sends".to_owned(),
        );
    }
    Ok(ours)
}
