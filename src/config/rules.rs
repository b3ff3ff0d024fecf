//! Rules between settings.

use super::entra::EntraDraft;
use super::instant::InstantDraft;
use super::pexip::PexipDraft;
use super::pool::PoolDraft;
use super::room::RoomDraft;
use super::server::ServerDraft;
use super::setting::{Faulty, Reader, WhenUnset};
use super::telemetry::TelemetryDraft;
use super::{AllowedIds, BasicAccount, Config, Environment, RoomSource, WhenEmpty};
use crate::domain::{ReadablePrefix, RoomNamePrefix, UuiDataFormat};

/// A setting, and the prefix in it.
type Prefix<'a> = (&'static str, &'a Result<RoomNamePrefix, Faulty>);

/// Records a fault for each rule that the settings break. A rule applies if its settings can be read; a fault in
/// another setting of their sections hides nothing.
pub(super) fn check(
    reader: &mut Reader<'_>,
    server: &ServerDraft,
    telemetry: &TelemetryDraft,
    pool: &PoolDraft,
    room: &RoomDraft,
    pexip: &PexipDraft,
) {
    let is_local = telemetry.environment.unwrap_or(Environment::Local) == Environment::Local;
    for setting in Config::settings().filter(|setting| matches!(setting.default, WhenUnset::LocalOnly(_))) {
        if !is_local && !reader.is_set(setting) {
            reader.fault(setting.name, "is not set; it is required outside local");
        }
    }
    check_tag_rule(reader, room);
    let mut require = |setting, rule: &dyn Fn() -> Result<bool, Faulty>, reason| {
        if rule() == Ok(false) {
            reader.fault(setting, reason);
        }
    };
    require(
        "PEXIP_REQUEST_TIMEOUT_SECONDS",
        &|| Ok(pexip.request_timeout? < server.request_deadline?),
        "must be less than REQUEST_DEADLINE_SECONDS",
    );
    require(
        "POOL_ROOM_MAX_AGE_SECONDS",
        &|| Ok(pool.room_max_age? > pool.ready_delay? + pool.lease?),
        "must be greater than POOL_READY_DELAY_SECONDS + POOL_LEASE_SECONDS",
    );
    require("POOL_TARGET_SIZE", &|| Ok(pool.target? <= pool.max_rooms?), "must not be greater than POOL_MAX_ROOMS");
    require(
        "ROOM_MAX_LIFETIME_SECONDS",
        &|| Ok(room.max_lifetime? <= room.absolute_lifetime?),
        "must not be greater than ROOM_ABSOLUTE_LIFETIME_SECONDS",
    );
    // A request may claim a room just before the room is past its age, and tag it until the request's deadline. With a
    // shorter margin, the sweep could delete a room that this request hands out. Local is exempt, so that tests need no
    // margin.
    require(
        "SWEEP_MARGIN_SECONDS",
        &|| Ok(is_local || pool.sweep_margin? >= server.request_deadline?),
        "must not be less than REQUEST_DEADLINE_SECONDS outside local",
    );
}

/// Only the format `host-and-id` has a value for `{host}`, and only hosts on the list may be that value.
fn check_tag_rule(reader: &mut Reader<'_>, room: &RoomDraft) {
    let Ok(url) = &room.tag_url else { return };
    let format_has_host = room.uui_data_format.map(|format| format == UuiDataFormat::HostAndId);
    if url.has_host() && format_has_host == Ok(false) {
        reader.fault("ROOM_TAG_URL", "must not have {host} in it unless UUI_DATA_FORMAT is host-and-id");
    }
    if !url.has_host() && format_has_host == Ok(true) {
        reader.fault("ROOM_TAG_URL", "must have {host} in its host name, because UUI_DATA_FORMAT is host-and-id");
    }
    let Ok(hosts) = &room.tag_hosts else { return };
    if url.has_host() && hosts.is_empty() {
        reader.fault("ROOM_TAG_HOSTS", "is not set; it is required because ROOM_TAG_URL has {host} in it");
    }
    if !url.has_host() && format_has_host == Ok(false) && !hosts.is_empty() {
        reader.fault("ROOM_TAG_HOSTS", "must not be set, because ROOM_TAG_URL has no {host} in it");
    }
    if url.has_host()
        && let Some(error) = hosts.iter().find_map(|host| url.check_with(host).err())
    {
        reader.fault("ROOM_TAG_URL", format!("{error}, with each of ROOM_TAG_HOSTS in the place of {{host}}"));
    }
}

/// A room of ours must never be read as a foreign one: agents may see it only once it belongs to a citizen.
fn check_readable_prefixes(reader: &mut Reader<'_>, readable: &[ReadablePrefix], ours: [Prefix<'_>; 2]) {
    for (setting, ours) in ours {
        if ours.as_ref().is_ok_and(|ours| readable.iter().any(|prefix| prefix.overlaps(ours))) {
            reader.fault("PUBLIC_READ_PREFIXES", format!("must not share its start with {setting}"));
        }
    }
}

/// Rules of instant rooms, which are on if rooms come from there first, or when the pool is empty.
pub(super) fn check_instant_rooms(
    reader: &mut Reader<'_>,
    telemetry: &TelemetryDraft,
    pool: &PoolDraft,
    room: &RoomDraft,
    instant: &InstantDraft,
    policy: &Result<Option<BasicAccount>, Faulty>,
) {
    let ours = [("ROOM_NAME_PREFIX", &room.prefix), ("INSTANT_ROOM_NAME_PREFIX", &instant.prefix)];
    // A name must tell where its room is.
    if let [(_, Ok(on_pexip)), (_, Ok(of_instant_rooms))] = ours
        && on_pexip.overlaps(of_instant_rooms)
    {
        reader.fault("INSTANT_ROOM_NAME_PREFIX", "must not share its start with ROOM_NAME_PREFIX");
    }
    if let Ok(readable) = &room.public_read_prefixes {
        check_readable_prefixes(reader, readable, ours);
    }
    if let (Ok(lifetime), Ok(longest)) = (instant.lifetime, instant.max_lifetime)
        && lifetime > longest
    {
        reader.fault("INSTANT_ROOM_LIFETIME_SECONDS", "must not be greater than INSTANT_ROOM_MAX_LIFETIME_SECONDS");
    }
    let switches = [
        ("ROOM_SOURCE", pool.source == Ok(RoomSource::Instant)),
        ("POOL_EMPTY", pool.when_empty == Ok(WhenEmpty::Instant)),
    ];
    let Some((switch, _)) = switches.into_iter().find(|(_, is_on)| *is_on) else { return };
    if let Ok(None) = policy {
        for setting in ["PEXIP_POLICY_USERNAME", "PEXIP_POLICY_PASSWORD"] {
            reader.fault(setting, format!("is not set; it is required because {switch} is instant"));
        }
    }
    let is_local = telemetry.environment.unwrap_or(Environment::Local) == Environment::Local;
    let dial_out = Config::settings().find(|setting| setting.name == "INSTANT_ROOM_DIAL_OUT");
    if !is_local && dial_out.is_some_and(|setting| !reader.is_set(setting)) {
        reader.fault("INSTANT_ROOM_DIAL_OUT", format!("is not set; it is required because {switch} is instant"));
    }
    if let Ok(properties) = &room.properties
        && let Err(field) = properties.for_policy()
    {
        let reason = format!("must not have this {field} with {switch}=instant: external policy cannot set it");
        reader.fault("ROOM_PROPERTIES", reason);
    }
}

/// Without an audience or a role of this API, the list of clients is all that keeps other applications of the tenant
/// out.
pub(super) fn check_clients(reader: &mut Reader<'_>, entra: &EntraDraft) {
    if entra.allowed_clients != Ok(AllowedIds::Any) {
        return;
    }
    let roles = [
        ("ENTRA_CREATE_ROLE", &entra.create_role),
        ("ENTRA_DELETE_ROLE", &entra.delete_role),
        ("ENTRA_READ_ROLE", &entra.read_role),
    ];
    let without_role = roles.into_iter().filter(|(_, role)| **role == Ok(None)).map(|(setting, _)| (setting, "none"));
    let own = entra.audiences.as_ref().is_ok_and(|audiences| audiences.own).then_some(("ENTRA_AUDIENCE", "own"));
    for (setting, word) in own.into_iter().chain(without_role) {
        reader.fault(setting, format!("must not be {word} with ENTRA_ALLOWED_CLIENT_IDS=*; list the clients there"));
    }
}
