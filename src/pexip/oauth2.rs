//! Tokens of the management node (OAuth2), in exchange for assertions that our private key signs (RFC 7523).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header};
use parking_lot::Mutex;
use rand::Rng;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::{Url, form_urlencoded};

use super::admission::Admission;
use super::error::TokenError;
use super::{PexipError, with_traceparent};
use crate::config::PrivateKey;
use crate::domain::Clock;
use crate::outbound::calls::{Outcome, System, observed};
use crate::outbound::{CallFailure, json, send};
use crate::tasks::SingleFlight;
use crate::telemetry::metrics::TOKEN_FETCHES;

/// Below the address of the node. Without the slash at the end the node redirects.
const TOKEN_PATH: &str = "oauth/token/";

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An assertion is dated back by this, for a node whose clock is behind.
const DATED_BACK: Duration = Duration::from_secs(30);

/// Time until an assertion expires, for a node whose clock is ahead.
const ASSERTION_LIFETIME: Duration = Duration::from_secs(300);

/// A token is renewed this long before its end, or at half of its lifetime if that is later.
const RENEWED_BEFORE_END: Duration = Duration::from_secs(300);

/// Pause after a failed fetch, and after a call that was refused in spite of a new token.
const PAUSE: Duration = Duration::from_secs(5);

/// The longest `Retry-After` of the token endpoint that is kept.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The longest lifetime of a token that is believed.
const LONGEST_LIFETIME: Duration = Duration::from_secs(86_400);

/// Limit of the token endpoint's body.
const LARGEST_ANSWER: usize = 64 * 1024;

/// Gets and renews the tokens of one OAuth2 client.
pub(super) struct OAuth2 {
    client_id: String,
    key: PrivateKey,
    endpoint: Url,
    http: reqwest::Client,
    request_timeout: Duration,
    clock: Clock,
    admission: Arc<Admission>,
    /// Never locked across an await.
    state: Mutex<State>,
    /// By the number of the token that the fetched one replaces.
    fetches: SingleFlight<u64, Result<Token, NoToken>>,
    /// Wakes the renewal when there is a new token.
    renewed: Notify,
}

#[derive(Default)]
struct State {
    /// The latest token. It may have ended.
    token: Option<Token>,
    /// The latest fetch, if it failed, and when the next one may be made.
    failure: Option<(TokenError, Instant)>,
    /// A token that was refused although it was new, and until when no other is fetched in its place.
    refused: Option<(u64, Instant)>,
}

/// A token of the node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Token {
    /// Counts the tokens of this instance, from 1.
    number: u64,
    text: SecretString,
    renewed_at: Instant,
    ends: Instant,
}

/// Why there is no token for a call.
#[derive(Clone, Debug)]
pub(super) struct NoToken {
    pub(super) error: PexipError,
    /// Whether the token endpoint was asked just now, and did not give one.
    pub(super) was_asked: bool,
}

impl OAuth2 {
    pub(super) fn new(
        client_id: String,
        key: PrivateKey,
        node: &Url,
        http: reqwest::Client,
        request_timeout: Duration,
        clock: Clock,
        admission: Arc<Admission>,
    ) -> Self {
        let mut endpoint = node.clone();
        endpoint.set_path(&format!("{}{TOKEN_PATH}", node.path()));
        let (state, fetches, renewed) = Default::default();
        Self { client_id, key, endpoint, http, request_timeout, clock, admission, state, fetches, renewed }
    }

    /// A token that has not ended. Concurrent calls share a fetch.
    pub(super) async fn token(self: &Arc<Self>) -> Result<Token, NoToken> {
        self.token_after(0).await
    }

    /// A token to repeat a call with, after a 401 to `refused`: the current one if it is newer, else a new one.
    pub(super) async fn token_in_place_of(self: &Arc<Self>, refused: &Token) -> Result<Token, NoToken> {
        self.token_after(refused.number).await
    }

    /// Whether a new token may help after a 401 to this one. A call that our client may not make gets 401 with every
    /// token.
    pub(super) fn may_replace(&self, token: &Token) -> bool {
        let refused = self.state.lock().refused;
        refused.is_none_or(|(number, until)| number != token.number || Instant::now() >= until)
    }

    /// Notes a 401 to a token that had replaced another for the same call.
    pub(super) fn note_refused(&self, token: &Token) {
        self.state.lock().refused = Some((token.number, Instant::now() + PAUSE));
    }

    /// Renews each token before it ends, until `stop`. Fetches none if there is none: the next call does.
    pub(super) async fn renew(self: Arc<Self>, stop: CancellationToken) {
        let mut earliest = Instant::now();
        loop {
            let due = self.current().map(|token| token.renewed_at.max(earliest));
            let wait = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.renewed.notified() => continue,
                () = wait => {}
            }
            earliest = Instant::now() + PAUSE;
            if self.admission.check_node().is_err() {
                continue;
            }
            let Some(number) = self.current().map(|token| token.number) else { continue };
            if let Err(NoToken { error, was_asked: true }) = self.fetch_once_after(number).await
                && !self.admission.note_closed(&Err::<(), _>(error.clone()))
            {
                warn!(%error, "Pexip's token could not be renewed, trying again");
            }
        }
    }

    fn current(&self) -> Option<Token> {
        self.state.lock().token.clone().filter(Token::is_good)
    }

    async fn token_after(self: &Arc<Self>, number: u64) -> Result<Token, NoToken> {
        let latest = match &self.state.lock().token {
            Some(token) if token.number > number && token.is_good() => return Ok(token.clone()),
            token => token.as_ref().map_or(0, |token| token.number),
        };
        self.fetch_once_after(latest).await
    }

    async fn fetch_once_after(self: &Arc<Self>, latest: u64) -> Result<Token, NoToken> {
        let oauth2 = Arc::clone(self);
        self.fetches.run(latest, async move { oauth2.fetch_after(latest).await }).await
    }

    /// Fetches a token, unless an earlier run has done so in the meantime or has just failed.
    async fn fetch_after(&self, latest: u64) -> Result<Token, NoToken> {
        {
            let state = self.state.lock();
            if let Some(token) = state.token.as_ref().filter(|token| token.number > latest) {
                return Ok(token.clone());
            }
            if let Some((error, until)) = &state.failure
                && Instant::now() < *until
            {
                return Err(NoToken { error: error.clone().into(), was_asked: false });
            }
        }
        self.admission.count_call().map_err(|error| NoToken { error, was_asked: false })?;
        let asked_at = Instant::now();
        let result = observed(System::Pexip, "token", self.exchange()).await;
        TOKEN_FETCHES.count([result.as_ref().err().map_or("ok", Outcome::outcome).into()]);
        match result {
            Ok(granted) => {
                info!(lifetime_s = granted.lifetime.as_secs(), "token of Pexip fetched");
                let token = granted.token(latest + 1, asked_at);
                *self.state.lock() = State { token: Some(token.clone()), ..State::default() };
                self.renewed.notify_one();
                Ok(token)
            }
            Err(error) => {
                let pause = error.retry_after().unwrap_or(PAUSE).clamp(PAUSE, LONGEST_PAUSE);
                self.state.lock().failure = Some((error.clone(), Instant::now() + pause));
                Err(NoToken { error: error.into(), was_asked: true })
            }
        }
    }

    /// Exchanges an assertion for a token.
    async fn exchange(&self) -> Result<Granted, TokenError> {
        // Panics on a machine without a random source: its assertions could be guessed.
        let claims = self.claims(self.clock.now_utc(), &mut UnwrapErr(SysRng));
        let assertion = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, self.key.signing())
            .expect("the key was read as one for ES256, and the claims are JSON");
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_assertion_type", ASSERTION_TYPE)
            .append_pair("client_assertion", &assertion)
            .finish();
        let request = self.http.post(self.endpoint.clone()).timeout(self.request_timeout);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        let response = send(with_traceparent(request)).await?;
        match response.status().as_u16() {
            200 => Granted::read(response).await,
            429 | 500..=599 => Err(TokenError::busy(&response, self.clock.now())),
            300..=499 => Err(TokenError::refused(response).await),
            _ => Err(CallFailure::Unreadable.into()),
        }
    }

    fn claims(&self, now: OffsetDateTime, rng: &mut impl Rng) -> Claims<'_> {
        let mut id = [0; 16];
        rng.fill_bytes(&mut id);
        Claims {
            iss: &self.client_id,
            sub: &self.client_id,
            aud: self.endpoint.as_str(),
            iat: (now - DATED_BACK).unix_timestamp(),
            exp: (now + ASSERTION_LIFETIME).unix_timestamp(),
            jti: URL_SAFE_NO_PAD.encode(id),
        }
    }
}

impl Token {
    /// Adds the token to a request.
    pub(super) fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(self.text.expose_secret())
    }

    fn is_good(&self) -> bool {
        Instant::now() < self.ends
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
}

/// What the token endpoint has granted.
struct Granted {
    text: SecretString,
    lifetime: Duration,
}

impl Granted {
    async fn read(response: Response) -> Result<Self, TokenError> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: SecretString,
            token_type: String,
            expires_in: u64,
        }
        let answer: Answer = json(response, LARGEST_ANSWER).await?;
        let text = answer.access_token.expose_secret();
        let is_usable = !text.is_empty() && HeaderValue::from_str(text).is_ok() && answer.expires_in > 0;
        if !is_usable || !answer.token_type.eq_ignore_ascii_case("bearer") {
            return Err(CallFailure::Unreadable.into());
        }
        let lifetime = Duration::from_secs(answer.expires_in).min(LONGEST_LIFETIME);
        Ok(Self { text: answer.access_token, lifetime })
    }

    fn token(self, number: u64, asked_at: Instant) -> Token {
        let ends = asked_at + self.lifetime;
        let renewed_at = ends - RENEWED_BEFORE_END.min(self.lifetime / 2);
        Token { number, text: self.text, renewed_at, ends }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Token").field("number", &self.number).finish_non_exhaustive()
    }
}
