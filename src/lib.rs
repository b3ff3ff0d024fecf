//! MaxConf's room service. IDIM's server asks it for a room for one citizen's video call; the answer is a Pexip room
//! whose tag is the URL of the citizen's case. The agent's widget in Genesys asks it for the room's data. Rooms are
//! made in advance, because Pexip needs 90 s or more to replicate a new one.
//!
//! # Glossary
//!
//! | Term | Meaning |
//! | --- | --- |
//! | room | A Pexip VMR that this service provisions for one citizen's video call |
//! | VMR | Virtual Meeting Room: the conference object that the management node stores |
//! | conference | A running call in a room; in the names of Pexip's API also the VMR |
//! | alias | What a client dials to join a room; equals the room's name |
//! | room name | Prefix and lower-case ULID |
//! | foreign room | A VMR of somebody else on the node, such as a kiosk's |
//! | tag | URL of the citizen's case, stored in the VMR's `tag` field |
//! | mark | A time that we write into the VMR's description: `ready-until`, `handed-out` |
//! | host PIN, guest PIN | Agents join as host, citizens as guest |
//! | participant, leg | Somebody in a conference; one connection of a participant |
//! | message | Queue message that names one ready room |
//! | lease | Time during which a received message is hidden from other receivers |
//! | pop receipt | Proof of the latest receive of a message; needed to delete it |
//! | ready room | An untagged room that Pexip has replicated to the Conferencing Nodes |
//! | prefetch, prefetched room | The ready rooms that an instance keeps; one of them: leased, and checked on Pexip |
//! | record | Blob that decides what must happen once (the claim of a room, the room of a key), or is an instant room |
//! | claim | Exclusive right to a room: its record made and its message deleted |
//! | claim conflict | Claim that finds the room's record made before, or its message gone |
//! | key, replay | A caller's `Idempotency-Key`; the answer that repeats the room of an earlier request with it |
//! | hand-out | Claim, then tag, then answer |
//! | pool room, direct room | A room made in advance; a room made for one request because the pool is empty |
//! | instant room | A room that exists as a record only: Conferencing Nodes look it up when somebody dials it |
//! | look-up, external policy | A Conferencing Node's question what it connects a call to; Pexip's way to ask it |
//! | validity | From when and until when an instant room can be joined |
//! | provision | Make one room |
//! | refill, top-up | Make as many rooms as were taken; make as many as the target lacks |
//! | maintenance run | What the timer starts: count, top up, sweep |
//! | sweep | Delete rooms whose marks are past |
//! | drain | The operator's command that empties the pool |
//! | destroy | Delete a claimed or failed room that cannot be handed out |
//! | ended room | A room whose conference has ended, in its grace period; an instant room whose record says ended |
//! | order | A caller's delete: the room ends, whoever is in it |
//! | presence snapshot | One reading of who is in which room |
//! | call permit | Right to make one call to Pexip now: concurrency slot, budget token, closed circuit breaker |
//! | tag permit | A call permit reserved for tagging, and the bound on rooms between claim and tag |
//! | request budget | Calls per sliding window of 60 s |
//! | service hours | Weekly hours in which Pexip is meant to be up |
//! | closed | Of Pexip: out of service hours, and the node cannot be reached |
//! | circuit breaker | Open, closed or probing |
//! | failure epoch | Counter of the node's failures; an observation of an earlier epoch is stale |
//! | single-flight | Concurrent look-ups of one key share one call |
//! | token (of Pexip), assertion | What calls carry with OAuth2; what our private key signs to get one |
//! | verdict | What Genesys answered about a token: fresh, stale or expired |
//! | poison message, dead message | A message without a room name; a message whose room cannot be handed out |
//! | management node, Conferencing Node | Pexip's API node; a node that carries the calls |
//! | caller, client, user | Sender of a request; its Entra client; its Genesys user |
//!
//! # Modules, in the order in which a request meets them
//!
//! | Module | Owns |
//! | --- | --- |
//! | `app` | Builds the service once, for the binary, the sandbox and the tests |
//! | `cli` | The operator's commands: `doctor`, `pool`, `reference`, `smoke` |
//! | `http` | Listener, middleware, routes with their documents, problems |
//! | `auth` | Who calls: Entra, Genesys and Basic credentials; rate limits |
//! | `rooms` | A room's life: prefetch, hand-out, provision, sweep, ended rooms |
//! | `pexip` | The management API: VMRs, status; what Conferencing Nodes report and ask |
//! | `storage` | The queue, the room records, and access to the storage account |
//! | `outbound` | HTTP clients, failures, circuit breaker, observation of calls |
//! | `tasks` | Background tasks that are restarted, work that outlives its caller, single-flight |
//! | `exit_code` | Exit codes of the program |
//! | `telemetry` | Log, audit trail, metrics, traces |
//! | `config` | Settings, each declared once |
//! | `domain` | Room name, PINs, tag, marks, service hours, clock |
//!
//! Imports point one way: `main → cli → app → http → auth | rooms → pexip | storage → outbound | tasks →
//! telemetry → config → domain`. `axum` is used in `app` and `http` only.

#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod domain;
pub mod exit_code;
pub mod http;
pub mod outbound;
pub mod pexip;
pub mod rooms;
pub mod storage;
mod tasks;
pub mod telemetry;
