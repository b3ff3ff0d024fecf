//! External policy: what is configured on the platform, and what a Conferencing Node is answered there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use futures_util::{StreamExt, stream};
use maxconf_simulators::operator::POLICY_ACCOUNT;
use maxconf_simulators::{Fault, Matching, Server, Times};
use reqwest::header::AUTHORIZATION;
use url::Url;

use super::faults::{answer, list, nodes_of};
use super::{CONCURRENT_RUNS, Settings, a_healthy_world, assert_found, checks, difference, examine, set, texts};
use crate::support::TestApp;

const POLICY_CHECKS: [&str; 4] =
    ["pexip/policy_server", "pexip/policy_switches", "pexip/policy_locations", "pexip/policy_answers"];

/// A service to which no policy server leads yet, in a world without faults, and the doctor's settings.
async fn a_service() -> (TestApp, Settings) {
    let (world, mut settings) = a_healthy_world().await;
    let account = [("PEXIP_POLICY_USERNAME", POLICY_ACCOUNT.0), ("PEXIP_POLICY_PASSWORD", POLICY_ACCOUNT.1)];
    settings.extend(account.map(|(name, value)| (name, value.to_owned())));
    // Without a pool of its own: the doctor examines the healthy world's.
    let mut service = TestApp::with().set("POOL_TARGET_SIZE", 0);
    for (name, value) in account {
        service = service.set(name, value);
    }
    (service.start_in(world).await, settings)
}

fn add_server(app: &TestApp, url: &str) {
    app.pexip.add_policy_server(url.parse().expect("a URL"), POLICY_ACCOUNT.0, POLICY_ACCOUNT.1);
}

async fn a_healthy_service() -> (TestApp, Settings) {
    let (app, settings) = a_service().await;
    add_server(&app, app.url.as_str());
    (app, settings)
}

#[tokio::test]
async fn a_policy_server_that_leads_here_is_fine() {
    let (app, settings) = a_healthy_service().await;

    let found = examine(&settings).await;

    assert_found("no fault", &found, &[], &[]);
    let said = POLICY_CHECKS.map(|check| texts(&found.0, check).0);
    let expected = [
        "a policy profile has our account, and its address needs no plain HTTP",
        "service configuration look-ups are on, everything else is off",
        "Simulated selects it",
        "at the profile's address our account works: an unknown room is refused, a foreign alias is passed on, and a \
         wrong password is refused",
    ];
    assert_eq!(said, expected);
    assert_eq!(checks(&found.0, "could_not_tell"), set(&["pexip/writing", "records/lifecycle"]));
    let writes = app.blobs.traffic().log().into_iter().filter(|call| call.method != "GET" && call.method != "HEAD");
    assert_eq!(writes.count(), 0, "a look-up writes nothing");
}

#[tokio::test]
async fn without_an_account_policy_is_off_and_the_platform_is_not_asked_about_it() {
    let (world, settings) = a_healthy_world().await;

    let found = examine(&settings).await;

    assert_found("off", &found, &[], &[]);
    for check in POLICY_CHECKS {
        assert_eq!(texts(&found.0, check).0, "policy is off: PEXIP_POLICY_USERNAME is not set");
    }
    assert_eq!(world.pexip.traffic().count(&Matching::any().path_contains("/policy_server/")), 0);
}

#[tokio::test]
async fn a_policy_server_of_another_environment_with_an_account_of_the_same_name_is_no_fault() {
    let (app, settings) = a_service().await;
    add_server(&app, app.genesys.api_url().as_str());
    add_server(&app, app.url.as_str());

    assert_found("two policy servers", &examine(&settings).await, &[], &[]);
}

#[tokio::test]
async fn an_account_that_may_not_read_policy_servers_is_no_fault() {
    let (app, settings) = a_healthy_service().await;
    answer(app.pexip.traffic(), "/policy_server/", Fault::Status(403));

    let found = examine(&settings).await;

    assert_found("no right", &found, &[], &[]);
    assert!(checks(&found.0, "could_not_tell").is_superset(&set(&POLICY_CHECKS)), "{:#}", found.0);
    assert_eq!(texts(&found.0, "pexip/policy_answers").0, "the account may not read it");
}

#[tokio::test]
async fn the_documents_name_the_right_to_each_resource_that_is_read() {
    let (app, settings) = a_healthy_service().await;

    examine(&settings).await;

    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("infra/docs/deploying.md");
    let page = fs::read_to_string(page).expect("the document");
    let (_, table) = page.split_once("| Below `/api/admin/` |").expect("the table of rights");
    let rights = table.split("\n\n").next().expect("its rows");
    let paths: BTreeSet<_> = app.pexip.traffic().log().into_iter().map(|call| call.path).collect();
    let read: BTreeSet<_> =
        paths.iter().filter_map(|path| path.strip_prefix("/api/admin/")?.split('/').nth(2)).collect();
    assert!(read.contains("policy_server") && read.contains("worker_vm"), "{read:?}");
    let missing: Vec<_> = read.into_iter().filter(|resource| !rights.contains(&format!("{resource}/`"))).collect();
    assert!(missing.is_empty(), "{missing:?} are not in {rights}");
}

/// A fault, the checks that must report it, and the end of the first one's text with a part of its remedy.
struct PolicyFault {
    what: &'static str,
    cause: fn(&TestApp, &mut Settings),
    not_fine: &'static [&'static str],
    warnings: &'static [&'static str],
    says: &'static str,
    to_do: &'static str,
}

/// With a policy server that leads to the service.
const FAULTS: [PolicyFault; 13] = [
    PolicyFault {
        what: "no policy server",
        cause: |app, _| answer(app.pexip.traffic(), "/policy_server/", list("")),
        not_fine: &["pexip/policy_server"],
        warnings: &[],
        says: "the platform has no policy profile, so no instant room can be joined",
        to_do: "create a policy profile",
    },
    PolicyFault {
        what: "a policy server with another account",
        cause: |_, settings| drop(settings.insert("PEXIP_POLICY_USERNAME", "another".to_owned())),
        not_fine: &["pexip/policy_server"],
        warnings: &[],
        says: "no policy profile has our account, so no instant room can be joined",
        to_do: "set the policy profile's account",
    },
    PolicyFault {
        what: "another password",
        cause: |_, settings| drop(settings.insert("PEXIP_POLICY_PASSWORD", "another".to_owned())),
        not_fine: &["pexip/policy_answers"],
        warnings: &[],
        says: "the service at the profile's address refuses our account (401)",
        to_do: "PEXIP_POLICY_PASSWORD",
    },
    PolicyFault {
        what: "another deployment, whose rooms have other names",
        cause: |_, settings| drop(settings.insert("INSTANT_ROOM_NAME_PREFIX", "other-".to_owned())),
        not_fine: &["pexip/policy_answers"],
        warnings: &[],
        says: "does not refuse an unknown room of ours",
        to_do: "INSTANT_ROOM_NAME_PREFIX",
    },
    PolicyFault {
        what: "records that cannot be read",
        cause: |app, _| answer(app.blobs.traffic(), "vbi-", Fault::Status(503)),
        not_fine: &["pexip/policy_answers"],
        warnings: &[],
        says: "the service at the profile's address answers 503",
        to_do: "the section records",
    },
    PolicyFault {
        what: "no service configuration look-ups",
        cause: |app, _| app.pexip.switch_policy_servers("enable_service_lookup", false),
        not_fine: &["pexip/policy_switches"],
        warnings: &[],
        says: "service configuration look-ups are off, so no instant room can be joined",
        to_do: "switch service configuration look-ups on",
    },
    PolicyFault {
        what: "other look-ups",
        cause: |app, _| {
            for name in [
                "enable_registration_lookup",
                "enable_avatar_lookup",
                "enable_directory_lookup",
                "enable_media_location_lookup",
                "enable_participant_lookup",
            ] {
                app.pexip.switch_policy_servers(name, true);
            }
        },
        not_fine: &[],
        warnings: &["pexip/policy_switches"],
        says: "also on: enable_avatar_lookup, enable_directory_lookup, enable_media_location_lookup, \
               enable_participant_lookup, enable_registration_lookup; the service answers no such look-up, and a local \
               policy script may overrule its answers",
        to_do: "devices may fail to register",
    },
    PolicyFault {
        what: "a script on the node",
        cause: |app, _| app.pexip.switch_policy_servers("enable_internal_service_policy", true),
        not_fine: &[],
        warnings: &["pexip/policy_switches"],
        says: "also on: enable_internal_service_policy; the service answers no such look-up, and a local policy script \
               may overrule its answers",
        to_do: "switch everything but service configuration look-ups off",
    },
    PolicyFault {
        what: "a switch for http that is not needed",
        cause: |app, _| {
            let record = r#"{"url": "https://127.0.0.1:1", "username": "conferencing-nodes", "allow_http": true,
                "enable_service_lookup": true, "resource_uri": "/api/admin/configuration/v1/policy_server/1/"}"#;
            answer(app.pexip.traffic(), "/policy_server/", list(record));
        },
        not_fine: &[],
        warnings: &["pexip/policy_server", "pexip/policy_answers"],
        says: "Allow HTTP is on, which its address does not need",
        to_do: "switch Allow HTTP off",
    },
    PolicyFault {
        what: "an address that is none",
        cause: |app, _| {
            let record = r#"{"url": "vbv.example.org", "username": "conferencing-nodes", "allow_http": null,
                "enable_service_lookup": true, "resource_uri": "/api/admin/configuration/v1/policy_server/1/"}"#;
            answer(app.pexip.traffic(), "/policy_server/", list(record));
        },
        not_fine: &["pexip/policy_server"],
        warnings: &[],
        says: "its address is not that of a service",
        to_do: "https://",
    },
    PolicyFault {
        what: "a location without the policy server",
        cause: |app, _| {
            nodes_of(
                app.pexip.traffic(),
                r#"{"version": "40", "system_location": "A"}, {"version": "40", "system_location": "B"}"#,
            );
            let sinks = r#""event_sinks": ["/api/admin/configuration/v1/event_sink/1/"]"#;
            let server = r#"{"resource_uri": "/api/admin/configuration/v1/policy_server/1/"}"#;
            let locations = format!(
                r#"{{"name": "A", {sinks}, "policy_server": {server}}}, {{"name": "B", {sinks}, "policy_server": null}}"#
            );
            answer(app.pexip.traffic(), "/system_location/", list(&locations));
        },
        not_fine: &[],
        warnings: &["pexip/policy_locations"],
        says: "B does not select it, so no instant room can be joined there",
        to_do: "select the policy profile in each location",
    },
    PolicyFault {
        what: "a policy server that no location selects",
        cause: |app, _| {
            let sinks = r#""event_sinks": ["/api/admin/configuration/v1/event_sink/1/"]"#;
            let other = r#""policy_server": "/api/admin/configuration/v1/policy_server/2/""#;
            let location = format!(r#"{{"name": "Simulated", {sinks}, {other}}}"#);
            answer(app.pexip.traffic(), "/system_location/", list(&location));
        },
        not_fine: &["pexip/policy_locations"],
        warnings: &[],
        says: "no location selects it, not even Simulated: no instant room can be joined",
        to_do: "select the policy profile in each location",
    },
    PolicyFault {
        what: "a list of policy servers without an answer",
        cause: |app, _| answer(app.pexip.traffic(), "/policy_server/", Fault::Stall),
        not_fine: &["pexip/policy_server"],
        warnings: &[],
        says: "no answer in time",
        to_do: "check the load of the management node",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_policy_is_found_by_its_own_check() {
    let wrong: Vec<_> = stream::iter(FAULTS)
        .map(async |fault| {
            let (app, mut settings) = a_healthy_service().await;
            (fault.cause)(&app, &mut settings);
            wrong(&examine(&settings).await, &fault)
        })
        .buffer_unordered(CONCURRENT_RUNS)
        .filter_map(async |wrong| wrong)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn wrong(found: &(serde_json::Value, Option<i32>), fault: &PolicyFault) -> Option<String> {
    let check = fault.not_fine.first().or(fault.warnings.first()).expect("a check");
    let (says, to_do) = texts(&found.0, check);
    let has_texts = says.ends_with(fault.says) && to_do.contains(fault.to_do);
    difference(found, fault.not_fine, fault.warnings)
        .or((!has_texts).then(|| format!("{says}; {to_do}")))
        .map(|difference| format!("{}: {difference}", fault.what))
}

/// An address of the policy server, the checks that report it, and the end of the text of the first.
#[tokio::test]
async fn each_wrong_address_is_found() {
    type Row = (fn(&TestApp) -> Url, Option<bool>, &'static [&'static str], &'static [&'static str], &'static str);
    let url = |text: &str| text.parse::<Url>().expect("a URL");
    let rows: [Row; 5] = [
        (
            |app| app.genesys.api_url().clone(),
            None,
            &["pexip/policy_answers"],
            &[],
            "another server answers at the profile's address (404)",
        ),
        (
            |app| app.url.join("policy/v1/service/configuration").expect("a path"),
            None,
            &["pexip/policy_answers"],
            &[],
            "the service at the profile's address does not know the route (404)",
        ),
        (
            |_| "http://127.0.0.1:1/".parse().expect("a URL"),
            None,
            &[],
            &["pexip/policy_answers"],
            "from here the profile's address cannot be reached (TCP: connection refused)",
        ),
        (
            |_| "http://vbv.example.org/".parse().expect("a URL"),
            None,
            &[],
            &["pexip/policy_server"],
            "its address is http: PINs and the account cross the network unencrypted",
        ),
        (
            |_| "http://vbv.example.org/".parse().expect("a URL"),
            Some(false),
            &["pexip/policy_server"],
            &[],
            "its address is http, which the platform does not allow",
        ),
    ];
    for (address, allow_http, not_fine, warnings, says) in rows {
        let (app, settings) = a_service().await;
        add_server(&app, address(&app).as_str());
        if let Some(is_on) = allow_http {
            app.pexip.switch_policy_servers("allow_http", is_on);
        }
        let found = examine(&settings).await;
        assert_found(says, &found, not_fine, warnings);
        let check = not_fine.first().or(warnings.first()).expect("a check");
        assert!(texts(&found.0, check).0.ends_with(says), "{says}: {:#}", found.0);
        if address(&app).host_str() == url("http://vbv.example.org/").host_str() {
            assert!(checks(&found.0, "could_not_tell").contains("pexip/policy_answers"), "the account was not sent");
        }
    }
}

/// What a server in place of the service answers: status, whether it says its version, and action.
type Answers = fn(query: &str, headers: &HeaderMap) -> (u16, bool, &'static str);

async fn in_place_of_the_service(answers: Answers) -> Server {
    let answer = async move |request: Request| {
        let (status, has_version, action) = answers(request.uri().query().unwrap_or_default(), request.headers());
        let mut headers = HeaderMap::new();
        if has_version {
            headers.insert("maxconf-version", "1.0.0".parse().expect("a header value"));
        }
        let body = format!(r#"{{"status": "success", "action": "{action}"}}"#);
        (StatusCode::from_u16(status).expect("a status"), headers, body)
    };
    Server::start(Router::new().fallback(answer)).await
}

fn has_the_password(headers: &HeaderMap) -> bool {
    let expected = reqwest::Client::new().get("http://127.0.0.1/").basic_auth(POLICY_ACCOUNT.0, Some(POLICY_ACCOUNT.1));
    headers.get(AUTHORIZATION) == expected.build().expect("a request").headers().get(AUTHORIZATION)
}

#[tokio::test]
async fn a_service_that_decides_wrongly_is_found() {
    let rows: [(Answers, &[&str], &str); 5] = [
        (
            |_, headers| if has_the_password(headers) { (200, true, "reject") } else { (401, true, "") },
            &["pexip/policy_answers"],
            "a foreign alias is not passed on (200): calls to other rooms may fail",
        ),
        (
            |query, _| (200, true, if query.contains("vbi-") { "reject" } else { "continue" }),
            &["pexip/policy_answers"],
            "a wrong password is accepted: whoever knows a room's name gets its PINs",
        ),
        (
            |query, headers| match (has_the_password(headers), query.contains("vbi-")) {
                (true, true) => (200, true, "reject"),
                (true, false) => (200, true, "continue"),
                (false, _) => (503, true, ""),
            },
            &[],
            "a look-up with a wrong password is answered 503",
        ),
        (
            |_, _| (401, false, ""),
            &["pexip/policy_answers"],
            "a gateway at the profile's address refuses the look-up (401)",
        ),
        (
            |_, _| (403, false, ""),
            &[],
            "the gateway at the profile's address refuses this machine (403), which is no Conferencing Node",
        ),
    ];
    for (answers, not_fine, says) in rows {
        let (app, settings) = a_service().await;
        let server = in_place_of_the_service(answers).await;
        add_server(&app, server.url().as_str());

        let found = examine(&settings).await;

        assert_found(says, &found, not_fine, &[]);
        assert_eq!(texts(&found.0, "pexip/policy_answers").0, says);
    }
}

#[tokio::test]
async fn a_server_that_never_answers_does_not_delay_the_report() {
    let (app, settings) = a_service().await;
    app.genesys.traffic().inject(Matching::any().path_contains("/policy/"), Times::Always, Fault::Stall);
    add_server(&app, app.genesys.api_url().as_str());

    let found = examine(&settings).await;

    assert_found("no answer", &found, &["pexip/policy_answers"], &[]);
    assert_eq!(texts(&found.0, "pexip/policy_answers").0, "no answer in time");
}
