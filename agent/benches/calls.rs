//! What a step costs beyond its work, as ratios within one run: a cold plugin
//! call against starting a process, and a durable record against a bare sync.
//! Prints `name<TAB>value` lines for `cargo xtask bench`.

#![expect(clippy::print_stdout, reason = "the numbers are what is asked for")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sternway_agent::journal::Journal;
use sternway_agent::sandbox::Sandbox;
use sternway_core::ids::{Digest, JournalId, PlanId};
use sternway_core::run::{Input, Phase};
use sternway_core::time::Timestamp;

const ROUNDS: usize = 5;

/// Median of the rounds' medians, in microseconds.
fn measure(times: usize, mut work: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let mut taken: Vec<Duration> = (0..times)
                .map(|_| {
                    let began = Instant::now();
                    work();
                    began.elapsed()
                })
                .collect();
            taken.sort();
            taken[times / 2].as_secs_f64() * 1e6
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn spawn(program: &str, words: &[&str]) -> Option<f64> {
    let run = || Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).status();
    run().ok()?;
    Some(measure(30, || {
        let _ = run();
    }))
}

fn main() {
    let component = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/built/service.wasm");
    let bytes = std::fs::read(component).expect("plugins/built/service.wasm is committed");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sandbox = Sandbox::new(&folder.path().join("compiled")).expect("a sandbox");
    let digest = Digest::of(&bytes);
    let began = Instant::now();
    let plugin = sandbox.load(&digest, &bytes).expect("it loads");
    println!("plugin compiled once, ms\t{:.0}", began.elapsed().as_secs_f64() * 1e3);
    let cached = measure(20, || {
        sandbox.load(&digest, &bytes).expect("it loads again");
    });
    println!("plugin loaded from the cache, us\t{cached:.0}");
    let call = measure(300, || {
        plugin.describe().expect("it answers");
    });
    println!("cold plugin call, us\t{call:.1}");
    for (name, program, words) in [
        ("/bin/true", "/bin/true", &[][..]),
        ("bash -c :", "bash", &["-c", ":"][..]),
        ("python3 -c pass", "python3", &["-c", "pass"][..]),
    ] {
        if let Some(spawned) = spawn(program, words) {
            println!("spawn {name}, us\t{spawned:.0}");
            println!("cold plugin calls in one {name}\t{:.1}", spawned / call);
        }
    }
    journal(folder.path());
}

fn journal(folder: &Path) {
    let host = "bench".parse().expect("a name");
    let mut journal =
        Journal::open(&folder.join("journal"), &host, JournalId([1; 16]), Timestamp(1)).expect("a journal");
    let durable = measure(100, || {
        let input = Input::Began { step: 0, phase: Phase::Apply, attempt: 1 };
        journal.append_input(Timestamp(2), PlanId([1; 32]), input).expect("it is written");
    });
    let mut file = std::fs::File::create(folder.join("bare")).expect("a file");
    file.write_all(&vec![0; 4 * 1024 * 1024]).and_then(|()| file.sync_all()).expect("room");
    let mut at = 0;
    let bare = measure(100, || {
        std::os::unix::fs::FileExt::write_all_at(&file, &[1; 200], at).expect("it is written");
        file.sync_data().expect("it is synced");
        at += 200;
    });
    println!("journal append with fdatasync, us\t{durable:.0}");
    println!("bare write of 200 bytes with fdatasync, us\t{bare:.0}");
    println!("journal append against the bare sync\t{:.2}", durable / bare);
}
