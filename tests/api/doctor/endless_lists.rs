//! Lists of the management node that have no end.

use maxconf_simulators::{Fault, MakePage, Matching, Times};
use serde_json::json;

use super::{a_healthy_world, assert_found, examine, texts};

/// A page with a next one after it, whatever the offset is.
fn same_page(_offset: usize) -> String {
    let objects = (0..500).map(|id| json!({ "id": id, "name": format!("{id}"), "url": "https://sink.example.org" }));
    json!({
        "meta": { "limit": 500, "next": "/api/admin/next/", "offset": 0, "previous": null, "total_count": 501 },
        "objects": objects.collect::<Vec<_>>(),
    })
    .to_string()
}

#[tokio::test]
async fn a_list_that_repeats_its_first_page_is_a_finding_after_its_second_page() {
    // How often each is read.
    for (path, check, reads) in [
        ("/worker_vm/", "pexip/release", 2),
        ("/configuration/v1/global/", "pexip/pins", 1),
        ("/event_sink/", "pexip/event_sink", 1),
        ("/alarm/", "pexip/event_sink", 1),
        ("/system_location/", "pexip/event_sink", 1),
    ] {
        let (world, settings) = a_healthy_world().await;
        let list = Matching::any().path_contains(path);
        world.pexip.traffic().inject(list.clone(), Times::Always, Fault::Page(MakePage(same_page)));

        let found = examine(&settings).await;

        assert_found(path, &found, &[check], &[]);
        assert_eq!(texts(&found.0, check).0, "Pexip gave an answer that cannot be read", "{path}");
        assert_eq!(world.pexip.traffic().count(&list), 2 * reads, "{path}");
    }
}
