//! The service as the operator has it: its settings, the systems that it calls, and what its callers send. Ids, hosts
//! and PINs are examples.

use std::collections::HashMap;

use crate::World;

/// What IDIM sends for the case `MTIzNDU2LDc2NTQzMg` of the host `id`, as it stands in a query.
pub const UUI_DATA: &str = "6964264d54497a4e4455324c4463324e54517a4d67;encoding=hex";

/// The tag that it becomes.
pub const TAG: &str = "https://id.gov.bc.ca/idcheck/protected/video/MTIzNDU2LDc2NTQzMg";

/// Host PIN of every room: the widget has it in its own configuration.
pub const HOST_PIN: &str = "5207";

/// A registration that calls the same deployment as the initial client.
pub const SECOND_CLIENT_ID: &str = "22222222-3333-4444-8555-666666666666";

/// A second division of agents.
pub const SECOND_DIVISION_ID: &str = "d3f2a1b0-2222-4a2b-8c3d-4e5f6a7b8c9d";

/// The automatic participant that dials out to the agents' queue.
pub const DIAL_OUT_ID: u64 = 7;

/// Name and password of the policy profile's account.
pub const POLICY_ACCOUNT: (&str, &str) = ("conferencing-nodes", "policy-password");

/// Name and password with which Conferencing Nodes report events.
pub const EVENT_ACCOUNT: (&str, &str) = ("conferencing-nodes", "event-sink-password");

/// What the operator sets, beside addresses, sizes, and the account at Pexip.
pub const SETTINGS: [(&str, &str); 20] = [
    ("UUI_DATA_FORMAT", "host-and-id"),
    ("ROOM_TAG_URL", "https://{host}.gov.bc.ca/idcheck/protected/video/"),
    ("ROOM_TAG_HOSTS", "id,idtest"),
    ("ROOM_PIN_LENGTH", "4"),
    ("ROOM_HOST_PIN", HOST_PIN),
    ("CREATE_SHOWS_HOST_PIN", "false"),
    ("ROOM_AUTOMATIC_PARTICIPANTS", "7"),
    (
        "ROOM_PROPERTIES",
        r#"{"call_type":"video","crypto_mode":"on","guest_view":"one_main_zero_pips","host_view":"one_main_zero_pips","max_callrate_in":2048,"max_callrate_out":2048}"#,
    ),
    ("PUBLIC_READ_PREFIXES", "test_,vkiosk_"),
    // Open at all times, so that nothing depends on the time of day.
    ("SERVICE_HOURS", "America/Vancouver Mon-Sun 00:00-24:00"),
    ("ENTRA_AUDIENCE", "own"),
    ("ENTRA_ALLOWED_CLIENT_IDS", "11111111-2222-4333-8444-555555555555,22222222-3333-4444-8555-666666666666"),
    ("ENTRA_CREATE_ROLE", "none"),
    ("ENTRA_READ_ROLE", "none"),
    ("ENTRA_DELETE_ROLE", "none"),
    ("GENESYS_DIVISION_IDS", "d3f2a1b0-1111-4a2b-8c3d-4e5f6a7b8c9d,d3f2a1b0-2222-4a2b-8c3d-4e5f6a7b8c9d"),
    ("PEXIP_POLICY_USERNAME", POLICY_ACCOUNT.0),
    ("PEXIP_POLICY_PASSWORD", POLICY_ACCOUNT.1),
    ("PEXIP_EVENT_USERNAME", EVENT_ACCOUNT.0),
    ("PEXIP_EVENT_PASSWORD", EVENT_ACCOUNT.1),
];

impl World {
    /// Makes the systems be as the operator's: rooms with a dial-out and PINs of four digits, and callers that are one
    /// registration with the API. Pexip still accepts its password.
    pub fn become_the_operators(&self) {
        self.pexip.set_min_pin_length(4);
        self.pexip.add_automatic_participant(DIAL_OUT_ID, "sip:queue@sbc.example.org");
        self.entra.make_callers_the_api();
    }

    /// Makes the systems be as the operator's, and Pexip refuse its password. Returns the settings of the service, which
    /// is an OAuth2 client at Pexip.
    pub fn operators_settings(&self) -> HashMap<&'static str, String> {
        self.become_the_operators();
        let mut settings = self.settings();
        settings.extend(self.oauth2_settings());
        settings.extend(SETTINGS.map(|(name, value)| (name, value.to_owned())));
        settings
    }
}
