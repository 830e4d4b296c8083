//! The door for people at this host: a Unix socket in the state directory,
//! which only its owner may open. One question on a connection, one answer.
//!
//! It serves on a thread of its own; the driver answers, as it answers the
//! link, between two of its own messages.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sternway_core::wire::{Decoder, FrameError, encode_frame};

use crate::message::{Ask, Message, Said};

/// Largest question or answer, in bytes: a sealed plan fits, and a page of a story.
const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Who opens the door and says nothing holds up the next.
const SPEAK_WITHIN: Duration = Duration::from_secs(2);
/// The driver answers between two messages; a disk that hangs makes it late.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The longest name that a Unix socket may have, in bytes, with some to spare.
const NAME_BYTES_MAX: usize = 100;

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("no agent serves here")]
    NotRunning,
    #[error("the agent here does not answer")]
    Silent(#[source] io::Error),
    #[error("could not open the control socket `{}`", path.display())]
    Open {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("could not understand what was said on the control socket")]
    Frame(#[from] FrameError),
    #[error("could not start the control socket")]
    Thread(#[source] io::Error),
}

/// Where the socket of an agent is.
pub fn path(state: &Path) -> PathBuf {
    state.join("control")
}

/// A name for the socket that is short enough, and what keeps it valid.
fn address(state: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let plain = path(state);
    if plain.as_os_str().len() <= NAME_BYTES_MAX {
        return Ok((plain, None));
    }
    let folder = File::open(state)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}/control", folder.as_raw_fd()));
    Ok((short, Some(folder)))
}

/// A door that is open but not yet served: who knocks waits.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
}

impl Door {
    /// Opens it. The caller holds the journal's lock, so a socket that is there
    /// already is a dead agent's.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn open(state: &Path) -> Result<Self, ControlError> {
        let failed = |cause| ControlError::Open { path: path(state), cause };
        let (name, _folder) = address(state).map_err(failed)?;
        match std::fs::remove_file(&name) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed(cause)),
            _ => {}
        }
        let listener = UnixListener::bind(&name).map_err(failed)?;
        std::fs::set_permissions(&name, PermissionsExt::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener })
    }

    /// Serves it until the process ends.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn serve(self, to_driver: mpsc::Sender<Message>) -> Result<(), ControlError> {
        let serve = move || {
            for caller in self.listener.incoming() {
                let served =
                    caller.map_err(ControlError::Silent).and_then(|caller| answer(caller, &to_driver));
                if let Err(error) = served {
                    tracing::debug!(%error, "a question at the control socket was not answered");
                }
            }
        };
        std::thread::Builder::new().name("control".into()).spawn(serve).map_err(ControlError::Thread)?;
        Ok(())
    }
}

fn answer(mut caller: UnixStream, to_driver: &mpsc::Sender<Message>) -> Result<(), ControlError> {
    let limits = [caller.set_read_timeout(Some(SPEAK_WITHIN)), caller.set_write_timeout(Some(SPEAK_WITHIN))];
    limits.into_iter().collect::<io::Result<()>>().map_err(ControlError::Silent)?;
    let ask: Ask = hear(&mut caller)?;
    let (answer, answered) = mpsc::channel();
    let gone = || ControlError::Silent(io::ErrorKind::TimedOut.into());
    to_driver.send(Message::Control { ask, answer }).map_err(|_| ControlError::NotRunning)?;
    let said = answered.recv_timeout(ANSWER_WITHIN).map_err(|_| gone())?;
    say(&mut caller, &said)
}

/// Asks the agent that serves this state directory.
///
/// # Errors
/// [`ControlError::NotRunning`] when there is none.
pub fn ask(state: &Path, ask: &Ask) -> Result<Said, ControlError> {
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning,
        _ => ControlError::Open { path: path(state), cause },
    };
    let (name, _folder) = address(state).map_err(failed)?;
    let mut agent = UnixStream::connect(name).map_err(failed)?;
    agent.set_read_timeout(Some(ANSWER_WITHIN + SPEAK_WITHIN)).map_err(ControlError::Silent)?;
    say(&mut agent, ask)?;
    hear(&mut agent)
}

fn say<T: Serialize>(stream: &mut UnixStream, message: &T) -> Result<(), ControlError> {
    let frame = encode_frame(message, FRAME_BYTES_MAX)?;
    stream.write_all(&frame).map_err(ControlError::Silent)
}

fn hear<T: DeserializeOwned>(stream: &mut UnixStream) -> Result<T, ControlError> {
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    let mut chunk = [0; 16 * 1024];
    loop {
        if let Some(message) = decoder.next_frame()? {
            return Ok(message);
        }
        match stream.read(&mut chunk).map_err(ControlError::Silent)? {
            0 => return Err(ControlError::Silent(io::ErrorKind::UnexpectedEof.into())),
            bytes => decoder.push(&chunk[..bytes]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_gets_the_drivers_answer_and_only_the_owner_may_ask() {
        let folder = tempfile::tempdir().unwrap();
        // Longer than the name of a socket may be.
        let state = folder.path().join("a".repeat(60)).join("b".repeat(60));
        std::fs::create_dir_all(&state).unwrap();
        assert!(matches!(ask(&state, &Ask::Status), Err(ControlError::NotRunning)));
        let (to_driver, messages) = mpsc::channel();
        Door::open(&state).unwrap().serve(to_driver.clone()).unwrap();
        let mode = std::fs::metadata(path(&state)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let driver = std::thread::spawn(move || {
            let Ok(Message::Control { ask, answer }) = messages.recv() else { panic!("no question") };
            answer.send(Said::Refused { code: "test".into(), reason: format!("{ask:?}") }).unwrap();
        });
        let said = ask(&state, &Ask::LookAtHalt).unwrap();
        assert_eq!(said, Said::Refused { code: "test".into(), reason: "LookAtHalt".into() });
        driver.join().unwrap();
    }

    #[test]
    fn the_socket_of_a_dead_agent_is_replaced() {
        let state = tempfile::tempdir().unwrap();
        drop(Door::open(state.path()).unwrap());
        assert!(path(state.path()).exists(), "the name stays when a process dies");
        assert!(matches!(ask(state.path(), &Ask::Status), Err(ControlError::NotRunning)));
        Door::open(state.path()).unwrap();
    }
}
