//! Every path and method that a caller may use.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::answers::{Answers, BOUNDS, BOUNDS_OF_A_PROBE, ENTRA, EVENT_SINK, GENESYS, PEXIP};
use super::{VERSION, schema_of};
use crate::http::problem::Code;
use crate::http::routes::health::HealthAnswer;
use crate::http::routes::room_answer::{ConstrainedConference, EXAMPLE_NAME, ROOM_NAME};

/// On every answer to the widget, so that it can read errors as well.
const CORS: &[&str] = &["Vary", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers"];

/// On the answer to a preflight.
const CORS_PREFLIGHT: &[&str] = &[
    "Allow",
    "Vary",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Max-Age",
];

pub(super) fn paths() -> Value {
    json!({
        "/room/create": { "post": room_create(), "delete": room_delete_create() },
        "/room/{name}": { "delete": room_delete() },
        "/public/room/{name}": { "get": public_room(), "options": public_room_preflight() },
        "/pexip/events": { "post": pexip_event() },
        "/health/live": { "get": health_live() },
        "/health/ready": { "get": health_ready() },
        "/openapi.json": { "get": openapi() },
    })
}

fn room_create() -> Value {
    let hexadecimal = json!({
        "name": "uuiData",
        "in": "query",
        "required": true,
        "description": "The citizen's case, in hexadecimal digits of either case: 1-128 bytes once decoded. Its bytes in \
            base64url end the room's tag; where the deployment says so (`UUI_DATA_FORMAT=segment`), it is the text of \
            that end, and only `A-Z a-z 0-9 - _` are taken. Given once.",
        "schema": { "type": "string", "pattern": "^([0-9A-Fa-f]{2}){1,128}$" },
        "example": "3132333435362c373635343332",
    });
    let links = json!({
        "endRoom": {
            "operationId": "room_delete",
            "parameters": { "name": "$response.body#/name" },
            "description": "Ends the room.",
        },
        "seeRoom": {
            "operationId": "public_room",
            "parameters": { "name": "$response.body#/name" },
            "description": "What the agent's widget sees of the room.",
        },
    });
    let headers = [("Room-Source", "Room-Source"), ("Retry-After", "Joinable-After")];
    let answers = Answers::with_headers(&[])
        .for_a_role()
        .and(StatusCode::OK, "The room. Pexip has its tag by now.", &headers, &room())
        .linked(StatusCode::OK, links)
        .or(&[
            &[Code::UuiDataMissing, Code::UuiDataInvalid, Code::UuiDataTooLong, Code::NoRoom],
            &ENTRA,
            &PEXIP,
            &BOUNDS,
        ]);
    json!({
        "operationId": "room_create",
        "tags": ["IDIM"],
        "summary": "Get a room for a citizen",
        "description": "Hands out a room that was made in advance, or makes one, and writes the citizen's case on it. \
            The token needs the app role `Room.Create`, or the one that the deployment has instead. No room is taken \
            before token and `uuiData` are found valid. Not to be repeated blindly: each 200 is another room.",
        "security": [{ "entra": [] }],
        "parameters": [hexadecimal, request_id()],
        "responses": answers,
    })
}

fn room_delete() -> Value {
    let answers = Answers::with_headers(&[])
        .for_a_role()
        .and(StatusCode::NO_CONTENT, "The room is deleted, and whoever was in it is disconnected.", &[], &Value::Null)
        .or(&[&[Code::RoomNotFound], &ENTRA, &PEXIP, &BOUNDS]);
    json!({
        "operationId": "room_delete",
        "tags": ["IDIM"],
        "summary": "End a room",
        "description": "Deletes the room and ends the conference in it. Callers may treat 204 and 404 both as done, and \
            may repeat it. The token needs the app role `Room.Delete`, or the one that the deployment has instead.",
        "security": [{ "entra": [] }],
        "parameters": [name(), request_id()],
        "responses": answers,
    })
}

/// A room cannot have this name, but its path can be asked for.
fn room_delete_create() -> Value {
    let answers = Answers::with_headers(&[])
        .for_a_role()
        .without_success("Nothing else is answered: there is no success.")
        .or(&[&[Code::RoomNotFound], &ENTRA, &BOUNDS]);
    json!({
        "operationId": "room_delete_create",
        "tags": ["IDIM"],
        "summary": "End a room that is never there",
        "description": "What `room_delete` is for the name `create`, which no room has.",
        "security": [{ "entra": [] }],
        "parameters": [request_id()],
        "responses": answers,
    })
}

fn public_room() -> Value {
    let answers = Answers::with_headers(CORS)
        .and(StatusCode::OK, "The room as Pexip has it at this moment.", &[], &room())
        .or(&[&[Code::RoomNotFound], &GENESYS, &PEXIP, &BOUNDS]);
    json!({
        "operationId": "public_room",
        "tags": ["Widget"],
        "summary": "See a room",
        "description": "What the agent needs to join, with both PINs. A room that is nobody's yet, a foreign name and an \
            unknown one are the same 404.",
        "security": [{ "genesys": [] }],
        "parameters": [name(), request_id()],
        "responses": answers,
    })
}

fn public_room_preflight() -> Value {
    let header = |name: &str, description: &str, example: &str| json!({ "name": name, "in": "header", "description": description, "schema": { "type": "string" }, "example": example });
    let answers = Answers::with_headers(CORS_PREFLIGHT)
        .and(StatusCode::OK, "Empty. The headers say what the page may do.", &[], &Value::Null)
        .or(&[]);
    json!({
        "operationId": "public_room_preflight",
        "tags": ["Widget"],
        "summary": "Ask as a browser whether a page may see a room",
        "description": "The CORS preflight. Browsers send it by themselves, without a token. The answer is the same for \
            every name.",
        "security": [],
        "parameters": [
            json!({ "name": "name", "in": "path", "required": true, "description": "Any.", "schema": {}, "example": EXAMPLE_NAME }),
            header("Origin", "The page's origin.", "https://agent.example.org"),
            header("Access-Control-Request-Method", "The method that the page wants to use.", "GET"),
            header("Access-Control-Request-Headers", "The headers that the page wants to send.", "x-auth-token"),
            request_id(),
        ],
        "responses": answers,
    })
}

fn pexip_event() -> Value {
    let event = json!({
        "node": "10.44.0.12",
        "seq": 7,
        "version": 1,
        "time": 1_795_219_000.25,
        "event": "conference_ended",
        "data": { "name": EXAMPLE_NAME, "start_time": 1_795_218_000.5, "end_time": 1_795_219_000.2 },
    });
    let answers = Answers::with_headers(&[])
        .and(StatusCode::NO_CONTENT, "The event is taken, whether it says anything here or not.", &[], &Value::Null)
        .or(&[&[Code::NotFound], &EVENT_SINK, &BOUNDS]);
    json!({
        "operationId": "pexip_event",
        "tags": ["Pexip"],
        "summary": "Report what happened on a Conferencing Node",
        "description": "The target of Pexip's event sink, single or in bulk. Whatever comes with the sink's account is \
            taken, for a node that is refused stops publishing; only `conference_ended` of a room of ours has \
            consequences. Without an account in the settings the path is not known (404 `not_found`).",
        "security": [{ "eventSink": [] }],
        "parameters": [request_id()],
        "requestBody": {
            "description": "An event as Pexip writes it, 1 MiB at most. Not refused for its form.",
            "required": false,
            "content": { "application/json": { "schema": {}, "example": event } },
        },
        "responses": answers,
    })
}

fn health_live() -> Value {
    let body = json!({
        "schema": schema_of::<HealthAnswer>(),
        "example": { "status": "live", "version": VERSION, "commit": "unknown", "environment": "production", "slot": "production" },
    });
    let answers =
        Answers::with_headers(&[]).and(StatusCode::OK, "The process is up.", &[], &body).or(&[&BOUNDS_OF_A_PROBE]);
    json!({
        "operationId": "health_live",
        "tags": ["Operation"],
        "summary": "Is the process up?",
        "description": "Asks nobody. For the health check of the platform and for the warm-up of a slot.",
        "security": [],
        "parameters": [request_id()],
        "responses": answers,
    })
}

fn health_ready() -> Value {
    let body = |status: &str, pexip: &str| {
        json!({
            "schema": schema_of::<HealthAnswer>(),
            "example": {
                "status": status, "checks": { "entra": "ok", "queue": "ok", "pexip": pexip }, "version": VERSION,
                "commit": "unknown", "environment": "production", "slot": "production",
            },
        })
    };
    let not_ready = [("Retry-After", "Retry-After")];
    let answers = Answers::with_headers(&[])
        .and(StatusCode::OK, "Every dependency is fine.", &[], &body("ready", "ok"))
        .and(StatusCode::SERVICE_UNAVAILABLE, "A dependency is failing.", &not_ready, &body("not_ready", "failing"))
        .or(&[&BOUNDS_OF_A_PROBE]);
    json!({
        "operationId": "health_ready",
        "tags": ["Operation"],
        "summary": "Can the service do its work?",
        "description": "Asks Entra's keys, the queue and Pexip, at most every 5 s, and names which one fails. Its 503 has \
            the form of its 200 and is no problem document.",
        "security": [],
        "parameters": [request_id()],
        "responses": answers,
    })
}

fn openapi() -> Value {
    let body = json!({ "schema": { "type": "object" } });
    let answers = Answers::with_headers(&[])
        .and(StatusCode::OK, "This document, OpenAPI 3.1.", &[], &body)
        .or(&[&BOUNDS_OF_A_PROBE]);
    json!({
        "operationId": "openapi",
        "tags": ["Operation"],
        "summary": "Read this document",
        "security": [],
        "parameters": [request_id()],
        "responses": answers,
    })
}

fn name() -> Value {
    json!({
        "name": "name",
        "in": "path",
        "required": true,
        "description": "The room's name, exactly as it was handed out.",
        "schema": { "type": "string", "pattern": ROOM_NAME },
        "example": EXAMPLE_NAME,
    })
}

/// Without a pattern, for nothing that is sent here is refused.
fn request_id() -> Value {
    json!({
        "name": "x-request-id",
        "in": "header",
        "description": "An id for the logs: 1-64 of `A-Z a-z 0-9 _ -`. Anything else is replaced by a new one.",
        "schema": { "type": "string" },
        "example": EXAMPLE_NAME,
    })
}

fn room() -> Value {
    json!({
        "schema": schema_of::<ConstrainedConference<'_>>(),
        "example": {
            "id": 41,
            "name": EXAMPLE_NAME,
            "service_type": "conference",
            "allow_guests": true,
            "pin": "193604",
            "guest_pin": "852117",
            "tag": "https://id.gov.bc.ca/idcheck/MTIzNDU2LDc2NTQzMg",
            "aliases": [{
                "alias": EXAMPLE_NAME, "creation_time": "2026-03-04T22:32:11.234996", "description": "", "id": 111,
            }],
        },
    })
}
