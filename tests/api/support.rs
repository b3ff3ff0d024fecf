//! What every test needs: the running service, its simulated dependencies, and its answers.

mod agent;
mod ahead;
mod answer;
mod app;
mod azurite;
mod browser;
mod call;
mod companion;
mod hours;
mod identity;
mod idim;
mod log;
mod package;
mod pem_file;
mod program;
mod promises;
mod queue;
mod raw;
mod records;
mod secrets;
mod waiting;

use maxconf_simulators::StoredRoom;

pub(crate) use maxconf_simulators::world::{POOL_QUEUE, World};

pub(crate) use agent::{HANDED_OUT, TOKENS_ME, USERS_ME, assert_agent_refused};
pub(crate) use ahead::Ahead;
pub(crate) use answer::Answer;
pub(crate) use app::{Another, TestApp, TestAppBuilder, on_every_host};
pub(crate) use azurite::Azurite;
pub(crate) use browser::Browser;
pub(crate) use call::Call;
pub(crate) use hours::{ALWAYS_OPEN, opening_in};
pub(crate) use identity::Identity;
pub(crate) use idim::{
    IDIM_CREATE, IDIM_DELETE, IDIM_READ, IDIM_ROUTES, INVALID_ENTRA_TOKEN, IdimRoute, assert_token_invalid,
    v1_key_fetches, v2_key_fetches,
};
pub(crate) use log::{CapturedLog, print_log_if_wanted};
pub(crate) use package::unpacked;
pub(crate) use pem_file::PemFile;
pub(crate) use program::{Ended, Program};
pub(crate) use promises::Promises;
pub(crate) use queue::{TestQueue, a_name, room_queue};
pub(crate) use records::TestRecords;
pub(crate) use secrets::Secrets;
pub(crate) use waiting::{eventually, stop_time, time_between_readings_passes, time_passes, time_passes_until, within};

/// `123456,765432`, the case in the customer's own documents, and the tag that it becomes.
pub(crate) const UUI_DATA: &str = "3132333435362c373635343332";
pub(crate) const TAG: &str = "https://id.gov.bc.ca/idcheck/MTIzNDU2LDc2NTQzMg";

/// A room as this service makes it for the pool.
pub(crate) fn ready_room(name: impl Into<String>) -> StoredRoom {
    let name = name.into();
    let room = StoredRoom::named(&name).with_alias(name).with_pins("123456", "654321");
    room.described("ready-until=2999-01-01T00:00:00Z")
}

/// `uuiData` and tag of a citizen with this number: different ones for different numbers.
pub(crate) fn citizen(number: usize) -> (String, String) {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let case = format!("{number:06},765432");
    (hex::encode(&case), format!("https://id.gov.bc.ca/idcheck/{}", URL_SAFE_NO_PAD.encode(&case)))
}
