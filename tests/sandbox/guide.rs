use std::time::Duration;

use maxconf_simulators::World;
use maxconf_simulators::entra::{CLIENT_ID, CLIENT_SECRET};
use maxconf_simulators::operator::{EVENT_ACCOUNT, POLICY_ACCOUNT, TAG, UUI_DATA};
use maxconf_simulators::pexip::ConferencingNode;
use url::Url;

use crate::RoomSource;
use crate::world::{CONSOLE_POOL_SIZE, KIOSK};

/// How long the printed token of an administrator of Pexip is valid.
const ADMINISTRATORS_TOKEN: Duration = Duration::from_secs(30 * 86_400);

/// Prints the addresses, and commands to copy.
pub(crate) fn print(world: &World, source: RoomSource, node: &ConferencingNode, service: &Url, console: &Url) {
    let (rooms, asked) = match source {
        RoomSource::Pool => (
            format!("{CONSOLE_POOL_SIZE} rooms in its pool"),
            "the node looks into its own database, where rooms of the pool are",
        ),
        RoomSource::Instant => ("every room is an instant room".to_owned(), "the node gets the room"),
    };
    let token_url = world.entra.token_url();
    let scope = world.entra.scope();
    let genesys_token = world.genesys.issue_token();
    println!(
        r#"
The console: {console}   (the service at work, its callers as buttons, its API to read)
The room service is ready: {service}   ({rooms}, two instances; Ctrl-C ends it)
Everything is as the operator has it: OAuth2 at Pexip, tokens for IDIM's own registration, host&id as uuiData.
Each request shows up here as a line, below the calls that it made.

Copy into another terminal:

  # 1. IDIM gets a token from Entra, for its own registration
  TOKEN=$(curl -s {token_url} -d grant_type=client_credentials -d client_id={CLIENT_ID} \
    -d client_secret={CLIENT_SECRET} -d scope={scope} | sed 's/.*"access_token":"\([^"]*\)".*/\1/')

  # 2. IDIM creates a room for the case id&MTIzNDU2LDc2NTQzMg, in hexadecimal; its tag is
  #    {TAG}
  ANSWER=$(curl -s -X POST "{service}room/create?uuiData={UUI_DATA}" \
    -H "Authorization: Bearer $TOKEN"); echo $ANSWER
  ROOM=$(echo $ANSWER | sed 's/.*"name":"\([^"]*\)".*/\1/')

  # 3. the agent's widget reads it, with the host PIN that IDIM does not get; and a kiosk's room beside ours
  curl -s {service}public/room/$ROOM -H "x-auth-token: {genesys_token}"; echo
  curl -s {service}public/room/{KIOSK} -H "x-auth-token: {genesys_token}"; echo

  # what a Conferencing Node asks before it connects a call: {asked}
  curl -sG {service}policy/v1/service/configuration -u {policy_user}:{policy_password} -d local_alias=$ROOM; echo

  # 4. the citizen joins on a Conferencing Node, and leaves; the room stays empty, so it is gone within a minute
  PIN=$(echo $ANSWER | sed 's/.*"guest_pin":"\([^"]*\)".*/\1/'); CALL={node}api/client/v2/conferences/$ROOM
  JOINED=$(curl -s $CALL/request_token -H "pin: $PIN" --json '{{"display_name":"A citizen"}}' |
    sed 's/.*"token":"\([^"]*\)".*/\1/')
  curl -s $CALL/release_token -H "token: $JOINED" --json '{{}}'; echo

  # what the node reports then
  curl -si {service}public/event_sink -u {event_user}:{event_password} \
    --json '{{"event":"conference_ended","data":{{"name":"'$ROOM'"}}}}' | head -n 1

  # 5. or IDIM ends it
  curl -si -X DELETE {service}room/$ROOM -H "Authorization: Bearer $TOKEN" | head -n 1

  # the rooms that the Pexip simulator holds, and whether everything is well
  curl -s -H "Authorization: Bearer {administrator}" "{pexip}api/admin/configuration/v1/conference/?limit=100" |
    grep -oE '"(name|description|tag)":"[^"]+"'
  curl -s {service}health/ready; echo
"#,
        policy_user = POLICY_ACCOUNT.0,
        policy_password = POLICY_ACCOUNT.1,
        event_user = EVENT_ACCOUNT.0,
        event_password = EVENT_ACCOUNT.1,
        administrator = world.pexip.issue_oauth2_token(ADMINISTRATORS_TOKEN),
        pexip = world.pexip.management_url(),
        node = node.server().url(),
    );
}

/// Prints the addresses of the simulators that `local.settings.json` names.
pub(crate) fn print_simulators(world: &World, node: &ConferencingNode) {
    println!("Simulators for a service with the settings of local.settings.json. Press Ctrl-C to stop them.");
    println!("  Pexip    {}   Conferencing Node: {}", world.pexip.management_url(), node.server().url());
    println!("  Entra    {}", world.entra.authority_url());
    println!("  Genesys  {}   x-auth-token: {}", world.genesys.api_url(), world.genesys.issue_token());
}
