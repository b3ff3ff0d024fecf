use std::sync::OnceLock;
use std::time::Duration;

use reqwest::Client;
use secrecy::SecretString;
use tokio::time::{Instant, timeout};

use super::SmokeCommand;
use super::access::Access;
use super::arrival;
use super::check::{Check, Checked, Finding, Outcome};
use super::refusals::{Refusals, altered};
use super::rooms::{Room, Rooms};
use super::service::Service;
use crate::cli::progress_bar::ProgressBar;

/// A test under way: which checks are made, in which order, and what came of them.
#[derive(Debug)]
pub(super) struct Examination<'a> {
    command: &'a SmokeCommand,
    access: &'a Access,
    http: Client,
    /// Where a stop finds what is to be deleted.
    rooms: &'a OnceLock<Rooms>,
    progress: &'a ProgressBar,
    pub(super) checked: Vec<Checked>,
    under_way: Option<(Check, Instant)>,
    /// The version that answers.
    pub(super) version: Option<String>,
}

impl<'a> Examination<'a> {
    pub(super) fn new(
        command: &'a SmokeCommand,
        access: &'a Access,
        http: Client,
        rooms: &'a OnceLock<Rooms>,
        progress: &'a ProgressBar,
    ) -> Self {
        Self { command, access, http, rooms, progress, checked: Vec::new(), under_way: None, version: None }
    }

    pub(super) async fn run(&mut self) {
        self.progress.plan(Check::ALL.len());
        let run = format!("{:016x}", rand::random::<u64>());
        let (wait, one_answer) = (Duration::from_secs(self.command.wait), Duration::from_secs(self.command.timeout));
        let (url, http, gateway) = (self.command.url.clone(), self.http.clone(), self.command.behind_gateway);
        let service = Service::new(url, http, gateway, one_answer, run);

        // However slowly the service answers, there is a verdict before whoever waits for it gives up.
        let limit = wait + 4 * one_answer;
        if timeout(limit, self.examine(&service, wait)).await.is_err() {
            self.cut_off(limit);
        }
        if let Some(rooms) = self.rooms.get() {
            self.check(Check::CleanUp, rooms.clean_up(one_answer / 2)).await;
        }
        if self.version.is_some() {
            self.check(Check::AnswerHeaders, async { service.answer_headers() }).await;
        }
    }

    async fn examine(&mut self, service: &Service, wait: Duration) {
        let expected = self.command.expect_version.as_deref();
        let arrival = arrival::version(service, expected, wait, self.progress);
        let Some(version) = self.check(Check::Version, arrival).await else { return };
        service.is_version(&version);
        self.version = Some(version);
        self.check(Check::Ready, arrival::readiness(service, wait, self.progress)).await;

        let (access, http) = (self.access, self.http.clone());
        let token = self.check(Check::EntraToken, entra_token(access, &http)).await;
        let Some(token) = token else { return self.refusals_without_token(&Refusals::of(service, None)).await };
        let rooms = Rooms::new(service.clone(), token.clone(), self.command.tag_url.clone());
        let rooms = self.rooms.get_or_init(|| rooms);
        let refusals = Refusals::of(service, Some(rooms));
        self.refusals_without_token(&refusals).await;
        self.refusals_with_token(&refusals, &token).await;
        self.whole_life(service, rooms).await;
    }

    /// Of a check that was under way nothing is known.
    fn cut_off(&mut self, limit: Duration) {
        if let Some((check, start)) = self.under_way.take() {
            let detail = format!("cut off: {} s were over, for this check and those before it", limit.as_secs());
            let outcome = Outcome::Found(Finding::unclear(detail));
            self.checked.push(Checked { check, outcome, took: start.elapsed() });
        }
    }

    async fn refusals_without_token(&mut self, refusals: &Refusals<'_>) {
        self.check(Check::CreateWithoutToken, refusals.create_without_token()).await;
        self.check(Check::DeleteWithoutToken, refusals.delete_without_token()).await;
        self.check(Check::PublicWithoutToken, refusals.public_without_token()).await;
        self.check(Check::PublicWithUnknownToken, refusals.public_with_unknown_token()).await;
        self.check(Check::ForeignOrigin, refusals.foreign_origin()).await;
        let access = self.access;
        self.check(Check::AllowedOrigin, async {
            let origin = access.origin.as_deref();
            refusals.allowed_origin(origin.ok_or(Finding::not_checked("SMOKE_ORIGIN is not set"))?).await
        })
        .await;
        self.check(Check::WrongMethod, refusals.wrong_method()).await;
    }

    async fn refusals_with_token(&mut self, refusals: &Refusals<'_>, token: &SecretString) {
        let altered = altered(token);
        self.check(Check::CreateWithAlteredToken, refusals.create_with_refused_token(&altered)).await;
        let (access, http) = (self.access, self.http.clone());
        self.check(Check::CreateWithForeignAudience, async {
            refusals.create_with_refused_token(&foreign_token(access, &http).await?).await
        })
        .await;
        self.check(Check::UuiDataMissing, refusals.uui_data_missing(token)).await;
        self.check(Check::UuiDataInvalid, refusals.uui_data_invalid(token)).await;
        self.check(Check::UuiDataTooLong, refusals.uui_data_too_long(token)).await;
        self.check(Check::UnknownRoom, refusals.unknown_room(token)).await;
    }

    /// Create, public read, delete, as IDIM and an agent do it.
    async fn whole_life(&mut self, service: &Service, rooms: &Rooms) {
        let Some(first) = self.check(Check::Create, rooms.create()).await else { return };
        self.check(Check::Tag, async { Rooms::tag(&first) }).await;
        let genesys_token = self.access.genesys_token.as_ref();
        self.check(Check::PublicRead, async {
            let missing = Finding::not_checked("SMOKE_GENESYS_TOKEN is not set");
            rooms.public_read(&first, genesys_token.ok_or(missing)?).await
        })
        .await;
        if let Some(second) = self.check(Check::CreateAnother, rooms.create_another(&first)).await {
            self.check(Check::Pool, pool(service, &[&first, &second], self.command.expect_pool)).await;
        }
        self.check(Check::Delete, rooms.delete(&first, genesys_token)).await;
    }

    /// Makes one check and keeps what comes of it; its value, if it passed.
    async fn check<T>(&mut self, check: Check, work: impl Future<Output = Result<T, Finding>>) -> Option<T> {
        let start = Instant::now();
        self.under_way = Some((check, start));
        let result = work.await;
        self.under_way = None;
        let took = start.elapsed();
        let (outcome, value) = match result {
            Ok(value) => (Outcome::Passed, Some(value)),
            Err(finding) => (Outcome::Found(finding), None),
        };
        self.checked.push(Checked { check, outcome, took });
        self.progress.step();
        value
    }
}

async fn entra_token(access: &Access, http: &Client) -> Result<SecretString, Finding> {
    match &access.entra {
        Some(entra) => entra.token(http).await,
        None => Err(Finding::unclear("without the SMOKE_ENTRA_ variables no room can be created")),
    }
}

/// Entra may refuse such a token, which says nothing about the service.
async fn foreign_token(access: &Access, http: &Client) -> Result<SecretString, Finding> {
    let refused = |_| Finding::not_checked("Entra gives no token for another API; see SMOKE_ENTRA_FOREIGN_SCOPE");
    match &access.entra {
        Some(entra) => entra.foreign_token(http).await.map_err(refused),
        None => Err(Finding::not_checked("without the SMOKE_ENTRA_ variables there is no token")),
    }
}

async fn pool(service: &Service, made: &[&Room], expected: bool) -> Result<(), Finding> {
    if made.iter().any(|room| room.from_pool) {
        Ok(())
    } else if expected {
        Err(service.judge_empty_pool().await)
    } else {
        Err(Finding::not_checked("the rooms were made directly; with --expect-pool that is a fault"))
    }
}
