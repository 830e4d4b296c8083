//! Notices a disk that does not answer: the thread that waits for it cannot.

use std::sync::Arc;
use std::time::Duration;

use super::Shown;

/// A disk that takes longer for one record is not slow but gone.
const STALLED_AFTER: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks for as long as the process lives. `say` hears once of each stall, with
/// how long it has lasted, and again with nothing when it is over.
///
/// # Errors
/// No thread can be started.
pub fn watch(
    journal: Arc<Shown>,
    say: impl Fn(Option<Duration>) + Send + 'static,
) -> Result<(), std::io::Error> {
    std::thread::Builder::new().name("journal watch".into()).spawn(move || {
        let mut is_stalled = false;
        loop {
            std::thread::sleep(LOOK_EVERY);
            let stalled_for = journal.at_work_for().filter(|length| *length >= STALLED_AFTER);
            if stalled_for.is_some() == is_stalled {
                continue;
            }
            is_stalled = stalled_for.is_some();
            match stalled_for {
                Some(length) => {
                    tracing::error!(seconds = length.as_secs(), "journal stalled: the disk does not answer")
                }
                None => tracing::info!("the journal's disk answers again"),
            }
            say(stalled_for);
        }
    })?;
    Ok(())
}
