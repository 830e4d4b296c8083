//! `run`: a program that outlives the agent. The key names its folder; what
//! stands there decides whether it is started, followed, answered or given up.

use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::child::Halt;
use super::folder::{self, Folder, Outcome, Told};
use super::hear::{Lines, as_text};
use super::{Call, Ended, Form, FormEffect, Programs, Resolve, Watch, form, halted, not_started, with_last};
use crate::capabilities::{ErrorKind, HostError};
use crate::crash;

const POLL: Duration = Duration::from_millis(20);
/// How long an attendant may take to say its first word.
const ATTENDANT_PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to end what it was told to end.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
const ID_BYTES: usize = 16;

impl Programs {
    /// Carries out a form that changes something, at most once for each `key`:
    /// a second call finds the one that runs or ran, and answers its end. Both
    /// its end by time-out and its being called off stay its answer. `name` is
    /// for people: plan, step and attempt.
    ///
    /// # Errors
    /// As [`Self::ask`]; also `programs/other-call` for another call under a
    /// used key, and `programs/lost` when it began and neither an end nor its
    /// attendant is there: then nobody knows how far it came.
    pub fn run(
        &self,
        key: &str,
        name: &str,
        files: Resolve<'_>,
        call: &Call,
        watch: Watch<'_>,
    ) -> Result<Ended, HostError> {
        let watch = watch.within(call);
        let form = self.form_for(call, FormEffect::Change)?;
        let folder = Folder { path: self.state.join(id_of(key)) };
        let told = match folder.told() {
            Some(told) if (&told.form, &told.on, &told.holes) == (&call.form, &call.on, &call.holes) => told,
            Some(told) => return Err(other_call(&told, call)),
            None => self.tell(&folder, name, files, (form, call), watch.deadline)?,
        };
        let mut following = Following::new(&folder, &told, watch);
        if folder.begun().is_none() && folder.outcome().is_none() {
            self.launcher.launch(&self.attendant, name, &folder.path)?;
            crash::point("programs.attendant-spawned", "");
            following.wait_for_begin()?;
        } else {
            following.skip_what_was_said();
        }
        following.wait_for_end()
    }

    fn tell(
        &self,
        folder: &Folder,
        name: &str,
        files: Resolve<'_>,
        (form, call): (&Form, &Call),
        deadline: Instant,
    ) -> Result<Told, HostError> {
        folder::sweep(&self.state);
        if Instant::now() >= deadline {
            return Err(halted(&call.form, Halt::TimedOut, ""));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let told = Told {
            name: name.to_owned(),
            form: call.form.clone(),
            on: call.on.clone(),
            holes: call.holes.clone(),
            job: self.job(form, call, files)?,
            timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            output_bytes_max: form.output_bytes_max,
            codes: form.codes.clone(),
        };
        folder.tell(&told).map_err(|error| not_kept(&error))?;
        crash::point("programs.told", "");
        Ok(told)
    }
}

fn id_of(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    digest[..ID_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn other_call(told: &Told, call: &Call) -> HostError {
    let message = if told.form == call.form {
        format!("under this key `{}` was run with other values", told.form)
    } else {
        format!("under this key `{}` was run, and now it is to be `{}`", told.form, call.form)
    };
    HostError::new(ErrorKind::Conflict, "programs/other-call", message)
}

fn not_kept(error: &dyn std::error::Error) -> HostError {
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    let message = format!("what the program is told could not be written down: {error}{cause}");
    HostError::new(ErrorKind::Failed, "programs/not-kept", message)
}

/// Somebody waits for a program that has an attendant.
struct Following<'a> {
    folder: &'a Folder,
    told: &'a Told,
    watch: Watch<'a>,
    heard: [(&'static str, u64, Lines); 2],
    /// Asked to end, and when one stops waiting for that.
    stopping: Option<Instant>,
}

impl<'a> Following<'a> {
    fn new(folder: &'a Folder, told: &'a Told, watch: Watch<'a>) -> Self {
        let heard = ["output", "complaint"].map(|name| (name, 0, Lines::default()));
        Self { folder, told, watch, heard, stopping: None }
    }

    /// Whoever looked on before has heard it.
    fn skip_what_was_said(&mut self) {
        for (name, from, _) in &mut self.heard {
            *from = self.folder.length(name);
        }
    }

    fn wait_for_begin(&mut self) -> Result<(), HostError> {
        let patience = Instant::now() + ATTENDANT_PATIENCE;
        while self.folder.begun().is_none() && self.folder.outcome().is_none() {
            if Instant::now() >= patience {
                // It may still come: then it must not begin.
                self.stop(Halt::Cancelled)?;
                return Err(not_started(&self.told.form, "its attendant said nothing"));
            }
            self.stop_if_asked()?;
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn wait_for_end(mut self) -> Result<Ended, HostError> {
        loop {
            let is_attended = self.folder.begun().is_some_and(|begun| begun.is_attended());
            // Asked for after the attendant: it writes this last.
            let outcome = self.folder.outcome();
            self.hear();
            if let Some(outcome) = outcome {
                return self.answer(outcome);
            }
            if !is_attended {
                return Err(self.lost());
            }
            self.stop_if_asked()?;
            if self.stopping.is_some_and(|patience| Instant::now() >= patience) {
                return Err(self.lost());
            }
            std::thread::sleep(POLL);
        }
    }

    fn stop_if_asked(&mut self) -> Result<(), HostError> {
        match self.watch.halt() {
            Some(why) if self.stopping.is_none() => self.stop(why),
            _ => Ok(()),
        }
    }

    fn stop(&mut self, why: Halt) -> Result<(), HostError> {
        self.stopping = Some(Instant::now() + STOP_PATIENCE);
        self.folder.ask_to_stop(why).map_err(|error| not_kept(&error))
    }

    fn hear(&mut self) {
        for (name, from, lines) in &mut self.heard {
            loop {
                let news = self.folder.news(name, from);
                if news.is_empty() {
                    break;
                }
                lines.add(&news, self.watch.on_line);
            }
        }
    }

    fn answer(mut self, outcome: Outcome) -> Result<Ended, HostError> {
        for (_, _, lines) in &mut self.heard {
            lines.flush(self.watch.on_line);
        }
        let form = &self.told.form;
        if let Some(cause) = outcome.not_started {
            return Err(not_started(form, &cause));
        }
        let complaint = as_text(&self.last("complaint", form::COMPLAINT_BYTES_MAX)?);
        if let Some(why) = outcome.halted {
            return Err(halted(form, why, &complaint));
        }
        let output = match self.told.job.output {
            Some(_) => Vec::new(),
            None => self.last("output", self.told.output_bytes_max)?,
        };
        let Outcome { code, signal, elapsed_ms, .. } = outcome;
        Ok(Ended { code, signal, output, complaint, elapsed_ms })
    }

    fn last(&self, name: &str, bytes_max: u32) -> Result<Vec<u8>, HostError> {
        let what = "what the program said could not be read";
        self.folder.last(name, bytes_max).map_err(|cause| HostError::from_io("programs", what, &cause))
    }

    fn lost(&self) -> HostError {
        if let Some(begun) = self.folder.begun() {
            begun.end_leftovers();
        }
        let said = |name| self.folder.last(name, form::COMPLAINT_BYTES_MAX).unwrap_or_default();
        let said = as_text(&[said("output"), b"\n".to_vec(), said("complaint")].concat());
        let message = format!(
            "the program of `{}` began, and nobody knows how it ended: its attendant is gone; look at what it \
             works on before it is run again",
            self.told.form
        );
        HostError::new(ErrorKind::Failed, "programs/lost", with_last(message, &said))
    }
}
