//! What persons look at; nothing here changes anything.

use sternway_core::ids::{HostName, RolloutId};
use sternway_core::wire::{Answer, FleetHost, OperatorError, RolloutView};

use super::{Driver, Lines, unreadable};

impl Driver {
    pub(super) fn view(&self, rollout: &RolloutId) -> Result<Box<RolloutView>, OperatorError> {
        Ok(Box::new(self.find(rollout)?.view(self.clock.now())))
    }

    pub(super) fn lines(
        &self,
        rollout: &RolloutId,
        host: Option<HostName>,
        after: u64,
    ) -> Result<Lines, OperatorError> {
        let conducted = self.find(rollout)?;
        let page = self.database.lines(rollout, host.as_ref(), after).map_err(|cause| unreadable(&cause))?;
        Ok(Lines {
            page,
            view: self.view(rollout)?,
            has_ended: conducted.has_ended(),
            news: conducted.news.subscribe(),
        })
    }

    pub(super) fn inventory_answer(&self) -> Answer {
        Answer::Inventory {
            fleet: self.keyring.fleet(),
            name: self.inventory.name.clone(),
            hosts: self.inventory.hosts.clone(),
            signatures: u8::try_from(self.keyring.signatures()).unwrap_or(u8::MAX),
        }
    }

    /// Newest first.
    pub(super) fn rollouts_answer(&self) -> Answer {
        let mut rollouts: Vec<_> = self.rollouts.values().collect();
        rollouts.sort_by_key(|conducted| {
            std::cmp::Reverse((conducted.launched_at, conducted.id.as_str().len(), conducted.id.clone()))
        });
        Answer::Rollouts(rollouts.into_iter().map(|conducted| conducted.summary()).collect())
    }

    pub(super) fn fleet_answer(&self) -> Answer {
        let hosts = self.inventory.hosts.iter().map(|host| {
            let here = self.fleet.get(&host.name);
            FleetHost {
                name: host.name.clone(),
                labels: host.labels.clone(),
                connected: here.is_some(),
                version: here.map(|here| here.version.clone()),
                last_heard: self.hosts.get(&host.name).map(|row| row.last_heard),
                quarantine: self.quarantine.get(&host.name).map(|row| row.reason.clone()),
                rollout: self.rollout_holding(&host.name).map(|conducted| conducted.id.clone()),
            }
        });
        Answer::Fleet(hosts.collect())
    }
}
