//! The units of this host, asked and moved over D-Bus as systemd documents it.
//! No output of `systemctl` is read: a job's result and a unit's properties are
//! values, and a signal that went missing is made good by looking again.

mod bus;
mod ended;
mod errors;
mod job;
mod log;
mod name;
mod properties;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zbus::zvariant::{OwnedObjectPath, Value};

use crate::capabilities::{ErrorKind, HostError};
use bus::{Bus, UNIT};

/// Whether systemd knows what a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Its definition was read.
    Loaded,
    /// There is no definition.
    NotFound,
    /// Nobody may start it.
    Masked,
    /// Its definition has mistakes.
    Broken,
}

/// What a unit does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Active {
    /// Up.
    Active,
    /// Up, and reads its configuration again.
    Reloading,
    /// Down.
    Inactive,
    /// Down, because it failed.
    Failed,
    /// On its way up; also between two tries of a crash loop.
    Activating,
    /// On its way down.
    Deactivating,
}

impl Active {
    /// As systemd names it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Reloading => "reloading",
            Self::Inactive => "inactive",
            Self::Failed => "failed",
            Self::Activating => "activating",
            Self::Deactivating => "deactivating",
        }
    }

    /// Nothing of it runs.
    fn is_down(self) -> bool {
        matches!(self, Self::Inactive | Self::Failed)
    }
}

/// What is known of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// As it was asked for, with its suffix.
    pub name: String,
    /// Whether its definition was read.
    pub load: Load,
    /// What it does now.
    pub active: Active,
    /// The same, finer, in words of its kind: `running`, `auto-restart`.
    pub sub: String,
    /// `enabled`, `disabled`, `static`, `masked` ...; empty when there is no file.
    pub unit_file: String,
    /// Its main process, while there is one.
    pub main_pid: Option<u32>,
    /// When `active` or `sub` began, in milliseconds since 1970 in UTC.
    pub since_ms: Option<u64>,
    /// How often systemd started it again by itself.
    pub restarts: u32,
    /// Why it last ended: `success`, `exit-code`, `timeout`, `oom-kill` ...
    pub outcome: String,
    /// How its main process last ended: `exit 1`, `signal 9`.
    pub last_exit: Option<String>,
    /// Its files changed since systemd read them.
    pub needs_reload: bool,
    /// The file it is defined in; empty when there is none.
    pub path: String,
    /// The files that amend it.
    pub drop_ins: Vec<String>,
}

/// What can be asked of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// Up, if it is not.
    Start,
    /// Down, if it is not.
    Stop,
    /// Down and up; also up when it was down.
    Restart,
    /// Reads its configuration again.
    Reload,
}

/// What can be asked of a unit's links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileChange {
    /// Starts with the host.
    Enable,
    /// Does not.
    Disable,
    /// Cannot be started by anybody.
    Mask,
    /// Can be again.
    Unmask,
}

/// systemd, as this host has it. Connects when it is first needed, and again
/// when the bus went away.
#[derive(Debug, Default)]
pub struct Systemd {
    bus: Bus,
}

impl Systemd {
    /// Touches nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether systemd is what this host was started with.
    pub fn is_here() -> bool {
        // What sd_booted(3) looks at.
        Path::new("/run/systemd/system").is_dir()
    }

    /// A name nobody knows is answered with [`Load::NotFound`].
    ///
    /// # Errors
    /// `systemd/not-here`, `systemd/name`, `systemd/no-bus`.
    pub fn unit(&self, name: &str) -> Result<Unit, HostError> {
        name::check(name)?;
        Ok(properties::see(&self.bus, name)?.unit)
    }

    /// What the unit and systemd about it said since then, in milliseconds since
    /// 1970 in UTC: oldest first, the newest `lines_max` (at most 1000).
    ///
    /// # Errors
    /// `systemd/name`, `systemd/no-journal`, `systemd/journal-failed`.
    pub fn lines(&self, name: &str, since_ms: u64, lines_max: u32) -> Result<Vec<String>, HostError> {
        name::check(name)?;
        log::lines(name, since_ms, lines_max)
    }

    /// Queues the job, waits for its result, and for the unit to settle: one that
    /// ends within half a second, or is started again meanwhile, did not start.
    ///
    /// A stop takes the place of whatever is queued for the unit. Any other job
    /// waits for one that contradicts it.
    ///
    /// # Errors
    /// `systemd/unknown-unit`, `systemd/masked`, `systemd/job-failed`,
    /// `systemd/timed-out`, `systemd/start-limit`, `systemd/refused-manual`,
    /// `systemd/busy`, `systemd/cancelled`, `systemd/not-applicable`.
    pub fn run_job(
        &self,
        name: &str,
        job: Job,
        timeout: Duration,
        give_up: &dyn Fn() -> bool,
    ) -> Result<Unit, HostError> {
        name::check(name)?;
        job::run(&self.bus, name, job, timeout, give_up)
    }

    /// Sends SIGKILL to every process of the unit.
    ///
    /// # Errors
    /// `systemd/unknown-unit`.
    pub fn kill(&self, name: &str) -> Result<(), HostError> {
        name::check(name)?;
        let path = self.known(name)?;
        let killed: Result<(), HostError> = self.bus.call(&path, UNIT, "Kill", ("all", 9_i32));
        match killed {
            Err(error) if error.code == "systemd/no-process" => Ok(()),
            other => other,
        }
    }

    /// Forgets that it failed, and its restart counter.
    ///
    /// # Errors
    /// `systemd/unknown-unit`.
    pub fn reset_failed(&self, name: &str) -> Result<(), HostError> {
        name::check(name)?;
        let path = self.known(name)?;
        self.bus.call(&path, UNIT, "ResetFailed", ())
    }

    /// Changes the unit's links for good, and has systemd read them. True when
    /// links changed.
    ///
    /// # Errors
    /// `systemd/unknown-unit`, `systemd/no-install`, `systemd/masked`,
    /// `systemd/file-in-the-way`: a unit defined in `/etc` cannot be masked.
    pub fn change_file(&self, name: &str, change: FileChange) -> Result<bool, HostError> {
        name::check(name)?;
        let names = vec![name.to_owned()];
        let (for_now, by_force) = (false, false);
        let links: bus::Links = match change {
            FileChange::Enable => {
                let (can, links): (bool, bus::Links) =
                    self.bus.manager("EnableUnitFiles", (names, for_now, by_force))?;
                if !can && links.is_empty() {
                    return Err(HostError::new(
                        ErrorKind::Conflict,
                        "systemd/no-install",
                        format!("{name} says nothing about when to start it, so it cannot be enabled"),
                    ));
                }
                links
            }
            FileChange::Disable => self.bus.manager("DisableUnitFiles", (names, for_now))?,
            FileChange::Mask => self.bus.manager("MaskUnitFiles", (names, for_now, by_force))?,
            FileChange::Unmask => self.bus.manager("UnmaskUnitFiles", (names, for_now))?,
        };
        // Also without a change: an earlier try may have died between the two.
        self.daemon_reload()?;
        Ok(!links.is_empty())
    }

    /// Has systemd read its unit files again.
    ///
    /// # Errors
    /// `systemd/not-here`, `systemd/no-bus`.
    pub fn daemon_reload(&self) -> Result<(), HostError> {
        self.bus.manager("Reload", ())
    }

    /// Starts a program as a unit of its own that outlives us. The unit is gone
    /// when the program has ended, however it ended. Answers once it runs.
    ///
    /// # Errors
    /// `systemd/exists` when a unit of that name is there, `systemd/argument` for a
    /// program that is no absolute path or an argument that is no UTF-8, and those of a start.
    pub fn start_transient(&self, name: &str, argv: &[OsString], description: &str) -> Result<(), HostError> {
        name::check(name)?;
        let words = words(argv)?;
        let program = argv.first().and_then(|word| word.to_str()).filter(|word| word.starts_with('/'));
        let program = program.map(str::to_owned).ok_or_else(|| {
            HostError::new(
                ErrorKind::Invalid,
                "systemd/argument",
                "a transient unit needs an absolute program",
            )
        })?;
        let properties: Vec<(String, Value<'static>)> = vec![
            ("Description".to_owned(), Value::from(description.to_owned())),
            // Its start counts once the program was executed, and says so when it cannot be.
            ("Type".to_owned(), Value::from("exec")),
            ("CollectMode".to_owned(), Value::from("inactive-or-failed")),
            // What the program started on purpose, a database say, stays.
            ("KillMode".to_owned(), Value::from("process")),
            ("ExecStart".to_owned(), Value::from(vec![(program, words, false)])),
        ];
        job::run_transient(&self.bus, name, properties)
    }

    /// The object of a unit that is there.
    fn known(&self, name: &str) -> Result<OwnedObjectPath, HostError> {
        let seen = properties::see(&self.bus, name)?;
        if seen.is_unknown() { Err(errors::unknown(name)) } else { Ok(seen.object) }
    }
}

fn words(argv: &[OsString]) -> Result<Vec<String>, HostError> {
    argv.iter()
        .map(|word| {
            // systemd fills in `$NAME`, and takes `$$` for a dollar.
            word.to_str().filter(|word| !word.contains('\0')).map(|word| word.replace('$', "$$")).ok_or_else(
                || {
                    HostError::new(
                        ErrorKind::Invalid,
                        "systemd/argument",
                        "an argument of a transient unit is no UTF-8",
                    )
                },
            )
        })
        .collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
