//! What this plugin asks Docker and compose, through the host's forms.

use serde::{Deserialize, Serialize};
use sternway_plugin::host::programs::{self, Call, Ended, Hole};
use sternway_plugin::{Error, Failure, Kind, memory};

use crate::Kept;
use crate::containers::{self, Container};
use crate::decide::Task;
use crate::resolved::{self, Resolved};

/// A command line has an end.
const AT_ONCE: usize = 32;
/// Containers may go between the list and the look.
const LOOKS: usize = 3;
const LOG_LINES: &str = "5";
const LINE_BYTES_MAX: usize = 400;
/// The journal's key for the command that may be under way.
const BEGUN: &str = "begun";

/// One form with its holes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Command {
    form: String,
    holes: Vec<(String, Vec<String>)>,
}

impl Command {
    pub(crate) fn new(form: &str) -> Self {
        Self { form: form.to_owned(), holes: Vec::new() }
    }

    pub(crate) fn with<T: Into<String>>(mut self, hole: &str, values: impl IntoIterator<Item = T>) -> Self {
        let values: Vec<String> = values.into_iter().map(Into::into).collect();
        if !values.is_empty() {
            self.holes.push((hole.to_owned(), values));
        }
        self
    }

    /// With the files, the variables and the name of the project.
    pub(crate) fn of(form: &str, kept: &Kept) -> Self {
        Self::new(form)
            .with("files", kept.files.clone())
            .with("env", kept.env.clone())
            .with("project", [kept.project.as_str()])
    }

    /// A host answers one key with one command: another one needs another key.
    fn sum(&self) -> u64 {
        let words = self.holes.iter().flat_map(|(name, values)| std::iter::once(name).chain(values));
        let bytes = words.flat_map(|word| word.bytes().chain([0]));
        // FNV-1a: commands of one step are few and no enemy writes them.
        bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    fn call(&self, task: &Task) -> Call {
        let hole =
            |(name, values): &(String, Vec<String>)| Hole { name: name.clone(), values: values.clone() };
        Call {
            form: self.form.clone(),
            on: task.folder.clone(),
            holes: self.holes.iter().map(hole).collect(),
            timeout_ms: task.timeout_ms,
        }
    }
}

pub(crate) fn ask(task: &Task, command: &Command) -> Result<Ended, Error> {
    programs::ask(&command.call(task))
}

/// Runs a command that changes something, to its end. One that was under way
/// when an earlier try died is waited for and not begun again; one that failed
/// is begun anew by the next try.
pub(crate) fn run(task: &Task, name: &str, command: &Command) -> Result<(), Failure> {
    let key = format!("{name} {} {:016x}", tries(name)?, command.sum());
    memory::keep(BEGUN, &Some((&key, command)))?;
    let ended = programs::run(&key, &command.call(task));
    if !matches!(&ended, Ok(ended) if ended.code == Some(0)) {
        again(name)?;
    }
    let ended = ended?;
    memory::keep(BEGUN, &None::<(String, Command)>)?;
    if ended.code != Some(0) {
        let message = format!("{} of {}: {}", command.form, task.folder, complaint(&ended));
        return Err(Error::failed("docker-compose/failed", message).into());
    }
    Ok(())
}

/// The next run under `name` is a new one.
pub(crate) fn again(name: &str) -> Result<(), Error> {
    memory::keep(&format!("tries {name}"), &(tries(name)? + 1))
}

/// Waits for what an earlier phase may have left under way: nothing else is
/// touched while compose works on the project.
pub(crate) fn settle(task: &Task) -> Result<(), Error> {
    if let Some(Some((key, command))) = memory::recall::<Option<(String, Command)>>(BEGUN)? {
        match programs::run(&key, &command.call(task)) {
            Err(error) if matches!(error.kind, Kind::Transient | Kind::Denied) => return Err(error),
            // However it ended: what it left is looked at next.
            _ => memory::keep(BEGUN, &None::<(String, Command)>)?,
        }
    }
    Ok(())
}

fn tries(name: &str) -> Result<u32, Error> {
    Ok(memory::recall(&format!("tries {name}"))?.unwrap_or(0))
}

/// Why Docker cannot be worked with; none when it can.
pub(crate) fn trouble(task: &Task) -> Result<Option<(&'static str, String)>, Error> {
    for form in ["containers.inspect", "containers.up"] {
        if !programs::has(form)? {
            let lacks = if form.ends_with("up") { "compose" } else { "docker" };
            return Ok(Some(("docker-compose/no-docker", format!("this host has no {lacks}"))));
        }
    }
    let said = ask(task, &Command::new("containers.version"))?;
    Ok((said.code != Some(0))
        .then(|| ("docker-compose/no-daemon", format!("Docker does not answer: {}", complaint(&said)))))
}

/// What compose makes of the files; an error in words when it makes nothing of them.
pub(crate) fn config(task: &Task, command: &Command) -> Result<Result<Resolved, String>, Error> {
    let command = command.clone().with("project", task.project.clone());
    let said = ask(task, &command)?;
    if said.code != Some(0) {
        return Ok(Err(complaint(&said)));
    }
    Ok(resolved::read(&String::from_utf8_lossy(&said.output)))
}

/// All containers of the project, sorted.
pub(crate) fn survey(task: &Task, project: &str) -> Result<Vec<Container>, Error> {
    let mut why = String::new();
    for _ in 0..LOOKS {
        let listed = ask(task, &Command::new("containers.list").with("project", [project]))?;
        if listed.code != Some(0) {
            return Err(Error::failed("docker-compose/list", complaint(&listed)));
        }
        let ids = String::from_utf8_lossy(&listed.output).into_owned();
        let ids: Vec<&str> = ids.split_whitespace().collect();
        match inspect(task, &ids)? {
            Ok(found) => return Ok(found),
            Err(complaint) => why = complaint,
        }
    }
    Err(Error::failed("docker-compose/list", format!("the containers of {project} do not hold still: {why}")))
}

fn inspect(task: &Task, ids: &[&str]) -> Result<Result<Vec<Container>, String>, Error> {
    let mut found = Vec::new();
    for some in ids.chunks(AT_ONCE) {
        let said = ask(task, &Command::new("containers.inspect").with("containers", some.iter().copied()))?;
        if said.code != Some(0) {
            return Ok(Err(complaint(&said)));
        }
        found.extend(
            containers::read(&said.output).map_err(|cause| {
                Error::failed("docker-compose/inspect", format!("docker inspect: {cause}"))
            })?,
        );
    }
    containers::sort(&mut found);
    Ok(Ok(found))
}

/// Identity of an image; none when it is not here.
pub(crate) fn image(task: &Task, image: &str) -> Result<Option<String>, Error> {
    let said = ask(task, &Command::new("containers.image").with("image", [image]))?;
    if said.code != Some(0) {
        return Ok(None);
    }
    let id = containers::image_id(&said.output);
    id.map(Some)
        .map_err(|cause| Error::failed("docker-compose/inspect", format!("docker image inspect: {cause}")))
}

/// Brings the image here when it is not.
pub(crate) fn pull(task: &Task, service: &str, name: &str) -> Result<bool, Error> {
    if image(task, name)?.is_some() {
        return Ok(false);
    }
    // What begins with its digest has no place to come from.
    let said = match name.starts_with("sha256:") {
        true => None,
        false => Some(programs::stage(&Command::new("containers.pull").with("image", [name]).call(task))?),
    };
    match said {
        Some(said) if said.code == Some(0) => Ok(true),
        said => {
            let why = said.map_or_else(|| "it names no registry".to_owned(), |said| complaint(&said));
            Err(Error::not_found(
                "docker-compose/no-image",
                format!("the image {name} of {service} is not here and cannot be pulled: {why}"),
            ))
        }
    }
}

/// The last lines of a container.
pub(crate) fn last_lines(task: &Task, container: &Container) -> Option<String> {
    let asked =
        Command::new("containers.logs").with("lines", [LOG_LINES]).with("container", [container.id.as_str()]);
    let said = ask(task, &asked).ok()?;
    let text = format!("{}\n{}", String::from_utf8_lossy(&said.output), said.complaint);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let cut = |line: &str| line.chars().take(LINE_BYTES_MAX).collect::<String>();
    (!lines.is_empty()).then(|| lines.iter().map(|line| cut(line)).collect::<Vec<_>>().join(" | "))
}

/// Why a command failed, in its own last words.
fn complaint(ended: &Ended) -> String {
    let output = String::from_utf8_lossy(&ended.output).into_owned();
    let said = if ended.complaint.trim().is_empty() { &output } else { &ended.complaint };
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join(" | ");
    let last: String = last.chars().take(3 * LINE_BYTES_MAX).collect();
    match (ended.code, ended.signal) {
        (Some(code), _) if last.is_empty() => format!("it ended with {code} and no word"),
        (None, Some(signal)) => format!("it was ended by signal {signal}; {last}"),
        _ => last,
    }
}
