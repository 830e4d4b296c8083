//! One kind of question: type what you have read. A person who must type the
//! number of hosts has read it; a script says it with `--confirm`, which fails
//! when the number has changed meanwhile.

use std::io::{self, BufRead as _};

use super::Context;
use super::failure::Failure;

/// Goes on only when `wanted` was typed, or given as `--confirm`.
pub fn confirm(context: &Context, question: &str, wanted: &str, given: Option<&str>) -> Result<(), Failure> {
    if let Some(given) = given {
        return match given == wanted {
            true => Ok(()),
            false => Err(Failure::usage(format!("--confirm {given}, but it is {wanted}: nothing was done"))
                .hinted("look again at what was shown; something has changed since")),
        };
    }
    if !context.may_ask {
        return Err(Failure::usage("an answer is needed and there is nobody to ask: nothing was done")
            .hinted(format!("in scripts add --confirm {wanted}")));
    }
    context.output.question(question);
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|cause| Failure::Other {
        message: "the answer could not be read".into(),
        exit: sternway_core::exit::USAGE,
        hint: None,
        cause: Some(Box::new(cause)),
    })?;
    match answer.trim() == wanted {
        true => Ok(()),
        false => Err(Failure::usage(format!("that is not {wanted}: nothing was done"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::identity::Whereabouts;
    use crate::cli::output::{Color, Output, Surroundings};

    #[test]
    fn a_script_asserts_the_number_and_never_hangs() {
        let output = Output::new(Surroundings::default(), Color::Never, false, true);
        let context = Context { output, whereabouts: Whereabouts::default(), may_ask: false };
        assert!(confirm(&context, "?", "38", Some("38")).is_ok());
        for given in [Some("37"), Some("038"), None] {
            let refused = confirm(&context, "?", "38", given).unwrap_err();
            assert_eq!(refused.exit_code(), sternway_core::exit::USAGE, "{given:?}");
        }
        let hint = confirm(&context, "?", "38", None).unwrap_err().hint().unwrap();
        assert!(hint.contains("--confirm 38"));
    }
}
