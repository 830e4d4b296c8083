//! The one place that reads the host's wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use sternway_core::time::Timestamp;

pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
