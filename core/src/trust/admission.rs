//! Fresh? For this host? Within its time? The last door before a run.

use serde::{Deserialize, Serialize};

use super::order::{ORDER_VALID_MAX, Order, Verb};
use super::seal::{Signer, Verified};
use crate::ids::{HostName, PlanId};
use crate::plan::{self, Plan};
use crate::run::NotToDecide;
use crate::time::{Millis, Timestamp};

/// A plan that may run on this host. [`Verified::admit`] and
/// [`Verified::readmit`] are the only ways to get one.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    plan: Plan,
    id: PlanId,
    signers: Vec<Signer>,
}

impl Admitted {
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn id(&self) -> PlanId {
        self.id
    }

    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }
}

/// What a host knows of itself when it judges a plan.
#[derive(Debug, Clone, Copy)]
pub struct HostFacts<'a> {
    pub host: &'a HostName,
    pub now: Timestamp,
    /// The latest moment this host durably saw; its clock may not go behind it.
    pub time_floor: Timestamp,
    /// Whether this host has accepted this very plan before.
    pub accepted_before: bool,
    /// Another plan is under way.
    pub busy_with: Option<PlanId>,
}

/// Why a host says no to a plan or an order, as a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    #[error("not for this host: {host} is not among the plan's {hosts} hosts")]
    NotForMe { host: HostName, hosts: usize },
    #[error("the plan's host list is not sorted and unique")]
    HostListOdd,
    #[error("expired {} ago", Millis(.by_ms.0))]
    Expired { by_ms: Millis },
    #[error("not valid yet: it begins in {}", Millis(.by_ms.0))]
    NotYet { by_ms: Millis },
    #[error("valid for {}, at most {} are allowed", .valid, plan::VALID_MAX)]
    ValidTooLong { valid: Millis },
    #[error("this host's clock went back by {}", .by_ms)]
    ClockBack { by_ms: Millis },
    #[error("replayed: this host has accepted plan {} before", .0.short())]
    Replayed(PlanId),
    #[error("busy with plan {}", .0.short())]
    Busy(PlanId),
    #[error("format {0} is not known here")]
    Format(u32),
    #[error("the plan has {count} {what}, at most {max} are allowed")]
    TooMany { what: String, count: usize, max: usize },
    #[error("step {step}: plugin `{plugin}` is not pinned in the plan")]
    NotPinned { step: usize, plugin: String },
    #[error("step {step}: the settings are not a JSON object")]
    Settings { step: usize },
    #[error("the order is for another plan")]
    OtherPlan,
    #[error(transparent)]
    NotToDecide(NotToDecide),
    #[error("the order is for `{meant}`, not for this host")]
    OtherHost { meant: HostName },
    #[error("the order is not one for hosts")]
    NotForHosts,
    /// Signatures or bytes; text, since it comes from the seal.
    #[error("{0}")]
    Seal(String),
}

/// How far a host's clock may be behind the signer's, for `issued`.
const CLOCK_SLACK: Millis = Millis::minutes(5);
/// How far this host's own clock may step back without an alarm.
const FLOOR_SLACK: Millis = Millis::seconds(60);

fn in_time(issued: Timestamp, expires: Timestamp, now: Timestamp, valid_max: Millis) -> Result<(), Refusal> {
    let valid = expires.since(issued);
    if valid > valid_max {
        return Err(Refusal::ValidTooLong { valid });
    }
    if now >= expires {
        return Err(Refusal::Expired { by_ms: now.since(expires) });
    }
    if issued > now + CLOCK_SLACK {
        return Err(Refusal::NotYet { by_ms: issued.since(now) });
    }
    Ok(())
}

impl Verified<Plan> {
    /// Audience, validity, freshness and shape, each with its own refusal.
    pub fn admit(self, facts: HostFacts<'_>) -> Result<Admitted, Refusal> {
        let (now, plan) = (facts.now, self.value());
        if facts.time_floor > now + FLOOR_SLACK {
            return Err(Refusal::ClockBack { by_ms: facts.time_floor.since(now) });
        }
        in_time(plan.issued, plan.expires, now, plan::VALID_MAX)?;
        if facts.accepted_before {
            return Err(Refusal::Replayed(self.id()));
        }
        if let Some(other) = facts.busy_with {
            return Err(Refusal::Busy(other));
        }
        check_shape(plan)?;
        self.readmit(facts.host)
    }

    /// For a plan this host admitted and journalled before a restart: its
    /// validity was judged then, and it may finish and undo what it began.
    pub fn readmit(self, host: &HostName) -> Result<Admitted, Refusal> {
        let plan = self.value();
        if !plan.hosts.is_sorted_by(|a, b| a < b) {
            return Err(Refusal::HostListOdd);
        }
        if !plan.is_for(host) {
            return Err(Refusal::NotForMe { host: host.clone(), hosts: plan.hosts.len() });
        }
        let (plan, id, signers) = self.into_parts();
        Ok(Admitted { plan, id, signers })
    }
}

fn check_shape(plan: &Plan) -> Result<(), Refusal> {
    if plan.format != plan::FORMAT {
        return Err(Refusal::Format(plan.format));
    }
    let counts = [
        ("hosts", plan.hosts.len(), plan::HOSTS_MAX),
        ("steps", plan.steps.len(), plan::STEPS_MAX),
        ("waves", plan.waves.len(), plan::WAVES_MAX),
        ("plugins", plan.plugins.len(), plan::PLUGINS_MAX),
        ("bytes of text", plan.text.len(), plan::TEXT_BYTES_MAX),
        ("bytes of reason", plan.reason.len(), plan::REASON_BYTES_MAX),
    ];
    if let Some((what, count, max)) = counts.into_iter().find(|(_, count, max)| count > max) {
        return Err(Refusal::TooMany { what: what.into(), count, max });
    }
    for (at, step) in plan.steps.iter().enumerate() {
        if plan.pin(&step.uses).is_none() {
            return Err(Refusal::NotPinned { step: at + 1, plugin: step.uses.to_string() });
        }
        let is_object =
            |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| value.is_object());
        let undo_fits = match &step.undo {
            plan::Undo::Settings(text) => is_object(text),
            plan::Undo::ByPlugin | plan::Undo::Nothing => true,
        };
        if !is_object(&step.settings) || !undo_fits {
            return Err(Refusal::Settings { step: at + 1 });
        }
    }
    Ok(())
}

impl Verified<crate::point::Order> {
    /// For this host, and in time. That it was not obeyed before, by its
    /// nonce, is for the host to remember until it expires.
    pub fn admit_on(&self, host: &HostName, now: Timestamp) -> Result<(), Refusal> {
        let order = self.value();
        in_time(order.issued, order.expires, now, ORDER_VALID_MAX)?;
        match order.host == *host {
            true => Ok(()),
            false => Err(Refusal::OtherHost { meant: order.host.clone() }),
        }
    }
}

impl Verified<Order> {
    /// Whether this order may be carried out on this host, which runs, or ran, `plan`.
    pub fn admit_on(&self, plan: PlanId, host: &HostName, now: Timestamp) -> Result<(), Refusal> {
        self.admit_for(plan, now)?;
        match &self.value().verb {
            Verb::Undo => Ok(()),
            Verb::Unstick { host: meant, .. } if meant == host => Ok(()),
            Verb::Unstick { host: meant, .. } => Err(Refusal::OtherHost { meant: meant.clone() }),
            Verb::Approve { .. } => Err(Refusal::NotForHosts),
        }
    }

    /// Whether this order speaks of `plan`, now.
    pub fn admit_for(&self, plan: PlanId, now: Timestamp) -> Result<(), Refusal> {
        let order = self.value();
        in_time(order.issued, order.expires, now, ORDER_VALID_MAX)?;
        match order.plan == plan {
            true => Ok(()),
            false => Err(Refusal::OtherPlan),
        }
    }
}
