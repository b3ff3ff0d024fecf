//! The contract's table of attacks on Entra tokens, by the numbers of its rows: what each is answered, that nobody is
//! asked because of it, and that neither answer nor log says anything of what was sent.

mod credentials;
mod forgeries;
mod keys;

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use maxconf_simulators::EntraSimulator;
use maxconf_simulators::entra::{CLIENT_ID, TokenBuilder, Version};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::Value;

use self::Verdict::{Accepted, AcceptedWith, Invalid, NotPermitted, NotPermittedWithAnyRole};
use crate::support::{
    Answer, CapturedLog, IDIM_ROUTES, INVALID_ENTRA_TOKEN, IdimRoute, TestApp, v1_key_fetches, v2_key_fetches,
};

/// For what the contract asks for outside of the table.
const BEYOND_THE_TABLE: u8 = 0;

/// Claims of a proven caller that the log and its own answer may show, the roles as the challenge names one.
const MAY_BE_SHOWN: [&str; 7] = ["tid", "oid", "sub", "azp", "appid", "uti", "roles"];

/// One form of one row.
struct Attack {
    row: u8,
    name: String,
    headers: HeaderMap,
    query: Option<String>,
    verdict: Verdict,
}

/// What a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    NoToken,
    TwoTokens,
    Invalid,
    Expired,
    NotPermitted,
    /// The route asks for no role.
    NotPermittedWithAnyRole,
    Unavailable,
    Accepted,
    /// On the route that asks for this role; on the other it is not permitted.
    AcceptedWith(&'static str),
}

impl Verdict {
    /// Status, code and challenge.
    fn answer(self, route: &IdimRoute) -> (u16, &'static str, String) {
        match self {
            Self::NoToken => (401, "token_missing", r#"Bearer realm="maxconf""#.to_owned()),
            Self::TwoTokens => (400, "request_invalid", String::new()),
            Self::Invalid => (401, "token_invalid", INVALID_ENTRA_TOKEN.to_owned()),
            Self::Expired => {
                (401, "token_invalid", INVALID_ENTRA_TOKEN.replace("token validation failed", "the token has expired"))
            }
            Self::NotPermittedWithAnyRole => {
                (403, "not_permitted", r#"Bearer realm="maxconf", error="insufficient_scope""#.to_owned())
            }
            Self::Unavailable => (503, "entra_unavailable", String::new()),
            _ if self.lets_in(route) && route.role == "Room.Create" => (200, "ok", String::new()),
            _ if self.lets_in(route) => (404, "room_not_found", String::new()),
            _ => (
                403,
                "not_permitted",
                format!(r#"Bearer realm="maxconf", error="insufficient_scope", scope="{}""#, route.role),
            ),
        }
    }

    fn lets_in(self, route: &IdimRoute) -> bool {
        self == Self::Accepted || self == Self::AcceptedWith(route.role)
    }

    fn proves_the_caller(self) -> bool {
        matches!(self, Self::Accepted | Self::AcceptedWith(_) | Self::NotPermitted | Self::NotPermittedWithAnyRole)
    }
}

impl Attack {
    fn by_token(row: u8, name: impl Into<String>, token: impl std::fmt::Display, verdict: Verdict) -> Self {
        Self::by_header(row, name, format!("Bearer {token}"), verdict)
    }

    fn by_header(row: u8, name: impl Into<String>, authorization: impl AsRef<[u8]>, verdict: Verdict) -> Self {
        Self { headers: HeaderMap::new(), name: name.into(), row, query: None, verdict }.and_header(authorization)
    }

    fn and_header(mut self, authorization: impl AsRef<[u8]>) -> Self {
        let value = HeaderValue::from_bytes(authorization.as_ref()).expect("what a header can hold");
        self.headers.append(AUTHORIZATION, value);
        self
    }

    fn and_query(mut self, query: impl Into<String>) -> Self {
        self.query = Some(query.into());
        self
    }

    async fn sent_to(&self, app: &TestApp, route: &IdimRoute) -> Answer {
        let mark = if route.path.contains('?') { '&' } else { '?' };
        let query = self.query.as_ref().map(|query| format!("{mark}{query}")).unwrap_or_default();
        let request = app.request(route.method.clone(), &format!("{}{query}", route.path));
        app.send(request.headers(self.headers.clone())).await
    }

    /// Everything of the request that is secret: the token, its segments, and the words in them.
    fn secrets(&self) -> BTreeSet<String> {
        let segments = self.segments();
        let mut secrets: BTreeSet<_> = json_of(&segments).iter().flat_map(words).chain(segments).collect();
        if self.verdict.proves_the_caller() {
            secrets = &secrets - &self.may_be_shown();
        }
        secrets.retain(|secret| secret.len() > 8);
        secrets
    }

    /// What of it may be shown, once it is proven.
    fn may_be_shown(&self) -> BTreeSet<String> {
        let json = json_of(&self.segments());
        json.iter().flat_map(|claims| MAY_BE_SHOWN.iter().flat_map(|name| words(&claims[name]))).collect()
    }

    fn segments(&self) -> Vec<String> {
        let values = self.headers.values().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let texts: Vec<_> = values.chain(self.query.clone()).collect();
        texts.iter().flat_map(|text| text.split([' ', '.', ',', '='])).map(ToOwned::to_owned).collect()
    }
}

/// The segments that are JSON.
fn json_of(segments: &[String]) -> Vec<Value> {
    let json = |segment| serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(segment).ok()?).ok();
    segments.iter().filter_map(json).collect()
}

/// All texts in a value.
fn words(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(words).collect(),
        Value::Object(members) => members.values().flat_map(words).collect(),
        _ => Vec::new(),
    }
}

/// What is not as the table has it, collected so that a run shows all of it.
struct Trial {
    log: CapturedLog,
    faults: Vec<String>,
    secrets: BTreeSet<String>,
    /// What proven callers have had in common with the secrets of others.
    shown: BTreeSet<String>,
    /// Request id, status and code of each answer.
    answered: Vec<(String, u16, &'static str)>,
}

impl Trial {
    fn start() -> Self {
        Self {
            log: CapturedLog::start(),
            faults: Vec::new(),
            secrets: BTreeSet::new(),
            shown: BTreeSet::new(),
            answered: Vec::new(),
        }
    }

    /// Sends the attack to both of IDIM's routes.
    async fn face(&mut self, app: &TestApp, attack: &Attack) {
        let secrets = attack.secrets();
        for route in &IDIM_ROUTES {
            for traffic in [app.queue.traffic(), app.pexip.traffic(), app.genesys.traffic()] {
                traffic.clear();
            }
            let logged = self.log.len();
            let answer = attack.sent_to(app, route).await;
            let (status, code, challenge) = attack.verdict.answer(route);
            let name = format!("row {}, {}, on {} {}", attack.row, attack.name, route.method, route.path);
            if answer.status != status || (status != 200 && answer.json()["code"] != code) {
                self.faults.push(format!("{name}: {status} {code} was due: {answer:?}"));
                continue;
            }
            if status != 200 {
                answer.assert_problem(status, code);
            }
            if answer.header("www-authenticate") != challenge {
                self.faults.push(format!("{name}: {challenge} was due: {answer:?}"));
            }
            if !attack.verdict.lets_in(route) {
                app.assert_no_outside_calls(&name);
            }
            let shown = format!("{answer:?} {}", self.log.after(logged));
            let said = secrets.iter().filter(|secret| shown.contains(*secret));
            self.faults.extend(said.map(|secret| format!("{name}: {secret:?} is in {shown}")));
            self.answered.push((answer.header("x-request-id").to_owned(), status, code));
        }
        if attack.verdict.proves_the_caller() {
            self.shown.extend(attack.may_be_shown());
        }
        self.secrets.extend(secrets);
    }

    /// Looks at the whole log and passes sentence.
    fn end(mut self) {
        let log = self.log.after(0);
        let said = self.secrets.difference(&self.shown).filter(|secret| log.contains(*secret));
        self.faults.extend(said.map(|secret| format!("{secret:?} is in the log")));
        let lines = self.log.requests();
        for (id, status, code) in &self.answered {
            let line = lines.iter().filter(|line| line["request_id"] == **id).collect::<Vec<_>>();
            if line.len() != 1 || line[0]["status"] != *status || line[0]["code"] != *code {
                self.faults.push(format!("{status} {code} was due in the log: {line:?}"));
            }
        }
        assert!(self.faults.is_empty(), "{:#?}", self.faults);
    }
}

/// What the token attacks are made of.
struct Forge<'a> {
    entra: &'a EntraSimulator,
    /// A valid token of the version that is attacked, issued at `now`.
    valid: TokenBuilder,
    /// The service's time, in seconds since 1970.
    now: u64,
}

impl<'a> Forge<'a> {
    fn new(entra: &'a EntraSimulator, version: Version, now: u64) -> Self {
        let valid = match version {
            Version::V1 => entra.token().v1(),
            Version::V2 => entra.token(),
        };
        Self { entra, valid: valid.claim("iat", now).claim("nbf", now).claim("exp", now + 3_900), now }
    }

    fn valid(&self) -> TokenBuilder {
        self.valid.clone()
    }

    /// The claims of the valid token as they are written in it.
    fn claims_text(&self) -> String {
        let token = self.valid().build();
        let segment = token.split('.').nth(1).expect("three segments");
        String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(segment).expect("base64url")).expect("text")
    }
}

#[tokio::test]
async fn every_attack_by_token_is_answered_as_its_row_says() {
    let now = UNIX_EPOCH.elapsed().expect("a time after 1970").as_secs();
    let mut trial = Trial::start();
    let mut rows = keys::rows();
    for version in [Version::V1, Version::V2] {
        let app = TestApp::with()
            .set("POOL_TARGET_SIZE", 0)
            .set(
                "ENTRA_ALLOWED_CLIENT_IDS",
                format!("99999999-2222-4333-8444-555555555555, {}", CLIENT_ID.to_uppercase()),
            )
            .clock(move || UNIX_EPOCH + Duration::from_secs(now))
            .start()
            .await;
        app.entra_keys_are_read().await;
        let asked = app.entra.traffic().log().len();
        let forge = Forge::new(&app.entra, version, now);

        for attack in credentials::all(&forge).into_iter().chain(forgeries::all(&forge)) {
            rows.insert(attack.row);
            trial.face(&app, &attack).await;
        }

        assert_eq!(app.entra.traffic().log().len(), asked, "{:?}", app.entra.traffic().log());
        assert_eq!((v1_key_fetches(&app.entra), v2_key_fetches(&app.entra)), (1, 1));
    }
    trial.end();
    rows.remove(&BEYOND_THE_TABLE);
    assert_eq!(rows, (1..=50).collect(), "a row of the table has no attack");
}

/// Where client and API are one registration and no role is asked for, what is no valid token is refused all the same.
#[tokio::test]
async fn every_attack_by_token_is_refused_with_own_and_without_roles_too() {
    let now = UNIX_EPOCH.elapsed().expect("a time after 1970").as_secs();
    let mut trial = Trial::start();
    for version in [Version::V1, Version::V2] {
        let settings = [
            ("POOL_TARGET_SIZE", "0"),
            ("ENTRA_AUDIENCE", "own"),
            ("ENTRA_CREATE_ROLE", "none"),
            ("ENTRA_DELETE_ROLE", "none"),
            ("ENTRA_READ_ROLE", "none"),
            ("ENTRA_ALLOWED_CLIENT_IDS", CLIENT_ID),
        ];
        let service = settings.into_iter().fold(TestApp::with(), |service, (name, value)| service.set(name, value));
        let app = service.clock(move || UNIX_EPOCH + Duration::from_secs(now)).start().await;
        app.entra_keys_are_read().await;
        let forge = Forge::new(&app.entra, version, now);
        let own = match version {
            Version::V1 => format!("api://{CLIENT_ID}"),
            Version::V2 => CLIENT_ID.to_owned(),
        };
        let forge = Forge { valid: forge.valid().audience(&own), ..forge };

        // `entra_own` has the audiences.
        let forgeries = forgeries::all(&forge).into_iter().filter(|attack| ![15, 50].contains(&attack.row));
        for mut attack in credentials::all(&forge).into_iter().chain(forgeries) {
            attack.verdict = match attack.verdict {
                NotPermitted | AcceptedWith(_) if attack.row == 31 => Accepted,
                // Then the audience is another client's.
                NotPermitted if attack.row == 33 && attack.name != "no client" => Invalid,
                NotPermitted => NotPermittedWithAnyRole,
                other => other,
            };
            trial.face(&app, &attack).await;
        }
    }
    trial.end();
}
