//! The coordinator's disk is full: it says so, lets nobody begin, and goes on
//! by itself when there is room again.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sternway_core::exit;
use sternway_core::ids::JournalId;
use sternway_core::rollout::State;
use sternway_core::run::{Ending, Input};
use sternway_core::wire::{Answer, Request, ToAgent};

use crate::harness::{Agent, Site, host, plan, seal};

/// A disk of its own; gone when dropped.
struct Disk(PathBuf);

impl Disk {
    /// None where it cannot be made, having said why.
    #[expect(clippy::print_stdout, reason = "a test that was skipped says so")]
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "none"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at.into())),
            _ => {
                println!("skipped: no small disk can be mounted here, so none can be full");
                None
            }
        }
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let mut file = File::create(self.0.join("ballast")).unwrap();
        for bytes in [64 * 1024, 1024, 1] {
            while file.write_all(&vec![1; bytes]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the coordinator's thread may still be on its way out.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn with_a_full_disk_it_answers_questions_permits_nobody_and_recovers_by_itself() {
    let mut site = Site::founded(&["web-1", "web-2"], 0);
    let Some(disk) = Disk::mount(&site.data()) else { return };
    site.resume();
    let operator = site.operator("ada").await;
    let (sealed, id) = seal(&plan(&[&["web-1"], &["web-2"]]));
    let rollout = operator.launch(&sealed).await;
    let mut first = site.agent("web-1").await;
    first.plan().await;
    first.tell(id, vec![Input::Staged { point: None }, Input::PermitAsked { nonce: 1 }]).await;
    assert!(matches!(first.hear().await.unwrap(), Some(ToAgent::Permit { .. })));
    first.hear_acked(2).await;
    let before = first.epoch;
    disk.fill();
    // It finishes alone; what it says is not acknowledged, and it is let go.
    first.tell(id, vec![Input::Permitted { nonce: 1, epoch: before }]).await;
    while let Ok(Some(_)) = first.hear().await {}
    assert_eq!(first.acked, 2, "nothing is acknowledged that is not on disk");
    let Answer::Status(seen) = operator.ask(&Request::Status { rollout: rollout.clone() }).await else {
        panic!("questions are still answered")
    };
    assert_eq!(seen.status.in_flight, [host("web-1")], "its place is kept");
    assert!(matches!(
        operator.all(&Request::Log { rollout: rollout.clone(), host: None }).await.last(),
        Some(Answer::Line(_))
    ));
    let halt = Request::Halt { rollout: rollout.clone(), reason: "stop it".into() };
    match operator.ask(&halt).await {
        Answer::Error(error) => {
            assert_eq!(error.exit, exit::UNREACHABLE);
            assert!(error.message.contains("NOT halted") && error.message.contains("read-only"), "{error:?}");
            assert!(error.hint.unwrap().contains("sternway-agent halt"));
        }
        other => panic!("a halt that is not written down is no halt: {other:?}"),
    }
    let journal = JournalId([1; 16]);
    assert!(Agent::connect(&site, "web-1", journal, 3).await.is_err(), "nobody is let on meanwhile");
    disk.empty();
    let began = Instant::now();
    let mut again = loop {
        match Agent::connect(&site, "web-1", journal, 3).await {
            Ok(agent) => break agent,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        assert!(began.elapsed() < Duration::from_secs(20), "it does not recover");
    };
    assert!(again.epoch > before, "as after a restart");
    assert_eq!(again.acked, 2);
    again.last = 2;
    again
        .tell(
            id,
            vec![Input::Permitted { nonce: 1, epoch: before }, Input::Settled { ending: Ending::Finished }],
        )
        .await;
    let mut second = site.agent("web-2").await;
    second.run(id, 1).await;
    let answers = operator.all(&Request::Watch { rollout, from: 0 }).await;
    let Some(Answer::Status(last)) = answers.last() else { panic!("{answers:?}") };
    assert!(matches!(last.status.state, State::Ended(_)), "{last:?}");
    assert_eq!(last.status.exit_code(), exit::DONE);
    site.stop().await;
    drop(disk);
}
