//! What a request may do. A handler names the action in its signature; extracting the permit authenticates the caller,
//! checks role and rate, counts the result and sets the caller in the request's context.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::auth::{InvalidCredentials, NodeAccount, Reason, client_address, entra_bearer, genesys_token};
use crate::http::context::RequestContext;
use crate::http::problem::{ApiError, Code};
use crate::http::state::AppState;
use crate::telemetry::audit::{AuditContext, Caller};
use crate::telemetry::metrics::AUTH_RESULTS;

/// Something that only some callers may do.
pub(crate) trait Action: Send + Sync + 'static {
    /// How a caller proves the permission.
    const GUARD: Guard;
}

/// IDIM's server creates a room.
#[derive(Debug)]
pub enum CreateRoom {}

/// IDIM's server deletes a room.
#[derive(Debug)]
pub enum DeleteRoom {}

/// An agent's widget reads a room.
#[derive(Debug)]
pub(crate) enum ReadRoom {}

/// IDIM's server reads a room.
#[derive(Debug)]
pub(crate) enum ReadRoomAsServer {}

/// A Conferencing Node reports events.
#[derive(Debug)]
pub(crate) enum SendEvents {}

/// A Conferencing Node looks up a room.
#[derive(Debug)]
pub(crate) enum LookUpRoom {}

impl Action for CreateRoom {
    const GUARD: Guard = Guard::Entra(EntraRole::Create);
}

impl Action for DeleteRoom {
    const GUARD: Guard = Guard::Entra(EntraRole::Delete);
}

impl Action for ReadRoom {
    const GUARD: Guard = Guard::Genesys;
}

impl Action for ReadRoomAsServer {
    const GUARD: Guard = Guard::Entra(EntraRole::Read);
}

impl Action for SendEvents {
    const GUARD: Guard = Guard::EventSink;
}

impl Action for LookUpRoom {
    const GUARD: Guard = Guard::Policy;
}

/// How a caller authenticates, and which role it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// An Entra access token with this app role, if the settings ask for one.
    Entra(EntraRole),
    /// The Genesys token of an active user in our organisation.
    Genesys,
    /// The HTTP Basic account of Pexip's event sink.
    EventSink,
    /// The HTTP Basic account of Pexip's policy profile.
    Policy,
}

/// An app role; the settings name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntraRole {
    Create,
    Delete,
    Read,
}

impl Guard {
    /// The value of the metrics' label.
    fn as_str(self) -> &'static str {
        match self {
            Self::Entra(_) => "entra",
            Self::Genesys => "genesys",
            Self::EventSink => "event_sink",
            Self::Policy => "policy",
        }
    }

    /// The problems that it answers with.
    pub(crate) fn problems(self) -> &'static [Code] {
        match self {
            Self::Entra(_) => &[
                Code::RequestInvalid,
                Code::TokenMissing,
                Code::TokenInvalid,
                Code::NotPermitted,
                Code::RateLimited,
                Code::EntraUnavailable,
            ],
            Self::Genesys => &[
                Code::RequestInvalid,
                Code::TokenMissing,
                Code::TokenInvalid,
                Code::NotPermitted,
                Code::RateLimited,
                Code::GenesysUnavailable,
                Code::GenesysInvalid,
            ],
            Self::EventSink | Self::Policy => &[Code::RequestInvalid, Code::TokenMissing, Code::TokenInvalid],
        }
    }
}

/// Proof that the caller of this request may do `A`, which only extraction creates. What acts on rooms takes it by
/// value ([`RoomActions`](crate::http::room_actions::RoomActions)), so a handler without a permit does not compile:
///
/// ```
/// # use maxconf::{domain::RoomName, http::{permit::{DeleteRoom, Permit}, room_actions::RoomActions}};
/// async fn delete(permit: Permit<DeleteRoom>, name: RoomName, rooms: &RoomActions) {
///     rooms.delete(permit, name).await.ok();
/// }
/// ```
///
/// nor does one with a permit for another action:
///
/// ```compile_fail
/// # use maxconf::{domain::RoomName, http::{permit::{CreateRoom, Permit}, room_actions::RoomActions}};
/// async fn delete(permit: Permit<CreateRoom>, name: RoomName, rooms: &RoomActions) {
///     rooms.delete(permit, name).await.ok();
/// }
/// ```
#[derive(Debug)]
pub struct Permit<A> {
    context: RequestContext,
    action: PhantomData<A>,
}

impl<A> Permit<A> {
    /// The audit context of the request that was permitted.
    pub(crate) fn audit(&self) -> &AuditContext {
        &self.context.audit
    }
}

impl<A: Action> FromRequestParts<AppState> for Permit<A> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let Ok(context) = RequestContext::from_request_parts(parts, state).await;
        authorize(A::GUARD, &context.audit, parts, state).await?;
        Ok(Self { context, action: PhantomData })
    }
}

/// Authentication, then authorisation, then the caller's rate. The first failure is the answer.
async fn authorize(guard: Guard, audit: &AuditContext, parts: &Parts, state: &AppState) -> Result<(), ApiError> {
    let checked = match guard {
        Guard::Entra(role) => check_entra(role, audit, parts, state).await,
        Guard::Genesys => check_genesys(audit, parts, state).await,
        Guard::EventSink => check_node(state.event_sink.as_ref(), "pexip-events", parts),
        Guard::Policy => check_node(state.policy.as_ref(), "pexip-policy", parts),
    };
    let reason = checked.as_ref().map_or_else(|refusal| refusal.reason, |_| "ok");
    AUTH_RESULTS.count([guard.as_str().into(), reason.into()]);
    // The Conferencing Nodes share one account and are never refused for their rate.
    let Some(caller) = checked.map_err(|refusal| refusal.error)? else { return Ok(()) };
    let id = caller.id().to_owned();
    audit.set_caller(caller);
    let rates = if guard == Guard::Genesys { &state.public_rates } else { &state.rates };
    Ok(rates.admit(&id).await?)
}

/// Why a guard refuses a request.
struct Refusal {
    /// For the metrics.
    reason: &'static str,
    error: ApiError,
}

impl Refusal {
    fn new(reason: &impl Reason, error: ApiError) -> Self {
        Self { reason: reason.reason(), error }
    }
}

async fn check_entra(
    role: EntraRole,
    audit: &AuditContext,
    parts: &Parts,
    state: &AppState,
) -> Result<Option<Caller>, Refusal> {
    let token = entra_bearer(&parts.headers, parts.uri.query())
        .map_err(|invalid| Refusal::new(&invalid, ApiError::entra_credentials(invalid)))?;
    let role = match role {
        EntraRole::Create => state.entra.create_role(),
        EntraRole::Delete => state.entra.delete_role(),
        EntraRole::Read => state.entra.read_role(),
    };
    state.entra.verify(&token, role).await.map(|caller| Some(caller.into())).map_err(|refusal| {
        if let Some(client) = refusal.client() {
            audit.set_caller(client.clone().into());
        }
        Refusal::new(&refusal, ApiError::entra(&refusal, role))
    })
}

async fn check_genesys(audit: &AuditContext, parts: &Parts, state: &AppState) -> Result<Option<Caller>, Refusal> {
    let token = genesys_token(&parts.headers)
        .map_err(|invalid| Refusal::new(&invalid, ApiError::genesys_credentials(invalid)))?;
    let address = client_address(&parts.headers, state.client_address_header.as_ref());
    state.genesys.verify(&token, address).await.map(|caller| Some(caller.into())).map_err(|refusal| {
        if let Some(id) = refusal.user_id() {
            audit.set_caller(Caller::Genesys { user_id: id.to_owned() });
        }
        Refusal::new(&refusal, refusal.clone().into())
    })
}

fn check_node(account: Option<&NodeAccount>, realm: &'static str, parts: &Parts) -> Result<Option<Caller>, Refusal> {
    let Some(account) = account else {
        // The route is mounted only with an account.
        return Err(Refusal::new(&InvalidCredentials::Missing, ApiError::new(Code::NotFound)));
    };
    account
        .verify(&parts.headers)
        .map(|()| None)
        .map_err(|invalid| Refusal::new(&invalid, ApiError::node_credentials(invalid, realm)))
}
