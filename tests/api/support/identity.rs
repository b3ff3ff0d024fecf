use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use maxconf_simulators::{BlobSimulator, QueueSimulator, SelfSigned, Server, Traffic};
use serde_json::json;

use super::{PemFile, Secrets};

/// Secret that App Service gives to the app with the endpoint, so that a forged server-side request gets no token.
const HEADER: &str = "header-of-this-instance";

/// A storage account that accepts tokens, and App Service's endpoint that issues them.
/// Source: App Service, "REST endpoint reference" of managed identities.
pub(crate) struct Identity {
    pub(crate) queue: QueueSimulator,
    pub(crate) blobs: BlobSimulator,
    /// The requests to the endpoint.
    pub(crate) traffic: Traffic,
    /// The trust anchors for the storage account.
    pub(crate) trusted: PemFile,
    endpoint: Server,
}

impl Identity {
    pub(crate) const TOKEN: &str = "token-of-the-managed-identity";

    pub(crate) async fn start() -> Self {
        let certificate = SelfSigned::new();
        let queue = QueueSimulator::start_tls(&certificate).await;
        let blobs = BlobSimulator::start_tls(&certificate).await;
        queue.accept_bearer_tokens(true);
        blobs.accept_bearer_tokens(true);
        let traffic = Traffic::default();
        let endpoint = Server::start(traffic.watch(Router::new().fallback(give_token))).await;
        Self { queue, blobs, traffic, trusted: PemFile::of(certificate.pem()), endpoint }
    }

    /// Of a service that has this identity; it has no connection string.
    pub(crate) fn settings(&self) -> [(&'static str, String); 5] {
        [
            ("PoolStorage__queueServiceUri", self.queue.url().to_string()),
            ("PoolStorage__blobServiceUri", self.blobs.url().to_string()),
            ("IDENTITY_ENDPOINT", format!("{}msi/token", self.endpoint.url())),
            ("IDENTITY_HEADER", HEADER.to_owned()),
            ("SSL_CERT_FILE", self.trusted.path()),
        ]
    }

    pub(crate) fn secrets() -> Secrets {
        let mut secrets = Secrets::default();
        secrets.plant("the identity's token", Self::TOKEN);
        secrets.plant("the instance's header", HEADER);
        secrets
    }
}

async fn give_token(request: Request) -> Response {
    let known = request.headers().get("x-identity-header").is_some_and(|header| header == HEADER);
    if !known || request.uri().path() != "/msi/token" {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let expires = time::OffsetDateTime::now_utc().unix_timestamp() + 86_400;
    let answer = json!({
        "access_token": Identity::TOKEN, "expires_on": expires.to_string(),
        "resource": "https://storage.azure.com", "token_type": "Bearer",
    });
    Json(answer).into_response()
}
