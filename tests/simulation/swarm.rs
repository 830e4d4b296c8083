//! From a seed to a schedule: a fleet, one plan or two, and troubles. Each kind
//! of trouble is let loose in about half of the seeds, at its own intensity, so
//! that no kind hides behind another.

use sternway_core::ids::HostName;
use sternway_core::manifest::Class;
use sternway_core::plan::CutOff;
use sternway_core::run::Phase;
use sternway_core::time::Millis;

use super::Chance;
use super::schedule::{Act, CommitDeath, Death, Fault, Schedule, Shape, StepShape, Trouble, WaveShape};

const HOSTS_MAX: u64 = 10;

impl Schedule {
    pub fn of_seed(seed: u64) -> Self {
        let mut chance = Chance::new(seed, "fleet");
        let hosts: Vec<HostName> = (0..chance.between(1, HOSTS_MAX))
            .map(|index| format!("h-{index:02}").parse().expect("a short name"))
            .collect();
        let mut plans = vec![shape(&hosts, &mut chance)];
        if chance.per_mille(250) {
            plans.push(shape(&hosts, &mut chance));
        }
        let trouble = Millis::seconds(chance.between(20, 600));
        let mut schedule = Self { about: format!("seed {seed}"), seed, plans, trouble, faults: Vec::new() };
        let mut faults = Vec::new();
        for (name, make) in KINDS {
            let mut chance = Chance::new(seed, name);
            if !chance.per_mille(500) {
                continue;
            }
            // From one in all to one in a few seconds; few are as telling as many.
            let most = (trouble.0 / 4_000).clamp(1, 40);
            for _ in 0..chance.between(1, most) {
                let at = Millis(chance.between(0, trouble.0));
                let host = chance.pick(&hosts).expect("a fleet has hosts").clone();
                make(&mut Making {
                    at,
                    host,
                    hosts: &hosts,
                    schedule: &schedule,
                    chance: &mut chance,
                    faults: &mut faults,
                });
            }
        }
        faults.sort_by_key(|fault| fault.at);
        schedule.faults = faults;
        schedule
    }
}

/// One fault, or a few that belong together, in the making.
struct Making<'a> {
    at: Millis,
    host: HostName,
    hosts: &'a [HostName],
    schedule: &'a Schedule,
    chance: &'a mut Chance,
    faults: &'a mut Vec<Fault>,
}

impl Making<'_> {
    fn put(&mut self, what: Trouble) {
        self.put_at(self.at, what);
    }

    fn put_at(&mut self, at: Millis, what: Trouble) {
        self.faults.push(Fault { at, what });
    }

    fn length(&mut self, from_ms: u64, to_ms: u64) -> Millis {
        Millis(self.chance.between(from_ms, to_ms))
    }

    fn away(&mut self) -> Millis {
        self.length(100, 90_000)
    }

    fn plan(&mut self) -> usize {
        self.chance.between(0, self.schedule.plans.len() as u64 - 1) as usize
    }

    fn step(&mut self, plan: usize) -> u32 {
        self.chance.between(0, self.schedule.plans[plan].steps.len() as u64 - 1) as u32
    }

    fn death(&mut self) -> Death {
        let after = self.chance.between(0, 6);
        match self.chance.between(0, 3) {
            0 => Death::Now,
            1 => Death::BeforeRecord(after),
            2 => Death::BeforeSync(after),
            _ => Death::AfterSync(after),
        }
    }
}

type Make = fn(&mut Making<'_>);

const KINDS: [(&str, Make); 22] = [
    ("cuts", cut),
    ("swizzles", swizzle),
    ("weather", weather),
    ("agents die", |making| {
        let (host, when, away) = (making.host.clone(), making.death(), making.away());
        making.put(Trouble::AgentDies { host, when, away });
    }),
    ("power cuts", |making| {
        let (host, when, away) = (making.host.clone(), making.death(), making.away());
        making.put(Trouble::PowerCut { host, when, away });
    }),
    ("hosts go", |making| {
        if making.chance.per_mille(100) {
            making.put(Trouble::HostGone { host: making.host.clone() });
        }
    }),
    ("freezes", |making| {
        let (host, lasts) = (making.host.clone(), making.length(100, 120_000));
        making.put(Trouble::Freezes { host, lasts });
    }),
    ("full disks", |making| {
        let (host, lasts) = (making.host.clone(), making.length(1_000, 60_000));
        making.put(Trouble::DiskFull { host, lasts });
    }),
    ("slow disks", |making| {
        let (host, lasts, sync) =
            (making.host.clone(), making.length(1_000, 60_000), making.length(100, 5_000));
        making.put(Trouble::DiskSlow { host, lasts, sync });
    }),
    ("failing disks", |making| {
        let (host, kept) = (making.host.clone(), making.chance.between(0, 2));
        making.put(Trouble::SyncFails { host, kept });
    }),
    ("snapshots", |making| {
        if making.chance.per_mille(100) {
            let (host, records) = (making.host.clone(), making.chance.between(1, 20));
            making.put(Trouble::SetBack { host, records });
        }
    }),
    ("clones", |making| making.put(Trouble::CloneAsks { host: making.host.clone() })),
    ("clocks", |making| {
        let host = (!making.chance.per_mille(300)).then(|| making.host.clone());
        let far = if making.chance.per_mille(100) { 315_000_000_000 } else { 259_200_000 };
        let by_ms = making.chance.between(0, 2 * far) as i64 - far as i64;
        making.put(Trouble::ClockJumps { host, by_ms });
    }),
    ("steps", step_fails),
    ("unfit hosts", |making| {
        if making.chance.per_mille(300) {
            let (host, plan) = (making.host.clone(), making.plan());
            making.put_at(Millis::ZERO, Trouble::Unfit { host, plan });
        }
    }),
    ("unwell hosts", |making| {
        let (host, lasts) = (making.host.clone(), making.length(1_000, 40_000));
        making.put(Trouble::Unwell { host, lasts });
    }),
    ("halts on hosts", |making| {
        let (host, lasts) = (making.host.clone(), making.length(1_000, 60_000));
        making.put(Trouble::HaltsHere { host, lasts });
    }),
    ("drift", |making| {
        if making.chance.per_mille(300) {
            let (host, plan) = (making.host.clone(), making.plan());
            let step = making.step(plan);
            making.put(Trouble::Drift { host, plan, step });
        }
    }),
    ("coordinator dies", |making| {
        let after = making.chance.between(0, 8);
        let when = match making.chance.between(0, 2) {
            0 => CommitDeath::Now,
            1 => CommitDeath::BeforeCommit(after),
            _ => CommitDeath::AfterCommit(after),
        };
        let away = making.away();
        making.put(Trouble::CoordinatorDies { when, away });
    }),
    ("commits fail", |making| {
        let (after, stored) = (making.chance.between(0, 8), making.chance.per_mille(500));
        making.put(Trouble::CommitFails { after, stored });
    }),
    ("people", people),
    ("undo late", |making| {
        // When there is something to put back.
        if making.chance.per_mille(150) {
            let at = Millis(making.schedule.trouble.0 - making.schedule.trouble.0 / 10);
            making.put_at(at, Trouble::Person { act: Act::UndoAll, thinks: Millis::ZERO, again: None });
        }
    }),
];

fn cut(making: &mut Making<'_>) {
    let (up, down) =
        *making.chance.pick(&[(true, true), (true, false), (false, true)]).expect("there are three");
    let (host, lasts) = (making.host.clone(), making.away());
    making.put(Trouble::Cut { host, up, down, lasts });
}

/// Several links clog one after the other, and clear in another order.
fn swizzle(making: &mut Making<'_>) {
    let mut at = making.at;
    for host in making.hosts {
        if making.chance.per_mille(500) {
            at = Millis(at.0 + making.length(0, 5_000).0);
            let lasts = making.length(5_000, 60_000);
            making.put_at(at, Trouble::Cut { host: host.clone(), up: true, down: true, lasts });
        }
    }
}

fn weather(making: &mut Making<'_>) {
    let (host, lasts) = (making.host.clone(), making.length(1_000, 120_000));
    let mut some = |most: u64| if making.chance.per_mille(500) { making.chance.between(1, most) } else { 0 };
    let (breaks, strays, slow) = (some(100), some(400), some(300));
    making.put(Trouble::Weather { host, lasts, breaks, strays, slow });
}

fn step_fails(making: &mut Making<'_>) {
    let phases = [Phase::Look, Phase::Prepare, Phase::Apply, Phase::Verify, Phase::Undo, Phase::Undo];
    let (host, plan) = (making.host.clone(), making.plan());
    let (step, phase) = (making.step(plan), *making.chance.pick(&phases).expect("there are some"));
    let (times, undo_advised) = (making.chance.between(1, 4) as u32, !making.chance.per_mille(150));
    if making.chance.per_mille(500) {
        making.put(Trouble::StepFails { host, plan, step, phase, times, undo_advised });
    }
}

fn people(making: &mut Making<'_>) {
    let act = match making.chance.between(0, 21) {
        0..=1 => Act::Hold,
        2..=5 => Act::Go,
        6..=7 => Act::Halt,
        8 => Act::Resume { confirms: false },
        9..=11 => Act::Resume { confirms: true },
        12..=15 => Act::Approve { ahead: making.chance.between(0, 1) as usize },
        16 => Act::UndoAll,
        17..=19 => Act::Unstick {
            nth: making.chance.between(0, 9) as usize,
            choice: making.chance.between(0, 3) as usize,
        },
        _ => Act::DeclareDead { nth: making.chance.between(0, 9) as usize },
    };
    let changes_mind = making.chance.per_mille(300);
    let opposite = match act {
        Act::Hold => Some(Act::Go),
        Act::Halt => Some(Act::Resume { confirms: true }),
        _ => None,
    };
    let thinks = if making.chance.per_mille(300) { making.length(1_000, 60_000) } else { Millis::ZERO };
    let again = making.chance.per_mille(150).then(|| Millis(making.chance.between(0, 20_000)));
    making.put(Trouble::Person { act, thinks, again });
    if let Some(act) = opposite.filter(|_| changes_mind) {
        let at = Millis(making.at.0 + making.length(100, 20_000).0);
        making.put_at(at, Trouble::Person { act, thinks: Millis::ZERO, again: None });
    }
}

fn shape(hosts: &[HostName], chance: &mut Chance) -> Shape {
    let classes =
        [Class::Observe, Class::Converge, Class::StagedSwap, Class::Keyed, Class::OneShot, Class::Probe];
    let count = chance.between(1, 3) as usize;
    let pivot = chance.per_mille(250).then(|| chance.between(0, count as u64 - 1) as usize);
    let steps = (0..count).map(|step| StepShape {
        class: *chance.pick(&classes).expect("there are classes"),
        wait: chance.per_mille(300).then(|| Millis::seconds(2)),
        // What cannot be put back stands at the pivot or behind it, what may be turned back before it.
        way_back: pivot.is_none_or(|pivot| step < pivot) || !chance.per_mille(300),
        confirm: (pivot.is_none_or(|pivot| step < pivot) && chance.per_mille(150))
            .then(|| Millis(chance.between(5_000, 40_000))),
        pivot: pivot == Some(step),
    });
    Shape {
        steps: steps.collect(),
        waves: waves(hosts, chance),
        without: hosts.iter().filter(|_| chance.per_mille(40)).cloned().collect(),
        at_once: chance.between(1, 4) as u32,
        cut_off: *chance.pick(&[CutOff::FinishHost, CutOff::Hold, CutOff::Undo]).expect("there are three"),
        failed: chance.between(0, 3) as u32,
        silent: chance.between(0, 3) as u32,
        stage_within: Millis::seconds(chance.between(20, 120)),
        silent_after: Millis::seconds(chance.between(10, 60)),
    }
}

fn waves(hosts: &[HostName], chance: &mut Chance) -> Vec<WaveShape> {
    let mut rest = hosts;
    let mut waves = Vec::new();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(chance.between(1, rest.len() as u64) as usize);
        rest = later;
        waves.push(WaveShape {
            hosts: now.to_vec(),
            soak: Millis::seconds(chance.between(0, 20)),
            failed: chance.between(0, 2) as u32,
            silent: chance.between(0, 2) as u32,
            approve: chance.per_mille(250),
        });
    }
    waves
}
