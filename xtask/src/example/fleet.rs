//! The fleet an example stands on, used as a person would: by the verbs of the
//! programs, and scripts on the hosts.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::site::Site;
use super::{Wishes, folder};
use crate::fleet::CANNOT;

/// Where an example lies on its hosts.
const PLACE: &str = "/srv/example";
const TAIL_CHARS: usize = 1_500;
/// Who runs emergencies on a test fleet, with one signature.
const ON_CALL: &str = "mary";
const CONNECTED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Fleet {
    name: String,
    people: PathBuf,
    inventory: PathBuf,
    sternway: PathBuf,
    scratch: PathBuf,
}

impl Fleet {
    /// None when this machine cannot carry one; why was told already.
    pub(crate) fn up(site: &Site, wishes: &Wishes) -> Result<Option<Self>, String> {
        let mut up = verb("up", site.fleet())?;
        up.arg("--hosts").arg(site.hosts.join(","));
        up.arg("--docker").arg(if site.docker.is_empty() { "none".into() } else { site.docker.join(",") });
        up.args(["--label", &format!("service={}", site.service)]);
        up.arg("--policy").arg(folder(&site.name).join("agent.toml"));
        if let Some(programs) = &wishes.programs {
            up.arg("--bin-dir").arg(programs);
        }
        if wishes.install {
            up.arg("--install");
        }
        let status = up.status().map_err(|cause| format!("could not start {up:?}: {cause}"))?;
        match status.code() {
            Some(0) => Self::found(site.fleet()).map(Some),
            Some(CANNOT) => Ok(None),
            _ => Err(format!("the fleet did not come up: {status}")),
        }
    }

    fn found(name: &str) -> Result<Self, String> {
        let mut status = verb("status", name)?;
        let said = told(status.arg("--json"))?;
        let record: Value = serde_json::from_str(&said).map_err(|cause| format!("fleet status: {cause}"))?;
        let path = |key: &str| {
            record[key]
                .as_str()
                .map(PathBuf::from)
                .ok_or(format!("the fleet does not say where its {key} is"))
        };
        Ok(Self {
            name: name.to_owned(),
            people: path("people")?,
            inventory: path("inventory")?,
            sternway: path("programs")?.join("sternway"),
            scratch: path("folder")?,
        })
    }

    pub(crate) fn down(&self) -> Result<(), String> {
        told(&mut verb("down", &self.name)?).map(drop)
    }

    /// On these hosts at once; says all that went wrong.
    pub(crate) fn everywhere(
        &self,
        hosts: &[String],
        work: impl Fn(&str) -> Result<(), String> + Sync,
    ) -> Result<(), String> {
        let wrong: Vec<String> = std::thread::scope(|scope| {
            let hands: Vec<_> = hosts.iter().map(|host| scope.spawn(|| work(host))).collect();
            hands
                .into_iter()
                .filter_map(|hand| hand.join().map_err(|_| "a thread ended badly".to_owned()).flatten().err())
                .collect()
        });
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// Copies the example to a host and makes the good version there.
    pub(crate) fn lay_and_install(&self, site: &Site, host: &str) -> Result<(), String> {
        let mut pack = Command::new("tar");
        pack.arg("-C").arg(folder(&site.name)).args(["-c", "."]).stdout(Stdio::piped());
        let mut packing = pack.spawn().map_err(|cause| format!("could not start tar: {cause}"))?;
        let piped = packing.stdout.take().ok_or("tar says nothing")?;
        let unpack = format!("mkdir -p {PLACE} && tar -x --no-same-owner -C {PLACE} -f -");
        let mut laying = self.on(host, &["sh", "-c", &unpack])?;
        let laid = told(laying.stdin(piped));
        ended(&mut packing)?;
        laid?;
        self.script(host, "install.sh")
    }

    /// Runs a script of the example on a host.
    pub(crate) fn script(&self, host: &str, script: &str) -> Result<(), String> {
        let run = format!("cd {PLACE} && exec sh ./{script}");
        told(&mut self.on(host, &["sh", "-c", &run])?).map(drop).map_err(|why| format!("{host}: {why}"))
    }

    pub(crate) fn make_points(&self, site: &Site) -> Result<(), String> {
        let first = &site.signers[0];
        let reason = "before the deployment";
        let words = ["points", "create", "--service", &site.service, "--tag", &site.tag, "--reason", reason];
        told(&mut self.sternway(first, &words)).map(drop)
    }

    /// Signs and launches a plan for so many hosts, and ends as `wanted`; answers the rollout.
    pub(crate) fn roll_back(
        &self,
        site: &Site,
        plan: &str,
        hosts: usize,
        wanted: i32,
    ) -> Result<String, String> {
        let (plan, sealed) = (folder(&site.name).join(plan), self.scratch.join("plan.sealed"));
        let (plan, sealed) = (text(&plan), text(&sealed));
        let inventory = text(&self.inventory);
        let (first, others) = site.signers.split_first().ok_or("nobody signs")?;
        self.wait_for_all(site)?;
        let hosts = hosts.to_string();
        let seal = ["sign", &plan, "--fleet", &inventory, "--out", &sealed, "--confirm", &hosts];
        told(&mut self.sternway(first, &seal))?;
        for other in others {
            told(&mut self.sternway(other, &["sign", &sealed, "--confirm", &hosts]))?;
        }
        let output = said(&mut self.sternway(first, &["launch", &sealed, "--confirm", &hosts, "--json"]))?;
        if output.status.code() != Some(wanted) {
            return Err(format!(
                "it ended with {}, and should with {wanted}\n{}",
                output.status,
                tail(&output)
            ));
        }
        let rollouts = told(&mut self.sternway(first, &["rollouts", "--json"]))?;
        let newest = rollouts.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
        let id = newest.as_ref().and_then(|newest| {
            let within = newest["rollouts"].get(0).unwrap_or(newest);
            within["rollout"].as_str().or(within["id"].as_str())
        });
        id.map(str::to_owned).ok_or(format!("no rollout is named in: {rollouts}"))
    }

    /// Whether plans are sound for this fleet.
    pub(crate) fn check(&self, plans: &[PathBuf]) -> Result<(), String> {
        let (person, inventory) = (ON_CALL, text(&self.inventory));
        plans.iter().try_for_each(|plan| {
            told(&mut self.sternway(person, &["check", &text(plan), "--fleet", &inventory])).map(drop)
        })
    }

    /// Runs the draft where whoever is on call keeps it.
    pub(crate) fn emergency(&self, site: &Site, draft: &Path, wanted: i32) -> Result<(), String> {
        let kept = self.people.join(ON_CALL).join("emergency");
        let laid = std::fs::create_dir_all(&kept)
            .and_then(|()| std::fs::copy(draft, kept.join(format!("{}.toml", site.service))));
        laid.map_err(|cause| format!("could not lay the draft into {}: {cause}", kept.display()))?;
        self.wait_for_all(site)?;
        let (hosts, from) = (site.hosts.len().to_string(), site.bad_version()?);
        let reason = format!("{from} is on fire");
        let service = site.service.as_str();
        let words =
            ["emergency", "--service", service, "--reason", &reason, "--from", &from, "--confirm", &hosts];
        let output = said(&mut self.sternway(ON_CALL, &words))?;
        match output.status.code() == Some(wanted) {
            true => Ok(()),
            false => {
                Err(format!("it ended with {}, and should with {wanted}\n{}", output.status, tail(&output)))
            }
        }
    }

    pub(crate) fn undo(&self, site: &Site, rollout: &str, finished: usize) -> Result<(), String> {
        let finished = finished.to_string();
        let words = ["undo", rollout, "--reason", "the example shows it", "--confirm", &finished];
        let output = said(&mut self.sternway(&site.signers[0], &words))?;
        match output.status.code() {
            Some(0 | super::DONE_WITH_EXCEPTIONS) => Ok(()),
            _ => Err(format!("undo ended with {}\n{}", output.status, tail(&output))),
        }
    }

    fn wait_for_all(&self, site: &Site) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let seen = told(&mut self.sternway(&site.signers[0], &["fleet", "--json"]))?;
            if seen.matches("\"connected\":true").count() == site.hosts.len() {
                return Ok(());
            }
            if began.elapsed() > CONNECTED_WITHIN {
                return Err(format!("not all hosts are connected:\n{seen}"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn sternway(&self, person: &str, words: &[&str]) -> Command {
        let mut command = Command::new(&self.sternway);
        command.arg("--no-input").arg("--identity").arg(self.people.join(person)).args(words);
        command.stdin(Stdio::null());
        command
    }

    fn on(&self, host: &str, words: &[&str]) -> Result<Command, String> {
        let mut command = verb("exec", &self.name)?;
        command.arg(host).arg("--").args(words).stdin(Stdio::null());
        Ok(command)
    }
}

fn verb(verb: &str, name: &str) -> Result<Command, String> {
    let own = std::env::current_exe().map_err(|cause| format!("which program is this? {cause}"))?;
    let mut command = Command::new(own);
    command.args(["fleet", verb, "--name", name]);
    Ok(command)
}

fn said(command: &mut Command) -> Result<Output, String> {
    command.output().map_err(|cause| format!("could not start {command:?}: {cause}"))
}

/// What it said, when it ended well.
fn told(command: &mut Command) -> Result<String, String> {
    let output = said(command)?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{} ended with {}\n{}", crate::shown(command), output.status, tail(&output))),
    }
}

fn ended(child: &mut Child) -> Result<(), String> {
    let status = child.wait().map_err(|cause| cause.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("tar ended with {status}")) }
}

fn tail(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    let from = text.char_indices().rev().nth(TAIL_CHARS).map_or(0, |(at, _)| at);
    text[from..].to_owned()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
