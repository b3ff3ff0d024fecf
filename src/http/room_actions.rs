//! The pool's actions as requests may run them: each takes the permit for it by value.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use crate::domain::{
    ForeignRoomName, GivenValidity, IdempotencyKey, InvalidIdempotencyKey, InvalidUuiData, InvalidValidity, RoomName,
    TagRule, UuiData,
};
use crate::http::permit::{CreateRoom, DeleteRoom, LookUpRoom, Permit, ReadRoom, ReadRoomAsServer, SendEvents};
use crate::http::problem::{ApiError, Code};
use crate::pexip::{Conference, LookUp, PolicyAnswer};
use crate::rooms::{HandedOut, MaintenanceReport, Room, RoomPool, TakeRoomError, WantedRoom};
use crate::telemetry::metrics::{HANDED_OUT, REFUSALS, REPLAYED};

/// What handlers may do with rooms. The pool itself is out of their reach.
#[derive(Debug)]
pub struct RoomActions {
    pool: RoomPool,
    tag_rule: TagRule,
}

impl RoomActions {
    pub(crate) fn new(pool: RoomPool, tag_rule: TagRule) -> Self {
        Self { pool, tag_rule }
    }

    /// Hands out a room that carries the citizen's tag, or the room of an earlier request with the same key. No room is
    /// taken from the pool if `uui_data`, `validity` or `key` is invalid.
    pub(crate) async fn create(
        &self,
        permit: Permit<CreateRoom>,
        uui_data: Result<UuiData, InvalidUuiData>,
        given: Result<GivenValidity, InvalidValidity>,
        key: Result<Option<IdempotencyKey>, InvalidIdempotencyKey>,
    ) -> Result<HandedOut, ApiError> {
        let uui_data = uui_data?;
        permit.audit().set_case_hash(&uui_data);
        let tag = self.tag_rule.tag(&uui_data)?;
        let validity = self.pool.validity(given.as_ref().map_err(|error| *error))?;
        // Without its caller, a key would not keep apart two callers' rooms.
        let [tenant, client] = permit.audit().entra_client().ok_or(ApiError::new(Code::Internal))?;
        let given = given.unwrap_or_default();
        let key = key?.map(|key| self.pool.create_key([&tenant, &client], &key, &uui_data, &given));
        let wanted = WantedRoom { tag, validity, client };
        let handed_out =
            self.pool.take(wanted, key).await.map_err(|error| count_refusal(self.answer_for(error)))?.deliver();
        let (name, source, validity) = (handed_out.room.name(), handed_out.source.as_str(), handed_out.room.validity());
        if handed_out.is_replay {
            permit.audit().room_replayed(name, source, validity);
            REPLAYED.count([]);
        } else {
            permit.audit().room_handed_out(name, source, validity);
            HANDED_OUT.count([source.into()]);
        }
        Ok(handed_out)
    }

    /// Reads a room that was handed out. A room that is still in the pool is 404: it belongs to no citizen.
    pub(crate) async fn read(&self, permit: Permit<ReadRoom>, name: RoomName) -> Result<Room, ApiError> {
        self.read_handed_out(&permit, &name).await
    }

    /// Reads a foreign room.
    pub(crate) async fn read_foreign(
        &self,
        permit: Permit<ReadRoom>,
        name: ForeignRoomName,
    ) -> Result<Conference<ForeignRoomName>, ApiError> {
        let found = self.pool.find_foreign(&name).await.map_err(|error| self.answer_for(error))?;
        let conference = found.ok_or(ApiError::new(Code::RoomNotFound))?;
        permit.audit().room_read();
        Ok(conference)
    }

    /// Reads a room that was handed out, for IDIM's server.
    pub(crate) async fn read_as_server(
        &self,
        permit: Permit<ReadRoomAsServer>,
        name: RoomName,
    ) -> Result<Room, ApiError> {
        self.read_handed_out(&permit, &name).await
    }

    /// Reads the conference object of a room that was handed out, as the management node has it.
    pub(crate) async fn read_object(
        &self,
        permit: Permit<ReadRoomAsServer>,
        name: RoomName,
    ) -> Result<Box<RawValue>, ApiError> {
        let found = self.pool.find_object_of_handed_out(&name).await.map_err(|error| self.answer_for(error))?;
        let object = found.ok_or(ApiError::new(Code::RoomNotFound))?;
        permit.audit().room_read();
        Ok(object)
    }

    async fn read_handed_out<A>(&self, permit: &Permit<A>, name: &RoomName) -> Result<Room, ApiError> {
        let found = self.pool.find_handed_out(name).await.map_err(|error| self.answer_for(error))?;
        let room = found.ok_or(ApiError::new(Code::RoomNotFound))?;
        permit.audit().room_read();
        Ok(room)
    }

    /// The answer to a Conferencing Node. Not audited: a look-up is not a join, and anybody who dials causes one.
    pub(crate) async fn look_up(&self, _: Permit<LookUpRoom>, look_up: &LookUp) -> Result<PolicyAnswer, ApiError> {
        Ok(self.pool.answer(look_up).await?)
    }

    /// The failure as callers see it: `service_closed` if the node cannot be reached and it is out of service hours.
    fn answer_for(&self, error: impl Into<TakeRoomError>) -> ApiError {
        let error = error.into();
        match self.pool.closed(&error) {
            Some(closed) => ApiError::service_closed(closed, &error),
            None => error.into(),
        }
    }

    /// Deletes a room and disconnects its participants.
    pub async fn delete(&self, permit: Permit<DeleteRoom>, name: RoomName) -> Result<(), ApiError> {
        let [_, client] = permit.audit().entra_client().ok_or(ApiError::new(Code::Internal))?;
        let deleted = self.pool.end(name, client, move || permit.audit().room_deleted()).await;
        let is_deleted = deleted.map_err(|error| self.answer_for(error))?;
        if is_deleted { Ok(()) } else { Err(ApiError::new(Code::RoomNotFound)) }
    }

    /// Notes the rooms whose conferences have ended, so that they are deleted after their grace period.
    pub(crate) async fn note_ended(&self, _: Permit<SendEvents>, ended: BTreeSet<RoomName>) {
        self.pool.note_ended(ended).await;
    }

    /// Brings the pool to its target and sweeps. Needs no permit: the Functions host's timer has no credentials, and
    /// the result is the same whoever calls it.
    pub(crate) async fn maintain(&self) -> MaintenanceReport {
        self.pool.maintain().await
    }
}

/// Counts a valid create that gets no room.
fn count_refusal(error: ApiError) -> ApiError {
    REFUSALS.count([error.code().as_str().into()]);
    error
}
