//! Which of its own rollback points a host goes back to: one that people named
//! by a tag, or the one that the host itself finds to be the newest whole.

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// Which of a host's own rollback points the run goes back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct PointWanted {
    pub choice: PointChoice,
    pub age_max: Option<Millis>,
    pub verify: PointCheck,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PointChoice {
    /// The newest point with this tag.
    Tagged(String),
    /// The newest of the plan's service that nobody found damaged and that is
    /// not of the version which the plan leaves: of the whole service, or else
    /// of a component with everything that the plan's steps restore.
    NewestWhole,
}

impl std::fmt::Display for PointChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tagged(tag) => write!(f, "newest tagged {tag}"),
            Self::NewestWhole => f.write_str("newest whole one"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PointCheck {
    /// The index and the trees.
    Quick,
    /// Every byte, before anything is stopped.
    Full,
}

/// As it stands in a sealed plan. Plans from before there was `newest` have a tag alone.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<Newest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    age_max: Option<Millis>,
    verify: PointCheck,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Newest {
    Whole,
}

impl TryFrom<Written> for PointWanted {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let choice = match (written.tag, written.newest) {
            (Some(tag), None) => PointChoice::Tagged(tag),
            (None, Some(Newest::Whole)) => PointChoice::NewestWhole,
            _ => return Err("a point is wanted by its tag or as the newest, and by one of them only"),
        };
        Ok(Self { choice, age_max: written.age_max, verify: written.verify })
    }
}

impl From<PointWanted> for Written {
    fn from(wanted: PointWanted) -> Self {
        let (tag, newest) = match wanted.choice {
            PointChoice::Tagged(tag) => (Some(tag), None),
            PointChoice::NewestWhole => (None, Some(Newest::Whole)),
        };
        Self { tag, newest, age_max: wanted.age_max, verify: wanted.verify }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plan_from_before_is_read_as_it_was_written() {
        let before = json!({ "tag": "before-1.3", "age_max": 5000, "verify": "full" });
        let wanted: PointWanted = serde_json::from_value(before.clone()).unwrap();
        assert_eq!(wanted.choice, PointChoice::Tagged("before-1.3".into()));
        assert_eq!(serde_json::to_value(&wanted).unwrap(), before);
    }

    #[test]
    fn a_point_is_wanted_in_one_way_only() {
        let newest = json!({ "newest": "whole", "verify": "quick" });
        let wanted: PointWanted = serde_json::from_value(newest.clone()).unwrap();
        assert_eq!(wanted.choice, PointChoice::NewestWhole);
        assert_eq!(serde_json::to_value(&wanted).unwrap(), newest);
        for odd in [
            json!({ "verify": "quick" }),
            json!({ "tag": "a", "newest": "whole", "verify": "quick" }),
            json!({ "newest": "oldest", "verify": "quick" }),
            json!({ "newest": "whole", "verify": "quick", "more": 1 }),
        ] {
            assert!(serde_json::from_value::<PointWanted>(odd.clone()).is_err(), "{odd}");
        }
    }
}
