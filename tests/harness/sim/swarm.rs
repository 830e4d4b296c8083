//! What a seed is made of: a fleet, a plan, and which faults are let loose.

use sternway_core::ids::{FleetId, HostName, Nonce};
use sternway_core::manifest::Class;
use sternway_core::plan::{Approval, CutOff, Gate, Pace, Plan, Severity, Step, Undo, Wave};
use sternway_core::time::{Millis, Timestamp};

use super::Chance;

/// Chances are per mille: of a message, of a phase, or of a second.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub message_lost: u64,
    pub message_twice: u64,
    /// Later than others that were sent after it.
    pub message_late: u64,
    pub link_cut: u64,
    pub agent_killed: u64,
    /// Of a killed agent: never comes back.
    pub host_dies: u64,
    pub coordinator_killed: u64,
    pub phase_fails: u64,
    pub undo_fails: u64,
    pub host_unfit: u64,
    pub unhealthy: u64,
    pub people: u64,
}

#[derive(Debug, Clone)]
pub struct Swarm {
    pub plan: Plan,
    pub without: Vec<HostName>,
    pub faults: Faults,
    /// How long the faults last.
    pub trouble: Millis,
}

impl Swarm {
    pub fn of_seed(seed: u64) -> Self {
        let mut chance = Chance::new(seed, "swarm");
        let hosts: Vec<HostName> = (0..chance.between(1, 10))
            .map(|index| format!("h-{index:02}").parse().expect("a short name"))
            .collect();
        let waves = waves(&hosts, &mut chance);
        let without = hosts.iter().filter(|_| chance.per_mille(40)).cloned().collect();
        Self {
            plan: plan(hosts, waves, &mut chance),
            without,
            faults: faults(&mut chance),
            trouble: Millis::seconds(chance.between(20, 900)),
        }
    }
}

fn faults(chance: &mut Chance) -> Faults {
    let mut some = |most: u64| if chance.per_mille(500) { chance.between(1, most) } else { 0 };
    Faults {
        message_lost: some(300),
        message_twice: some(300),
        message_late: some(200),
        link_cut: some(60),
        agent_killed: some(60),
        host_dies: some(100),
        coordinator_killed: some(30),
        phase_fails: some(60),
        undo_fails: some(300),
        host_unfit: some(100),
        unhealthy: some(100),
        people: some(60),
    }
}

fn waves(hosts: &[HostName], chance: &mut Chance) -> Vec<Wave> {
    let mut rest = hosts;
    let mut waves = Vec::new();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(chance.between(1, rest.len() as u64) as usize);
        rest = later;
        waves.push(Wave {
            name: None,
            hosts: now.to_vec(),
            soak: Millis::seconds(chance.between(0, 20)),
            gate: Gate {
                name: "usual".into(),
                failed: chance.between(0, 2) as u32,
                silent: chance.between(0, 2) as u32,
            },
            approve: chance.per_mille(250).then(|| "sre".parse().expect("a group")),
        });
    }
    waves
}

fn plan(hosts: Vec<HostName>, waves: Vec<Wave>, chance: &mut Chance) -> Plan {
    let classes = [Class::Converge, Class::StagedSwap, Class::Keyed, Class::OneShot, Class::Probe];
    let steps = (0..chance.between(1, 3))
        .map(|index| Step {
            name: format!("step {index}").parse().expect("a short line"),
            uses: "files".parse().expect("a name"),
            settings: "{}".into(),
            undo: Undo::ByPlugin,
            timeout: Millis::minutes(1),
            wait: chance.per_mille(300).then(|| Millis::seconds(2)),
            confirm: None,
            pivot: false,
            class: *chance.pick(&classes).expect("there are classes"),
            grants: Vec::new(),
        })
        .collect();
    Plan {
        format: 1,
        fleet: FleetId([1; 16]),
        nonce: Nonce([2; 16]),
        name: "simulated".parse().expect("a name"),
        reason: "to find out".into(),
        severity: Severity::High,
        service: "agora".into(),
        from: "1.3".into(),
        to: "1.1".into(),
        author: "maria".parse().expect("a name"),
        issued: Timestamp(0),
        expires: Timestamp::MAX,
        budget: None,
        hosts,
        approval: Approval { signatures: 1, from: Vec::new(), author: true },
        point: None,
        steps,
        pace: Pace {
            at_once: chance.between(1, 4) as u32,
            cut_off: *chance
                .pick(&[CutOff::FinishHost, CutOff::Hold, CutOff::Undo])
                .expect("there are three"),
            failed: chance.between(0, 3) as u32,
            silent: chance.between(0, 3) as u32,
            stage_within: Millis::seconds(chance.between(20, 120)),
            silent_after: Millis::seconds(chance.between(10, 60)),
        },
        waves,
        plugins: Vec::new(),
        text: String::new(),
    }
}
