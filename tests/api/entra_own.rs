//! Entra as it is used where caller and API are one registration: the audience `own`, no app roles, several registrations.
//! Then the token itself must prove that it is an application's.

use std::collections::{BTreeSet, HashMap};

use maxconf_simulators::World;
use maxconf_simulators::entra::{
    API_CLIENT_ID, APP_ID_URI, CLIENT_ID, CLIENT_SECRET, TENANT_ID, TokenBuilder, Version,
};
use proptest::prelude::{Just, Strategy};
use proptest::test_runner::{Config, TestRunner};
use proptest::{option, prop_assert_eq, prop_oneof};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::{
    Answer, IDIM_CREATE, IDIM_DELETE, IDIM_READ, IDIM_ROUTES, Program, TestApp, TestAppBuilder, assert_token_invalid,
    within,
};

/// A second registration.
const OTHER_CLIENT: &str = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";

/// A registration that is not on the list.
const STRANGER: &str = "bbbbbbbb-bbbb-4ccc-8ddd-eeeeeeeeeeee";

const USER: &str = "cccccccc-bbbb-4ccc-8ddd-eeeeeeeeeeee";

const NO_SCOPE: &str = r#"Bearer realm="maxconf", error="insufficient_scope""#;

/// A service without a pool that accepts two registrations.
fn service(audience: &str, role: &str) -> TestAppBuilder {
    TestApp::with()
        .set("POOL_TARGET_SIZE", 0)
        .set("ENTRA_AUDIENCE", audience)
        .set("ENTRA_CREATE_ROLE", role)
        .set("ENTRA_DELETE_ROLE", role)
        .set("ENTRA_READ_ROLE", role)
        .set("ENTRA_ALLOWED_CLIENT_IDS", format!("{CLIENT_ID},{OTHER_CLIENT}"))
}

/// Valid tokens of a client without app roles whose audience is its own registration, in both versions.
fn own_tokens(app: &TestApp, client: &str) -> [TokenBuilder; 2] {
    let token = app.entra.token().without("roles").claim("azp", client);
    [token.clone().audience(client), token.v1().audience(&format!("api://{client}"))]
}

/// The claims of the client's name and authentication in this version.
fn client_claims(token: &TokenBuilder) -> [&'static str; 2] {
    if token.clone().build_claims()["ver"] == "1.0" { ["appid", "appidacr"] } else { ["azp", "azpacr"] }
}

/// Makes an ID token of it: Entra issues one to each user who signs in at the registration.
fn id_token(token: TokenBuilder, client: &str) -> TokenBuilder {
    let [name, authentication] = client_claims(&token);
    users_token(token).without(name).without(authentication).audience(client).claim("nonce", "n-0S6_WzA2Mj")
}

/// Makes a user's token of it, without `scp`.
fn users_token(token: TokenBuilder) -> TokenBuilder {
    token.without("idtyp").claim("oid", USER).claim("sub", "pairwise-subject").claim("name", "A User")
}

async fn ask(app: &TestApp, token: &TokenBuilder) -> [Answer; 3] {
    let header = format!("Bearer {}", token.clone().build());
    [
        app.ask_idim(&IDIM_CREATE, &header).await,
        app.ask_idim(&IDIM_READ, &header).await,
        app.ask_idim(&IDIM_DELETE, &header).await,
    ]
}

async fn assert_accepted(app: &TestApp, name: &str, token: &TokenBuilder) {
    let [created, read, deleted] = ask(app, token).await;
    assert_eq!(created.status, 200, "{name}: {created:?}");
    deleted.assert_problem(404, "room_not_found");
    read.assert_problem(404, "room_not_found");
    app.pexip.traffic().clear();
    app.queue.traffic().clear();
}

/// Asserts that each route answers 403, with this challenge, and asks nobody.
async fn assert_not_permitted(app: &TestApp, name: &str, token: &TokenBuilder, challenge: impl Fn(&str) -> String) {
    for (answer, route) in ask(app, token).await.into_iter().zip(IDIM_ROUTES) {
        assert_eq!(answer.status, 403, "{name}: {answer:?}");
        answer.assert_problem(403, "not_permitted");
        assert_eq!(answer.header("www-authenticate"), challenge(route.role), "{name}");
    }
    app.assert_no_outside_calls(name);
}

#[tokio::test]
async fn own_is_the_calling_clients_id_in_every_form_and_for_each_registration() {
    let app = service("own", "none").start().await;
    for client in [CLIENT_ID, OTHER_CLIENT] {
        for token in own_tokens(&app, client) {
            let upper = client.to_uppercase();
            for audience in [
                client.to_owned(),
                upper.clone(),
                format!("api://{client}"),
                format!("api://{upper}"),
                format!("API://{upper}"),
            ] {
                assert_accepted(&app, &audience, &token.clone().audience(&audience)).await;
            }
            let [name, _] = client_claims(&token);
            assert_accepted(&app, "client id in capitals", &token.clone().claim(name, upper)).await;
        }
    }
}

#[tokio::test]
async fn own_is_no_other_audience() {
    let app = service("own", "none").start().await;
    let slash = format!("api://{CLIENT_ID}/");
    let twice = format!("api://api://{CLIENT_ID}");
    let https = format!("https://{CLIENT_ID}");
    for token in own_tokens(&app, CLIENT_ID) {
        for audience in [
            OTHER_CLIENT,
            STRANGER,
            API_CLIENT_ID,
            APP_ID_URI,
            TENANT_ID,
            "own",
            "OWN",
            "",
            "api://",
            &slash,
            &twice,
            &https,
        ] {
            for answer in ask(&app, &token.clone().audience(audience)).await {
                assert_token_invalid(&answer);
            }
        }
        let [name, _] = client_claims(&token);
        for empty in ["", "api://"] {
            for answer in ask(&app, &token.clone().claim(name, "").audience(empty)).await {
                assert_token_invalid(&answer);
            }
        }
        // The client's claim of the other version is no client's name.
        let other = if name == "azp" { "appid" } else { "azp" };
        let renamed = token.clone().without(name).claim(other, STRANGER).audience(STRANGER);
        for answer in ask(&app, &renamed).await {
            assert_token_invalid(&answer);
        }
        let unlisted = token.clone().claim(name, STRANGER).audience(STRANGER);
        assert_not_permitted(&app, "client not on the list", &unlisted, |_| NO_SCOPE.to_owned()).await;
    }
    app.assert_no_outside_calls("other audiences");
}

#[tokio::test]
async fn own_may_stand_beside_other_audiences() {
    let app = service(&format!("own, {API_CLIENT_ID}"), "Room.Create").start().await;
    let with_role = |token: TokenBuilder| token.roles(["Room.Create"]);
    for token in own_tokens(&app, CLIENT_ID).map(with_role) {
        assert_accepted(&app, "own", &token).await;
        assert_accepted(&app, "listed", &token.clone().audience(API_CLIENT_ID)).await;
        for audience in [APP_ID_URI.to_owned(), API_CLIENT_ID.to_uppercase()] {
            for answer in ask(&app, &token.clone().audience(&audience)).await {
                assert_token_invalid(&answer);
            }
        }
    }
}

#[tokio::test]
async fn the_word_own_is_needed_for_a_clients_own_id() {
    let app = service(API_CLIENT_ID, "none").start().await;
    for token in own_tokens(&app, CLIENT_ID) {
        for answer in ask(&app, &token).await {
            assert_token_invalid(&answer);
        }
        assert_accepted(&app, "listed", &token.audience(API_CLIENT_ID)).await;
    }
}

#[tokio::test]
async fn own_with_a_role_still_requires_the_role() {
    let app = service("own", "Room.Any").start().await;
    for token in own_tokens(&app, CLIENT_ID) {
        let challenge = |_: &str| format!(r#"{NO_SCOPE}, scope="Room.Any""#);
        assert_not_permitted(&app, "no role", &token, challenge).await;
        assert_not_permitted(&app, "other role", &token.clone().roles(["none", "Room.Create"]), challenge).await;
        assert_accepted(&app, "the role", &token.roles(["Room.Any"])).await;
    }
}

#[tokio::test]
async fn a_role_of_none_holds_for_its_route_only() {
    let roles = ["ENTRA_CREATE_ROLE", "ENTRA_READ_ROLE", "ENTRA_DELETE_ROLE"];
    for (free, setting) in roles.into_iter().enumerate() {
        let app = service("own", "Room.Any").set(setting, "none").start().await;
        for token in own_tokens(&app, CLIENT_ID) {
            for (route, answer) in ask(&app, &token).await.into_iter().enumerate() {
                if route == free {
                    assert!([200, 404].contains(&answer.status.as_u16()), "{setting}: {answer:?}");
                } else {
                    answer.assert_problem(403, "not_permitted");
                    assert_eq!(answer.header("www-authenticate"), format!(r#"{NO_SCOPE}, scope="Room.Any""#));
                }
            }
            assert_accepted(&app, setting, &token.roles(["Room.Any"])).await;
        }
    }
}

/// What proves an application, and what does not, where `own` or role `none` make the proof necessary.
#[tokio::test]
async fn id_tokens_and_users_tokens_are_refused_in_both_versions() {
    for (audience, role) in [("own", "none"), ("own", "Room.Any"), (CLIENT_ID, "none")] {
        let app = service(audience, role).start().await;
        let challenge =
            |_: &str| if role == "none" { NO_SCOPE.to_owned() } else { format!(r#"{NO_SCOPE}, scope="{role}""#) };
        for token in own_tokens(&app, CLIENT_ID) {
            let valid = || token.clone().audience(CLIENT_ID).roles(["Room.Any"]);
            let [name, authentication] = client_claims(&token);
            let other_authentication = if name == "azp" { "appidacr" } else { "azpacr" };
            let unmarked = || valid().without("idtyp");
            for (what, refused) in [
                ("ID token", id_token(valid(), CLIENT_ID)),
                ("ID token with the client's name", id_token(valid(), CLIENT_ID).claim(name, CLIENT_ID)),
                ("ID token whose subject is its object", id_token(valid(), CLIENT_ID).claim("sub", USER)),
                ("ID token that names client and subject", {
                    id_token(valid(), CLIENT_ID).claim(name, CLIENT_ID).claim("sub", USER)
                }),
                ("ID token marked as an application's", id_token(valid(), CLIENT_ID).claim("idtyp", "app")),
                ("user's token", users_token(valid())),
                ("user's token of a certified client", users_token(valid()).claim(authentication, "2")),
                ("user's token of a public client", users_token(valid()).claim(authentication, "0")),
                ("user's token marked as one", users_token(valid()).claim("idtyp", "user")),
                ("user's token with scp", users_token(valid()).claim("scp", "openid")),
                ("marked as a device's", valid().claim("idtyp", "device")),
                ("marked with capitals", valid().claim("idtyp", "App")),
                ("marked with nothing", valid().claim("idtyp", "")),
                ("application's token with scp", valid().claim("scp", "")),
                ("no object", unmarked().without("oid")),
                ("no object and an empty subject", unmarked().without("oid").claim("sub", "")),
                ("another subject", unmarked().claim("sub", USER)),
                ("the subject in capitals", unmarked().claim("oid", USER).claim("sub", USER.to_uppercase())),
                ("no client authentication", unmarked().without(authentication)),
                ("client authentication null", unmarked().claim(authentication, Value::Null)),
                ("a public client", unmarked().claim(authentication, "0")),
                ("a public client that is marked", valid().claim(authentication, "0")),
                ("another client authentication", unmarked().claim(authentication, "3")),
                ("authentication with a blank", unmarked().claim(authentication, " 1")),
                ("authentication of the other version", {
                    unmarked().without(authentication).claim(other_authentication, "1")
                }),
            ] {
                assert_not_permitted(&app, &format!("{what}, {audience}, {role}"), &refused, challenge).await;
            }
            for (what, accepted) in [
                ("marked", valid()),
                ("marked, without oid", valid().without("oid")),
                ("marked, with another subject", valid().claim("sub", USER)),
                ("by a secret", unmarked().claim(authentication, "1")),
                ("by a certificate", unmarked().claim(authentication, "2")),
                ("idtyp null", valid().claim("idtyp", Value::Null)),
            ] {
                assert_accepted(&app, what, &accepted).await;
            }
        }
    }
}

#[tokio::test]
async fn a_token_for_the_clients_own_scope_is_accepted_in_both_versions() {
    let app = service("own", "none").start().await;
    for version in [Version::V1, Version::V2] {
        app.entra.issue_version(version);
        for resource in [format!("api://{CLIENT_ID}"), CLIENT_ID.to_owned()] {
            let form = format!(
                "grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={CLIENT_SECRET}\
                 &scope={resource}/.default"
            );
            let asked = app.http.post(app.entra.token_url()).body(form).send();
            let issued = Answer::read(within("a token", asked).await.expect("an answer")).await.json();
            let token = issued["access_token"].as_str().unwrap_or_else(|| panic!("a token: {issued}"));
            let answer = app.create_with(token).await;
            assert_eq!(answer.status, 200, "{version:?} for {resource}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn own_and_role_none_require_a_list_of_clients() {
    let world = World::start().await;
    for clients in ["*", " * ", ""] {
        for (changed, faulty) in [
            (vec![("ENTRA_AUDIENCE", "own")], vec!["ENTRA_AUDIENCE"]),
            (vec![("ENTRA_AUDIENCE", "api://rooms,own")], vec!["ENTRA_AUDIENCE"]),
            (vec![("ENTRA_CREATE_ROLE", "none")], vec!["ENTRA_CREATE_ROLE"]),
            (vec![("ENTRA_DELETE_ROLE", "none")], vec!["ENTRA_DELETE_ROLE"]),
            (vec![("ENTRA_READ_ROLE", "none")], vec!["ENTRA_READ_ROLE"]),
            (
                vec![("ENTRA_AUDIENCE", "own"), ("ENTRA_CREATE_ROLE", "none"), ("ENTRA_DELETE_ROLE", "none")],
                vec!["ENTRA_AUDIENCE", "ENTRA_CREATE_ROLE", "ENTRA_DELETE_ROLE"],
            ),
        ] {
            let mut settings: HashMap<_, _> = world.settings();
            settings.insert("ENTRA_ALLOWED_CLIENT_IDS", clients.to_owned());
            settings.extend(changed.iter().map(|(name, value)| (*name, (*value).to_owned())));

            let ended = Program::run(&["check-config"], settings.clone()).await;

            assert_eq!(ended.code, Some(78), "{changed:?}: {ended:?}");
            let reported = ended.stderr.iter().filter_map(|line| line.strip_prefix("  ")?.split_once(' '));
            let reported: BTreeSet<_> = reported.map(|(name, _)| name).collect();
            assert_eq!(reported, BTreeSet::from_iter(faulty), "{changed:?}: {ended:?}");
            assert!(ended.stderr.iter().any(|line| line.contains("ENTRA_ALLOWED_CLIENT_IDS")), "{ended:?}");

            settings.insert("ENTRA_ALLOWED_CLIENT_IDS", CLIENT_ID.to_owned());
            let ended = Program::run(&["check-config"], settings).await;
            assert_eq!(ended.code, Some(0), "{changed:?}: {ended:?}");
        }
    }
}

/// The claims that decide, each as a token may have it.
#[derive(Clone, Debug)]
struct Evidence {
    version: Version,
    idtyp: Option<&'static str>,
    client: Option<&'static str>,
    authentication: Option<&'static str>,
    oid: Option<&'static str>,
    sub: &'static str,
    aud: &'static str,
    scp: bool,
}

impl Evidence {
    /// The contract, written down once more.
    fn status(&self) -> u16 {
        let listed = [CLIENT_ID, OTHER_CLIENT];
        let is_ours = match self.client {
            Some(client) => self.aud == client,
            None => listed.contains(&self.aud),
        };
        let is_application = match self.idtyp {
            Some(kind) => kind == "app",
            None => self.authentication.is_some_and(|by| by == "1" || by == "2") && self.oid == Some(self.sub),
        };
        let is_allowed = self.client.is_some_and(|client| listed.contains(&client));
        match (is_ours, is_application && is_allowed && !self.scp && self.authentication != Some("0")) {
            (false, _) => 401,
            (true, false) => 403,
            (true, true) => 404,
        }
    }

    fn token(&self, app: &TestApp) -> String {
        let token = match self.version {
            Version::V1 => app.entra.token().v1(),
            Version::V2 => app.entra.token(),
        };
        let [name, authentication] = client_claims(&token);
        let claims =
            [("idtyp", self.idtyp), (name, self.client), (authentication, self.authentication), ("oid", self.oid)];
        let token =
            claims.into_iter().fold(token.without("roles").audience(self.aud), |token, (claim, value)| match value {
                Some(value) => token.claim(claim, value),
                None => token.without(claim),
            });
        let token = token.claim("sub", self.sub);
        if self.scp { token.claim("scp", "openid") } else { token }.build()
    }
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let id = || prop_oneof![Just(CLIENT_ID), Just(OTHER_CLIENT), Just(STRANGER)];
    let object = || prop_oneof![4 => Just(USER), 1 => Just("another"), 1 => Just("")];
    let claims = (
        prop_oneof![Just(Version::V1), Just(Version::V2)],
        option::of(prop_oneof![4 => Just("app"), 1 => Just("user"), 1 => Just("")]),
        option::weighted(0.8, id()),
        option::weighted(0.8, prop_oneof![1 => Just("0"), 4 => Just("1"), 4 => Just("2"), 1 => Just("")]),
        option::weighted(0.8, object()),
        object(),
        id(),
        prop_oneof![6 => Just(false), 1 => Just(true)],
    );
    let evidence = |(version, idtyp, client, authentication, oid, sub, aud, scp)| Evidence {
        version,
        idtyp,
        client,
        authentication,
        oid,
        sub,
        aud,
        scp,
    };
    // Half of the tokens are for their own client: otherwise most would be refused for their audience alone.
    (claims.prop_map(evidence), prop_oneof![Just(true), Just(false)]).prop_map(|(evidence, own)| {
        match evidence.client {
            Some(client) if own => Evidence { aud: client, ..evidence },
            _ => evidence,
        }
    })
}

#[test]
fn exactly_the_tokens_that_prove_an_application_of_a_listed_client_are_accepted() {
    let runtime = Runtime::new().expect("a runtime");
    let app = runtime.block_on(async {
        let app = service("own", "none").set("RATE_LIMIT_PER_MINUTE", 100_000).start().await;
        app.entra_keys_are_read().await;
        app
    });
    let mut runner = TestRunner::new(Config { cases: 500, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&evidence(), |evidence| {
        let request = app.request(IDIM_DELETE.method, "room/of-others").bearer_auth(evidence.token(&app));
        let status = runtime.block_on(app.send(request)).status.as_u16();
        prop_assert_eq!(status, evidence.status());
        Ok(())
    });
    assert!(outcome.is_ok(), "{outcome:?}");
    app.assert_no_outside_calls("a room of others");
}
