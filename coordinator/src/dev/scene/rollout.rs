//! The two rollouts of the story, read from the stream that programs read.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use sternway_core::exit;

use super::super::cast::Cast;
use super::{Scene, SceneError, own_program};

/// A wave that waits for a person approves itself after this long.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Longest that all agents together take to connect, or to answer.
const AGENTS_WITHIN: Duration = Duration::from_secs(20);

/// How the good rollout ended.
#[derive(Debug)]
pub(in super::super) struct Ended {
    pub(in super::super) exit: u8,
    pub(in super::super) rollout: Option<String>,
}

/// `sternway launch --json`, line by line.
struct Launched<'a> {
    cast: &'a Cast,
    child: Child,
    lines: mpsc::Receiver<Value>,
}

impl Drop for Launched<'_> {
    fn drop(&mut self) {
        // Leaving the watch leaves the rollout running, as for any operator.
        self.cast.untrack(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text<'v>(event: &'v Value, key: &str) -> &'v str {
    event[key].as_str().unwrap_or_default()
}

impl Scene<'_> {
    fn launch(&self, person: &str, sealed: &Path, hosts: usize) -> Result<Launched<'_>, SceneError> {
        let program = own_program()?;
        let mut command = Command::new(&program);
        command.arg("launch").arg(sealed).args(["--confirm", &hosts.to_string(), "--json", "--no-input"]);
        command.arg("--identity").arg(self.path("people").join(person));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let stage = self.cast.stage();
        let mut child = command.spawn().map_err(|cause| SceneError::Start { program, cause })?;
        self.cast.track(child.id());
        drop(stage);
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                let lines = BufReader::new(stdout).lines().map_while(Result::ok);
                for line in lines {
                    if sender.send(serde_json::from_str(&line).unwrap_or(Value::Null)).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Launched { cast: self.cast, child, lines })
    }

    /// Launches a forged plan and counts the hosts that refuse it.
    pub(super) fn refusals(&self, person: &str, sealed: &Path, hosts: usize) -> Result<usize, SceneError> {
        self.wait_for_agents(person)?;
        let launched = self.launch(person, sealed, hosts)?;
        let until = Instant::now() + AGENTS_WITHIN;
        loop {
            let log = self.sternway(person, &["log", "r-1", "--json"])?;
            let refused = String::from_utf8_lossy(&log.stdout).matches("\"event\":\"refused\"").count();
            if refused >= hosts || Instant::now() > until {
                drop(launched);
                return Ok(refused);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The agents look for their coordinator by themselves; this waits for the last.
    pub(in super::super) fn wait_for_agents(&self, person: &str) -> Result<(), SceneError> {
        let until = Instant::now() + AGENTS_WITHIN;
        let hosts = self.cast.hosts().len();
        loop {
            let fleet = self.sternway(person, &["fleet", "--json"])?;
            let here = String::from_utf8_lossy(&fleet.stdout).matches("\"connected\":true").count();
            if here >= hosts {
                return Ok(());
            }
            if Instant::now() > until {
                let what = format!("{here} of {hosts} agents connected");
                return Err(SceneError::Said {
                    what,
                    said: String::from_utf8_lossy(&fleet.stderr).into_owned(),
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Launches the good plan and tells what happens until it has ended.
    pub(in super::super) fn roll_out(
        &self,
        sealed: &Path,
        hosts: usize,
        ask: bool,
    ) -> Result<Ended, SceneError> {
        let before = self.errors();
        let mut launched = self.launch("ada", sealed, hosts)?;
        let mut told = Told { scene: self, rollout: None, ask, held: false };
        while let Ok(event) = launched.lines.recv() {
            told.hear(&event)?;
            if told.held && !ask {
                break;
            }
        }
        let code = if told.held && !ask {
            // Nobody is here to say go; what happens next is theirs to say.
            exit::HELD
        } else {
            let status = launched.child.wait().map_err(SceneError::Folder)?;
            status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::BUG)
        };
        let rollout = told.rollout;
        if rollout.is_none() {
            let mut said = String::new();
            if let Some(mut stderr) = launched.child.stderr.take() {
                std::io::Read::read_to_string(&mut stderr, &mut said).map_err(SceneError::Folder)?;
            }
            self.story.line(&said);
        } else {
            let text = format!("{} → {}", before.in_words(), self.errors().in_words());
            self.story.tell("answers", &text);
        }
        Ok(Ended { exit: code, rollout })
    }
}

struct Told<'a> {
    scene: &'a Scene<'a>,
    rollout: Option<String>,
    ask: bool,
    /// A gate or the machine itself waits for a person, who is not asked for here.
    held: bool,
}

impl Told<'_> {
    fn tell(&self, word: &str, text: &str) {
        self.scene.story.tell(word, text);
    }

    fn hear(&mut self, event: &Value) -> Result<(), SceneError> {
        if self.rollout.is_none()
            && let Some(rollout) = event["rollout"].as_str()
        {
            self.rollout = Some(rollout.to_owned());
            self.tell("launched", rollout);
        }
        let wave = event["wave"].as_u64().unwrap_or_default();
        match (text(event, "event"), text(event, "state")) {
            ("wave", "opened") => {
                let hosts: Vec<&str> =
                    event["hosts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                self.tell(&format!("wave {wave}"), &hosts.join(" "));
            }
            ("wave", "awaits-approval") => return self.approve(wave, text(event, "group")),
            ("wave", "approved") => {
                self.tell(
                    "approved",
                    &format!("wave {wave} by {} ({})", text(event, "by"), text(event, "group")),
                );
            }
            ("run", "undone") => {
                let text =
                    format!("{} undone, as it was before: {}", text(event, "host"), text(event, "reason"));
                self.tell("undone", &text);
            }
            ("run", "stuck" | "unfit") => {
                self.tell("host", &format!("{}: {}", text(event, "host"), text(event, "reason")));
            }
            ("gate", _) => {
                let tally = &event["tally"];
                self.tell(
                    "gate",
                    &format!(
                        "wave {wave}: {}   {} finished, {} failed of {} allowed",
                        text(event, "verdict"),
                        tally["finished"],
                        tally["failed"],
                        event["failed_max"]
                    ),
                );
            }
            ("rollout", "held" | "halted") => {
                let why = match &event["text"] {
                    Value::String(why) => why.clone(),
                    Value::Array(whys) => {
                        whys.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
                    }
                    _ => String::new(),
                };
                self.tell(text(event, "state"), &why);
                self.held = text(event, "state") == "held";
                if self.held {
                    self.how_to_go_on();
                }
            }
            ("rollout", "went") => self.held = false,
            ("end", state) => {
                let hosts = &event["hosts"];
                self.tell(
                    state,
                    &format!("{} done, {} undone   exit {}", hosts["done"], hosts["undone"], event["exit"]),
                );
            }
            _ => {}
        }
        Ok(())
    }

    fn how_to_go_on(&self) {
        let identity = self.scene.path("people").join("ada");
        let rollout = self.rollout.as_deref().unwrap_or_default();
        self.tell(
            "",
            &format!(
                "STERNWAY_IDENTITY={}   sternway go {rollout}   or   sternway halt {rollout}",
                identity.display()
            ),
        );
    }

    fn approve(&self, wave: u64, group: &str) -> Result<(), SceneError> {
        let rollout = self.rollout.as_deref().unwrap_or_default();
        if self.ask {
            let text = format!(
                "wave {wave} waits for a person of {group}.  Enter approves   (approves itself in {} s)",
                ANSWER_WITHIN.as_secs()
            );
            self.tell("held", &text);
            wait_for_enter();
        } else {
            self.tell("held", &format!("wave {wave} waits for a person of {group}"));
        }
        let number = wave.to_string();
        let words =
            ["approve", rollout, "--wave", &number, "--confirm", &number, "--reason", "the canary is well"];
        self.scene.must("ada", "the wave could not be approved", &words).map(drop)
    }
}

fn wait_for_enter() {
    let (sender, pressed) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        // With nobody there the time decides.
        if std::io::stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            let _ = sender.send(());
        }
    });
    let _ = pressed.recv_timeout(ANSWER_WITHIN);
}
