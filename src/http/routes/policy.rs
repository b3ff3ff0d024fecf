//! `GET /policy/v1/service/configuration`: a Conferencing Node asks what it connects a call to.

use std::time::Instant;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::room_answer::EXAMPLE_INSTANT_NAME;
use crate::http::middleware::limits::{MAX_BODY_KIB, read_body};
use crate::http::openapi::{Answer, Audience, Operation, Parameter};
use crate::http::permit::{LookUpRoom, Permit};
use crate::http::problem::{ApiError, Code};
use crate::http::route::Route;
use crate::http::state::AppState;
use crate::pexip::{LookUp, PolicyAnswer, ServiceConfiguration};
use crate::telemetry::metrics::{POLICY_DURATION, POLICY_LOOK_UPS};

pub(super) fn route() -> Route {
    let (path, summary) = ("/policy/v1/service/configuration", "Ask what to connect a call to");
    let example = PolicyBody { status: "success", action: Action::Reject, result: None };
    let operation = Operation::new("policy", Audience::ConferencingNodes, Method::GET, path, summary)
        // A look-up must end before its node gives up; an event must not be cut off.
        .gateway_policy("look-ups")
        .description(
            "Pexip's external policy, service configuration requests only. An instant room that can be joined now is \
            `success` with its `result`, always the same. Any other name with the prefix of instant rooms is `reject`, \
            everything else `continue`: the node then looks into its own database. On `call_direction=dial_out` a \
            `service_name` with that prefix counts instead of the alias. Nothing changes by a look-up. Without an \
            account in the settings the path is unknown (404 `not_found`).",
        )
        .parameter(
            Parameter::query(
                "local_alias",
                "What is dialled: a name in any case, with or without `sip:`, `sips:` or `h323:`, a host, a port and \
                parameters.",
                &json!({ "type": "string" }),
                EXAMPLE_INSTANT_NAME,
            )
            .optional(),
        )
        .parameter(
            Parameter::query("call_direction", "Other values than `dial_out` change nothing.", &json!({}), "dial_in")
                .optional(),
        )
        .parameter(
            Parameter::query(
                "service_name",
                "Of a `dial_out`: the running conference that places the call.",
                &json!({ "type": "string" }),
                EXAMPLE_INSTANT_NAME,
            )
            .optional(),
        )
        .answer(Answer::json(StatusCode::OK, "The decision.", &example))
        .problems(&[Code::NotFound, Code::RecordsUnavailable]);
    Route::guarded(operation, "function_pexip_policy", handler)
}

/// Nothing of the query is logged: it has names, addresses and whatever callers typed.
async fn handler(
    permit: Permit<LookUpRoom>,
    State(state): State<AppState>,
    request: Request,
) -> Result<Json<PolicyBody>, ApiError> {
    let started = Instant::now();
    let look_up = LookUp::read(request.uri().query().unwrap_or_default(), &state.instant_prefix);
    // A node sends none.
    read_body(request.into_body(), MAX_BODY_KIB * 1024).await?;
    let answered = match look_up {
        None => Ok(PolicyAnswer::Continue),
        // Made-up names must not take every slot from the creates.
        Some(look_up) => match state.limits.share_of_look_ups() {
            Ok(_share) => state.rooms.look_up(permit, &look_up).await,
            Err(overloaded) => Err(overloaded),
        },
    };
    let answer = match &answered {
        Ok(PolicyAnswer::Success(_)) => "success",
        Ok(PolicyAnswer::Reject) => "reject",
        Ok(PolicyAnswer::Continue) => "continue",
        Err(_) => "unavailable",
    };
    POLICY_LOOK_UPS.count([answer.into()]);
    POLICY_DURATION.record(started.elapsed(), [answer.into()]);
    answered.map(|answer| Json(PolicyBody::from(answer)))
}

/// A decision, as Conferencing Nodes read it.
#[derive(Serialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
struct PolicyBody {
    #[schemars(extend("const" = "success"))]
    status: &'static str,
    action: Action,
    /// The room: its name, PINs, tag and automatic participants. With it, `action` does not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Map<String, Value>")]
    result: Option<ServiceConfiguration>,
}

/// What a node does without a `result`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    /// It looks into its own database.
    Continue,
    /// It refuses the call.
    Reject,
}

impl From<PolicyAnswer> for PolicyBody {
    fn from(answer: PolicyAnswer) -> Self {
        let (action, result) = match answer {
            PolicyAnswer::Success(configuration) => (Action::Continue, Some(configuration)),
            PolicyAnswer::Reject => (Action::Reject, None),
            PolicyAnswer::Continue => (Action::Continue, None),
        };
        Self { status: "success", action, result }
    }
}
