//! The handler from the package, as the Functions host starts it.

use std::time::Duration;

use maxconf_simulators::FunctionsHost;
use maxconf_simulators::functions_host::{Invocation, Level, Mode};
use maxconf_simulators::world::{POOL_QUEUE, World};
use reqwest::{Client, Method, Response};
use serde_json::Value;

use crate::{path, variable};

#[tokio::test]
#[ignore = "of a package that was made: infra/package runs it"]
async fn a_room_is_created_handed_out_and_deleted_on_both_kinds_of_host() {
    for mode in [Mode::Forwarding, Mode::Proxying] {
        let world = World::start().await;
        let package = path("MAXCONF_PACKAGE");
        let host = FunctionsHost::start(&package, mode, world.settings()).await.expect("a package without faults");
        assert!(host.is_up().await, "{mode:?}: {:?}", host.log());
        let ask = async |method, path: &str| -> Response {
            let http = Client::builder().no_proxy().build().expect("a client");
            let request = http.request(method, host.url().join(path).expect("a path"));
            let request = request.bearer_auth(world.entra.token().build()).timeout(Duration::from_secs(120));
            request.send().await.expect("an answer")
        };

        let health: Value = ask(Method::GET, "health/ready").await.json().await.expect("JSON");
        assert_eq!(health["commit"], variable("MAXCONF_COMMIT"), "{mode:?}: {health}");
        assert_eq!(health["status"], "ready", "{mode:?}: {health}");

        let filled = host.run_timer("function_pool_maintenance").await;
        assert!(
            matches!(&filled, Invocation::Succeeded { logs } if logs[0].contains("failed 0")),
            "{mode:?} {filled:?}"
        );
        assert_eq!(world.queue.messages(POOL_QUEUE).len(), 4, "{mode:?}");

        let answer = ask(Method::POST, "room/create?uuiData=3132333435362c373635343332").await;
        assert_eq!(answer.status(), 200, "{mode:?}");
        let room: Value = answer.json().await.expect("JSON");
        let name = room["name"].as_str().expect("a name");
        let on_pexip = world.pexip.room(name).expect("a room on Pexip");
        assert_eq!(room["tag"], on_pexip.tag.as_str(), "{mode:?}");
        assert!(on_pexip.tag.ends_with("MTIzNDU2LDc2NTQzMg"), "{mode:?}: {}", on_pexip.tag);
        assert_eq!(ask(Method::DELETE, &format!("room/{name}")).await.status(), 204, "{mode:?}");
        assert_eq!(world.pexip.room(name), None, "{mode:?}");

        let errors: Vec<_> = host.log().into_iter().filter(|line| line.level != Level::Information).collect();
        assert!(errors.is_empty(), "{mode:?}: {errors:?}");
        host.stop().await;
    }
}
