//! A run of the smoke test: which checks are made, in which order, and their outcomes.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::Client;
use secrecy::SecretString;
use tokio::time::{Instant, timeout};

use super::SmokeCommand;
use super::check::{Check, Checked, Failure, Outcome};
use super::credentials::Credentials;
use super::policy::Policy;
use super::refusals::{Refusals, altered};
use super::rooms::{Room, RoomSource, Rooms};
use super::service::Service;
use super::test_case::TagForm;
use super::wait;
use crate::cli::progress_bar::ProgressBar;

#[derive(Debug)]
pub(super) struct Run<'a> {
    command: &'a SmokeCommand,
    credentials: &'a Credentials,
    http: Client,
    /// Outlives the run, so that a stop can delete the rooms.
    rooms: &'a OnceLock<Rooms>,
    progress: &'a ProgressBar,
    pub(super) checked: Vec<Checked>,
    under_way: Option<(Check, Instant)>,
    /// The version that answers.
    pub(super) version: Option<String>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        command: &'a SmokeCommand,
        credentials: &'a Credentials,
        http: Client,
        rooms: &'a OnceLock<Rooms>,
        progress: &'a ProgressBar,
    ) -> Self {
        Self { command, credentials, http, rooms, progress, checked: Vec::new(), under_way: None, version: None }
    }

    pub(super) async fn execute(&mut self) {
        self.progress.set_total(Check::ALL.len());
        let (wait, one_answer) = (Duration::from_secs(self.command.wait), Duration::from_secs(self.command.timeout));
        let (url, http, gateway) = (self.command.url.clone(), self.http.clone(), self.command.behind_gateway);
        let service = Service::new(url, http, gateway, self.credentials.subscription_key.clone(), one_answer);

        // Bounds the run if every answer is slow but within its own limit.
        let limit = wait + 4 * one_answer;
        if timeout(limit, self.check_all(&service, wait)).await.is_err() {
            self.record_cut_off(limit);
        }
        if let Some(rooms) = self.rooms.get() {
            self.check(Check::CleanUp, rooms.clean_up(one_answer / 2)).await;
        }
        if self.version.is_some() {
            self.check(Check::AnswerHeaders, async { service.check_answer_headers() }).await;
        }
    }

    async fn check_all(&mut self, service: &Service, wait: Duration) {
        let expected = self.command.expect_version.as_deref();
        let version = wait::for_version(service, expected, wait, self.progress);
        let Some(version) = self.check(Check::Version, version).await else { return };
        service.expect_version(&version);
        self.version = Some(version);
        self.check(Check::Ready, wait::for_readiness(service, wait, self.progress)).await;

        let tag_form = TagForm::new(self.command.tag_url.as_deref(), self.command.tag_host.as_deref());
        let (credentials, http) = (self.credentials, self.http.clone());
        let Some(token) = self.check(Check::EntraToken, credentials.token(&http)).await else {
            return self.check_refusals_without_token(service, &Refusals::new(service, None, &tag_form)).await;
        };
        let rooms = self.rooms.get_or_init(|| Rooms::new(service.clone(), token.clone(), tag_form.clone()));
        let refusals = Refusals::new(service, Some(rooms), &tag_form);
        self.check_refusals_without_token(service, &refusals).await;
        self.check_refusals_with_token(&refusals, &token).await;
        self.check_room_life(service, rooms).await;
    }

    /// The check under way at the time limit has no result.
    fn record_cut_off(&mut self, limit: Duration) {
        if let Some((check, start)) = self.under_way.take() {
            let detail = format!("cut off: this check and those before it took longer than {} s", limit.as_secs());
            let outcome = Outcome::Failed(Failure::unclear(detail));
            self.checked.push(Checked { check, outcome, took: start.elapsed() });
        }
    }

    async fn check_refusals_without_token(&mut self, service: &Service, refusals: &Refusals<'_>) {
        self.check(Check::CreateWithoutToken, refusals.create_without_token()).await;
        self.check(Check::DeleteWithoutToken, refusals.delete_without_token()).await;
        self.check(Check::PublicWithoutToken, refusals.public_without_token()).await;
        self.check(Check::PublicWithUnknownToken, refusals.public_with_unknown_token()).await;
        self.check(Check::ForeignOrigin, refusals.foreign_origin()).await;
        let origin = self.credentials.origin.as_deref();
        self.check(Check::AllowedOrigin, async {
            refusals.allowed_origin(origin.ok_or(Failure::not_checked("SMOKE_ORIGIN is not set"))?).await
        })
        .await;
        self.check(Check::WrongMethod, refusals.wrong_method()).await;
        let policy = Policy::new(service, self.credentials.policy.as_ref());
        self.check(Check::PolicyWithoutAccount, async { policy.clone()?.without_account().await }).await;
        self.check(Check::PolicyOfForeignAlias, async { policy?.foreign_alias().await }).await;
    }

    async fn check_refusals_with_token(&mut self, refusals: &Refusals<'_>, token: &SecretString) {
        let altered = altered(token);
        self.check(Check::CreateWithAlteredToken, refusals.create_with_invalid_token(&altered)).await;
        let (credentials, http) = (self.credentials, self.http.clone());
        self.check(Check::CreateWithForeignAudience, async {
            refusals.create_with_invalid_token(&credentials.foreign_token(&http).await?).await
        })
        .await;
        // One byte more than uuiData may decode to.
        let too_long = "5a".repeat(129);
        for (check, uui_data) in [
            (Check::UuiDataMissing, None),
            (Check::UuiDataInvalid, Some("maxconf-smoke-no-hexadecimal")),
            (Check::UuiDataTooLong, Some(too_long.as_str())),
        ] {
            // The check has the name of the problem's code.
            self.check(check, refusals.create_with_uui_data(token, uui_data, check.name())).await;
        }
        self.check(Check::UnknownRoom, refusals.unknown_room(token)).await;
    }

    /// Create, public read and delete, as IDIM and an agent use them.
    async fn check_room_life(&mut self, service: &Service, rooms: &Rooms) {
        let Some(first) = self.check(Check::Create, rooms.create()).await else { return };
        self.check(Check::Tag, async { Rooms::check_tag(&first) }).await;
        let genesys_token = self.credentials.genesys_token.as_ref();
        self.check(Check::PublicRead, async {
            let missing = Failure::not_checked("SMOKE_GENESYS_TOKEN is not set");
            rooms.public_read(&first, genesys_token.ok_or(missing)?).await
        })
        .await;
        let policy = Policy::new(service, self.credentials.policy.as_ref());
        self.check(Check::Policy, async { policy.clone()?.room(&first).await }).await;
        let properties = self.command.room_properties.as_ref();
        self.check(Check::RoomProperties, async {
            let missing = Failure::not_checked("--room-properties is not given");
            rooms.check_properties(&first, properties.ok_or(missing)?).await
        })
        .await;
        self.check(Check::KeyRepeated, rooms.repeat(&first)).await;
        self.check(Check::KeyReused, rooms.reuse_key(&first)).await;
        if let Some(second) = self.check(Check::CreateAnother, rooms.create_another(&first)).await {
            self.check(Check::Pool, check_pool(service, &[&first, &second], self.command.expect_pool)).await;
        }
        if self.check(Check::Delete, rooms.delete(&first, genesys_token)).await.is_some() {
            self.check(Check::PolicyOfDeletedRoom, async { policy?.deleted_room(&first).await }).await;
            self.check(Check::KeyOfDeletedRoom, rooms.repeat_after_delete(&first)).await;
        }
    }

    /// Makes one check and records its outcome. Returns its value if it passed.
    async fn check<T>(&mut self, check: Check, work: impl Future<Output = Result<T, Failure>>) -> Option<T> {
        let start = Instant::now();
        self.under_way = Some((check, start));
        let result = work.await;
        self.under_way = None;
        let took = start.elapsed();
        let (outcome, value) = match result {
            Ok(value) => (Outcome::Passed, Some(value)),
            Err(failure) => (Outcome::Failed(failure), None),
        };
        self.checked.push(Checked { check, outcome, took });
        self.progress.increment();
        value
    }
}

async fn check_pool(service: &Service, created: &[&Room], is_pool_expected: bool) -> Result<(), Failure> {
    if created.iter().any(|room| room.source == RoomSource::Pool) {
        Ok(())
    } else if is_pool_expected {
        Err(service.diagnose_empty_pool().await)
    } else {
        Err(Failure::not_checked("neither room is from the pool; --expect-pool makes that a fault"))
    }
}
