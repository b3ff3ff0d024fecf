//! The texts name the cause and the remedy, and no secret.

use futures_util::{StreamExt, stream};
use maxconf::config::Config;
use maxconf_simulators::entra::CLIENT_ID;
use maxconf_simulators::world::{OAUTH2_CLIENT, RECORDS};
use maxconf_simulators::{Fault, Matching, Times, World};

use super::faults::pexips_clock_is_ahead;
use super::{CLAIM, CONCURRENT_RUNS, Settings, a_healthy_world, examine, run, texts};
use crate::support::{Call, POOL_QUEUE, Program, Secrets};

/// A fault, its check, the end of the text, and a part of the remedy.
type Row = (fn(&World, &mut Settings), &'static str, &'static str, &'static str);

const ROWS: [Row; 31] = [
    (
        |_, settings| {
            settings.extend([("ENTRA_AUDIENCE", "own".to_owned()), ("ENTRA_ALLOWED_CLIENT_IDS", CLIENT_ID.to_owned())]);
        },
        "entra/audience",
        "a caller can give itself any role, and a token that a listed client got by the same registration for something \
         else is accepted",
        "registration of its own",
    ),
    (
        |_, settings| {
            let none = |role| (role, "none".to_owned());
            settings.extend([none("ENTRA_CREATE_ROLE"), none("ENTRA_DELETE_ROLE")]);
            settings.insert("ENTRA_ALLOWED_CLIENT_IDS", CLIENT_ID.to_owned());
        },
        "entra/roles",
        "every client in ENTRA_ALLOWED_CLIENT_IDS may create, delete every room",
        "app roles",
    ),
    (
        |_, settings| set_url(settings, "https://pexip.invalid/"),
        "pexip/name",
        "DNS cannot resolve pexip.invalid",
        "private DNS zones",
    ),
    (
        |_, settings| set_url(settings, "https://127.0.0.1:1/"),
        "pexip/connection",
        "no TCP connection to 127.0.0.1, port 1: connection refused",
        "firewalls, routes and private endpoints",
    ),
    (
        |world, settings| set_url(settings, &world.pexip.management_url().as_str().replace("http:", "https:")),
        "pexip/certificate",
        "the TLS handshake failed",
        "those of an https service",
    ),
    (
        |world, _| at_pexip(world, Fault::HangUpBefore),
        "pexip/account",
        "Pexip broke the connection",
        "check PEXIP_MANAGEMENT_URL",
    ),
    (|world, _| at_pexip(world, Fault::Status(500)), "pexip/account", "(500)", "management node"),
    (
        |world, _| at_pexip(world, Fault::Rubbish),
        "pexip/account",
        "Pexip gave an answer that cannot be read",
        "check PEXIP_MANAGEMENT_URL",
    ),
    (
        |world, _| at_pexip(world, Fault::Status(404)),
        "pexip/account",
        "not Pexip's management node, but another server answers (404)",
        "check PEXIP_MANAGEMENT_URL",
    ),
    (
        |world, _| world.pexip.set_password("another"),
        "pexip/account",
        "Pexip refuses our account (401)",
        "PEXIP_PASSWORD",
    ),
    (|world, _| world.pexip.accept_basic(false), "pexip/account", "(401)", "Basic authentication switched off"),
    (|world, _| world.pexip.demand_client_certificate(true), "pexip/account", "(401)", "demands a client certificate"),
    (
        |world, settings| {
            settings.extend(world.oauth2_settings());
            world.pexip.demand_client_certificate(true);
        },
        "pexip/account",
        "OAuth2: Pexip refuses our token (401)",
        "demands a client certificate",
    ),
    (
        |world, settings| {
            settings.extend(world.oauth2_settings());
            world.pexip.remove_oauth2_client(OAUTH2_CLIENT);
        },
        "pexip/account",
        "OAuth2: Pexip's token endpoint refuses our client (401, invalid_client)",
        "PEXIP_OAUTH_PRIVATE_KEY is the key of that client",
    ),
    (
        |world, settings| {
            settings.extend(world.oauth2_settings());
            world.pexip.traffic().inject(Call::PexipToken.matching(), Times::Always, Fault::Status(404));
        },
        "pexip/account",
        "OAuth2: the node has no token endpoint (404)",
        "OAuth2 switched on",
    ),
    (
        |world, settings| {
            settings.extend(world.oauth2_settings());
            pexips_clock_is_ahead(world);
        },
        "pexip/account",
        "refuses our client (401, invalid_client); the clocks differ",
        "correct the clock",
    ),
    (
        |world, settings| {
            settings.extend(world.oauth2_settings());
            world.pexip.traffic().inject(Call::PexipToken.matching(), Times::Always, Fault::Status(503));
        },
        "pexip/account",
        "OAuth2: Pexip's token endpoint is busy or broken (503)",
        "management node",
    ),
    (
        |_, settings| {
            let properties = r#"{"call_type": "audio", "enable_chat": "default", "mute_all_guests": true}"#;
            settings.insert("ROOM_PROPERTIES", properties.to_owned());
        },
        "pexip/room_properties",
        "the newest room has other values than ROOM_PROPERTIES in call_type, mute_all_guests",
        "maxconf pool drain",
    ),
    (
        |world, _| world.pexip.hide_pins(),
        "pexip/shown_pins",
        "no room can be handed out",
        "the right to see the PINs of conferences",
    ),
    (
        |world, _| world.pexip.select_services_in_location(false),
        "pexip/event_sink",
        "no location selects it, not even Simulated",
        "select the event sink in each location",
    ),
    (
        |_, settings| drop(settings.insert("POOL_READY_DELAY_SECONDS", "60".to_owned())),
        "pexip/ready_delay",
        "hidden for 60 s only, and replicating one takes at least 90 s",
        "POOL_READY_DELAY_SECONDS to 120",
    ),
    (
        |world, _| at_storage(world, Fault::Status(404)),
        "storage/access",
        "the storage service answered 404",
        "check that PoolStorage names a storage account",
    ),
    (
        |world, _| at_storage(world, Fault::Status(403)),
        "storage/access",
        "the storage service refuses our credentials",
        "a current key",
    ),
    (
        |world, settings| {
            let ended = world.sas_connection_string();
            settings.insert("PoolStorage", ended);
            at_storage(world, Fault::Status(403));
        },
        "storage/access",
        "the storage service refuses our credentials",
        "set PoolStorage to a new signature",
    ),
    (
        |world, _| world.blobs.remove_container(RECORDS),
        "records/container",
        "room-records does not exist",
        "deploy the templates",
    ),
    (
        |world, _| world.blobs.make_public(RECORDS),
        "records/public_access",
        "whoever reaches the service may read the records",
        "set the container's public access to none",
    ),
    (
        |world, _| world.blobs.age(RECORDS, CLAIM, time::Duration::days(13)),
        "records/lifecycle",
        "has not been removed",
        "the rule that removes old records",
    ),
    (
        |world, _| world.blobs.keep_versions(),
        "records/kept_copies",
        "versioning keeps earlier states of records",
        "turn it off",
    ),
    (
        |world, _| world.queue.put(POOL_QUEUE, "MTIzNDU2LDc2NTQzMg"),
        "storage/queue",
        "1 of the first 5 messages in room-creation-queue are not room names of this service",
        "set POOL_QUEUE_NAME to a queue that no other service uses",
    ),
    (
        |_, settings| drop(settings.insert("ROOM_NAME_PREFIX", "other-".to_owned())),
        "pool/stock",
        "most name no such room",
        "ROOM_NAME_PREFIX",
    ),
    (
        |_, settings| drop(settings.insert("ENTRA_TENANT_ID", "99999999-0000-4ccc-8111-dddd2222eeee".to_owned())),
        "entra/keys_v2",
        "Entra answered 400",
        "check ENTRA_TENANT_ID",
    ),
];

fn set_url(settings: &mut Settings, url: &str) {
    settings.insert("PEXIP_MANAGEMENT_URL", url.to_owned());
}

fn at_pexip(world: &World, fault: Fault) {
    world.pexip.traffic().inject(Matching::any(), Times::Always, fault);
}

fn at_storage(world: &World, fault: Fault) {
    world.queue.traffic().inject(Matching::any(), Times::Always, fault);
}

#[tokio::test]
async fn the_way_of_authentication_is_reported() {
    for oauth2 in [false, true] {
        let (world, mut settings) = a_healthy_world().await;
        if oauth2 {
            settings.extend(world.oauth2_settings());
        }
        let (report, code) = examine(&settings).await;
        let way = if oauth2 { "OAuth2" } else { "Basic authentication" };
        let expected = format!("{way}: it may read conferences; 5 rooms of this service exist");
        assert_eq!((texts(&report, "pexip/account").0, code), (expected.as_str(), Some(0)), "{report:#}");
    }
}

#[tokio::test]
async fn each_fault_has_its_text_and_remedy() {
    for (cause, check, says, to_do) in ROWS {
        let (world, mut settings) = a_healthy_world().await;
        cause(&world, &mut settings);
        let (report, _) = examine(&settings).await;
        let (said, remedy) = texts(&report, check);
        assert!(said.ends_with(says) && remedy.contains(to_do), "{check}: {said:?}, {remedy:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_wrong_setting_is_not_shown() {
    const SECRET: &str = "Planted-in-a+setting/of*mine";
    let (_world, settings) = a_healthy_world().await;
    let settings = &settings;
    let named: Vec<_> = Config::settings().map(|setting| setting.name).collect();
    assert!(named.len() > 50, "the settings were found: {named:?}");
    stream::iter(named)
        .map(async |name| {
            let mut secrets = Secrets::default();
            secrets.plant(name, SECRET);
            for output in [&["doctor"][..], &["doctor", "--json"]] {
                let planted = settings.iter().map(|(one, value)| (*one, value.clone()));
                let planted = planted.filter(|(one, _)| *one != name).chain([(name, SECRET.to_owned())]);
                let ended = Program::run(output, planted).await;
                assert!(ended.stdout.len() > 10, "{name}: {ended:?}");
                secrets.assert_not_in(name, &[ended.stdout, ended.stderr].concat().join("\n"));
            }
        })
        .buffer_unordered(CONCURRENT_RUNS)
        .collect::<()>()
        .await;
}

#[tokio::test]
async fn the_json_is_one_object_with_fixed_names() {
    let (world, settings) = a_healthy_world().await;
    world.pexip.set_min_pin_length(9);
    let ended = run(&settings, &["--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&ended.stdout.join("\n")).expect("JSON");
    let members: Vec<_> = report.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(members, ["could_not_tell", "findings", "fine", "not_fine", "warning"]);
    for finding in report["findings"].as_array().expect("findings") {
        let members: Vec<_> = finding.as_object().expect("an object").keys().map(String::as_str).collect();
        match finding["verdict"].as_str().expect("a text") {
            "fine" | "could_not_tell" => assert_eq!(members, ["check", "says", "system", "verdict"]),
            "not_fine" | "warning" => assert_eq!(members, ["check", "says", "system", "to_do", "verdict"]),
            other => panic!("{other}"),
        }
    }
}
