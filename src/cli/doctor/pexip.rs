use std::collections::BTreeSet;

use super::finding::{Finding, Section};
use super::tls::Trust;
use super::{CALL, NO_ANSWER, SETTINGS_AT_FAULT, host, in_time};
use crate::app;
use crate::config::{ConfigParts, Faulty, PexipConfig, PexipEventConfig, RoomConfig};
use crate::domain::Clock;
use crate::domain::HostPin;
use crate::pexip::{Alarm, ConferencingNode, EventSinkRecord, PexipClient, PexipError};

const CHECKS: [&str; 10] = [
    "name",
    "connection",
    "certificate",
    "clock",
    "account",
    "release",
    "pins",
    "automatic_participants",
    "event_sink",
    "writing",
];

/// The releases whose interface this service was written to.
const KNOWN_RELEASES: std::ops::RangeInclusive<u32> = 38..=41;

/// Where events are taken, below whatever stands before the service.
const EVENTS_PATH: &str = "/pexip/events";

/// Looks at the management node, and at what rooms need there.
pub(super) async fn examine(settings: &ConfigParts, clock: &Clock) -> Section {
    let Ok(config) = &settings.pexip else {
        return Section::unexamined("pexip", &CHECKS, SETTINGS_AT_FAULT);
    };
    let mut findings = Vec::new();
    // Boxed, because so many calls at the same time make a large future.
    let ended = Box::pin(look(config, settings, clock, &mut findings)).await;
    Section::examined("pexip", &CHECKS, findings, ended)
}

async fn look(
    config: &PexipConfig,
    settings: &ConfigParts,
    clock: &Clock,
    findings: &mut Vec<Finding>,
) -> Result<(), Finding> {
    let trust = Trust { certificates: &config.trusted_certificates, setting: "PEXIP_CA_FILE" };
    host::reach(&config.management_url, trust, clock, findings).await?;
    let no_client = |_| Finding::could_not_tell("account", "no client could be made");
    let http = app::pexip_http(config).map_err(no_client)?;
    let Ok(rooms) = &settings.room else {
        findings.push(host::clock(&config.management_url, &http, clock).await);
        return Err(Finding::could_not_tell("account", SETTINGS_AT_FAULT));
    };
    let pexip = app::pexip_client(config, &rooms.prefix).map_err(no_client)?;
    let (clock, account) = tokio::join!(host::clock(&config.management_url, &http, clock), account(&pexip));
    findings.push(clock);
    findings.push(account?);
    let host_pin = rooms.host_pin();
    let (release, pins, participants, event_sink) = tokio::join!(
        release(&pexip),
        pins(&pexip, &host_pin),
        automatic_participants(&pexip, rooms),
        event_sink(&pexip, &settings.pexip_events),
    );
    findings.extend([release, pins, participants, event_sink]);
    findings.push(Finding::could_not_tell(
        "writing",
        "not tried, since it would change the node: the account must be allowed to make, change and delete conferences",
    ));
    Ok(())
}

async fn account(pexip: &PexipClient) -> Result<Finding, Finding> {
    match in_time(CALL, pexip.count_ours()).await {
        Some(Ok(rooms)) => Ok(Finding::fine("account", format!("it may read; {rooms} rooms of ours are there"))),
        // There are always conferences to list, be it none.
        Some(Err(error @ PexipError::NotFound)) => Err(Finding::not_fine(
            "account",
            "something else than Pexip's management node answers (404)",
            error.remedy(),
        )),
        Some(Err(error)) => Err(Finding::not_fine("account", error.to_string(), error.remedy())),
        None => Err(Finding::not_fine("account", NO_ANSWER, "look at the load of the management node")),
    }
}

/// What was read; else the finding that it could not be.
async fn read<T>(check: &'static str, call: impl Future<Output = Result<T, PexipError>>) -> Result<T, Finding> {
    match in_time(CALL, call).await {
        Some(Ok(found)) => Ok(found),
        // The service itself does not ask this.
        Some(Err(PexipError::AccountRefused { .. })) => {
            Err(Finding::could_not_tell(check, "the account may not read it"))
        }
        Some(Err(PexipError::NotFound)) => Err(Finding::could_not_tell(check, "this release does not tell")),
        Some(Err(error)) => Err(Finding::not_fine(check, error.to_string(), error.remedy())),
        None => Err(Finding::not_fine(check, NO_ANSWER, "look at the load of the management node")),
    }
}

async fn release(pexip: &PexipClient) -> Finding {
    match read("release", pexip.conferencing_nodes()).await {
        Ok(nodes) => judge_nodes(&nodes),
        Err(finding) => finding,
    }
}

fn judge_nodes(nodes: &[ConferencingNode]) -> Finding {
    let working = nodes.iter().filter(|node| !node.maintenance_mode).count();
    if working == 0 {
        let says = format!("none of {} Conferencing Nodes is in service: nobody can join", nodes.len());
        return Finding::not_fine("release", says, "bring a Conferencing Node into service");
    }
    let releases: BTreeSet<_> = nodes.iter().map(|node| release_number(&node.version)).collect();
    let Some(releases) = releases.into_iter().collect::<Option<Vec<_>>>() else {
        return Finding::could_not_tell("release", "the Conferencing Nodes tell no release");
    };
    let named: Vec<_> = releases.iter().map(ToString::to_string).collect();
    let says = format!("{}; {working} of {} Conferencing Nodes in service", named.join(" and "), nodes.len());
    if releases.len() > 1 {
        return Finding::warning("release", says, "finish the upgrade: the nodes differ");
    }
    if releases.iter().any(|release| !KNOWN_RELEASES.contains(release)) {
        let (first, last) = KNOWN_RELEASES.into_inner();
        let to_do = format!("try it before citizens do: the service was written for {first} to {last}");
        return Finding::warning("release", says, to_do);
    }
    Finding::fine("release", says)
}

/// The release in `40 (79715.0.0)`.
fn release_number(version: &str) -> Option<u32> {
    version.split(|one: char| !one.is_ascii_digit()).next()?.parse().ok()
}

async fn pins(pexip: &PexipClient, ours: &HostPin) -> Finding {
    let least = match read("pins", pexip.min_pin_length()).await {
        Ok(Some(least)) => least,
        Ok(None) => return Finding::could_not_tell("pins", "this release tells no least length of PINs"),
        Err(finding) => return finding,
    };
    let (setting, length) = match ours {
        HostPin::PerRoom { length } => ("ROOM_PIN_LENGTH", *length),
        HostPin::Fixed(pin) => ("ROOM_HOST_PIN", pin.expose().len()),
    };
    if length >= least {
        return Finding::fine("pins", format!("{setting} is long enough: the node wants at least {least}"));
    }
    Finding::not_fine(
        "pins",
        format!("{setting} is too short: the node refuses PINs of less than {least}, so no room can be made"),
        format!("give {setting} at least {least} digits, or lower the node's least PIN length"),
    )
}

async fn automatic_participants(pexip: &PexipClient, rooms: &RoomConfig) -> Finding {
    let check = "automatic_participants";
    let ids = &rooms.automatic_participants;
    if ids.is_empty() {
        return Finding::fine(check, "none are wanted");
    }
    let look_up = async {
        let mut missing = Vec::new();
        for id in ids {
            if !pexip.has_automatic_participant(*id).await? {
                missing.push(id.to_string());
            }
        }
        Ok(missing)
    };
    match read(check, look_up).await {
        Ok(missing) if missing.is_empty() => Finding::fine(check, format!("all {} are there", ids.len())),
        Ok(missing) => Finding::not_fine(
            check,
            format!("the node does not have {}, so no room can be made", missing.join(", ")),
            "correct ROOM_AUTOMATIC_PARTICIPANTS by the ids on the node",
        ),
        Err(finding) => finding,
    }
}

async fn event_sink(pexip: &PexipClient, events: &Result<Option<PexipEventConfig>, Faulty>) -> Finding {
    let check = "event_sink";
    let account = match events {
        Ok(Some(account)) => account,
        Ok(None) => return Finding::fine(check, "events are off: PEXIP_EVENT_USERNAME is not set"),
        Err(_) => return Finding::could_not_tell(check, SETTINGS_AT_FAULT),
    };
    let (sinks, alarms) = tokio::join!(read(check, pexip.event_sinks()), read(check, pexip.alarms()));
    let (sinks, alarms) = match (sinks, alarms) {
        (Ok(sinks), Ok(alarms)) => (sinks, alarms),
        (Err(finding), _) | (_, Err(finding)) => return finding,
    };
    if let Some(finding) = fault_of(&sinks, account) {
        return finding;
    }
    if alarms.iter().any(Alarm::is_about_an_event_sink) {
        let to_do = "see that the service can be reached from the Conferencing Nodes, then restart the sink on Pexip";
        return Finding::not_fine(check, "an alarm says that an event sink has stopped", to_do);
    }
    let says =
        format!("one posts to {EVENTS_PATH} with our account, and no alarm is raised; locations are not looked at");
    Finding::fine(check, says)
}

/// What is wrong with every sink that could be ours. Other environments may have theirs on the same platform.
fn fault_of(sinks: &[EventSinkRecord], account: &PexipEventConfig) -> Option<Finding> {
    let check = "event_sink";
    let path =
        |sink: &EventSinkRecord| url::Url::parse(&sink.url).ok().map(|url| url.path().trim_end_matches('/').to_owned());
    let here: Vec<_> = sinks.iter().filter(|sink| path(sink).is_some_and(|path| path.ends_with(EVENTS_PATH))).collect();
    if here.is_empty() {
        let to_do = format!(
            "make an event sink on Pexip with this service's address and {EVENTS_PATH}, and the account of \
             PEXIP_EVENT_USERNAME, and list it in each location"
        );
        return Some(Finding::not_fine(check, format!("no event sink of the platform posts to {EVENTS_PATH}"), to_do));
    }
    let ours: Vec<_> = here.into_iter().filter(|sink| sink.username == account.username).collect();
    if ours.is_empty() {
        let to_do = "give the event sink the account of PEXIP_EVENT_USERNAME and PEXIP_EVENT_PASSWORD";
        return Some(Finding::not_fine(check, "it posts with another account, which is refused", to_do));
    }
    let tells_of_ends = |sink: &EventSinkRecord| {
        !sink.filter_events || sink.events.iter().any(|event| event.name == "conference_ended")
    };
    if !ours.into_iter().any(tells_of_ends) {
        let to_do = "add conference_ended to the events that the event sink sends";
        return Some(Finding::not_fine(check, "it does not send conference_ended", to_do));
    }
    None
}
