//! What is left of instant rooms after a fault: a room that was answered lets people in, one that was deleted nobody, and
//! after its validity nobody gets in or is still inside.

use std::cell::RefCell;

use maxconf_simulators::pexip::Role;
use serde_json::Value;

use super::{RUNS, a_run};
use crate::instant::{RECORDS, is_success, look_up_request, rejected};
use crate::support::{Answer, TestApp, eventually};

/// Checks the room of this answer, if it is an instant room, or the room that was to be deleted.
pub(super) async fn check_rooms(app: &TestApp, answer: &Answer, is_deleted: bool) -> Result<(), String> {
    let rooms = rooms(app);
    if answer.header("room-source") == "instant" {
        let of_node = look_up(app, &answer.room()).await;
        let (room, result) = (answer.json(), &of_node["result"]);
        let same = [("pin", "pin"), ("guest_pin", "guest_pin"), ("tag", "service_tag"), ("name", "name")];
        if !is_success(&of_node) || same.iter().any(|(of_room, of_policy)| room[of_room] != result[of_policy]) {
            return Err(format!("{room} was answered, the node got {of_node}"));
        }
        if rooms != [answer.room()] {
            return Err(format!("one room was answered, these are there: {rooms:?}"));
        }
    }
    if is_deleted {
        for room in &rooms {
            if look_up(app, room).await != rejected() {
                return Err("somebody can join a room that was deleted".to_owned());
            }
            // The disconnect may have failed.
            if !is_emptied(app, room).await {
                return Err("somebody is in a deleted room after the maintenance runs".to_owned());
            }
        }
    }
    Ok(())
}

/// Checks that after the validity of all rooms nobody can join, and whoever is inside is disconnected.
pub(super) async fn check_rooms_are_over(app: &TestApp) -> Result<(), String> {
    let rooms = rooms(app);
    for room in &rooms {
        app.pexip.join(room, Role::Guest);
    }
    for room in rooms {
        if !is_emptied(app, &room).await || look_up(app, &room).await != rejected() {
            return Err(format!("{room} is past its validity, and somebody can join or is inside"));
        }
    }
    Ok(())
}

/// Whether maintenance runs disconnect whoever is in the room. The first one does, unless one of its calls fails on a busy
/// machine.
async fn is_emptied(app: &TestApp, room: &str) -> bool {
    for _ in 0..RUNS {
        a_run(app).await;
        if !app.pexip.is_running(room) {
            return true;
        }
    }
    false
}

/// The answer to a node as soon as the records are used again.
async fn look_up(app: &TestApp, room: &str) -> Value {
    let of_node = RefCell::default();
    eventually("the records are used again", async || {
        let answer = app.send(look_up_request(app, &[("local_alias", room)])).await;
        let is_told = answer.status == 200;
        of_node.replace(answer.text);
        is_told
    })
    .await;
    serde_json::from_str(&of_node.into_inner()).expect("JSON")
}

fn rooms(app: &TestApp) -> Vec<String> {
    let blobs = app.blobs.blobs(RECORDS).into_iter();
    blobs.filter_map(|blob| blob.name.strip_prefix("instant/").map(str::to_owned)).collect()
}
