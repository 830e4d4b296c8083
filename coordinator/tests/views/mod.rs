//! Rollouts as a coordinator would show them, made by hand: the transcripts
//! and the tests of sizes are about how they are drawn.

pub(crate) mod points;

use std::collections::BTreeMap;

use sternway_core::ids::{Digest, HostName, PlanId};
use sternway_core::plan::Gate;
use sternway_core::rollout::{
    Evidence, HostState, HostStatus, Judged, Mark, Soak, SoakStatus, State, Status, Tally, Verdict,
    WaveState, WaveStatus,
};
use sternway_core::time::{Millis, Timestamp};
use sternway_core::wire::{AtWork, RolloutView};

/// 21 Nov 2026, 17:00:00Z: when every rollout here is launched.
pub(crate) const LAUNCHED: Timestamp = Timestamp(1_795_280_400_000);

pub(crate) fn at(seconds: u64) -> Timestamp {
    LAUNCHED + Millis::seconds(seconds)
}

pub(crate) fn host(number: usize) -> HostName {
    format!("agora-{number:02}").parse().unwrap()
}

pub(crate) fn hosts(numbers: std::ops::RangeInclusive<usize>) -> Vec<HostName> {
    numbers.map(host).collect()
}

pub(crate) fn mark(sequence: u64, seconds: u64) -> Mark {
    Mark { sequence, at: at(seconds) }
}

pub(crate) fn done(name: HostName, wave: usize) -> HostStatus {
    HostStatus {
        host: name,
        wave,
        state: HostState::Done,
        connected: true,
        silent: false,
        late: false,
        halted: false,
        unwell: None,
        last_seen: at(1176),
    }
}

pub(crate) fn waiting(name: HostName, wave: usize) -> HostStatus {
    HostStatus { state: HostState::Staged, ..done(name, wave) }
}

pub(crate) fn wave(name: Option<&str>, hosts: Vec<HostName>, state: WaveState) -> WaveStatus {
    WaveStatus {
        name: name.map(str::to_owned),
        state,
        is_late: false,
        hosts,
        left: Vec::new(),
        tally: Tally::default(),
        gate: Gate { name: "usual".into(), failed: 1, silent: 1 },
        opened: None,
        approve: None,
        approved_by: None,
        soak: None,
        judged: None,
    }
}

pub(crate) fn evidence(wave: usize, tally: Tally) -> Evidence {
    Evidence {
        wave,
        is_open: true,
        tally,
        failed_max: 1,
        silent_max: 1,
        failed_in_all: tally.failed,
        failed_in_all_max: 2,
        silent_in_all: tally.silent,
        silent_in_all_max: 2,
        nobody_accepted: false,
    }
}

/// The wave opened and was judged at these seconds after the launch.
pub(crate) fn passed(index: usize, wave: WaveStatus, opened: u64, judged: u64) -> WaveStatus {
    let tally = Tally { finished: u32::try_from(wave.hosts.len()).unwrap(), ..Tally::default() };
    WaveStatus {
        state: WaveState::Passed,
        tally,
        opened: Some(at(opened)),
        judged: Some(Judged {
            mark: mark(40 + index as u64, judged),
            evidence: evidence(index, tally),
            verdict: Verdict::Pass,
        }),
        ..wave
    }
}

pub(crate) fn soaking(wave: WaveStatus, since: u64, length: Millis, restarts: u32) -> WaveStatus {
    WaveStatus {
        state: WaveState::Soaking(Soak { began: at(since), well_since: Some(at(since)) }),
        soak: Some(SoakStatus {
            length,
            restarts,
            well_since: Some(at(since)),
            ends: Some(at(since) + length),
        }),
        ..wave
    }
}

/// 38 hosts in four waves: the canary has passed, the second wave is under way.
pub(crate) fn second_wave() -> RolloutView {
    let waves = vec![
        passed(0, wave(Some("canary"), hosts(1..=2), WaveState::Closed), 5, 891),
        WaveStatus {
            opened: Some(at(891)),
            tally: Tally { finished: 4, failed: 1, underway: 3, ..Tally::default() },
            ..wave(None, hosts(3..=10), WaveState::Open)
        },
        WaveStatus { approve: Some("sre".parse().unwrap()), ..wave(None, hosts(11..=19), WaveState::Closed) },
        wave(None, hosts(20..=38), WaveState::Closed),
    ];
    let mut all: Vec<HostStatus> = Vec::new();
    all.extend(hosts(1..=2).into_iter().map(|name| done(name, 0)));
    all.extend(hosts(3..=6).into_iter().map(|name| done(name, 1)));
    all.push(HostStatus {
        state: HostState::Undone { step: 4, reason: "pg_restore: out of shared memory".into() },
        ..done(host(7), 1)
    });
    all.extend(hosts(8..=10).into_iter().map(|name| HostStatus {
        state: HostState::Running { step: if name == host(10) { 4 } else { 7 } },
        ..done(name, 1)
    }));
    all.extend(hosts(11..=19).into_iter().map(|name| waiting(name, 2)));
    all.extend(hosts(20..=38).into_iter().map(|name| waiting(name, 3)));
    let at_work = (8..=10).map(|number| {
        let (step, since) = if number == 10 { (4, 938) } else { (7, 1135) };
        let phase = if number == 10 { "apply" } else { "verify" };
        (host(number), AtWork { step, phase: phase.into(), since: at(since), progress: None })
    });
    view(State::Running { wave: 1 }, waves, all, at_work.collect())
}

pub(crate) fn view(
    state: State,
    waves: Vec<WaveStatus>,
    hosts: Vec<HostStatus>,
    at_work: BTreeMap<HostName, AtWork>,
) -> RolloutView {
    let is_in_flight = |host: &&HostStatus| {
        matches!(
            host.state,
            HostState::Permitted { .. }
                | HostState::Running { .. }
                | HostState::Failing { .. }
                | HostState::NeedsOperator { .. }
                | HostState::PuttingBack
        )
    };
    let is_stuck = |host: &&HostStatus| matches!(host.state, HostState::NeedsOperator { .. });
    let names = |wanted: &dyn Fn(&&HostStatus) -> bool| {
        hosts.iter().filter(wanted).map(|host| host.host.clone()).collect()
    };
    let plan = PlanId(Digest::of(b"a plan").0);
    let status = Status {
        rollout: "r-17".parse().unwrap(),
        plan,
        at: at(1176),
        state,
        hold: None,
        halt: None,
        waves,
        in_flight: names(&is_in_flight),
        at_once: 10,
        stuck: names(&is_stuck),
        late: names(&|host: &&HostStatus| host.late),
        exceptions: Vec::new(),
        hosts,
    };
    RolloutView {
        rollout: "r-17".parse().unwrap(),
        plan,
        plan_name: "agora-1.3-to-1.1".into(),
        urgency: Default::default(),
        service: "agora".into(),
        from: "1.3".into(),
        to: "1.1".into(),
        launched_by: "maria".parse().unwrap(),
        signers: vec!["maria".parse().unwrap(), "jonas".parse().unwrap()],
        launched_at: LAUNCHED,
        now: at(1176),
        budget: Some(Millis::minutes(80)),
        steps: [
            "leave the load balancer",
            "stop services",
            "keep what v1.3 leaves behind",
            "restore files and config",
            "restore the database",
            "start the old containers",
            "start services",
            "prove it",
            "join the load balancer",
        ]
        .map(str::to_owned)
        .to_vec(),
        status,
        at_work,
        sequence: 1160,
    }
}
