//! One history under every invariant, to its end or to what broke it.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use sternway_core::rollout::State;

use super::invariants::Watch;
use super::{Schedule, SimFleet};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survived {
    /// How each launched rollout stands in the end.
    pub ends: Vec<State>,
    /// Of everything that was seen, in its order.
    pub trace: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The file under `invariants/`, or `no_panic`.
    pub invariant: String,
    pub how: String,
    /// All committed entries, one to a line.
    pub entries: Vec<String>,
}

/// A hash of text as it is written (FNV-1a).
struct Trace(u64);

impl std::fmt::Write for Trace {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

thread_local! {
    /// While a history runs here: what a panic said. A panic is an outcome then.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of histories are kept, all others are printed as ever.
fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let kept = PANIC.with(|panic| {
                let mut panic = panic.borrow_mut();
                let is_ours = panic.is_some();
                if is_ours {
                    *panic = Some(info.to_string());
                }
                is_ours
            });
            if !kept {
                before(info);
            }
        }));
    });
}

/// # Errors
/// What broke, and how.
pub fn survive(schedule: &Schedule) -> Result<Survived, Broken> {
    run(schedule, false)
}

/// As [`survive`], and hashes what was seen.
///
/// # Errors
/// What broke, and how.
pub fn survive_traced(schedule: &Schedule) -> Result<Survived, Broken> {
    run(schedule, true)
}

fn run(schedule: &Schedule, traced: bool) -> Result<Survived, Broken> {
    keep_panics();
    let mut fleet = SimFleet::new(schedule.clone());
    let mut watch = Watch::over(&fleet.given());
    let mut trace = Trace(0xcbf2_9ce4_8422_2325);
    PANIC.with(|panic| *panic.borrow_mut() = Some(String::new()));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        fleet.run(|seen| {
            if traced {
                write!(trace, "{seen:?}").expect("a hash takes any text");
            }
            watch.observe(seen)
        })
    }));
    let panicked = PANIC.with(|panic| panic.borrow_mut().take()).unwrap_or_default();
    let (invariant, how) = match outcome {
        Ok(Ok(())) => {
            let ends = fleet.statuses().into_iter().map(|(_, status)| status.state).collect();
            return Ok(Survived { ends, trace: trace.0 });
        }
        Ok(Err((invariant, how))) => (invariant, how),
        // The machines assert their own invariants where they are built for that.
        Err(_) if panicked.contains("after entry") => ("self_check", panicked),
        Err(_) => ("no_panic", panicked),
    };
    let entries = fleet.entries().map(|(rollout, entry)| {
        let text = serde_json::to_string(entry).expect("entries are plain data");
        format!("{rollout} {text}")
    });
    Err(Broken { invariant: invariant.into(), how, entries: entries.collect() })
}
