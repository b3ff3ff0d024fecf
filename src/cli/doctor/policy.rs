//! Examines external policy: what is configured on the platform, and what a Conferencing Node is answered there.

use std::time::Duration;

use futures_util::future::join_all;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use reqwest::{Client, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::finding::{Finding, Verdict};
use super::locations::{Locations, Selection};
use super::pexip::read;
use super::{CALL_LIMIT, INVALID_SETTINGS, NO_ANSWER, in_time, no_client};
use crate::cli::look_up::{LOOK_UP_PATH, look_up_query};
use crate::config::{BasicAccount, ConfigParts, base_url};
use crate::domain::{Clock, RoomNamePrefix};
use crate::outbound::{CallFailure, client_builder, json, send};
use crate::pexip::{PexipClient, PolicyServerRecord, SystemLocation};

const SERVER: &str = "policy_server";
const SWITCHES: &str = "policy_switches";
const LOCATIONS: &str = "policy_locations";
const ANSWERS: &str = "policy_answers";

/// Every answer of the service has this header. A gateway's own answer has not.
const SERVICE_VERSION: &str = "maxconf-version";

/// Not in the form of a room name.
const FOREIGN_ALIAS: &str = "maxconf-doctor-nobodys-room";

const LARGEST_ANSWER: usize = 64 * 1024;

/// The findings of the four checks. A policy server is called policy profile in Pexip's web interface, and here.
pub(super) async fn examine(pexip: &PexipClient, settings: &ConfigParts, clock: &Clock) -> [Finding; 4] {
    let (account, prefix) = match (&settings.pexip_policy, &settings.instant) {
        (Ok(Some(account)), Ok(instant)) => (account, &instant.prefix),
        (Ok(None), _) => {
            return [SERVER, SWITCHES, LOCATIONS, ANSWERS]
                .map(|check| Finding::fine(check, "policy is off: PEXIP_POLICY_USERNAME is not set"));
        }
        (Ok(Some(_)), Err(_)) | (Err(_), _) => {
            return [SERVER, SWITCHES, LOCATIONS, ANSWERS]
                .map(|check| Finding::could_not_tell(check, INVALID_SETTINGS));
        }
    };
    let servers = read(SERVER, pexip.policy_servers()).await.and_then(|servers| with_account(servers, account));
    let servers = match servers {
        Ok(servers) => servers,
        Err(finding) => {
            let reason = match finding.verdict {
                Verdict::CouldNotTell => finding.says.clone(),
                _ => format!("not tried: {SERVER} did not pass"),
            };
            let [switches, locations, answers] =
                [SWITCHES, LOCATIONS, ANSWERS].map(|check| Finding::could_not_tell(check, reason.clone()));
            return [finding, switches, locations, answers];
        }
    };
    let (asked, locations) = tokio::join!(ask_all(servers, account, prefix, clock), Locations::read(LOCATIONS, pexip));
    let (ours, answers) = asked;
    let locations = locations.map(|locations| check_locations(&locations, &ours));
    [check_addresses(&ours), check_switches(&ours), Finding::of(locations), answers]
}

/// The policy servers with our account's name. Other environments on the same platform have theirs.
fn with_account(servers: Vec<PolicyServerRecord>, account: &BasicAccount) -> Result<Vec<PolicyServerRecord>, Finding> {
    if servers.is_empty() {
        return Err(Finding::not_fine(
            SERVER,
            "the platform has no policy profile, so no instant room can be joined",
            "create a policy profile on Pexip with this service's address and the account of PEXIP_POLICY_USERNAME, and \
             select it in each location",
        ));
    }
    let ours: Vec<_> = servers.into_iter().filter(|server| server.username == account.username).collect();
    if ours.is_empty() {
        return Err(Finding::not_fine(
            SERVER,
            "no policy profile has our account, so no instant room can be joined",
            "set the policy profile's account to PEXIP_POLICY_USERNAME and PEXIP_POLICY_PASSWORD",
        ));
    }
    Ok(ours)
}

/// Asks each policy server, as a node does. Returns those that lead here; if none does, those of which it is not known.
async fn ask_all(
    servers: Vec<PolicyServerRecord>,
    account: &BasicAccount,
    prefix: &RoomNamePrefix,
    clock: &Clock,
) -> (Vec<PolicyServerRecord>, Finding) {
    let http = match client_builder(Duration::from_secs(2)).build().map_err(no_client(ANSWERS)) {
        Ok(http) => http,
        Err(finding) => return (servers, finding),
    };
    let asked = servers.iter().map(async |server| Finding::of(ask(server, account, prefix, clock, &http).await));
    let asked = join_all(asked).await;
    // Those of other environments may have an account of the same name.
    let rank = |finding: &Finding| match finding.verdict {
        Verdict::Fine => 0,
        Verdict::Warning | Verdict::CouldNotTell => 1,
        Verdict::NotFine => 2,
    };
    let best = asked.iter().map(rank).min();
    let (ours, mut findings): (Vec<_>, Vec<_>) =
        servers.into_iter().zip(asked).filter(|(_, finding)| Some(rank(finding)) == best).unzip();
    (ours, findings.swap_remove(0))
}

/// What a look-up is answered.
struct Decision {
    status: u16,
    is_by_service: bool,
    /// Empty if there is none.
    action: String,
}

async fn ask(
    server: &PolicyServerRecord,
    account: &BasicAccount,
    prefix: &RoomNamePrefix,
    clock: &Clock,
    http: &Client,
) -> Result<Finding, Finding> {
    let Ok(base) = base_url(&server.url) else {
        let says = "not tried: the account is sent over https only, to an address without account and query";
        return Err(Finding::could_not_tell(ANSWERS, says));
    };
    let look_up = |alias: &str, password: &SecretString| look_up(http, &base, alias, &account.username, password);
    let unknown = prefix.mint(clock.now(), &mut UnwrapErr(SysRng));
    let wrong_password = format!("{:032x}", rand::random::<u128>()).into();
    let (unknown, foreign, wrong) = tokio::join!(
        decide(look_up(unknown.as_str(), &account.password)),
        decide(look_up(FOREIGN_ALIAS, &account.password)),
        decide(look_up(FOREIGN_ALIAS, &wrong_password)),
    );
    let (unknown, foreign, wrong) = (unknown?, foreign?, wrong?);
    check_unknown(&unknown)?;
    if (foreign.status, foreign.action.as_str()) != (200, "continue") {
        return Err(Finding::not_fine(
            ANSWERS,
            format!("a foreign alias is not passed on ({}): calls to other rooms may fail", foreign.status),
            "deselect the policy profile in the locations, and look at the log of the service",
        ));
    }
    match wrong.status {
        401 => Ok(Finding::fine(
            ANSWERS,
            "at the profile's address our account works: an unknown room is refused, a foreign alias is passed on, and \
             a wrong password is refused",
        )),
        200 => Err(Finding::not_fine(
            ANSWERS,
            "a wrong password is accepted: whoever knows a room's name gets its PINs",
            "check that no gateway on the way sends the account itself",
        )),
        // An outage began, or a gateway answered: nobody judged the password.
        status => {
            Err(Finding::could_not_tell(ANSWERS, format!("a look-up with a wrong password is answered {status}")))
        }
    }
}

/// Whether the service refuses an unknown room, which shows that it is this deployment and accepts our account.
fn check_unknown(decision: &Decision) -> Result<(), Finding> {
    let (says, to_do) = match (decision.status, decision.is_by_service) {
        (200, true) if decision.action == "reject" => return Ok(()),
        (403, false) => {
            let says = "the gateway at the profile's address refuses this machine (403), which is no Conferencing Node";
            return Err(Finding::could_not_tell(ANSWERS, says));
        }
        (401, false) => (
            "a gateway at the profile's address refuses the look-up (401)".to_owned(),
            "exempt the route from the gateway's tokens and subscription keys: nodes send their account only",
        ),
        (status, false) => (
            format!("another server answers at the profile's address ({status})"),
            "set the policy profile's address to this service's, without /policy/v1: nodes append it",
        ),
        (200, true) => (
            "the service at the profile's address does not refuse an unknown room of ours".to_owned(),
            "set the policy profile's address to this deployment's: another has another INSTANT_ROOM_NAME_PREFIX",
        ),
        (401, true) => (
            "the service at the profile's address refuses our account (401)".to_owned(),
            "set the policy profile's address to this deployment's, and its account to PEXIP_POLICY_USERNAME and \
             PEXIP_POLICY_PASSWORD",
        ),
        (404, true) => (
            "the service at the profile's address does not know the route (404)".to_owned(),
            "set the policy profile's address to this service's, without /policy/v1: nodes append it; and set \
             PEXIP_POLICY_USERNAME in the running service too",
        ),
        (status, true) => (
            format!("the service at the profile's address answers {status}"),
            "look at the section records, and at the log of the service",
        ),
    };
    Err(Finding::not_fine(ANSWERS, says, to_do))
}

/// The request of a node for a join in a browser.
fn look_up(http: &Client, base: &Url, alias: &str, username: &str, password: &SecretString) -> RequestBuilder {
    let mut url = base.clone();
    url.set_path(&format!("{}{LOOK_UP_PATH}", base.path()));
    let query = look_up_query(alias, "api", "web");
    http.get(url).query(&query).basic_auth(username, Some(password.expose_secret()))
}

async fn decide(look_up: RequestBuilder) -> Result<Decision, Finding> {
    #[derive(Deserialize)]
    struct Body {
        action: String,
    }
    let decision = async {
        let response = send(look_up).await?;
        let (status, is_by_service) = (response.status().as_u16(), response.headers().contains_key(SERVICE_VERSION));
        // A refusal has another body, or none.
        let action = json::<Body>(response, LARGEST_ANSWER).await.map(|body| body.action).unwrap_or_default();
        Ok(Decision { status, is_by_service, action })
    };
    let to_do = "check the policy profile's address and the way there: a node waits 5 s, then uses its own database";
    match in_time(CALL_LIMIT, decision).await {
        Some(Ok(decision)) => Ok(decision),
        // The nodes are in another network.
        Some(Err(failure @ CallFailure::Unreachable(_))) => {
            Err(Finding::warning(ANSWERS, format!("from here the profile's address {failure}"), to_do))
        }
        Some(Err(failure)) => Err(Finding::not_fine(ANSWERS, format!("the profile's address {failure}"), to_do)),
        None => Err(Finding::not_fine(ANSWERS, NO_ANSWER, to_do)),
    }
}

/// The first problem of an address.
fn check_addresses(servers: &[PolicyServerRecord]) -> Finding {
    let problem = |server: &PolicyServerRecord| {
        let to_do = "set the policy profile's address to https://…, and switch Allow HTTP off";
        let is_http = Url::parse(&server.url).is_ok_and(|url| url.scheme() == "http");
        match server.allow_http {
            // http on this machine's loopback address is accepted.
            _ if is_http && base_url(&server.url).is_ok() => None,
            Some(false) if is_http => {
                Some(Finding::not_fine(SERVER, "its address is http, which the platform does not allow", to_do))
            }
            _ if is_http => {
                let says = "its address is http: PINs and the account cross the network unencrypted";
                Some(Finding::warning(SERVER, says, to_do))
            }
            _ if base_url(&server.url).is_err() => {
                Some(Finding::not_fine(SERVER, "its address is not that of a service", to_do))
            }
            Some(true) => Some(Finding::warning(SERVER, "Allow HTTP is on, which its address does not need", to_do)),
            Some(false) | None => None,
        }
    };
    let fine = || Finding::fine(SERVER, "a policy profile has our account, and its address needs no plain HTTP");
    servers.iter().find_map(problem).unwrap_or_else(fine)
}

fn check_switches(servers: &[PolicyServerRecord]) -> Finding {
    if !servers.iter().any(PolicyServerRecord::looks_up_services) {
        return Finding::not_fine(
            SWITCHES,
            "service configuration look-ups are off, so no instant room can be joined",
            "switch service configuration look-ups on in the policy profile",
        );
    }
    let mut others: Vec<_> = servers.iter().flat_map(PolicyServerRecord::other_switches).collect();
    others.sort_unstable();
    others.dedup();
    if others.is_empty() {
        return Finding::fine(SWITCHES, "service configuration look-ups are on, everything else is off");
    }
    Finding::warning(
        SWITCHES,
        format!(
            "also on: {}; the service answers no such look-up, and a local policy script may overrule its answers",
            others.join(", ")
        ),
        "switch everything but service configuration look-ups off in the policy profile: with registration look-ups \
         devices may fail to register",
    )
}

fn check_locations(locations: &Locations, servers: &[PolicyServerRecord]) -> Finding {
    let selects = |location: &SystemLocation| servers.iter().any(|server| location.asks(server));
    let to_do = "select the policy profile in each location whose Conferencing Nodes people dial";
    match locations.selection(selects) {
        Selection::All(names) => Finding::fine(LOCATIONS, format!("{names} selects it")),
        Selection::None(names) => Finding::not_fine(
            LOCATIONS,
            format!("no location selects it, not even {names}: no instant room can be joined"),
            to_do,
        ),
        Selection::Some { without } => {
            let says = format!("{without} does not select it, so no instant room can be joined there");
            Finding::warning(LOCATIONS, says, to_do)
        }
    }
}
