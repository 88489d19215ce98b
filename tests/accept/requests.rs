//! What a mount asks of its store, counted between the program and a real server.

use std::time::Duration;

use crate::site::{Site, has_fuse};
use crate::support::proxy::Proxy;
use crate::support::servers;

/// Requests that are sent together overlap by far more than what it takes to send them, also on a busy machine.
pub(crate) const LATENCY: Duration = Duration::from_millis(100);

/// One after the other.
pub(crate) const IN_SEQUENCE: u64 = 4;
/// In all.
pub(crate) const IN_ALL: u64 = 7;

#[test]
fn a_mount_asks_little() {
    if !has_fuse() {
        return;
    }
    let Some(server) = servers::ministack() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proxy = runtime.block_on(Proxy::start(&server.endpoint, LATENCY));
    let mut site = Site::on(server);
    site.ok(&["init", &site.url]);
    let folder = site.folder("tree");
    // Enough for a tree of several levels.
    for i in 0..3_000 {
        std::fs::write(folder.join(format!("{i:04}")), format!("{i}")).unwrap();
    }
    let first = site.add("", &[&folder], "first");
    site.ok(&["tag", &site.url, "create", "v1"]);
    site.ok(&["branch", &site.url, "create", "dev"]);
    site.go_through(&proxy.endpoint);
    let prefix = &first[..12];
    for (name, revision) in
        [("branch", "main"), ("other", "dev"), ("tag", "v1"), ("id", &*first), ("prefix", prefix)]
    {
        // Nothing is at hand: neither a daemon nor an index.
        site.forget();
        proxy.reset();
        let mount = site.mount(revision, name);
        let (requests, depth) = (proxy.requests(), proxy.depth());
        let said = format!("{revision}: {depth} in sequence: {requests:#?}");
        assert!(requests.len() as u64 <= IN_ALL && depth as u64 <= IN_SEQUENCE, "{said}");
        assert!(requests.len() >= 3 && depth >= 3, "it is counted: {said}");
        assert_eq!(std::fs::read_dir(mount.join("tree")).unwrap().count(), 3_000);
        site.unmount(&mount);
    }
}
