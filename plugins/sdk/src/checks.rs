//! Questions to a database and what their answers have to be, as settings write
//! them: `checks = [{ sql = "select count(*) from users", at-least = 1 }]`.

use serde::Deserialize;

use crate::{Error, Verdict, Verification};

/// One question; the first column of its first row is the answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Check {
    /// What is asked; the first column of the first row is the answer.
    pub sql: String,
    /// The answer is exactly this text.
    pub equals: Option<String>,
    /// The answer is a number, and not less.
    pub at_least: Option<f64>,
    /// The answer is a number, and not more.
    pub at_most: Option<f64>,
}

impl Check {
    /// A question without an expectation would prove nothing.
    pub fn sound(&self) -> Result<(), Error> {
        let expects = self.equals.is_some() || self.at_least.is_some() || self.at_most.is_some();
        if expects && !self.sql.trim().is_empty() {
            return Ok(());
        }
        let message =
            format!("the check `{}` needs `sql` and one of `equals`, `at-least`, `at-most`", self.sql);
        Err(Error::invalid("step/check", message))
    }

    /// What is expected, in words.
    pub fn expected(&self) -> String {
        let parts = [
            self.equals.as_ref().map(|text| format!("`{text}`")),
            self.at_least.map(|number| format!("at least {number}")),
            self.at_most.map(|number| format!("at most {number}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }

    /// Whether `answer` is as expected; no answer is what nothing agrees with.
    pub fn holds(&self, answer: &str) -> bool {
        let number = answer.trim().parse::<f64>().ok();
        self.equals.as_ref().is_none_or(|text| text == answer.trim())
            && self.at_least.is_none_or(|least| number.is_some_and(|number| number >= least))
            && self.at_most.is_none_or(|most| number.is_some_and(|number| number <= most))
    }

    /// An answer that is not as expected, as an error.
    pub fn agreed(&self, code: &str, answer: &str) -> Result<(), Error> {
        if self.holds(answer) {
            return Ok(());
        }
        let message = format!("`{}` answers {}, and not {}", self.sql, told(answer), self.expected());
        Err(Error::failed(code, message))
    }

    pub fn proof(&self, answer: &str) -> Verification {
        let holds = self.holds(answer);
        Verification {
            name: format!("check: {}", self.sql),
            verdict: if holds { Verdict::Pass } else { Verdict::Fail },
            measured: Some(told(answer)),
            expected: Some(self.expected()),
            message: if holds { "the check holds".into() } else { "the check does not hold".into() },
        }
    }
}

fn told(answer: &str) -> String {
    match answer.trim() {
        "" => "nothing".to_owned(),
        answer => format!("`{}`", answer.chars().take(200).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::Check;

    fn check(json: &str) -> Check {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_number_has_bounds_and_a_text_is_equal_or_not() {
        let bounds = check(r#"{"sql":"s","at-least":1,"at-most":9}"#);
        assert!(bounds.holds("1") && bounds.holds(" 9\n") && bounds.holds("2.5"));
        assert!(!bounds.holds("0") && !bounds.holds("10") && !bounds.holds("") && !bounds.holds("many"));
        let text = check(r#"{"sql":"s","equals":"t"}"#);
        assert!(text.holds("t") && !text.holds("f") && !text.holds(""));
        assert_eq!(bounds.expected(), "at least 1 and at most 9");
        assert_eq!(text.agreed("x/check", "f").unwrap_err().message, "`s` answers `f`, and not `t`");
    }

    #[test]
    fn a_question_without_an_expectation_is_refused() {
        assert_eq!(check(r#"{"sql":"select 1"}"#).sound().unwrap_err().code, "step/check");
        assert_eq!(check(r#"{"sql":" ","at-least":1}"#).sound().unwrap_err().code, "step/check");
    }
}
