//! Questions that several verbs put before they do their own work.

use sternway_core::ids::{FleetId, RolloutId};
use sternway_core::plan::InventoryHost;
use sternway_core::wire::{Answer, Request, RolloutLine, RolloutView};

use super::client::{AskError, Client};
use super::failure::Failure;
use super::words;

/// Which fleet the coordinator conducts, and who is in it.
#[derive(Debug, Clone)]
pub struct Inventory {
    pub fleet: FleetId,
    pub name: String,
    pub hosts: Vec<InventoryHost>,
    /// Distinct persons a plan needs at the least.
    pub signatures: u8,
}

impl Client {
    pub async fn inventory(&self) -> Result<Inventory, Failure> {
        match self.ask_one(&Request::Inventory).await? {
            Answer::Inventory { fleet, name, hosts, signatures } => {
                Ok(Inventory { fleet, name, hosts, signatures })
            }
            _ => Err(AskError::Unexpected.into()),
        }
    }

    pub async fn rollouts(&self) -> Result<Vec<RolloutLine>, Failure> {
        match self.ask_one(&Request::Rollouts).await? {
            Answer::Rollouts(rollouts) => Ok(rollouts),
            _ => Err(AskError::Unexpected.into()),
        }
    }

    pub async fn status(&self, rollout: &RolloutId) -> Result<RolloutView, Failure> {
        match self.ask_one(&Request::Status { rollout: rollout.clone() }).await? {
            Answer::Status(view) => Ok(*view),
            _ => Err(AskError::Unexpected.into()),
        }
    }

    /// The rollout a person means: its id, a beginning of it, or none for the newest.
    pub async fn resolve(&self, wanted: Option<&str>) -> Result<RolloutId, Failure> {
        let rollouts = self.rollouts().await?;
        match wanted {
            Some(wanted) => the_one(&rollouts, wanted),
            None => rollouts
                .iter()
                .max_by_key(|line| line.launched_at)
                .map(|line| line.rollout.clone())
                .ok_or_else(|| {
                    Failure::usage("there is no rollout yet").hinted("sternway launch plan.sealed")
                }),
        }
    }

    /// As [`Client::resolve`], with a look at it.
    pub async fn look_at(&self, wanted: Option<&str>) -> Result<RolloutView, Failure> {
        self.status(&self.resolve(wanted).await?).await
    }
}

fn the_one(rollouts: &[RolloutLine], wanted: &str) -> Result<RolloutId, Failure> {
    if let Some(exact) = rollouts.iter().find(|line| line.rollout.as_str() == wanted) {
        return Ok(exact.rollout.clone());
    }
    let begin: Vec<&RolloutId> =
        rollouts.iter().map(|line| &line.rollout).filter(|id| id.as_str().starts_with(wanted)).collect();
    match begin[..] {
        [one] => Ok(one.clone()),
        [] => {
            Err(Failure::usage(format!("there is no rollout `{wanted}`"))
                .hinted("sternway rollouts lists them"))
        }
        _ => {
            let ids: Vec<&str> = begin.iter().take(8).map(|id| id.as_str()).collect();
            Err(Failure::usage(format!("`{wanted}` may mean {} rollouts", begin.len()))
                .hinted(format!("type more of one of them: {}", ids.join(", "))))
        }
    }
}

/// The hosts of a selection that names each of them, such as `demo-[01-03]`; `none` for nobody.
pub fn named_hosts(text: &str) -> Result<Vec<sternway_core::ids::HostName>, Failure> {
    use sternway_core::plan::select::Selection;
    if text == "none" {
        return Ok(Vec::new());
    }
    let selection = Selection::parse(text).map_err(|error| Failure::usage(format!("`{text}`: {error}")))?;
    let is_plain = |part: &Selection| matches!(part, Selection::Names(_));
    let plain = match &selection {
        Selection::Or(parts) => parts.iter().all(is_plain),
        other => is_plain(other),
    };
    if !plain {
        return Err(Failure::usage(format!("`{text}` does not name hosts one by one"))
            .hinted("hosts are named as in demo-[01-03],web-7; `none` means nobody"));
    }
    let named: Result<Vec<_>, _> = selection.names().into_iter().map(str::parse).collect();
    let mut hosts = named.map_err(|error| Failure::usage(format!("`{text}`: {error}")))?;
    hosts.sort();
    hosts.dedup();
    Ok(hosts)
}

/// What a person's request came to: the decision in words, or why nothing changed.
pub fn taken_words(answer: &Answer) -> Result<(String, bool), Failure> {
    let Answer::Taken { decisions, notes, status, .. } = answer else {
        return Err(AskError::Unexpected.into());
    };
    Ok(match (decisions.first(), notes.first()) {
        (Some(decision), _) => (words::decision_words(decision, status), true),
        (None, Some(note)) => (words::note_words(note), false),
        (None, None) => ("it is so already".into(), true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sternway_core::time::Timestamp;

    fn rollout(id: &str) -> RolloutLine {
        RolloutLine {
            rollout: id.parse().unwrap(),
            plan_name: "p".into(),
            urgency: Default::default(),
            service: "s".into(),
            from: "2".into(),
            to: "1".into(),
            launched_by: "ada".parse().unwrap(),
            launched_at: Timestamp(0),
            state: "done".into(),
            hosts: 1,
            finished: 1,
            exit: 0,
        }
    }

    #[test]
    fn any_beginning_that_means_one_rollout_names_it() {
        let rollouts = ["r-1", "r-17", "r-4127-1"].map(rollout);
        let found = |wanted| the_one(&rollouts, wanted).map(|id| id.to_string());
        assert_eq!(found("r-4").unwrap(), "r-4127-1");
        assert_eq!(found("r-1").unwrap(), "r-1", "an exact name is no beginning");
        let unsure = found("r-").unwrap_err();
        assert_eq!(unsure.exit_code(), sternway_core::exit::USAGE);
        assert_eq!(unsure.hint().unwrap(), "type more of one of them: r-1, r-17, r-4127-1");
        assert!(found("x").is_err());
    }

    #[test]
    fn hosts_in_flight_are_confirmed_by_name_and_not_by_a_condition() {
        let names =
            |text| named_hosts(text).map(|hosts| hosts.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(names("demo-[01-02],web-7").unwrap(), ["demo-01", "demo-02", "web-7"]);
        assert!(names("none").unwrap().is_empty());
        for vague in ["*", "zone=b", "!demo-01", "demo-01 & zone=b", "demo-["] {
            assert!(names(vague).is_err(), "{vague}");
        }
    }
}
