/// `GET /`: how the Functions host sees that the process is up, every 25 ms at start. Any answer will do.
pub(super) async fn probe() -> &'static str {
    "maxconf"
}
