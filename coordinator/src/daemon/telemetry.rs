//! Logs for people, on stderr. What happened is in the database; nothing reads
//! these lines back. Fields have one name everywhere: rollout wave host step phase.

use tracing_subscriber::EnvFilter;

/// The filter is taken from `STERNWAY_LOG`, else `info`.
pub(crate) fn init() {
    let filter = EnvFilter::try_from_env("STERNWAY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A second call, as in tests that serve twice, finds the first subscriber in place.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .try_init();
}
