//! `GET /`: the start-up probe of the Functions host.

/// The host requests it every 25 ms until the process answers; any answer will do.
pub(super) async fn probe() -> &'static str {
    "maxconf"
}
