//! What a run is driven by, as data: which plans, and what goes wrong when. The
//! schedule, not the seed, is what reproduces a failure; the seed in it only
//! gives delays and lengths of work, drawn by name so that taking a fault out
//! changes nothing else.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sternway_core::ids::{FleetId, HostName, Nonce, PlanId};
use sternway_core::manifest::Class;
use sternway_core::plan::{Approval, CutOff, Gate, Pace, Plan, Severity, Step, Undo, Wave};
use sternway_core::run::Phase;
use sternway_core::time::{Millis, Timestamp};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Where it came from and what it shows, for people.
    pub about: String,
    pub seed: u64,
    /// The first is launched at once, each next one when the hosts are free.
    pub plans: Vec<Shape>,
    /// How long the faults last; then everything must come to rest.
    pub trouble: Millis,
    /// In the order of their times, which count from the start.
    pub faults: Vec<Fault>,
}

/// What of a plan matters to the machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    pub steps: Vec<StepShape>,
    pub waves: Vec<WaveShape>,
    pub without: Vec<HostName>,
    pub at_once: u32,
    pub cut_off: CutOff,
    pub failed: u32,
    pub silent: u32,
    pub stage_within: Millis,
    pub silent_after: Millis,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepShape {
    pub class: Class,
    pub wait: Option<Millis>,
    pub way_back: bool,
    /// A new connection within this time, or it is put back.
    #[serde(default)]
    pub confirm: Option<Millis>,
    #[serde(default)]
    pub pivot: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaveShape {
    pub hosts: Vec<HostName>,
    pub soak: Millis,
    pub failed: u32,
    pub silent: u32,
    pub approve: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub at: Millis,
    pub what: Trouble,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Trouble {
    /// Nothing passes in these directions; a connection that outlives it goes on.
    Cut {
        host: HostName,
        up: bool,
        down: bool,
        lasts: Millis,
    },
    /// Chances per mille of a message: to break its connection, to arrive once
    /// more later, even over another connection, and to be slow.
    Weather {
        host: HostName,
        lasts: Millis,
        breaks: u64,
        strays: u64,
        slow: u64,
    },
    AgentDies {
        host: HostName,
        when: Death,
        away: Millis,
    },
    /// With what was not synced.
    PowerCut {
        host: HostName,
        when: Death,
        away: Millis,
    },
    /// It never comes back.
    HostGone {
        host: HostName,
    },
    /// Stands still, and its clock with it or not; then goes on as if nothing had been.
    Freezes {
        host: HostName,
        lasts: Millis,
    },
    /// What steps write does not fit; the journal has its space beforehand.
    DiskFull {
        host: HostName,
        lasts: Millis,
    },
    DiskSlow {
        host: HostName,
        lasts: Millis,
        sync: Millis,
    },
    /// The next sync fails, and so many of the records it should have kept are there later.
    SyncFails {
        host: HostName,
        kept: u64,
    },
    /// Its disk is put back to how it was so many records ago.
    SetBack {
        host: HostName,
        records: u64,
    },
    /// A copy of the host, made when it first asked for a permit, asks.
    CloneAsks {
        host: HostName,
    },
    /// Of a host, or of the coordinator's machine.
    ClockJumps {
        host: Option<HostName>,
        by_ms: i64,
    },
    StepFails {
        host: HostName,
        plan: usize,
        step: u32,
        phase: Phase,
        times: u32,
        undo_advised: bool,
    },
    Unfit {
        host: HostName,
        plan: usize,
    },
    Unwell {
        host: HostName,
        lasts: Millis,
    },
    /// A person at the host halts it, for so long.
    HaltsHere {
        host: HostName,
        lasts: Millis,
    },
    /// Somebody changes by hand what the step is about.
    Drift {
        host: HostName,
        plan: usize,
        step: u32,
    },
    CoordinatorDies {
        when: CommitDeath,
        away: Millis,
    },
    /// The database says that it failed; whether it did is `stored`.
    CommitFails {
        after: u64,
        stored: bool,
    },
    /// Somebody acts: looks now, says it `thinks` later, perhaps once more after that.
    Person {
        act: Act,
        thinks: Millis,
        again: Option<Millis>,
    },
}

/// When a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Death {
    Now,
    /// At the so-manieth record from now (0: the next), before it is written.
    BeforeRecord(u64),
    /// Written and not synced.
    BeforeSync(u64),
    /// Synced, and nothing done yet of what follows.
    AfterSync(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommitDeath {
    Now,
    BeforeCommit(u64),
    /// It is stored, and nobody hears of it.
    AfterCommit(u64),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    Hold,
    Go,
    Halt,
    Resume {
        confirms: bool,
    },
    /// The wave that asks, or one after it.
    Approve {
        ahead: usize,
    },
    UndoAll,
    /// Answers what one of the stuck hosts asks.
    Unstick {
        nth: usize,
        choice: usize,
    },
    /// One of those who are away.
    DeclareDead {
        nth: usize,
    },
}

impl Schedule {
    /// # Errors
    /// When the file cannot be read or is no schedule.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|cause| format!("{}: {cause}", path.display()))?;
        serde_json::from_str(&text).map_err(|cause| format!("{}: {cause}", path.display()))
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|cause| cause.to_string())?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|cause| format!("{}: {cause}", folder.display()))?;
        }
        std::fs::write(path, text + "\n").map_err(|cause| format!("{}: {cause}", path.display()))
    }

    /// All hosts of all plans.
    pub fn hosts(&self) -> Vec<HostName> {
        let mut hosts: Vec<HostName> = self.plans.iter().flat_map(Shape::hosts).collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }

    /// The same without any fault.
    pub fn calm(mut self) -> Self {
        self.faults.clear();
        self.trouble = Millis::ZERO;
        self
    }
}

/// The identity of a schedule's plan.
pub fn plan_id(plan: usize) -> PlanId {
    PlanId([plan as u8 + 1; 32])
}

impl Shape {
    pub fn hosts(&self) -> Vec<HostName> {
        let mut hosts: Vec<HostName> = self.waves.iter().flat_map(|wave| wave.hosts.clone()).collect();
        hosts.sort();
        hosts
    }

    pub fn plan(&self) -> Plan {
        let steps = self.steps.iter().enumerate().map(|(index, step)| Step {
            name: format!("step {index}").parse().expect("a short line"),
            uses: "files".parse().expect("a name"),
            settings: "{}".into(),
            undo: if step.way_back { Undo::ByPlugin } else { Undo::Nothing },
            timeout: Millis::minutes(1),
            wait: step.wait,
            confirm: step.confirm,
            pivot: step.pivot,
            class: step.class,
            grants: Vec::new(),
        });
        let waves = self.waves.iter().map(|wave| Wave {
            name: None,
            hosts: wave.hosts.clone(),
            soak: wave.soak,
            gate: Gate { name: "usual".into(), failed: wave.failed, silent: wave.silent },
            approve: wave.approve.then(|| "sre".parse().expect("a group")),
        });
        Plan {
            format: 1,
            fleet: FleetId([1; 16]),
            nonce: Nonce([2; 16]),
            name: "simulated".parse().expect("a name"),
            reason: "to find out".into(),
            severity: Severity::High,
            urgency: Default::default(),
            service: "agora".into(),
            from: "1.3".into(),
            to: "1.1".into(),
            author: "maria".parse().expect("a name"),
            issued: Timestamp(0),
            expires: Timestamp::MAX,
            budget: None,
            hosts: self.hosts(),
            approval: Approval { signatures: 1, from: Vec::new(), author: true },
            point: None,
            steps: steps.collect(),
            pace: Pace {
                at_once: self.at_once,
                cut_off: self.cut_off,
                failed: self.failed,
                silent: self.silent,
                stage_within: self.stage_within,
                silent_after: self.silent_after,
            },
            waves: waves.collect(),
            plugins: Vec::new(),
            text: String::new(),
        }
    }
}

impl Trouble {
    /// Whom it strikes, if it strikes one host.
    pub fn host(&self) -> Option<&HostName> {
        match self {
            Self::Cut { host, .. }
            | Self::Weather { host, .. }
            | Self::AgentDies { host, .. }
            | Self::PowerCut { host, .. }
            | Self::HostGone { host }
            | Self::Freezes { host, .. }
            | Self::DiskFull { host, .. }
            | Self::DiskSlow { host, .. }
            | Self::SyncFails { host, .. }
            | Self::SetBack { host, .. }
            | Self::CloneAsks { host }
            | Self::StepFails { host, .. }
            | Self::Unfit { host, .. }
            | Self::Unwell { host, .. }
            | Self::HaltsHere { host, .. }
            | Self::Drift { host, .. } => Some(host),
            Self::ClockJumps { host, .. } => host.as_ref(),
            Self::CoordinatorDies { .. } | Self::CommitFails { .. } | Self::Person { .. } => None,
        }
    }
}
