//! Programs of this host, by forms. A plugin names a form and fills its holes;
//! which program that is, the shape of its arguments and who runs it are the
//! host's own affair. There is no shell anywhere.
//!
//! What reads or stages runs as a child and dies with the agent. What changes
//! something has an attendant, and the same key finds it again after any crash.

pub mod attend;
mod catalogue;
mod child;
mod fill;
mod find;
mod folder;
mod form;
mod hear;
mod lasting;
mod launch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::capabilities::files::Place;
use crate::capabilities::{ErrorKind, HostError};
use crate::processes::accounts::Account;
use child::{Halt, Job, JobInput, RunAs, Stream};
use fill::{Filled, Values, shown};
pub use form::{Argument, Candidates, Form, FormEffect, FormError, HoleKind, HoleRule, Scope};
use hear::{Lines, Tail, in_short};
pub use launch::{Launcher, StartTransient, TransientUnit};

/// The power of a host's own programs; the scope is the program's name.
pub const OWN_POWER: &str = "command";
/// How long a candidate may take to say that it is there.
const PROBE_PATIENCE: Duration = Duration::from_secs(20);

/// All powers that programs may be of, on any host.
pub(crate) fn known_powers() -> impl Iterator<Item = &'static str> {
    catalogue::powers().chain([OWN_POWER])
}

/// The values of one hole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// As the form names it.
    pub name: String,
    /// One, but for a hole that takes many.
    pub values: Vec<String>,
}

/// What a plugin asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// `postgres.query`
    pub form: String,
    /// The scope of the grant: a database, a project, a path.
    pub on: String,
    /// In any order.
    pub holes: Vec<Hole>,
    /// How long it may take, in milliseconds; 0 is as long as the phase may.
    pub timeout_ms: u64,
}

/// How a program ended. Another code than zero is an answer too, whichever call
/// it was: what it means, the plugin knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The last of what it said, in bytes as it said them.
    #[serde(with = "serde_bytes")]
    pub output: Vec<u8>,
    /// The last of what it said on its error output.
    pub complaint: String,
    /// From its start to its end, in milliseconds.
    pub elapsed_ms: u64,
}

/// The paths of a call that grants must cover.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileScopes {
    /// By `files-read` or `files`.
    pub read: Vec<String>,
    /// By `files`.
    pub changed: Vec<String>,
}

/// What this host's configuration says of one power: `[power.postgres]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerSettings {
    /// The user as whom its programs run; the agent's own when unset.
    #[serde(default)]
    pub run_as: Option<String>,
    /// Goes before what a form says.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Where its programs run; `/` when unset.
    #[serde(default)]
    pub directory: Option<PathBuf>,
}

/// From a path of the host to the real one of its live file or its side copy,
/// whether something is there or not.
pub type Resolve<'a> = &'a dyn Fn(Place, &str) -> Result<PathBuf, HostError>;

/// Who waits for a program, and how long.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Then it is ended.
    pub deadline: Instant,
    /// Asked every 20 ms; true ends it.
    pub give_up: &'a dyn Fn() -> bool,
    /// Gets every line it says on either output, printable, as it says it.
    pub on_line: &'a dyn Fn(&str),
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watch").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Watch<'_> {
    /// Not longer than the call itself asks for.
    fn within(self, call: &Call) -> Self {
        let own = (call.timeout_ms > 0)
            .then(|| Instant::now().checked_add(Duration::from_millis(call.timeout_ms)))
            .flatten();
        Self { deadline: own.map_or(self.deadline, |own| own.min(self.deadline)), ..self }
    }

    fn halt(&self) -> Option<Halt> {
        match Instant::now() >= self.deadline {
            true => Some(Halt::TimedOut),
            false => (self.give_up)().then_some(Halt::Cancelled),
        }
    }
}

/// The programs of one host.
#[derive(Debug)]
pub struct Programs {
    /// Holds one folder for each program that has, or had, an attendant.
    state: PathBuf,
    attendant: Vec<OsString>,
    launcher: Launcher,
    settings: BTreeMap<String, PowerSettings>,
    forms: BTreeMap<String, Form>,
    /// Which of several candidates was there.
    located: Mutex<BTreeMap<Vec<Vec<String>>, Located>>,
}

/// A program, and its first words.
type Located = (PathBuf, Vec<String>);

impl Programs {
    /// `state` is the agent's state directory. `attendant` is the command to
    /// which `attend FOLDER` is added; usually our own program. `own` are the
    /// forms of the host's configuration, all of the power `command`.
    ///
    /// # Errors
    /// A form that makes no sense, two of one name, or a user nobody is.
    pub fn new(
        state: PathBuf,
        attendant: Vec<OsString>,
        settings: BTreeMap<String, PowerSettings>,
        own: Vec<Form>,
    ) -> Result<Self, FormError> {
        let mut forms = BTreeMap::new();
        for form in &own {
            form.check()?;
            if form::power_of(&form.name) != OWN_POWER {
                return Err(form.unsound(format!("a host's own programs are of the power `{OWN_POWER}`")));
            }
        }
        for form in catalogue::forms()?.into_iter().chain(own) {
            if let Some(first) = forms.insert(form.name.clone(), form) {
                return Err(FormError::Twice { form: first.name });
            }
        }
        let of_forms = forms.values().filter_map(|form: &Form| Some((&form.name, form.run_as.as_ref()?)));
        let of_powers = settings.iter().filter_map(|(power, set)| Some((power, set.run_as.as_ref()?)));
        for (power, user) in of_forms.chain(of_powers) {
            if Account::named(user).is_none() {
                return Err(FormError::NoUser { power: power.clone(), user: user.clone() });
            }
        }
        let state = state.join("programs");
        folder::sweep(&state);
        let (launcher, located) = (Launcher::default(), Mutex::default());
        Ok(Self { state, attendant, launcher, settings, forms, located })
    }

    /// The same, with attendants started by `launcher`.
    #[must_use]
    pub fn launched_by(self, launcher: Launcher) -> Self {
        Self { launcher, ..self }
    }

    /// The same, with the forms of one more file before those of their names
    /// that are there: how forms are tried before they are compiled in.
    ///
    /// # Errors
    /// The text is no file of forms, or a form in it makes no sense.
    pub fn with_forms(mut self, power: &str, text: &str) -> Result<Self, FormError> {
        let forms = form::parse(power, text)?;
        self.forms.extend(forms.into_iter().map(|form| (form.name.clone(), form)));
        Ok(self)
    }

    /// The program of a call and all its words, as they would run now.
    ///
    /// # Errors
    /// `programs/unknown-form`, `not-here`, `bad-hole`, `no-file`.
    pub fn words(&self, files: Resolve<'_>, call: &Call) -> Result<Vec<String>, HostError> {
        let job = self.job(self.form(&call.form)?, call, files)?;
        Ok([job.program.display().to_string()].into_iter().chain(job.words).collect())
    }

    /// The powers that forms of this host need, each once.
    pub fn powers(&self) -> impl Iterator<Item = &str> {
        let mut powers: Vec<&str> = self.forms.keys().map(|name| form::power_of(name)).collect();
        powers.dedup();
        powers.into_iter()
    }

    /// Whether this host has the form and its program.
    ///
    /// # Errors
    /// A candidate could not be asked.
    pub fn has(&self, form: &str) -> Result<bool, HostError> {
        let Some(form) = self.forms.get(form) else { return Ok(false) };
        match self.locate(form) {
            Ok(_) => Ok(true),
            Err(error) if error.code == NOT_HERE => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The power that must be granted for a form; its scope is the call's `on`.
    pub fn power_of<'f>(&self, form: &'f str) -> &'f str {
        form::power_of(form)
    }

    /// What a form may do.
    ///
    /// # Errors
    /// `programs/unknown-form`
    pub fn effect_of(&self, form: &str) -> Result<FormEffect, HostError> {
        self.form(form).map(|form| form.effect)
    }

    /// The paths of a call that grants of `files` must cover. The values of all
    /// holes are judged before.
    ///
    /// # Errors
    /// `programs/unknown-form`, `programs/bad-hole`
    pub fn file_scopes(&self, call: &Call) -> Result<FileScopes, HostError> {
        Ok(Values::judge(self.form(&call.form)?, call)?.paths())
    }

    /// Carries out a form that reads.
    ///
    /// # Errors
    /// `programs/unknown-form`, `not-here`, `bad-hole`, `wrong-effect`,
    /// `no-file`, `not-permitted`, `not-started`, `timed-out`, `cancelled`.
    pub fn ask(&self, files: Resolve<'_>, call: &Call, watch: Watch<'_>) -> Result<Ended, HostError> {
        self.at_once(FormEffect::Read, files, call, watch)
    }

    /// Carries out a form that works on side copies.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn stage(&self, files: Resolve<'_>, call: &Call, watch: Watch<'_>) -> Result<Ended, HostError> {
        self.at_once(FormEffect::Stage, files, call, watch)
    }

    fn at_once(
        &self,
        effect: FormEffect,
        files: Resolve<'_>,
        call: &Call,
        watch: Watch<'_>,
    ) -> Result<Ended, HostError> {
        let watch = watch.within(call);
        let form = self.form_for(call, effect)?;
        let job = self.job(form, call, files)?;
        let (mut output, mut complaint) =
            (Tail::new(form.output_bytes_max), Tail::new(form::COMPLAINT_BYTES_MAX));
        let (mut output_lines, mut complaint_lines) = (Lines::default(), Lines::default());
        let finished = job.carry_out(&|| watch.halt(), &mut |stream, bytes| match stream {
            Stream::Output => {
                output.add(bytes);
                output_lines.add(bytes, watch.on_line);
            }
            Stream::Complaint => {
                complaint.add(bytes);
                complaint_lines.add(bytes, watch.on_line);
            }
        });
        output_lines.flush(watch.on_line);
        complaint_lines.flush(watch.on_line);
        let finished = finished.map_err(|cause| not_started(&call.form, &cause.to_string()))?;
        let complaint = complaint.into_text();
        match finished.halted {
            Some(why) => Err(halted(&call.form, why, &complaint)),
            None => Ok(Ended {
                code: finished.status.code(),
                signal: std::os::unix::process::ExitStatusExt::signal(&finished.status),
                output: output.into_bytes(),
                complaint,
                elapsed_ms: u64::try_from(finished.elapsed.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }

    fn form(&self, name: &str) -> Result<&Form, HostError> {
        self.forms.get(name).ok_or_else(|| {
            let message = format!("this host knows no form `{}`", shown(name));
            HostError::new(ErrorKind::NotFound, "programs/unknown-form", message)
        })
    }

    fn form_for(&self, call: &Call, effect: FormEffect) -> Result<&Form, HostError> {
        let form = self.form(&call.form)?;
        if form.effect != effect {
            let message =
                format!("`{}` is for `{}`, not for `{}`", form.name, form.effect.call(), effect.call());
            return Err(HostError::new(ErrorKind::Denied, "programs/wrong-effect", message));
        }
        // A grant of one program must not reach another.
        let own = form.name.strip_prefix(OWN_POWER).and_then(|rest| rest.strip_prefix('.'));
        if own.is_some_and(|name| name != call.on) {
            let message = format!("`{}` is not the program of `{}`", shown(&call.on), form.name);
            return Err(HostError::new(ErrorKind::Denied, "programs/bad-hole", message));
        }
        Ok(form)
    }

    fn job(&self, form: &Form, call: &Call, files: Resolve<'_>) -> Result<Job, HostError> {
        let Filled { words, input, output } = Values::judge(form, call)?.fill(files)?;
        let (program, first) = self.locate(form)?;
        let plain = |word: OsString| {
            word.into_string().map_err(|word| {
                let message = format!("`{}` is no UTF-8", word.display());
                HostError::new(ErrorKind::Invalid, "programs/bad-hole", message)
            })
        };
        let words: Result<Vec<String>, HostError> =
            first.into_iter().map(Ok).chain(words.into_iter().map(plain)).collect();
        Ok(Job { words: words?, input: input.into(), output, ..self.bare_job(form, program)? })
    }

    /// A program as this host runs it, with no words.
    fn bare_job(&self, form: &Form, program: PathBuf) -> Result<Job, HostError> {
        let usual = PowerSettings::default();
        let power = form::power_of(&form.name);
        let settings = self.settings.get(power).unwrap_or(&usual);
        let run_as = form.run_as.as_ref().or(settings.run_as.as_ref());
        let mut environment = form.environment.clone();
        environment.extend(settings.environment.clone());
        let directory = form.directory.as_ref().or(settings.directory.as_ref());
        Ok(Job {
            program,
            words: Vec::new(),
            environment,
            directory: directory.cloned().unwrap_or_else(|| "/".into()),
            run_as: run_as.map(|user| account(power, user)).transpose()?.flatten(),
            input: JobInput::Nothing,
            output: None,
        })
    }

    fn locate(&self, form: &Form) -> Result<Located, HostError> {
        let candidates = &form.program.0;
        let known = |located: &Located| located.0.exists().then(|| located.clone());
        let cached = self.located.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(located) = cached.get(candidates).and_then(known) {
            return Ok(located);
        }
        drop(cached);
        for candidate in candidates {
            let Some((name, first)) = candidate.split_first() else { continue };
            let Some(program) = find::program(name, &form.search) else { continue };
            let located = (program, first.to_vec());
            if form.probe.is_empty() {
                return Ok(located);
            }
            if self.is_there(form, &located)? {
                let mut cached = self.located.lock().unwrap_or_else(PoisonError::into_inner);
                cached.insert(candidates.clone(), located.clone());
                return Ok(located);
            }
        }
        let names: Vec<String> = candidates.iter().map(|words| format!("`{}`", words.join(" "))).collect();
        let message = format!("`{}` needs {}, which this host does not have", form.name, names.join(" or "));
        Err(HostError::new(ErrorKind::Unsupported, NOT_HERE, message))
    }

    fn is_there(&self, form: &Form, (program, first): &Located) -> Result<bool, HostError> {
        let words = first.iter().chain(&form.probe).cloned().collect();
        let job = Job { words, ..self.bare_job(form, program.clone())? };
        let deadline = Instant::now() + PROBE_PATIENCE;
        let halt = || (Instant::now() >= deadline).then_some(Halt::TimedOut);
        let finished = job.carry_out(&halt, &mut |_, _| {});
        Ok(finished.is_ok_and(|finished| finished.status.success() && finished.halted.is_none()))
    }
}

const NOT_HERE: &str = "programs/not-here";

/// None when the agent is that user already.
fn account(power: &str, user: &str) -> Result<Option<RunAs>, HostError> {
    let refuse = |reason: &str| {
        let message = format!("programs of `{power}` are to run as `{user}`: {reason}");
        Err(HostError::new(ErrorKind::Unsupported, "programs/not-permitted", message))
    };
    let Some(account) = Account::named(user) else { return refuse("this host has no such user") };
    if account.uid == rustix::process::geteuid().as_raw() {
        return Ok(None);
    }
    if !account.is_open_to_us() {
        return refuse("for this the agent has to be root");
    }
    if find::program("setpriv", &[]).is_none() {
        return refuse("for this the host needs `setpriv` of util-linux");
    }
    Ok(Some(RunAs { user: user.to_owned(), gid: account.gid, home: account.home }))
}

fn not_started(form: &str, cause: &str) -> HostError {
    let message = format!("the program of `{form}` was not started: {cause}");
    HostError::new(ErrorKind::Failed, "programs/not-started", message)
}

fn halted(form: &str, why: Halt, said: &str) -> HostError {
    let (kind, code, what) = match why {
        Halt::TimedOut => (ErrorKind::TimedOut, "programs/timed-out", "took too long and was ended"),
        Halt::Cancelled => (ErrorKind::Cancelled, "programs/cancelled", "was cancelled and ended"),
    };
    HostError::new(kind, code, with_last(format!("the program of `{form}` {what}"), said))
}

fn with_last(message: String, said: &str) -> String {
    match in_short(said) {
        last if last.is_empty() => message,
        last => format!("{message}; it said: {last}"),
    }
}

#[cfg(test)]
mod tests;
