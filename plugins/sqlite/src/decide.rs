//! What the settings and a database's health mean. Pure.

use serde::Deserialize;
use sternway_plugin::host::databases::Health;
use sternway_plugin::host::files::Ownership;
use sternway_plugin::{Action, Error, Finding, Risk, Verdict, Verification, owned, paths, utc};

/// Restores an SQLite database from the rollback point.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Path of the database, in the rollback point and on the host.
    #[cfg_attr(test, schemars(regex(pattern = "^/")))]
    restore: String,
    /// SQL whose first answer must be neither nothing, nor empty, `0` or `false`; asked of the restored database before and after the switch.
    check: Option<String>,
    /// Owner of the restored file: `user` or `user:group`. Left out: as the point holds it.
    #[cfg_attr(test, schemars(regex(pattern = r"^[^:\s]+(:[^:\s]+)?$")))]
    owner: Option<String>,
    /// Mode of the restored file, in octal: `0640`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-7]{3,4}$")))]
    mode: Option<String>,
}

/// The settings, found sound.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) path: String,
    pub(crate) check: Option<String>,
    pub(crate) ownership: Option<Ownership>,
}

impl Settings {
    pub(crate) fn task(&self) -> Result<Task, Error> {
        Ok(Task {
            path: paths::path(&self.restore)?,
            check: self.check.clone(),
            ownership: owned::ownership(self.owner.as_deref(), self.mode.as_deref(), None)?,
        })
    }
}

pub(crate) fn finding_without_point() -> Finding {
    Finding::blocking("sqlite/no-point", "there is no rollback point to restore the database from")
}

pub(crate) fn finding_not_in_point(path: &str, point: &str) -> Finding {
    Finding::blocking("sqlite/not-in-point", format!("point {point} holds nothing at {path}"))
}

pub(crate) fn restoration(path: &str, bytes: Option<u64>, point: &str, made_ms: u64) -> Action {
    Action {
        summary: format!("replace all written to {path} since the point"),
        target: path.to_owned(),
        before: bytes.map(|bytes| format!("{bytes} bytes")),
        after: Some(format!("as in point {point} of {}", utc(made_ms))),
        // With no database there is nothing to lose.
        risk: if bytes.is_some() { Risk::DataLoss } else { Risk::Low },
    }
}

pub(crate) fn sound(path: &str, health: &Health) -> Result<(), Error> {
    if health.problems.is_empty() {
        return Ok(());
    }
    Err(Error::failed("sqlite/damaged", format!("what the point holds of {path}: {}", told(health))))
}

pub(crate) fn agreed(sql: &str, answer: Option<&str>) -> Result<(), Error> {
    if is_true(answer) {
        return Ok(());
    }
    let answer = answer.map_or_else(|| "nothing".to_owned(), |answer| format!("`{answer}`"));
    Err(Error::failed("sqlite/check", format!("the restored database answers {answer} to `{sql}`")))
}

pub(crate) fn proof_of_health(path: &str, health: &Health) -> Verification {
    let sound = health.problems.is_empty();
    Verification {
        name: format!("{path} is sound"),
        verdict: if sound { Verdict::Pass } else { Verdict::Fail },
        measured: Some(told(health)),
        expected: Some("no problems".to_owned()),
        message: format!("{path}: {}", told(health)),
    }
}

pub(crate) fn proof_of_check(sql: &str, answer: Option<&str>) -> Verification {
    let right = is_true(answer);
    Verification {
        name: format!("check: {sql}"),
        verdict: if right { Verdict::Pass } else { Verdict::Fail },
        measured: Some(answer.unwrap_or("nothing").to_owned()),
        expected: Some("neither nothing, nor empty, 0 or false".to_owned()),
        message: if right { "the check holds".into() } else { "the check does not hold".into() },
    }
}

fn told(health: &Health) -> String {
    match health.problems.as_slice() {
        [] => format!("no problems in {} tables, {} pages", health.tables, health.pages),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first}, and {} more problems", rest.len()),
    }
}

fn is_true(answer: Option<&str>) -> bool {
    answer.is_some_and(|answer| {
        let answer = answer.trim();
        let is_zero = answer.parse::<f64>().is_ok_and(|number| number == 0.0);
        !answer.is_empty() && !is_zero && !answer.eq_ignore_ascii_case("false")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(problems: &[&str]) -> Health {
        Health { problems: problems.iter().map(|p| (*p).to_owned()).collect(), tables: 3, pages: 9 }
    }

    #[test]
    fn the_schema_file_says_what_the_settings_take() {
        sternway_plugin::schema::assert_current::<Settings>(
            concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json"),
            include_str!("../settings.schema.json"),
        );
    }

    #[test]
    fn a_check_holds_unless_the_answer_is_nothing_empty_zero_or_false() {
        for yes in ["1", "true", "42", "-1", "text", "0.5"] {
            assert_eq!(agreed("select 1", Some(yes)), Ok(()), "{yes:?}");
        }
        for no in [None, Some(""), Some(" "), Some("0"), Some("0.0"), Some("false"), Some("FALSE")] {
            assert_eq!(agreed("select 1", no).unwrap_err().code, "sqlite/check", "{no:?}");
            assert_eq!(proof_of_check("select 1", no).verdict, Verdict::Fail, "{no:?}");
        }
    }

    #[test]
    fn a_damaged_point_is_refused_with_what_was_found() {
        assert_eq!(sound("/a.db", &health(&[])), Ok(()));
        let error = sound("/a.db", &health(&["page 3 is lost", "x", "y"])).unwrap_err();
        assert_eq!(error.message, "what the point holds of /a.db: page 3 is lost, and 2 more problems");
        assert_eq!(proof_of_health("/a.db", &health(&["x"])).verdict, Verdict::Fail);
        assert_eq!(proof_of_health("/a.db", &health(&[])).verdict, Verdict::Pass);
    }

    #[test]
    fn replacing_a_database_is_named_as_loss_and_making_one_is_not() {
        assert_eq!(restoration("/a.db", Some(4096), "p1", 1_000).risk, Risk::DataLoss);
        assert_eq!(restoration("/a.db", None, "p1", 1_000).risk, Risk::Low);
    }

    #[test]
    fn unsound_settings_are_refused_by_code() {
        let task = |json: &str| serde_json::from_str::<Settings>(json).unwrap().task();
        assert_eq!(task(r#"{"restore":"a.db"}"#).unwrap_err().code, "step/path");
        assert_eq!(task(r#"{"restore":"/a.db","mode":"x"}"#).unwrap_err().code, "step/mode");
        assert!(serde_json::from_str::<Settings>(r#"{"restore":"/a","into":"new"}"#).is_err());
    }
}
