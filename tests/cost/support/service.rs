use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::mpsc;
use std::thread;

use maxconf::app::App;
use maxconf::config::Config;
use maxconf::domain::Clock;
use maxconf::http::server;
use tokio::runtime;
use tokio::sync::oneshot;
use url::Url;

/// The service on a thread of its own, so that its allocations are counted and no others. It works during
/// [`Service::during`] only.
pub(crate) struct Service {
    pub(crate) url: Url,
    periods: mpsc::Sender<Period>,
}

/// A time in which the service works.
struct Period {
    ended: oneshot::Receiver<()>,
    allocations: oneshot::Sender<u64>,
}

impl Service {
    pub(crate) async fn start(settings: &HashMap<&'static str, String>) -> Self {
        let config = Config::read(|name| settings.get(name).map(OsString::from)).expect("settings that can be used");
        let (started, url) = oneshot::channel();
        let (periods, coming) = mpsc::channel();
        thread::spawn(move || work(config, started, coming));
        Self { url: url.await.expect("a service that can be built"), periods }
    }

    /// Lets the service work while `work` is done. Returns the number of its allocations as well.
    pub(crate) async fn during<T>(&self, work: impl Future<Output = T>) -> (T, u64) {
        let (end, ended) = oneshot::channel();
        let (allocations, counted) = oneshot::channel();
        self.periods.send(Period { ended, allocations }).expect("the service's thread");
        let result = work.await;
        end.send(()).expect("the service's thread waits for this");
        (result, counted.await.expect("the service's thread counts"))
    }
}

fn work(config: Config, started: oneshot::Sender<Url>, periods: mpsc::Receiver<Period>) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let listener = server::bind(&config.server).expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("a bound address"));
    let app = App::build(config, Clock::system()).expect("a service that can be built");
    // Never stops by itself: it ends with its runtime.
    runtime.spawn(app.serve(listener, std::future::pending()));
    started.send(url.parse().expect("a URL")).expect("the test waits for it");
    for Period { ended, allocations } in periods {
        let counted = allocation_counter::measure(|| {
            // Fails when the test does.
            let _ended = runtime.block_on(ended);
        });
        let _heard = allocations.send(counted.count_total);
    }
}
