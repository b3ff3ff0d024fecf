//! Secret types cannot be printed or serialised by accident, and types that hold them do not show them.

use std::ffi::OsString;
use std::fmt::{Display, LowerHex};
use std::marker::PhantomData;
use std::time::Duration;

use maxconf::app::App;
use maxconf::auth::{EntraVerifier, GenesysVerifier};
use maxconf::config::{
    BasicAccount, Config, EntraConfig, GenesysConfig, PexipAccount, PexipConfig, PrivateKey, QueueConfig, RoomConfig,
    ServerConfig, StorageAccess, TelemetryConfig,
};
use maxconf::domain::Clock;
use maxconf::domain::{HostPin, Marks, Pin, Pins, RoomName, RoomProperties, Tag, TagRule, UuiData};
use maxconf::outbound::client_builder;
use maxconf::pexip::{Conference, Listing, NewConference, PexipClient};
use maxconf::rooms::{HandedOut, Undelivered};
use maxconf::storage::queue::{LeasedMessage, RoomQueue};
use maxconf_simulators::StoredRoom;
use secrecy::{SecretSlice, SecretString};
use serde::Serialize;

use super::{CASE, Credential, HANDED_OUT, PASSWORD, PINS, known_secrets, oauth2_settings, tag, talkative_settings};
use crate::support::{TestQueue, World};

/// Determines at compile time which printing traits a type implements: an inherent associated constant, whose bound
/// requires the trait, takes precedence over a trait's constant.
struct Shows<T>(PhantomData<T>);

trait Silent {
    const AS_TEXT: bool = false;
    const AS_JSON: bool = false;
    const AS_HEXADECIMAL: bool = false;
    const AS_STR: bool = false;
    const AS_BYTES: bool = false;
}

impl<T> Silent for Shows<T> {}

impl<T: Display> Shows<T> {
    const AS_TEXT: bool = true;
}

impl<T: Serialize> Shows<T> {
    const AS_JSON: bool = true;
}

impl<T: LowerHex> Shows<T> {
    const AS_HEXADECIMAL: bool = true;
}

impl<T: AsRef<str>> Shows<T> {
    const AS_STR: bool = true;
}

impl<T: AsRef<[u8]>> Shows<T> {
    const AS_BYTES: bool = true;
}

macro_rules! shows_nothing {
    ($($type:ty),+ $(,)?) => {
        $(const _: () = {
            let shown = concat!(stringify!($type), " can be printed, so a secret could get into a log");
            assert!(!Shows::<$type>::AS_TEXT && !Shows::<$type>::AS_JSON && !Shows::<$type>::AS_HEXADECIMAL, "{}", shown);
            assert!(!Shows::<$type>::AS_STR && !Shows::<$type>::AS_BYTES, "{}", shown);
        };)+
    };
}

// Types without secrets are printable, so the check can tell the difference.
const _: () = assert!(Shows::<RoomName>::AS_TEXT && Shows::<String>::AS_JSON && Shows::<u8>::AS_HEXADECIMAL);
const _: () = assert!(Shows::<String>::AS_STR && Shows::<Vec<u8>>::AS_BYTES);

shows_nothing!(
    SecretString,
    SecretSlice<u8>,
    Tag,
    UuiData,
    Pin,
    Pins,
    HostPin,
    Conference,
    Listing,
    NewConference,
    HandedOut,
    Undelivered,
    LeasedMessage,
    Config,
    EntraConfig,
    GenesysConfig,
    PexipAccount,
    PexipConfig,
    BasicAccount,
    PrivateKey,
    QueueConfig,
    RoomConfig,
    ServerConfig,
    StorageAccess,
    TelemetryConfig,
    App,
    RoomQueue,
    PexipClient,
    EntraVerifier,
    GenesysVerifier,
);

#[tokio::test]
async fn debug_output_of_types_that_hold_secrets_shows_none() {
    for credential in [Credential::Key, Credential::Signature] {
        let world = World::start().await;
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = talkative_settings(&world, credential, &folder, "info");
        settings.insert("PEXIP_PASSWORD", PASSWORD.to_owned());
        world.pexip.set_password(PASSWORD);
        world.pexip.insert(StoredRoom::named(HANDED_OUT[0]).with_pins(PINS[0], PINS[1]).tagged(tag()));
        let secrets = known_secrets(&settings["PoolStorage"]);
        let config = Config::read(|name| settings.get(name).map(OsString::from)).expect("settings that can be used");
        secrets.assert_not_in("Config", &format!("{config:?} {config:#?}"));

        let prefix = config.room.prefix.clone();
        let http = client_builder(Duration::from_secs(2)).build().expect("a client");
        let pexip =
            PexipClient::new(&config.pexip, &config.pexip_account, None, prefix.clone(), http.clone(), Clock::system());
        let name = prefix.parse_name(HANDED_OUT[0]).expect("a name of ours");
        let conference = pexip.find_by_name(&name).await.expect("an answer").expect("the room");
        secrets.assert_not_in("Conference", &format!("{conference:?} {pexip:?}"));

        let data = UuiData::parse(&hex::encode(CASE)).expect("a case");
        let rule: TagRule = config.room.tag_rule();
        let tag = rule.tag(&data).expect("a tag");
        let pins = Pins { host: Pin::parse(PINS[0]).expect("a PIN"), guest: Pin::parse(PINS[1]).expect("a PIN") };
        secrets.assert_not_in("words of the domain", &format!("{data:?} {tag:?} {pins:?}"));
        let properties = RoomProperties::default();
        let new = NewConference {
            name,
            pins,
            tag: Some(tag),
            marks: Marks::default(),
            automatic_participants: vec![],
            properties,
        };
        secrets.assert_not_in("NewConference", &format!("{new:?}"));

        let queue = RoomQueue::new(&config.queue, prefix, http).expect("a queue client");
        secrets.assert_not_in("RoomQueue", &format!("{queue:?}"));
        secrets.assert_not_in("App", &format!("{:?}", App::build(config, Clock::system()).expect("a service")));
    }
}

#[tokio::test]
async fn debug_output_of_an_oauth2_client_shows_neither_key_nor_token() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = talkative_settings(&world, Credential::Key, &folder, "info");
    let mut secrets = known_secrets(&settings["PoolStorage"]);
    settings.extend(oauth2_settings(&world, &mut secrets));
    let config = Config::read(|name| settings.get(name).map(OsString::from)).expect("settings that can be used");
    let http = client_builder(Duration::from_secs(2)).build().expect("a client");
    let prefix = config.room.prefix.clone();
    let pexip = PexipClient::new(&config.pexip, &config.pexip_account, None, prefix, http, Clock::system());
    pexip.count_ours().await.expect("an answer");

    secrets.plant("a token", &world.pexip.oauth2_tokens()[0]);
    secrets.assert_not_in("Config and client", &format!("{config:?} {config:#?} {pexip:?} {pexip:#?}"));
}

/// With the receipt anyone could delete the message, and so take the room.
#[tokio::test]
async fn debug_output_of_a_leased_message_hides_its_receipt() {
    let queue = TestQueue::on_the_simulator().await;
    let client = queue.client();
    client.ensure_exists().await.expect("a queue that can be made");
    queue.put_text(HANDED_OUT[0]).await;

    let message = client.receive(1, Duration::from_secs(60)).await.expect("messages").remove(0);

    let shown = format!("{message:?}");
    client.delete(&message).await.expect("a deletion");
    let log = queue.simulator().traffic().log();
    let deleted = log.iter().find(|exchange| exchange.query.contains("popreceipt=")).expect("a delete");
    let (_, receipt) = url::form_urlencoded::parse(deleted.query.as_bytes())
        .find(|(name, _)| name == "popreceipt")
        .expect("a receipt");
    assert!(shown.contains(message.id()), "{shown}");
    assert!(!shown.contains(&*receipt), "{receipt} stands in {shown}");
}
