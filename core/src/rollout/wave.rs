//! Waves in order: one opens when the gate before it passed, settles when every
//! host of it is final or counted as silent, soaks, and is judged.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::decision::{Decision, End, HoldReason, Late};
use super::gate::{self, Evidence, Tally, Verdict};
use super::{Host, HostState, Phase, Rollout, Turn};
use crate::ids::{Group, HostName, Person};
use crate::plan::{self, Gate};
use crate::time::{Millis, Timestamp};

/// A soak that keeps restarting asks a person after three times its length, at least this much longer.
pub(super) const SOAK_EXTRA_MIN: Millis = Millis::seconds(30);

/// An entry as a place in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub sequence: u64,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaveState {
    Closed,
    AwaitsApproval,
    Open,
    Soaking(Soak),
    Passed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Soak {
    /// From here counts how long a person is not asked.
    pub began: Timestamp,
    /// Everybody has been well since; none while somebody is not.
    pub well_since: Option<Timestamp>,
}

/// A verdict with all that it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    pub mark: Mark,
    pub evidence: Evidence,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    pub name: Option<String>,
    /// Who is in it now; late hosts have left.
    pub hosts: BTreeSet<HostName>,
    /// Who left it.
    pub left: BTreeSet<HostName>,
    pub soak: Millis,
    pub gate: Gate,
    pub approve: Option<Group>,
    pub approved: Option<(Person, Mark)>,
    pub state: WaveState,
    pub opened: Option<Mark>,
    /// From here counts the time to stage.
    pub(super) stage_from: Timestamp,
    pub restarts: u32,
    pub judged: Option<Judged>,
    /// Not of the plan: made for late hosts.
    pub is_late: bool,
    pub(super) accepted: AcceptedInWave,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AcceptedInWave {
    pub failed: u32,
    pub silent: u32,
    pub nobody: bool,
    /// Hosts whose being unwell no longer restarts the soak.
    pub unwell: BTreeSet<HostName>,
}

impl Wave {
    pub(super) fn planned(wave: &plan::Wave, without: &BTreeSet<&HostName>) -> Self {
        let hosts = wave.hosts.iter().filter(|host| !without.contains(host)).cloned().collect();
        Self {
            name: wave.name.clone(),
            approve: wave.approve.clone(),
            ..Self::of(hosts, wave.soak, wave.gate.clone())
        }
    }

    /// A closed wave that needs no approval.
    pub(super) fn of(hosts: BTreeSet<HostName>, soak: Millis, gate: Gate) -> Self {
        Self {
            name: None,
            hosts,
            left: BTreeSet::new(),
            soak,
            gate,
            approve: None,
            approved: None,
            state: WaveState::Closed,
            opened: None,
            stage_from: Timestamp::default(),
            restarts: 0,
            judged: None,
            is_late: false,
            accepted: AcceptedInWave::default(),
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.state, WaveState::Open | WaveState::Soaking(_))
    }

    pub(super) fn restart_clocks(&mut self, now: Timestamp) {
        self.stage_from = self.stage_from.max(now);
        if let WaveState::Soaking(soak) = &mut self.state
            && !cfg!(feature = "mutant-soak-survives-restart")
        {
            *soak = Soak { began: now, well_since: None };
        }
    }

    /// How long a soak may go on before a person is asked.
    pub fn soak_limit(&self) -> Millis {
        Millis((self.soak.0.saturating_mul(3)).max(self.soak.0.saturating_add(SOAK_EXTRA_MIN.0)))
    }
}

impl Rollout {
    /// The wave in hand: the first that has not passed.
    pub(super) fn current(&self) -> Option<usize> {
        self.waves.iter().position(|wave| wave.state != WaveState::Passed)
    }

    pub(super) fn current_mut(&mut self) -> Option<&mut Wave> {
        self.waves.iter_mut().find(|wave| wave.state != WaveState::Passed)
    }

    pub(super) fn members(&self, wave: usize) -> impl Iterator<Item = (&HostName, &Host)> {
        self.waves[wave].hosts.iter().filter_map(|name| self.hosts.get_key_value(name))
    }

    /// Does one thing that follows; false when there is nothing left to do.
    pub(super) fn advance_wave(&mut self, turn: &mut Turn) -> bool {
        if self.halt.is_some() {
            self.track_soak(turn);
            return false;
        }
        let Some(index) = self.current() else {
            return self.end_or_go_late(turn);
        };
        self.watch_limits(index, turn);
        if self.halt.is_some() {
            return false;
        }
        match self.waves[index].state {
            WaveState::Closed | WaveState::AwaitsApproval => self.open_wave(index, turn),
            WaveState::Open => self.settle_wave(index, turn),
            WaveState::Soaking(_) => self.soak_wave(index, turn),
            WaveState::Passed => false,
        }
    }

    fn open_wave(&mut self, index: usize, turn: &mut Turn) -> bool {
        let held = self.hold.is_some();
        let wave = &mut self.waves[index];
        if let (Some(group), None) = (&wave.approve, &wave.approved)
            && !wave.hosts.is_empty()
        {
            if wave.state == WaveState::Closed {
                wave.state = WaveState::AwaitsApproval;
                turn.decided(Decision::AwaitsApproval { wave: index, group: group.clone() });
            }
            return false;
        }
        if held {
            return false;
        }
        wave.state = WaveState::Open;
        wave.opened = Some(turn.mark);
        wave.stage_from = turn.now();
        let hosts: Vec<HostName> = wave.hosts.iter().cloned().collect();
        for name in &hosts {
            if let Some(host) = self.hosts.get_mut(name) {
                // Its silence counts from its release.
                host.last_seen = host.last_seen.max(turn.mark.at);
                host.silent = false;
            }
        }
        turn.decided(Decision::WaveOpened { wave: index, hosts });
        true
    }

    fn settle_wave(&mut self, index: usize, turn: &mut Turn) -> bool {
        if !self.is_settled(index) {
            return false;
        }
        // Without a finished host there is nothing to watch.
        if self.tally(index).finished == 0 {
            return self.judge_wave(index, turn);
        }
        let soak = self.waves[index].soak;
        self.waves[index].state = WaveState::Soaking(Soak { began: turn.now(), well_since: None });
        turn.decided(Decision::WaveSettled { wave: index, soak });
        true
    }

    fn soak_wave(&mut self, index: usize, turn: &mut Turn) -> bool {
        if !self.is_settled(index) {
            self.waves[index].state = WaveState::Open;
            return true;
        }
        self.track_soak(turn);
        let now = turn.now();
        let wave = &self.waves[index];
        let WaveState::Soaking(soak) = wave.state else { return false };
        if soak.well_since.is_some_and(|since| now >= since + wave.soak) {
            return self.judge_wave(index, turn);
        }
        let (limit, after) = (wave.soak_limit(), now.since(soak.began));
        if after > limit {
            let restarts = wave.restarts;
            let hosts = self.soak_blockers(index);
            self.add_hold(
                HoldReason::SoakKeepsRestarting { wave: index, restarts, after, limit, hosts },
                turn,
            );
        }
        false
    }

    /// The soak's clock goes on whatever else stands still.
    fn track_soak(&mut self, turn: &mut Turn) {
        let Some(index) = self.current() else { return };
        let WaveState::Soaking(soak) = self.waves[index].state else { return };
        let blockers = self.soak_blockers(index);
        let wave = &mut self.waves[index];
        let well_since = match (blockers.is_empty(), soak.well_since) {
            (true, None) => Some(turn.now()),
            (true, since) => since,
            (false, _) => None,
        };
        if soak.well_since.is_some() && well_since.is_none() {
            wave.restarts += 1;
            turn.decided(Decision::SoakRestarted { wave: index, restarts: wave.restarts, hosts: blockers });
        }
        wave.state = WaveState::Soaking(Soak { well_since, ..soak });
    }

    fn judge_wave(&mut self, index: usize, turn: &mut Turn) -> bool {
        if self.hold.is_some() || self.halt.is_some() {
            return false;
        }
        let evidence = self.evidence(index);
        let verdict = gate::judge(&evidence);
        self.waves[index].judged = Some(Judged { mark: turn.mark, evidence, verdict: verdict.clone() });
        turn.decided(Decision::Judged { wave: index, evidence, verdict: verdict.clone() });
        match verdict {
            Verdict::Pass => {
                self.leave_away(index, turn);
                self.waves[index].state = WaveState::Passed;
                true
            }
            Verdict::Hold(reasons) => {
                for reason in reasons {
                    self.add_hold(reason, turn);
                }
                false
            }
            Verdict::Halt(cause) => {
                self.halt_for(cause, turn);
                false
            }
        }
    }

    fn is_settled(&self, index: usize) -> bool {
        self.members(index).all(|(_, host)| host.is_final() || host.is_absent())
    }

    /// Finished hosts that are not well, or not here to say so.
    fn soak_blockers(&self, index: usize) -> Vec<HostName> {
        let accepted = &self.waves[index].accepted.unwell;
        self.members(index)
            .filter(|(name, host)| {
                host.state == HostState::Done
                    && (host.unwell.is_some() || (!host.connected && !host.silent))
                    && !accepted.contains(*name)
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Broken limits are acted on at once.
    fn watch_limits(&mut self, index: usize, turn: &mut Turn) {
        let evidence = self.evidence(index);
        if let Some(cause) = gate::must_halt(&evidence) {
            return self.halt_for(cause, turn);
        }
        for reason in gate::must_hold(&evidence) {
            self.add_hold(reason, turn);
        }
        let Self { accepted, hosts, .. } = self;
        accepted.halted_hosts.retain(|name| hosts.get(name).is_some_and(|host| host.halted));
        let halted: Vec<HostName> =
            self.members(index).filter(|(_, host)| host.halted).map(|(name, _)| name.clone()).collect();
        if self.waves[index].is_open() && halted.iter().any(|name| !self.accepted.halted_hosts.contains(name))
        {
            self.add_hold(HoldReason::HaltedOnHost { hosts: halted }, turn);
        }
    }

    pub(super) fn evidence(&self, index: usize) -> Evidence {
        let wave = &self.waves[index];
        let failed_in_all = count(self.hosts.values().filter(|host| host.has_failed()));
        Evidence {
            wave: index,
            is_open: wave.is_open(),
            tally: self.tally(index),
            failed_max: wave.gate.failed.max(wave.accepted.failed),
            silent_max: wave.gate.silent.max(wave.accepted.silent),
            failed_in_all,
            failed_in_all_max: self.pace.failed.max(self.accepted.failed),
            silent_in_all: self.silent_in_all(),
            silent_in_all_max: self.pace.silent.max(self.accepted.silent),
            nobody_accepted: wave.accepted.nobody,
        }
    }

    pub(super) fn silent_in_all(&self) -> u32 {
        count(self.hosts.values().filter(|host| host.silent && !host.has_failed()))
    }

    pub(super) fn tally(&self, index: usize) -> Tally {
        let mut tally = Tally { late: count(self.waves[index].left.iter()), ..Tally::default() };
        for (_, host) in self.members(index) {
            let counted = match &host.state {
                HostState::Without => continue,
                HostState::Dead { .. } => &mut tally.dead,
                _ if host.has_failed() => &mut tally.failed,
                _ if host.silent => &mut tally.silent,
                _ if host.halted => &mut tally.halted,
                HostState::Done | HostState::PuttingBack | HostState::PutBack => &mut tally.finished,
                _ => &mut tally.underway,
            };
            *counted += 1;
        }
        tally
    }

    /// Marks hosts that have been away for too long while they are counted on;
    /// false when there is none.
    pub(super) fn mark_silent(&mut self, turn: &mut Turn) -> bool {
        let (now, after) = (turn.now(), self.pace.silent_after);
        let current = self.current().filter(|index| self.waves[*index].is_open());
        let mut gone = Vec::new();
        for (name, host) in &mut self.hosts {
            if cfg!(feature = "mutant-nobody-silent") {
                break;
            }
            let counted_on = host.holds_slot() || (current == Some(host.wave) && !host.late);
            if counted_on && host.is_wanted() && host.silent_at(after).is_some_and(|at| at <= now) {
                host.silent = true;
                gone.push(Decision::HostSilent {
                    host: name.clone(),
                    wave: host.wave,
                    last_seen: host.last_seen,
                });
            } else if !counted_on {
                host.silent = false;
            }
        }
        let any = !gone.is_empty();
        gone.into_iter().for_each(|decision| turn.decided(decision));
        any
    }

    fn end_or_go_late(&mut self, turn: &mut Turn) -> bool {
        if self.open_late_wave(turn) {
            return true;
        }
        let exceptions = self.exceptions();
        let end = if exceptions.is_empty() { End::Done } else { End::DoneWithExceptions };
        self.finish(end, exceptions, turn);
        false
    }

    pub(super) fn finish(&mut self, end: End, exceptions: Vec<HostName>, turn: &mut Turn) {
        self.phase = Phase::Ended(end);
        self.hold = None;
        turn.decided(Decision::Ended { end, exceptions });
        for (name, host) in &self.hosts {
            if host.is_released() {
                turn.effects.push(super::Effect::Release { host: name.clone() });
            }
        }
    }

    /// Hosts for which the plan did not come true, except those left out at launch.
    pub(super) fn exceptions(&self) -> Vec<HostName> {
        self.hosts
            .iter()
            .filter(|(_, host)| !matches!(host.state, HostState::Done | HostState::Without))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Hosts away at the end of their wave that had not begun leave it.
    fn leave_away(&mut self, index: usize, turn: &mut Turn) {
        let away: Vec<HostName> = self
            .members(index)
            .filter(|(_, host)| host.may_start() && !host.holds_slot())
            .map(|(name, _)| name.clone())
            .collect();
        for name in away {
            self.leave_wave(&name, index, Late::Away, turn);
        }
    }
}

pub(super) fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
