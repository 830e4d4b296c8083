//! How much of the agent a plugin may use up, and how that is enforced.

use std::time::Duration;

use wasmtime::{ResourceLimiter, Result, format_err};

use crate::gate::Cancel;

/// The most a component may weigh, in bytes.
pub const COMPONENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes a plugin may hand over in one host call or answer.
pub(super) const HANDED_OVER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of `state`, texts and lists that an answer may hold.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Lines of log that one call may write.
pub(super) const LINES_MAX: u32 = 200;
/// Bytes of one line.
pub(super) const LINE_BYTES_MAX: usize = 4 * 1024;
/// Bytes of standard output and error that are kept.
pub(super) const OUTPUT_TAIL_BYTES: usize = 64 * 1024;

pub(super) const MEMORIES_MAX: usize = 4;
pub(super) const INSTANCES_MAX: usize = 50;
pub(super) const TABLES_MAX: usize = 50;
pub(super) const TABLE_ELEMENTS_MAX: usize = 20_000;
pub(super) const HANDLES_MAX: usize = 1_000;
pub(super) const STACK_BYTES_MAX: usize = 512 * 1024;

/// What one call may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Wall time, waits in host calls included.
    pub time: Duration,
    /// Linear memory of all instances of the call together, in bytes.
    pub memory_bytes_max: u64,
    /// Ends the call when the run is no longer wanted ...
    pub cancel: Cancel,
    /// ... and it has had this long to end by itself.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(30),
            memory_bytes_max: 64 * 1024 * 1024,
            cancel: Cancel::new(),
            grace: Duration::from_secs(10),
        }
    }
}

/// Counts all memories of a call together: the engine's own limit is for each.
#[derive(Debug)]
pub(super) struct Meter {
    memory_bytes_max: usize,
    memory_bytes: usize,
    /// Set when growth was refused, so that the trap can be told apart.
    pub(super) overrun: bool,
}

impl Meter {
    pub(super) fn new(memory_bytes_max: u64) -> Self {
        let memory_bytes_max = usize::try_from(memory_bytes_max).unwrap_or(usize::MAX);
        Self { memory_bytes_max, memory_bytes: 0, overrun: false }
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if total > self.memory_bytes_max {
            self.overrun = true;
            return Err(format_err!("memory limit reached"));
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        if desired > TABLE_ELEMENTS_MAX {
            self.overrun = true;
            return Err(format_err!("table limit reached"));
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}
