//! What was typed after a verb of the fleet, taken out word by word; what is
//! left in the end was not understood, and is said.

#[derive(Debug)]
pub(crate) struct Words(Vec<String>);

impl Words {
    pub(crate) fn of(words: &[String]) -> Self {
        Self(words.to_vec())
    }

    /// Options stand before `--`; what comes after belongs to somebody else.
    fn own(&self) -> usize {
        self.0.iter().position(|word| word == "--").unwrap_or(self.0.len())
    }

    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let own = self.own();
        let at = self.0[..own].iter().position(|word| word == name);
        at.map(|at| self.0.remove(at)).is_some()
    }

    pub(crate) fn value(&mut self, name: &str) -> Result<Option<String>, String> {
        let own = self.own();
        let Some(at) = self.0[..own].iter().position(|word| word == name) else { return Ok(None) };
        if at + 1 >= own {
            return Err(format!("{name} needs a value"));
        }
        self.0.remove(at);
        Ok(Some(self.0.remove(at)))
    }

    pub(crate) fn values(&mut self, name: &str) -> Result<Vec<String>, String> {
        std::iter::from_fn(|| self.value(name).transpose()).collect()
    }

    pub(crate) fn milliseconds(&mut self, name: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.value(name)? else { return Ok(None) };
        let number = |unit: &str| text.strip_suffix(unit).and_then(|number| number.parse::<u64>().ok());
        let length = number("ms").or_else(|| number("s").and_then(|seconds| seconds.checked_mul(1000)));
        length.map(Some).ok_or_else(|| format!("{name} `{text}`: write it as 200ms or 2s"))
    }

    /// Of 10 000.
    pub(crate) fn per_cent(&mut self, name: &str) -> Result<Option<u16>, String> {
        let Some(text) = self.value(name)? else { return Ok(None) };
        let share = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        let share = share.filter(|share| (0.0..=100.0).contains(share));
        let share = share.ok_or_else(|| format!("{name} `{text}`: write it as 5% or 0.5%, up to 100%"))?;
        // At most 10 000, so nothing is cut off.
        Ok(Some((share * 100.0).round() as u16))
    }

    pub(crate) fn first(&mut self, what: &str) -> Result<String, String> {
        match self.0.first() {
            Some(word) if !word.starts_with('-') => Ok(self.0.remove(0)),
            _ => Err(format!("{what} has to be named")),
        }
    }

    pub(crate) fn rest_after_dashes(self) -> Result<Vec<String>, String> {
        match self.0.split_first() {
            Some((dashes, rest)) if dashes == "--" && !rest.is_empty() => Ok(rest.to_vec()),
            _ => Err("the program has to follow after `--`".into()),
        }
    }

    pub(crate) fn none_left(&self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some(odd) => Err(format!("`{odd}` is not known here\n\n{}", super::USAGE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Words {
        Words(text.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn options_after_the_dashes_belong_to_the_program() {
        let mut typed = words("web-01 --name x -- ls --name y");
        assert_eq!(typed.value("--name"), Ok(Some("x".into())));
        assert_eq!(typed.value("--name"), Ok(None));
        assert_eq!(typed.first("a machine"), Ok("web-01".into()));
        assert_eq!(typed.rest_after_dashes(), Ok(vec!["ls".into(), "--name".into(), "y".into()]));
        assert!(words("web-01 ls").rest_after_dashes().is_err());
    }

    #[test]
    fn times_and_shares_need_their_units() {
        let mut typed = words("--delay 200ms --loss 0.5%");
        assert_eq!((typed.milliseconds("--delay"), typed.per_cent("--loss")), (Ok(Some(200)), Ok(Some(50))));
        assert_eq!(words("--delay 2s").milliseconds("--delay"), Ok(Some(2000)));
        for odd in ["--delay 200", "--delay ms", "--delay -1s", "--delay"] {
            assert!(words(odd).milliseconds("--delay").is_err(), "{odd}");
        }
        for odd in ["--loss 5", "--loss 101%", "--loss NaN%", "--loss -1%"] {
            assert!(words(odd).per_cent("--loss").is_err(), "{odd}");
        }
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let mut typed = words("--json --josn");
        assert!(typed.flag("--json") && !typed.flag("--json"));
        assert!(typed.none_left().unwrap_err().contains("--josn"));
    }
}
