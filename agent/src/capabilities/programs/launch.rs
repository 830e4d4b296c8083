//! How an attendant is started, so that it outlives the agent.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::capabilities::{ErrorKind, HostError};

const UNIT_CHARACTERS_MAX: usize = 200;

/// An attendant as a unit of systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransientUnit {
    /// `sternway-p-17-migrate-1.service`
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// What people see beside its name.
    pub description: String,
}

/// Starts a transient unit, and returns when systemd has taken it.
pub type StartTransient = Arc<dyn Fn(&TransientUnit) -> Result<(), HostError> + Send + Sync>;

/// Where attendants live.
#[derive(Clone, Default)]
pub enum Launcher {
    /// In a session of their own.
    #[default]
    Detached,
    /// As units of systemd, which people see in `systemctl` under the step's name.
    Transient(StartTransient),
}

impl fmt::Debug for Launcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Detached => "Detached",
            Self::Transient(_) => "Transient",
        })
    }
}

impl Launcher {
    /// Starts `attendant` with `attend FOLDER`. Where systemd does not take it,
    /// it is started detached: a hanging bus holds no rollback up, and of two
    /// attendants of one folder only one does anything.
    pub(super) fn launch(&self, attendant: &[OsString], name: &str, folder: &Path) -> Result<(), HostError> {
        let mut command = attendant.to_vec();
        command.extend(["attend".into(), folder.as_os_str().to_owned()]);
        if let Self::Transient(start) = self {
            match start(&transient(name, &command)) {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(%error, name, "systemd did not take it; it runs detached"),
            }
        }
        spawn(&command).map_err(|cause| {
            let message = format!("the attendant of `{name}` could not be started: {cause}");
            HostError::new(ErrorKind::Failed, "programs/not-started", message)
        })
    }
}

fn transient(name: &str, command: &[OsString]) -> TransientUnit {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).take(UNIT_CHARACTERS_MAX).collect();
    TransientUnit {
        name: format!("sternway-{name}.service"),
        command: command.to_vec(),
        description: format!("Sternway: {name}"),
    }
}

fn spawn(command: &[OsString]) -> std::io::Result<()> {
    let (program, arguments) = command.split_first().ok_or(std::io::ErrorKind::NotFound)?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // Waited for, so that it is no zombie while we live; it outlives us.
    std::thread::spawn(move || child.wait());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_a_name_systemd_takes() {
        let unit = transient("p-17/mig rate\n1", &["agent".into()]);
        assert_eq!(unit.name, "sternway-p-17-mig-rate-1.service");
        assert!(transient(&"x".repeat(999), &[]).name.len() < 256);
    }
}
