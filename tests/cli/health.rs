//! How a mount is doing: what `atfs mounts` and `atfs stats` say while all is well, and while the store is gone.

use std::fs;

use crate::machine::{Machine, can_mount};

/// Longer than what is cached with another file.
const LEN: usize = 3 << 20;

fn mounts(machine: &Machine) -> serde_json::Value {
    let all: serde_json::Value = serde_json::from_str(&machine.ok(&["mounts", "--json"])).unwrap();
    all.as_array().unwrap().iter().find(|mount| mount["mount_point"] == "DIR/mnt").unwrap().clone()
}

#[test]
fn a_mount_says_how_its_store_and_its_cache_are_doing() {
    if !can_mount() {
        return;
    }
    let machine = Machine::new();
    machine.ok(&["init", "DIR/r"]);
    for name in ["one", "two"] {
        let mut bytes = vec![0; LEN];
        blake3::Hasher::new_derive_key(name).finalize_xof().fill(&mut bytes);
        machine.write(name, &bytes);
    }
    machine.ok(&["add", "DIR/r", "DIR/one", "DIR/two"]);
    fs::create_dir(machine.path("mnt")).unwrap();
    machine.ok(&["mount", "DIR/r@main", "DIR/mnt"]);
    assert_eq!(fs::read(machine.path("mnt/one")).unwrap().len(), LEN);

    let ours = mounts(&machine);
    assert_eq!((&ours["health"], &ours["cache"]), (&"served".into(), &"ok".into()));
    assert_eq!(ours["trouble"], serde_json::json!([]));
    let received =
        |mount: &serde_json::Value| mount["store"]["counters"]["store_bytes_received"].as_u64().unwrap();
    assert!(received(&ours) >= LEN as u64, "{ours}");
    let line = |text: &str| text.lines().find(|line| line.starts_with("DIR/mnt ")).unwrap().to_owned();
    assert!(line(&machine.ok(&["mounts"])).ends_with(", ok"));
    let stats = machine.ok(&["stats", "DIR/mnt"]);
    assert!(stats.contains("requests to the store, of all mounts of the repository\n"), "{stats}");
    let json: serde_json::Value = serde_json::from_str(&machine.ok(&["stats", "DIR/mnt", "--json"])).unwrap();
    assert!(
        json["store_bytes_received"].as_u64().unwrap() >= LEN as u64 && json["lookups"].is_u64(),
        "{json}"
    );
    assert!(json["store_requests"].as_u64().unwrap() > 0 && json["store_retries"] == 0, "{json}");
    let pace = |name: &str| json[name].as_u64().unwrap();
    assert!(pace("store_pace") > 0 && pace("store_pace") <= pace("store_pace_limit"), "{json}");

    // The store is gone; what is cached is still there.
    fs::rename(machine.path("r"), machine.path("away")).unwrap();
    let error = fs::read(machine.path("mnt/two")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    assert_eq!(fs::read(machine.path("mnt/one")).unwrap().len(), LEN);
    let ours = mounts(&machine);
    let trouble = ours["trouble"][0].as_str().unwrap();
    assert!(trouble.starts_with("the store ") && trouble.contains(", which went well at "), "{trouble}");
    assert!(ours["store"]["trouble"]["error"].as_str().unwrap().contains("DIR/r"), "{ours}");
    let shown = machine.ok(&["mounts"]);
    assert!(line(&shown).ends_with(", in trouble") && shown.contains(trouble), "{shown}");
    let ran = machine.run(&["stats", "DIR/mnt"]);
    assert!(ran.code == 0 && ran.err.contains(trouble), "{ran:?}");

    // And back.
    fs::rename(machine.path("away"), machine.path("r")).unwrap();
    assert_eq!(fs::read(machine.path("mnt/two")).unwrap().len(), LEN);
    assert!(line(&machine.ok(&["mounts"])).ends_with(", ok"));
    assert_eq!(mounts(&machine)["trouble"], serde_json::json!([]));
    machine.ok(&["umount", "DIR/mnt"]);
}
