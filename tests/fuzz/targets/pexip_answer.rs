//! Any answer of the management node.

#![no_main]

use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use maxconf::domain::{Clock, HostPin, Marks, Pins, RoomName, RoomNamePrefix, RoomProperties};
use maxconf::pexip::{Conference, NewConference, PexipClient, PexipError};
use maxconf_fuzz::{Outside, assert_harmless, config, http, runtime};

const NAME: &str = "vbv-01jd5p3xk8qqqqqqqqqqqqqqqq";

fuzz_target!(|input: &[u8]| {
    let Some(outside) = Outside::read(input) else { return };
    let config = config(&[]);
    let prefix = config.room.prefix.clone();
    let name = prefix.parse_name(NAME).expect("a name of ours");
    // A new one for each input: its breaker remembers what went wrong.
    let (node, account) = (&config.pexip, &config.pexip_account);
    let pexip = PexipClient::new(node, account, None, prefix.clone(), http().clone(), Clock::system());
    outside.answers_with(if outside.call == 5 { "location" } else { "date" });
    match runtime().block_on(call(outside.call, &pexip, name)) {
        Ok(found) => found.iter().for_each(|conference| assert_ours(conference, &prefix)),
        Err(error) => assert_harmless(&error),
    }
});

async fn call(choice: u8, pexip: &PexipClient, name: RoomName) -> Result<Vec<Conference>, PexipError> {
    match choice {
        0 => Ok(pexip.find_by_name(&name).await?.into_iter().collect()),
        1 => Ok(pexip.find_by_names(&[name]).await?.into_values().collect()),
        2 => Ok(pexip.list_ours(2000).await?.conferences),
        3 => pexip.count_ours().await.map(|_| Vec::new()),
        4 => pexip.presence().await.map(|presence| {
            presence.without_dialled_leg(Duration::ZERO).count();
            Vec::new()
        }),
        5 => {
            let pins = Pins::draw(&HostPin::PerRoom { length: 6 }, &mut rand::rng());
            let marks = Marks { ready_until: Some(SystemTime::now().into()), handed_out: None };
            let properties = RoomProperties::default();
            let new = NewConference { name, pins, tag: None, marks, automatic_participants: vec![7], properties };
            let id = pexip.create(&new).await?;
            Ok(pexip.read(id).await?.into_iter().collect())
        }
        _ => pexip.disconnect(&name).await.map(|()| Vec::new()),
    }
}

fn assert_ours(conference: &Conference, prefix: &RoomNamePrefix) {
    assert!(prefix.parse_name(conference.name.as_str()).is_some(), "{conference:?}");
    // A path with id 0 could be the collection's, where a DELETE wipes the node.
    assert_ne!(conference.id.get(), 0, "{conference:?}");
    assert!(conference.tag.as_ref().is_none_or(|tag| !tag.expose().is_empty()), "{conference:?}");
}
