//! The process that attends one long program: `sternway-agent attend FOLDER`.
//!
//! It stands in a session of its own, or is a unit of systemd, so the program
//! outlives the agent. It writes down that it begins before it begins; without
//! that nobody could tell after a crash whether there was an effect. A second
//! attendant of the same folder finds that note, or the lock, and does nothing.
//! When the attendant dies, the kernel ends the program with it: then the note
//! stands there without an end, and nobody runs it again.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::child::{Halt, Stream};
use super::folder::{Begun, Folder, Outcome, Told};
use crate::ballast;
use crate::durable::DurableError;

/// Exit code when another attendant has it, or had it.
pub const ATTENDED: u8 = 75;
/// Another attendant that only looks lets go again.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_EVERY: Duration = Duration::from_millis(20);
/// How often the folder is looked into for a wish to end.
const STOP_EVERY: Duration = Duration::from_millis(50);

/// Why an attendant did not do its work.
#[derive(Debug, thiserror::Error)]
enum AttendError {
    #[error("the program has an attendant, or had one")]
    Attended,
    #[error("there is nothing to attend")]
    Untold,
    #[error("the folder cannot be used")]
    Folder(#[source] io::Error),
    #[error(transparent)]
    Durable(#[from] DurableError),
}

/// Carries out what `folder` says. Exit codes: 0 the program ended well, 1 it
/// did not, 75 it has another attendant or had one, 70 anything else.
pub fn main(folder: &Path) -> ExitCode {
    // Fails only for a leader of a group, which has a session of its own then.
    let _ = rustix::process::setsid();
    if let Some(state) = folder.ancestors().nth(2) {
        ballast::keep(state);
    }
    match attend(&Folder { path: folder.to_path_buf() }) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(AttendError::Attended) => ExitCode::from(ATTENDED),
        Err(error) => {
            tracing::error!(folder = %folder.display(), error = &error as &dyn std::error::Error, "not attended");
            ExitCode::from(70)
        }
    }
}

/// Whether the program ended well.
fn attend(folder: &Folder) -> Result<bool, AttendError> {
    let patience = Instant::now() + LOCK_PATIENCE;
    let _lock = loop {
        match folder.lock().map_err(AttendError::Folder)? {
            Some(lock) => break lock,
            None if Instant::now() >= patience => return Err(AttendError::Attended),
            None => std::thread::sleep(LOCK_EVERY),
        }
    };
    if folder.begun().is_some() || folder.outcome().is_some() {
        return Err(AttendError::Attended);
    }
    let told = folder.told().ok_or(AttendError::Untold)?;
    let begun = Begun::by_us().ok_or_else(|| AttendError::Folder(io::ErrorKind::NotFound.into()))?;
    folder.begin(&begun)?;
    let outcome = carry_out(folder, &told);
    folder.end(&outcome)?;
    Ok(outcome.halted.is_none() && outcome.code.is_some_and(|code| told.codes.contains(&code)))
}

fn carry_out(folder: &Folder, told: &Told) -> Outcome {
    let nothing = Outcome { code: None, signal: None, halted: None, not_started: None, elapsed_ms: 0 };
    // Whoever gave up waiting for us must not be surprised by an effect.
    if let Some(why) = folder.stop() {
        return Outcome { halted: Some(why), ..nothing };
    }
    let logs = folder.log("output").and_then(|output| Ok((output, folder.log("complaint")?)));
    let (mut output, mut complaint) = match logs {
        Ok(logs) => logs,
        Err(cause) => return Outcome { not_started: Some(cause.to_string()), ..nothing },
    };
    let deadline = Instant::now() + Duration::from_millis(told.timeout_ms);
    let looked = std::cell::Cell::new(Instant::now());
    let halt = || {
        let now = Instant::now();
        if now >= deadline {
            return Some(Halt::TimedOut);
        }
        if now.duration_since(looked.get()) < STOP_EVERY {
            return None;
        }
        looked.set(now);
        folder.stop()
    };
    let finished = told.job.carry_out(&halt, &mut |stream, bytes| match stream {
        Stream::Output => output.add(bytes),
        Stream::Complaint => complaint.add(bytes),
    });
    for log in [&output, &complaint] {
        if let Err(error) = log.sync() {
            tracing::warn!(%error, "what the program said may be lost");
        }
    }
    match finished {
        Err(cause) => Outcome { not_started: Some(cause.to_string()), ..nothing },
        Ok(finished) => Outcome {
            code: finished.status.code(),
            signal: finished.status.signal(),
            halted: finished.halted,
            not_started: None,
            elapsed_ms: u64::try_from(finished.elapsed.as_millis()).unwrap_or(u64::MAX),
        },
    }
}
