//! Notices a disk that does not answer: the thread that waits for it cannot.
//! While a run is in hand the disk is also asked for something small now and
//! then, because whatever else waits for it, such as a safety point in the
//! making, may rightly take long.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Shown;

/// A disk that takes longer for one record is not slow but gone.
const STALLED_AFTER: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const ASK_EVERY: Duration = Duration::from_secs(4);
/// One byte in the state directory, written again and again.
const ASKED: &str = "answers";

/// Since when the disk owes an answer.
#[derive(Debug, Default)]
struct Asking(Mutex<Option<Instant>>);

impl Asking {
    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error is an answer too: a full disk is there.
    fn ask(&self, file: &Path) {
        *self.since() = Some(Instant::now());
        let asked = File::options().create(true).truncate(false).write(true).open(file);
        if let Err(error) = asked.and_then(|file| file.write_all_at(b".", 0).and_then(|()| file.sync_data()))
        {
            tracing::debug!(%error, "the disk answers with an error");
        }
        *self.since() = None;
    }
}

/// Looks for as long as the process lives; `state` is the folder of the journal. `say` hears once of each stall, with
/// how long it has lasted, and again with nothing when it is over.
///
/// # Errors
/// No thread can be started.
pub fn watch(
    journal: Arc<Shown>,
    state: PathBuf,
    say: impl Fn(Option<Duration>) + Send + 'static,
) -> Result<(), std::io::Error> {
    let asking = Arc::new(Asking::default());
    let (asked, told) = (Arc::clone(&asking), Arc::clone(&journal));
    std::thread::Builder::new().name("disk watch".into()).spawn(move || {
        loop {
            std::thread::sleep(ASK_EVERY);
            if told.open_run().0.is_some() {
                asked.ask(&state.join(ASKED));
            }
        }
    })?;
    std::thread::Builder::new().name("journal watch".into()).spawn(move || {
        let mut is_stalled = false;
        loop {
            std::thread::sleep(LOOK_EVERY);
            let owed_for = asking.since().map(|since| since.elapsed());
            let stalled_for = journal.at_work_for().max(owed_for).filter(|length| *length >= STALLED_AFTER);
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
