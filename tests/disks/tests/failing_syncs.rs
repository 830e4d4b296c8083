//! A sync of the journal fails once: the agent believes nothing of it, ends,
//! and finds out at its next start what is there.

use std::path::PathBuf;

use sternway_core::run::Ending;
use sternway_disks::acked::acked_and_had;
use sternway_disks::ground::Ground;
use sternway_disks::host::wait_until;
use sternway_disks::{is_long, plans, skip, tree};

/// Built beside this test because the test depends on it.
fn shim() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows itself");
    test.with_file_name("libsternway_failing_sync.so")
}

/// Who met the failure itself says so; who comes after it is refused.
fn says_why(said: &str) -> bool {
    said.contains("could not sync the journal") || said.contains("the journal could not be synced before")
}

#[test]
fn a_sync_that_fails_once_is_never_believed() {
    if !cfg!(target_os = "linux") {
        skip!("failing syncs: nothing can be preloaded here");
    }
    let shim = shim();
    assert!(shim.is_file(), "{} is not built", shim.display());
    // The first makes room for the journal; then come records, one sync each.
    let last = if is_long() { 40 } else { 8 };
    let cases: Vec<(u32, bool)> =
        (1..=last).flat_map(|number| [(3 * number, false), (3 * number, true)]).collect();
    let ground = Ground::of(1 + cases.len());
    ground.launch(plans::FILES);
    let mut host = ground.host(0);
    host.start_agent(&[]);
    assert_eq!(host.wait_for_ending(), Ending::Finished);
    let expected = tree::without_kept(host.tree());
    drop(host);
    for (at, (number, lose)) in cases.iter().enumerate() {
        let case = format!("sync {number} of the journal, {}", if *lose { "lost" } else { "not lost" });
        let mut host = ground.host(at + 1);
        let number = number.to_string();
        let mut environment = vec![
            ("LD_PRELOAD", shim.to_str().expect("a plain path")),
            ("STERNWAY_FAIL_SYNC_OF", "/state/journal"),
            ("STERNWAY_FAIL_SYNC_NUMBER", &number),
        ];
        if *lose {
            environment.push(("STERNWAY_FAIL_SYNC_LOSE", "1"));
        }
        host.start_agent(&environment);
        let mut ended = None;
        wait_until(|| {
            ended = host.agent_ended();
            ended.is_some()
        });
        let ended = ended.unwrap_or_else(|| panic!("{case}: the agent goes on\n{}", host.account()));
        assert!(ended.code().is_some_and(|code| code != 0), "{case}: {ended}");
        let said = host.log();
        assert!(says_why(&said), "{case}: it does not say why it ended\n{said}");
        let before = host.account();
        host.start_agent(&[]);
        assert_eq!(host.wait_for_ending(), Ending::Finished, "{case}\n{}", host.account());
        host.stop_agent();
        let difference = tree::difference(&expected, &tree::without_kept(host.tree()));
        assert!(
            difference.is_empty(),
            "{case}:\n{}\nbefore: {before}\n{}",
            difference.join("\n"),
            host.account()
        );
        let known = acked_and_had(&ground, &host);
        assert!(known.iter().all(|(acked, had)| acked <= had), "{case}: told and lost: {known:?}\n{before}");
    }
}
