//! What each event does: the transactions of a coordinator, and what a host
//! does with a permit.

use super::{Coordinator, Database, Event, Permit, Permits, Phase, Row, Shortcut, State};

impl Permits {
    pub(super) fn happen(&self, state: &mut State, event: Event) {
        match event {
            Event::TakesOver { coordinator } => self.take_over(state, coordinator),
            Event::HearsQuestion { coordinator, host, nonce } => self.asked(state, coordinator, host, nonce),
            Event::CommitsLate { coordinator } => commit_late(state, coordinator),
            Event::PermitArrives(permit) => self.permitted(state, permit),
            Event::HearsGreeting { host, coordinator } => {
                let epoch = state.coordinators[coordinator].epoch;
                let host = &mut state.hosts[usize::from(host)];
                if host.phase == Phase::Idle {
                    host.epoch = host.epoch.max(epoch);
                }
            }
            Event::AsksAgain { host } => {
                let host = &mut state.hosts[usize::from(host)];
                if host.phase == Phase::Idle && host.nonce < self.questions {
                    host.nonce += 1;
                }
            }
            Event::Finishes { host } => {
                let host = &mut state.hosts[usize::from(host)];
                if host.phase == Phase::Disturbed {
                    host.phase = Phase::Finished;
                }
            }
            Event::HearsFinished { coordinator, host } => {
                if state.hosts[usize::from(host)].phase == Phase::Finished {
                    self.transact(state, coordinator, |books| {
                        books.rows[usize::from(host)] = Row::Finished;
                    });
                }
            }
            Event::GivesUpOn { coordinator, host } => {
                if self.shortcut == Shortcut::SlotFreedOnTimeout {
                    self.transact(state, coordinator, |books| {
                        let row = &mut books.rows[usize::from(host)];
                        if let Row::Out { nonce } = *row {
                            *row = Row::Waiting { heard: nonce };
                        }
                    });
                }
            }
            Event::Judges { coordinator } => self.judge(state, coordinator),
            Event::Halts { coordinator } => halt(state, coordinator),
            Event::Resumes { coordinator } => {
                if state.database.halted {
                    state.database.halted = false;
                    state.database.resumed = true;
                    state.watcher.named_by_halt.clear();
                    if let Some(memory) = &mut state.coordinators[coordinator].memory {
                        memory.halted = false;
                    }
                }
            }
        }
    }

    /// The epoch grows with each, also when who led starts again.
    fn take_over(&self, state: &mut State, coordinator: usize) {
        if state.database.epoch == self.epochs {
            return;
        }
        state.database.epoch += 1;
        let memory = self.shortcut.keeps_memory().then(|| state.database.clone());
        state.coordinators[coordinator] = Coordinator { epoch: state.database.epoch, memory };
    }

    /// One transaction: leadership is looked up inside, and a superseded
    /// coordinator changes nothing. Returns whether it was committed.
    fn transact(&self, state: &mut State, coordinator: usize, change: impl Fn(&mut Database)) -> bool {
        let epoch = state.coordinators[coordinator].epoch;
        if epoch != state.database.epoch && self.shortcut != Shortcut::LeadershipBefore {
            return false;
        }
        let before = state.database.clone();
        change(&mut state.database);
        if let Some(memory) = &mut state.coordinators[coordinator].memory {
            change(memory);
        }
        state.watcher.committed_below_epoch |= state.database != before && epoch != state.database.epoch;
        true
    }

    fn asked(&self, state: &mut State, coordinator: usize, host: u8, nonce: u8) {
        let row = usize::from(host);
        let epoch = state.coordinators[coordinator].epoch;
        if epoch != state.database.epoch && self.shortcut != Shortcut::LeadershipBefore {
            return;
        }
        // A shortcut decides by what it remembers; the protocol by what stands there.
        let memory = state.coordinators[coordinator].memory.clone();
        let mut books = match (self.shortcut, memory) {
            (Shortcut::LeadershipBefore | Shortcut::ToldBeforeRecorded, Some(memory)) => memory,
            (Shortcut::HaltFromMemory, Some(memory)) => {
                Database { halted: memory.halted, ..state.database.clone() }
            }
            _ => state.database.clone(),
        };
        let heard_now = Row::Waiting { heard: nonce };
        match books.rows[row] {
            // It is idle and asks anew: no older permit can be used any more.
            Row::Out { nonce: out } if out < nonce => {}
            Row::Waiting { heard } if heard <= nonce => {}
            // The same answer again.
            Row::Out { nonce: out } if out == nonce => {
                return send(state, Permit { host, nonce, epoch });
            }
            _ => return,
        }
        books.rows[row] = heard_now;
        let released = host == 0 || books.passed;
        let grants = released && !books.halted && books.slots_out() < self.at_once;
        let row_now = if grants { Row::Out { nonce } } else { heard_now };
        if grants {
            send(state, Permit { host, nonce, epoch });
        }
        if self.shortcut == Shortcut::ToldBeforeRecorded {
            if let Some(memory) = &mut state.coordinators[coordinator].memory {
                memory.rows[row] = row_now;
            }
            return;
        }
        let halted = state.database.halted;
        self.transact(state, coordinator, |books| books.rows[row] = row_now);
        state.watcher.permitted_while_halted |= grants && halted;
    }

    /// A host begins if it is idle, was answered to its newest question, and
    /// has seen no higher epoch.
    fn permitted(&self, state: &mut State, permit: Permit) {
        let named = state.watcher.named_by_halt.contains(&permit.host);
        let halted = state.database.halted;
        let host = &mut state.hosts[usize::from(permit.host)];
        let is_newest = permit.nonce == host.nonce || self.shortcut == Shortcut::PermitWithoutNonce;
        let is_current = permit.epoch >= host.epoch || self.shortcut == Shortcut::LowerEpochObeyed;
        if host.phase != Phase::Idle || !is_newest || !is_current {
            return;
        }
        state.watcher.used_lower_epoch |= permit.epoch < host.epoch;
        state.watcher.used_old_nonce |= permit.nonce != host.nonce;
        state.watcher.began_unnamed |= halted && !named;
        // What it knew of epochs and what is under way to it matters no more.
        (host.phase, host.epoch) = (Phase::Disturbed, 0);
        state.sent.retain(|sent| sent.host != permit.host);
    }

    fn judge(&self, state: &mut State, coordinator: usize) {
        let canary_is_well = state.database.rows[0] == Row::Finished;
        if canary_is_well || self.shortcut == Shortcut::SilenceIsSuccess {
            self.transact(state, coordinator, |books| books.passed = true);
        }
    }
}

fn send(state: &mut State, permit: Permit) {
    if state.hosts[usize::from(permit.host)].phase == Phase::Idle {
        state.sent.insert(permit);
    }
}

fn commit_late(state: &mut State, coordinator: usize) {
    let Coordinator { epoch, memory: Some(memory) } = &state.coordinators[coordinator] else { return };
    if *epoch == state.database.epoch {
        state.database.rows = memory.rows.clone();
    }
}

/// A halt is heard by whichever coordinator a person reaches, leader or not.
fn halt(state: &mut State, coordinator: usize) {
    if state.database.halted || state.database.resumed {
        return;
    }
    state.database.halted = true;
    let rows = (0..).zip(&state.database.rows);
    let named = rows.filter(|(_, row)| matches!(row, Row::Out { .. })).map(|(host, _)| host).collect();
    state.watcher.named_by_halt = named;
    if let Some(memory) = &mut state.coordinators[coordinator].memory {
        memory.halted = true;
    }
}
