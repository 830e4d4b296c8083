//! Makes a schedule that breaks something small: faults, hosts, steps, waves and
//! plans are taken out for as long as the same invariant stays broken.

use std::time::{Duration, Instant};

use sternway_core::ids::HostName;
use sternway_core::time::Millis;

use super::Schedule;
use super::schedule::{Fault, Trouble};
use super::survive::survive;

/// A smaller schedule that breaks the same invariant, found within `patience`.
pub fn shrink(schedule: &Schedule, invariant: &str, patience: Duration) -> Schedule {
    let mut shrinker = Shrinker { best: schedule.clone(), invariant, until: Instant::now() + patience };
    loop {
        let before = shrinker.best.clone();
        shrinker.fewer_plans();
        shrinker.fewer_faults();
        shrinker.fewer_hosts();
        shrinker.fewer_steps();
        shrinker.less_time();
        if shrinker.best == before || shrinker.is_late() {
            return shrinker.best;
        }
    }
}

struct Shrinker<'a> {
    best: Schedule,
    invariant: &'a str,
    until: Instant,
}

impl Shrinker<'_> {
    fn is_late(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Keeps the candidate if it breaks what shall be broken.
    fn try_it(&mut self, candidate: Schedule) -> bool {
        if self.is_late() || candidate == self.best {
            return false;
        }
        let breaks = survive(&candidate).is_err_and(|broken| broken.invariant == self.invariant);
        if breaks {
            self.best = candidate;
        }
        breaks
    }

    /// Delta debugging: halves, quarters, down to single faults.
    fn fewer_faults(&mut self) {
        let mut size = self.best.faults.len();
        while size > 0 {
            let mut from = 0;
            while from < self.best.faults.len() {
                let mut fewer = self.best.clone();
                let until = (from + size).min(fewer.faults.len());
                fewer.faults.drain(from..until);
                if !self.try_it(fewer) {
                    from += size;
                }
            }
            size /= 2;
        }
    }

    fn fewer_plans(&mut self) {
        while self.best.plans.len() > 1 {
            let mut fewer = self.best.clone();
            fewer.plans.pop();
            let left = fewer.plans.len();
            fewer.faults.retain(|fault| plan_of(fault).is_none_or(|plan| plan < left));
            if !self.try_it(fewer) {
                return;
            }
        }
    }

    fn fewer_hosts(&mut self) {
        for host in self.best.hosts() {
            let fewer = without(&self.best, &host);
            if fewer.hosts().len() < self.best.hosts().len() && !fewer.hosts().is_empty() {
                self.try_it(fewer);
            }
        }
    }

    fn fewer_steps(&mut self) {
        for plan in 0..self.best.plans.len() {
            while self.best.plans[plan].steps.len() > 1 {
                let mut fewer = self.best.clone();
                fewer.plans[plan].steps.pop();
                let left = fewer.plans[plan].steps.len() as u32;
                fewer
                    .faults
                    .retain(|fault| step_of(fault).is_none_or(|(of, step)| of != plan || step < left));
                if !self.try_it(fewer) {
                    break;
                }
            }
        }
    }

    /// The faults stop right after the last of them.
    fn less_time(&mut self) {
        let last = self.best.faults.last().map_or(0, |fault| fault.at.0);
        let mut shorter = self.best.clone();
        shorter.trouble = Millis(last + 1_000).min(self.best.trouble);
        self.try_it(shorter);
    }
}

fn without(schedule: &Schedule, host: &HostName) -> Schedule {
    let mut fewer = schedule.clone();
    fewer.faults.retain(|fault| fault.what.host() != Some(host));
    for plan in &mut fewer.plans {
        plan.without.retain(|other| other != host);
        plan.waves.iter_mut().for_each(|wave| wave.hosts.retain(|other| other != host));
        plan.waves.retain(|wave| !wave.hosts.is_empty());
    }
    if fewer.plans.iter().any(|plan| plan.waves.is_empty()) { schedule.clone() } else { fewer }
}

fn plan_of(fault: &Fault) -> Option<usize> {
    match &fault.what {
        Trouble::StepFails { plan, .. } | Trouble::Unfit { plan, .. } | Trouble::Drift { plan, .. } => {
            Some(*plan)
        }
        _ => None,
    }
}

fn step_of(fault: &Fault) -> Option<(usize, u32)> {
    match &fault.what {
        Trouble::StepFails { plan, step, .. } | Trouble::Drift { plan, step, .. } => Some((*plan, *step)),
        _ => None,
    }
}
