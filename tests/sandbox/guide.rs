use maxconf_simulators::World;
use maxconf_simulators::entra::{CLIENT_ID, CLIENT_SECRET};
use maxconf_simulators::pexip::ConferencingNode;
use url::Url;

use crate::world::{POOL_SIZE, scope};

/// Prints the addresses, and commands to copy.
pub(crate) fn print(world: &World, node: &ConferencingNode, service: &Url, reference: &Url) {
    let token_url = world.entra.token_url();
    let scope = scope(world);
    let genesys_token = world.genesys.issue_token();
    println!(
        r#"
The room service is ready: {service}   ({POOL_SIZE} rooms in its pool; Ctrl-C ends it)
Each request shows up here as a line, below the calls that it made.
Its API to read: {reference}

Copy into another terminal:

  # 1. IDIM gets a token from Entra
  TOKEN=$(curl -s {token_url} -d grant_type=client_credentials -d client_id={CLIENT_ID} \
    -d client_secret={CLIENT_SECRET} -d scope={scope} | sed 's/.*"access_token":"\([^"]*\)".*/\1/')

  # 2. IDIM creates a room; its tag ends in MTIzNDU2LDc2NTQzMg, the case 123456,765432
  ANSWER=$(curl -s -X POST "{service}room/create?uuiData=3132333435362c373635343332" \
    -H "Authorization: Bearer $TOKEN"); echo $ANSWER
  ROOM=$(echo $ANSWER | sed 's/.*"name":"\([^"]*\)".*/\1/')

  # 3. the agent's widget reads it
  curl -s {service}public/room/$ROOM -H "x-auth-token: {genesys_token}"; echo

  # 4. the citizen joins on a Conferencing Node, and leaves; the room stays empty, so it is gone within a minute
  PIN=$(echo $ANSWER | sed 's/.*"guest_pin":"\([^"]*\)".*/\1/'); CALL={node}api/client/v2/conferences/$ROOM
  JOINED=$(curl -s $CALL/request_token -H "pin: $PIN" --json '{{"display_name":"A citizen"}}' |
    sed 's/.*"token":"\([^"]*\)".*/\1/')
  curl -s $CALL/release_token -H "token: $JOINED" --json '{{}}'; echo

  # 5. or IDIM ends it
  curl -si -X DELETE {service}room/$ROOM -H "Authorization: Bearer $TOKEN" | head -n 1

  # the rooms that the Pexip simulator holds, and whether everything is well
  curl -s -u {user}:{password} "{pexip}api/admin/configuration/v1/conference/?limit=100" |
    grep -oE '"(name|description|tag)":"[^"]+"'
  curl -s {service}health/ready; echo
"#,
        user = world.pexip.username(),
        password = world.pexip.password(),
        pexip = world.pexip.management_url(),
        node = node.server().url(),
    );
}

/// Prints the addresses of the simulators that `local.settings.json` names.
pub(crate) fn print_simulators(world: &World) {
    println!("Simulators for a service with the settings of local.settings.json. Press Ctrl-C to stop them.");
    println!("  Pexip    {}", world.pexip.management_url());
    println!("  Entra    {}", world.entra.authority_url());
    println!("  Genesys  {}   x-auth-token: {}", world.genesys.api_url(), world.genesys.issue_token());
}
