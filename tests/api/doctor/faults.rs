//! Each fault that `doctor` detects, alone.

use std::time::Duration;

use maxconf_simulators::entra::CLIENT_ID;
use maxconf_simulators::pexip::InLookup;
use maxconf_simulators::queue::account_sas_with;
use maxconf_simulators::world::{OAUTH2_CLIENT, RECORDS};
use maxconf_simulators::{Fault, Matching, Times, Traffic, World};

use super::{CLAIM, EVENTS_URL, Settings};
use crate::support::POOL_QUEUE;

/// A fault, and the checks that must report it.
#[derive(Clone, Copy)]
pub(super) struct OneFault {
    pub(super) what: &'static str,
    pub(super) cause: fn(&World, &mut Settings),
    pub(super) not_fine: &'static [&'static str],
    pub(super) warnings: &'static [&'static str],
}

/// No server listens there.
const NOWHERE: &str = "http://127.0.0.1:1/";

const fn fails(what: &'static str, not_fine: &'static [&'static str], cause: fn(&World, &mut Settings)) -> OneFault {
    OneFault { what, cause, not_fine, warnings: &[] }
}

const fn warns(what: &'static str, warnings: &'static [&'static str], cause: fn(&World, &mut Settings)) -> OneFault {
    OneFault { what, cause, not_fine: &[], warnings }
}

pub(super) const FAULTS: [OneFault; 68] = [
    warns("a misspelt setting", &["settings/unknown"], |_, settings| {
        settings.insert("POOL_SIZE", "4".to_owned());
    }),
    warns("IDIM may make fewer requests than Pexip's calls suffice for", &["settings/rate_limit"], |_, settings| {
        settings.insert("PEXIP_REQUESTS_PER_MINUTE", "600".to_owned());
        settings.insert("RATE_LIMIT_PER_MINUTE", "199".to_owned());
    }),
    fails("DNS cannot resolve Pexip's name", &["pexip/name"], |_, settings| {
        settings.insert("PEXIP_MANAGEMENT_URL", "https://pexip.invalid".to_owned());
    }),
    fails("no server listens on Pexip's port", &["pexip/connection"], |_, settings| {
        settings.insert("PEXIP_MANAGEMENT_URL", NOWHERE.to_owned());
    }),
    fails("no server listens on storage's port", &["storage/connection"], |world, settings| {
        let elsewhere = world.connection_string().replace(world.queue.url().as_str(), NOWHERE);
        settings.insert("PoolStorage", elsewhere);
    }),
    fails("no server listens on Entra's port", &["entra/connection"], |_, settings| {
        settings.insert("ENTRA_AUTHORITY_URL", NOWHERE.to_owned());
    }),
    fails("no server listens on Genesys' port", &["genesys/connection"], |_, settings| {
        settings.insert("GENESYS_API_URL", NOWHERE.to_owned());
    }),
    fails("https, but the server speaks http", &["genesys/certificate"], |world, settings| {
        settings.insert("GENESYS_API_URL", world.genesys.api_url().as_str().replace("http:", "https:"));
    }),
    fails("Pexip's clock is ahead", &["pexip/clock"], |world, _| world.pexip.traffic().set_clock_offset(70)),
    fails("storage's clock is behind", &["storage/clock"], |world, _| world.queue.traffic().set_clock_offset(-70)),
    fails("Entra's clock is ahead", &["entra/clock"], |world, _| world.entra.traffic().set_clock_offset(70)),
    fails("Genesys' clock is behind", &["genesys/clock"], |world, _| world.genesys.traffic().set_clock_offset(-70)),
    warns("Genesys' clock is a little behind", &["genesys/clock"], |world, _| {
        world.genesys.traffic().set_clock_offset(-20);
    }),
    warns("Pexip's clock is a little ahead", &["pexip/clock"], |world, _| world.pexip.traffic().set_clock_offset(20)),
    fails("Pexip has another password", &["pexip/account"], |world, _| world.pexip.set_password("another-password")),
    fails("Pexip accepts OAuth2 only", &["pexip/account"], |world, _| world.pexip.accept_basic(false)),
    fails("Pexip demands a client certificate", &["pexip/account"], |world, _| {
        world.pexip.demand_client_certificate(true);
    }),
    fails("Pexip demands a client certificate of an OAuth2 client", &["pexip/account"], |world, settings| {
        settings.extend(world.oauth2_settings());
        world.pexip.demand_client_certificate(true);
    }),
    fails("Pexip does not know the OAuth2 client", &["pexip/account"], |world, settings| {
        settings.extend(world.oauth2_settings());
        world.pexip.remove_oauth2_client(OAUTH2_CLIENT);
    }),
    fails("the OAuth2 client has another key", &["pexip/account"], |world, settings| {
        settings.extend(world.oauth2_settings());
        world.pexip.remove_oauth2_client(OAUTH2_CLIENT);
        world.pexip.add_oauth2_client(OAUTH2_CLIENT);
    }),
    fails("Pexip has no token endpoint", &["pexip/account"], |world, settings| {
        settings.extend(world.oauth2_settings());
        answer(world.pexip.traffic(), "/oauth/token/", Fault::Status(404));
    }),
    fails("the clocks are too far apart for an assertion", &["pexip/account", "pexip/clock"], |world, settings| {
        settings.extend(world.oauth2_settings());
        pexips_clock_is_ahead(world);
    }),
    fails("the account may not read", &["pexip/account"], |world, _| {
        answer(world.pexip.traffic(), "/v1/conference/", Fault::Status(403));
    }),
    fails("Pexip answers 500", &["pexip/account"], |world, _| {
        answer(world.pexip.traffic(), "/v1/conference/", Fault::Status(500));
    }),
    fails("the node requires longer PINs than the fixed one", &["pexip/pins"], |world, _| {
        world.pexip.set_min_pin_length(9);
    }),
    fails("the node requires longer PINs than the random ones", &["pexip/pins"], |world, settings| {
        world.pexip.set_min_pin_length(7);
        settings.insert("ROOM_HOST_PIN", "per-room".to_owned());
    }),
    fails("the account may not see PINs", &["pexip/shown_pins"], |world, _| world.pexip.hide_pins()),
    warns("the node refuses to look up several names", &["pexip/several_names"], |world, _| {
        world.pexip.set_in_lookup(InLookup::Refused);
    }),
    warns("the node ignores the names of a look-up of several", &["pexip/several_names"], |world, _| {
        world.pexip.set_in_lookup(InLookup::Ignored);
    }),
    fails("an automatic participant is gone", &["pexip/automatic_participants"], |_, settings| {
        settings.insert("ROOM_AUTOMATIC_PARTICIPANTS", "7,8".to_owned());
    }),
    warns("rooms have other properties", &["pexip/room_properties"], |_, settings| {
        settings.insert("ROOM_PROPERTIES", r#"{"call_type": "audio", "enable_chat": "default"}"#.to_owned());
    }),
    warns("an old release", &["pexip/release"], |world, _| world.pexip.set_release("37 (77000.0.0)")),
    warns("a future release", &["pexip/release"], |world, _| world.pexip.set_release("42")),
    warns("an upgrade that is not finished", &["pexip/release"], |world, _| {
        nodes(world, r#"{"version": "40 (1.0.0)"}, {"version": "41 (1.0.0)", "maintenance_mode": true}"#);
    }),
    fails("no Conferencing Node", &["pexip/release"], |world, _| nodes(world, "")),
    fails("all Conferencing Nodes in maintenance", &["pexip/release"], |world, _| {
        world.pexip.set_maintenance(Some("upgrade"));
    }),
    fails("no event sink", &["pexip/event_sink"], |world, _| sinks(world, "")),
    fails("an event sink that no location selects", &["pexip/event_sink"], |world, _| {
        world.pexip.select_services_in_location(false);
    }),
    warns("a location without the event sink", &["pexip/event_sink"], |world, _| {
        nodes(world, r#"{"version": "40", "system_location": "A"}, {"version": "40", "system_location": "B"}"#);
        let selected = r#"["/api/admin/configuration/v1/event_sink/1/"]"#;
        let locations = format!(r#"{{"name": "A", "event_sinks": {selected}}}, {{"name": "B", "event_sinks": []}}"#);
        answer(world.pexip.traffic(), "/system_location/", list(&locations));
    }),
    warns("a ready delay below the vendor's", &["pexip/ready_delay"], |_, settings| {
        settings.insert("POOL_READY_DELAY_SECONDS", "89".to_owned());
    }),
    fails("an event sink with another path", &["pexip/event_sink"], |world, _| {
        sinks(world, r#"{"url": "https://vbv.example.org/public/event", "username": "conferencing-nodes"}"#);
    }),
    fails("an event sink with another account", &["pexip/event_sink"], |world, _| {
        sinks(world, &format!(r#"{{"url": "{EVENTS_URL}", "username": "another-account"}}"#));
    }),
    fails("an event sink that does not send conference_ended", &["pexip/event_sink"], |world, _| {
        let filter = r#""filter_events": true, "events": [{"name": "conference_started"}]"#;
        sinks(world, &format!(r#"{{"url": "{EVENTS_URL}", "username": "conferencing-nodes", {filter}}}"#));
    }),
    fails("another key of the account", &["storage/access", "records/access"], |world, settings| {
        settings.insert("PoolStorage", world.connection_string().replace("AccountKey=Eby8", "AccountKey=AAAA"));
    }),
    OneFault {
        what: "another queue",
        cause: |_, settings| {
            settings.insert("POOL_QUEUE_NAME", "another-queue".to_owned());
        },
        not_fine: &["storage/queue"],
        warnings: &["pool/stock"],
    },
    fails("another service's messages in the queue", &["storage/queue"], |world, _| {
        world.queue.put(POOL_QUEUE, "MTIzNDU2LDc2NTQzMg");
    }),
    warns("poison messages", &["storage/other_queues"], |world, _| {
        world.queue.put(&format!("{POOL_QUEUE}-poison"), "junk");
    }),
    warns("a signature that expires tomorrow", &["storage/access"], |world, settings| {
        settings.insert("PoolStorage", world.sas_connection_string());
    }),
    // Its pool cannot be counted either: could not tell.
    OneFault {
        what: "a signature that only allows to read one queue",
        cause: |world, settings| {
            let signature = world.queue.queue_sas(POOL_QUEUE, "r");
            let connection = format!("{}SharedAccessSignature={signature};", world.endpoints());
            settings.insert("PoolStorage", connection);
        },
        not_fine: &["storage/writing", "storage/other_queues", "records/access"],
        warnings: &["storage/access"],
    },
    fails("no server listens on the blob service's port", &["records/connection"], |world, settings| {
        let elsewhere = world.connection_string().replace(world.blobs.url().as_str(), NOWHERE);
        settings.insert("PoolStorage", elsewhere);
    }),
    fails("the blob service's clock is ahead", &["records/clock"], |world, _| {
        world.blobs.traffic().set_clock_offset(70);
    }),
    fails("the blob service refuses us", &["records/access"], |world, _| {
        answer(world.blobs.traffic(), RECORDS, Fault::Status(403));
    }),
    fails("a server other than the blob service answers", &["records/access"], |world, _| {
        answer(world.blobs.traffic(), RECORDS, Fault::Rubbish);
    }),
    fails("the container of the records does not exist", &["records/container"], |world, _| {
        world.blobs.remove_container(RECORDS);
    }),
    fails("anybody may read the records", &["records/public_access"], |world, _| world.blobs.make_public(RECORDS)),
    warns("records are not removed", &["records/lifecycle"], |world, _| {
        world.blobs.age(RECORDS, CLAIM, time::Duration::days(13));
    }),
    warns("deleted records are kept", &["records/kept_copies"], |world, _| {
        world.blobs.keep_deleted();
        world.blobs.remove(RECORDS, CLAIM);
    }),
    warns("versions of records are kept", &["records/kept_copies"], |world, _| world.blobs.keep_versions()),
    fails("the records cannot be listed", &["records/lifecycle", "records/kept_copies"], |world, _| {
        let list = Matching::any().query_contains("comp=list");
        world.blobs.traffic().inject(list, Times::Always, Fault::Status(500));
    }),
    OneFault {
        what: "a signature that allows to read and list, and to process messages",
        cause: |world, settings| {
            let connection = format!("{}SharedAccessSignature={};", world.endpoints(), account_sas_with("rlap"));
            settings.insert("PoolStorage", connection);
        },
        not_fine: &["records/writing"],
        warnings: &["storage/access"],
    },
    fails("Entra publishes no keys", &["entra/keys_v1", "entra/keys_v2"], |world, _| {
        world.entra.publish_raw_jwks(Some(r#"{"keys": []}"#.to_owned()));
    }),
    fails("Entra has another issuer for one token version", &["entra/keys_v2"], |world, _| {
        let body = r#"{"issuer": "https://login.example.org/x/v2.0", "jwks_uri": "https://login.example.org/keys"}"#;
        answer(world.entra.traffic(), "v2.0/.well-known", json(body));
    }),
    warns("the audience is the client's own", &["entra/audience"], |_, settings| {
        settings.extend([("ENTRA_AUDIENCE", "own".to_owned()), ("ENTRA_ALLOWED_CLIENT_IDS", CLIENT_ID.to_owned())]);
    }),
    warns("a route requires no role", &["entra/roles"], |_, settings| {
        let list = ("ENTRA_ALLOWED_CLIENT_IDS", CLIENT_ID.to_owned());
        settings.extend([("ENTRA_DELETE_ROLE", "none".to_owned()), list]);
    }),
    fails("a server other than Genesys answers", &["genesys/api"], |world, _| {
        answer(world.genesys.traffic(), "tokens/me", Fault::Rubbish);
    }),
    fails("a gateway refuses instead of Genesys", &["genesys/api"], |world, _| {
        answer(world.genesys.traffic(), "tokens/me", Fault::Status(401));
    }),
    warns("a leg that is no automatic participant", &["pool/dialled_legs"], |world, _| {
        world.pexip.dial_out_leg("vbv-01jd5p3xk8qqqqqqqqqqqqqq09");
    }),
    warns("rooms are missing", &["pool/stock"], |_, settings| {
        settings.insert("POOL_TARGET_SIZE", "5".to_owned());
    }),
];

/// By ten minutes, in its answers and where it checks assertions.
pub(super) fn pexips_clock_is_ahead(world: &World) {
    world.pexip.advance(Duration::from_secs(600));
    world.pexip.traffic().set_clock_offset(600);
}

pub(super) fn answer(traffic: &Traffic, path: &str, fault: Fault) {
    traffic.inject(Matching::any().path_contains(path), Times::Always, fault);
}

fn nodes(world: &World, objects: &str) {
    nodes_of(world.pexip.traffic(), objects);
}

pub(super) fn nodes_of(pexip: &Traffic, objects: &str) {
    answer(pexip, "/worker_vm/", list(objects));
}

fn sinks(world: &World, objects: &str) {
    answer(world.pexip.traffic(), "/event_sink/", list(objects));
}

pub(super) fn list(objects: &str) -> Fault {
    json(&format!(
        r#"{{"meta": {{"limit": 500, "next": null, "offset": 0, "previous": null, "total_count": 1}}, "objects": [{objects}]}}"#
    ))
}

fn json(body: &str) -> Fault {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Fault::StatusWith { status: 200, headers, body: body.to_owned() }
}
