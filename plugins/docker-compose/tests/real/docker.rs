//! The real Docker and the real compose, through the host's own forms.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use sternway_plugin::Error;
use sternway_plugin::host::programs::{Call, Ended};
use sternway_plugin::rehearsal::World;
use toml_edit::{DocumentMut, Item, Value as Toml};

const FORMS: &str = include_str!("../../../../agent/src/capabilities/programs/forms/containers.toml");

thread_local! {
    static VERSION_1: Cell<bool> = const { Cell::new(false) };
    /// Kills compose in the middle of its next `up`.
    static KILL_UP: Cell<bool> = const { Cell::new(false) };
}

/// A project of its own, with images of its own; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
    image: String,
}

/// Why the real thing cannot be driven here.
pub(crate) fn lacking(version_1: bool) -> Option<String> {
    let well = |program: &str, words: &[&str]| {
        Command::new(program).args(words).output().is_ok_and(|output| output.status.success())
    };
    if !well("docker", &["info"]) {
        return Some("no Docker answers here".into());
    }
    match version_1 {
        true if !well("docker-compose", &["version"]) => Some("there is no `docker-compose`".into()),
        false if !well("docker", &["compose", "version"]) => Some("there is no `docker compose`".into()),
        _ => None,
    }
}

impl Project {
    pub(crate) fn new(label: &str, version_1: bool) -> Self {
        VERSION_1.set(version_1);
        let name = format!("try-stack-{label}-{}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).unwrap();
        let project = Self { image: name.clone(), folder, name };
        for tag in ["1.1", "1.2"] {
            project.import(tag);
        }
        project
    }

    /// A shell, `sleep` and `test` with their libraries; the tag makes two of them differ.
    fn import(&self, tag: &str) {
        let script = format!(
            "d=$(mktemp -d); for p in /bin/sh /bin/sleep /usr/bin/test; do mkdir -p $d$(dirname $p); cp -L $p $d$p; \
             for l in $(ldd $p | grep -o '/[^ ]*'); do mkdir -p $d$(dirname $l); cp -L $l $d$l; done; done; \
             echo {tag} > $d/version; tar -C $d -c . | docker import - {}:{tag}; rm -r $d",
            self.image
        );
        let made = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    pub(crate) fn path(&self, file: &str) -> String {
        self.folder.join(file).to_str().unwrap().to_owned()
    }

    pub(crate) fn image_id(&self, tag: &str) -> String {
        let said = docker(&["image", "inspect", "--format", "{{.Id}}", &format!("{}:{tag}", self.image)]);
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    }

    /// On 1.2 now, and its point holds 1.1: a database with a health check, an
    /// interface, and a job that ends.
    pub(crate) fn world(&self) -> World {
        let forever =
            r#"["/bin/sh", "-c", "trap 'exit 0' TERM; echo started; while :; do sleep 1 & wait; done"]"#;
        let image = &self.image;
        let compose = format!(
            "services:\n  db:\n    image: {image}:1.1\n    command: {forever}\n    healthcheck: {{test: [CMD, /usr/bin/test, -e, /bin/sh], interval: 1s}}\n  \
             api:\n    image: {image}:${{TAG}}\n    command: {forever}\n    depends_on: [db]\n    env_file: [api.env]\n  \
             job:\n    image: {image}:1.1\n    command: [/bin/sh, -c, 'exit 0']\n"
        );
        let files = |tag: &str| -> BTreeMap<String, String> {
            [
                ("compose.yaml", compose.clone()),
                (".env", format!("TAG={tag}\n")),
                ("api.env", format!("WAS={tag}\n")),
            ]
            .into_iter()
            .map(|(file, text)| (self.path(file), text))
            .collect()
        };
        World { live: files("1.2"), point: files("1.1"), programs: Some(program), ..World::default() }
    }

    /// Brings the project up as an operator would, outside of any step.
    pub(crate) fn up_by_hand(&self, world: &World, more: &[&str]) {
        write_out(world);
        let mut words = vec!["--project-name", &self.name, "up", "--detach", "--no-build"];
        words.extend(more);
        let said = compose().current_dir(&self.folder).args(&words).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }

    /// Service, image and state of every container, as Docker says.
    pub(crate) fn state(&self) -> Vec<String> {
        let mut state: Vec<String> = self
            .containers()
            .iter()
            .map(|one| {
                let label = |name: &str| {
                    one["Config"]["Labels"][format!("com.docker.compose.{name}")]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned()
                };
                let tag = if one["Image"] == self.image_id("1.1").as_str() { "1.1" } else { "1.2" };
                let health = one["State"]["Health"]["Status"].as_str().unwrap_or("-");
                let status = match one["State"]["Status"].as_str().unwrap() {
                    // A job that had ended is made again by undo, and not run again.
                    "exited" | "created" => "ended",
                    status => status,
                };
                format!("{} {tag} {status} {health}", label("service"))
            })
            .collect();
        state.sort_unstable();
        state
    }

    pub(crate) fn ids(&self, service: &str) -> Vec<String> {
        let of = |one: &&Value| one["Config"]["Labels"]["com.docker.compose.service"] == service;
        self.containers().iter().filter(of).map(|one| one["Id"].as_str().unwrap().to_owned()).collect()
    }

    fn containers(&self) -> Vec<Value> {
        let filter = format!("label=com.docker.compose.project={}", self.name);
        let listed = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
        let ids = String::from_utf8_lossy(&listed.stdout).into_owned();
        if ids.trim().is_empty() {
            return vec![];
        }
        let words: Vec<&str> = ["inspect"].into_iter().chain(ids.split_whitespace()).collect();
        serde_json::from_slice(&docker(&words).stdout).unwrap()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let script = format!(
            "docker ps --all --quiet --filter label=com.docker.compose.project={0} | xargs -r docker rm --force --volumes; \
             docker network ls --quiet --filter label=com.docker.compose.project={0} | xargs -r docker network rm; \
             docker rmi {0}:1.1 {0}:1.2",
            self.name
        );
        let _ = Command::new("sh").args(["-c", &script]).output();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Kills compose in the middle of its next `up`.
pub(crate) fn kill_next_up() {
    KILL_UP.set(true);
}

fn program(world: &mut World, call: &Call) -> Result<Ended, Error> {
    write_out(world);
    let forms: DocumentMut = FORMS.parse().unwrap();
    let forms = forms["form"].as_array_of_tables().unwrap();
    let form =
        forms.iter().find(|form| form["name"].as_str() == Some(&call.form)).expect("the form is known");
    let mut command = match form["program"].as_str() {
        Some(program) => Command::new(program),
        None => compose(),
    };
    let holes = form.get("holes");
    let Some(Toml::Array(arguments)) = form["arguments"].as_value() else { panic!("no arguments") };
    for argument in arguments {
        match argument {
            Toml::Array(group) => {
                let group: Vec<&str> = group.iter().map(|one| one.as_str().unwrap()).collect();
                for value in values(call, holes, group[1]) {
                    command.args([group[0], &value]);
                }
            }
            plain => {
                command.args(values(call, holes, plain.as_str().unwrap()));
            }
        }
    }
    command.stdin(Stdio::null());
    if call.form == "containers.up" && KILL_UP.replace(false) {
        return Ok(killed(command));
    }
    let said = command.output().unwrap();
    Ok(Ended {
        code: said.status.code(),
        signal: None,
        output: said.stdout,
        complaint: String::from_utf8_lossy(&said.stderr).into_owned(),
        elapsed_ms: 1,
    })
}

/// An argument with its hole filled: once for each value, and whole when there is none to fill.
fn values(call: &Call, holes: Option<&Item>, argument: &str) -> Vec<String> {
    let Some((before, rest)) = argument.split_once('{') else { return vec![argument.to_owned()] };
    let (hole, after) = rest.split_once('}').unwrap();
    if hole == "on" {
        return vec![format!("{before}{}{after}", call.on)];
    }
    let kind = holes.unwrap()[hole]["kind"].as_str().unwrap_or_else(|| panic!("no kind of {hole}"));
    let filled = call.holes.iter().filter(|filled| filled.name == hole).flat_map(|filled| &filled.values);
    let value = |value: &String| match kind {
        "side" => side(value),
        _ => value.clone(),
    };
    filled.map(|filled| format!("{before}{}{after}", value(filled))).collect()
}

fn killed(mut command: Command) -> Ended {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(900));
    child.kill().unwrap();
    child.wait().unwrap();
    Ended { code: None, signal: Some(9), output: vec![], complaint: String::new(), elapsed_ms: 900 }
}

/// What the world's files say is what lies on the disk.
fn write_out(world: &World) {
    let live = world.live.iter().map(|(path, text)| (path.clone(), text));
    let sides = world.side.iter().map(|(path, text)| (side(path), text));
    let wanted: BTreeMap<String, &String> = live.chain(sides).collect();
    let Some(folder) = world.live.keys().next().and_then(|path| Path::new(path).parent()) else { return };
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !wanted.contains_key(path.to_str().unwrap()) {
            std::fs::remove_file(path).unwrap();
        }
    }
    for (path, text) in wanted {
        std::fs::write(path, text).unwrap();
    }
}

fn side(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap();
    format!("{folder}/.{name}.side")
}

fn compose() -> Command {
    if VERSION_1.get() {
        return Command::new("docker-compose");
    }
    let mut command = Command::new("docker");
    command.arg("compose");
    command
}

fn docker(words: &[&str]) -> Output {
    Command::new("docker").args(words).output().unwrap()
}
