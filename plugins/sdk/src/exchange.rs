//! Exchanging a live path for what was staged beside it, so that it can be put
//! back after any crash. The journal keeps what stood there at the moment of
//! the exchange: a digest taken earlier would miss what a program wrote since.

use serde::{Deserialize, Serialize};

use crate::host::files::{self, Place};
use crate::{Error, Failure, IntoFailure, memory};

/// A SHA-256, or none where nothing stands.
type Content<'a> = Option<&'a str>;

/// What the journal keeps of one exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// What is to stand there; none for taken away.
    to: Option<String>,
    /// What stood there.
    old: Option<String>,
    /// True once `put_back` has proved its work.
    back: bool,
}

/// Where a path stands between the two states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The old state is live: never exchanged, or put back.
    Before,
    /// The new state is live; `old` waits at the side, none when nothing stood there.
    After { old: Option<String> },
    /// Neither place holds what this run left there.
    Lost,
}

/// Makes `path` hold the staged content with digest `to`, or nothing for none.
/// Answers whether this step changed it, on this try or an earlier one.
pub fn put(path: &str, to: Option<&str>) -> Result<bool, Error> {
    let live = digest(Place::Live, path)?;
    let fresh = Note { to: to.map(str::to_owned), old: live.clone(), back: false };
    let noted: Option<Note> = memory::recall(&key(path))?;
    if let Some(note) = &noted {
        match standing_of(note, live.as_deref(), digest(Place::Side, path)?.as_deref()) {
            Standing::Before => {}
            Standing::After { old } if note.old == old => return Ok(true),
            Standing::After { old } => {
                keep(path, &Note { old, ..note.clone() })?;
                return Ok(true);
            }
            Standing::Lost => return Err(lost(path)),
        }
    }
    if live.as_deref() == to {
        return Ok(false);
    }
    if noted.as_ref() != Some(&fresh) {
        keep(path, &fresh)?;
    }
    match to {
        Some(to) => files::switch_to(path, to)?,
        None => files::take_away(path)?,
    };
    let old = digest(Place::Side, path)?;
    if old != fresh.old {
        keep(path, &Note { old, ..fresh })?;
    }
    Ok(true)
}

/// Makes `path` hold again what it held before [`put`], and proves it by digest.
/// Answers whether anything had to be put back.
pub fn put_back(path: &str) -> Result<bool, Failure> {
    let Some(note) = memory::recall::<Note>(&key(path))? else { return Ok(false) };
    let live = digest(Place::Live, path)?;
    let old = match standing_of(&note, live.as_deref(), digest(Place::Side, path)?.as_deref()) {
        Standing::Before => return Ok(false),
        Standing::After { old } => old,
        Standing::Lost => return Err(lost(path).hands_off()),
    };
    if note.old != old {
        keep(path, &Note { old: old.clone(), ..note.clone() })?;
    }
    match &old {
        Some(old) => files::switch_to(path, old)?,
        None => files::take_away(path)?,
    };
    if digest(Place::Live, path)? != old {
        return Err(
            Error::failed("exchange/not-back", format!("{path} does not hold what it held before")).into()
        );
    }
    keep(path, &Note { old, back: true, ..note })?;
    Ok(true)
}

/// Where `path` stands; [`Standing::Before`] when this step never came to it.
pub fn standing(path: &str) -> Result<Standing, Error> {
    let Some(note) = memory::recall::<Note>(&key(path))? else { return Ok(Standing::Before) };
    let live = digest(Place::Live, path)?;
    let side = digest(Place::Side, path)?;
    Ok(standing_of(&note, live.as_deref(), side.as_deref()))
}

/// The digest at one of the two places of `path`; none where nothing stands.
pub fn digest(at: Place, path: &str) -> Result<Option<String>, Error> {
    Ok(files::get_digest(at, path)?.map(|digest| digest.sha256))
}

/// The side is private to this step, so what stands there is the better
/// witness: programs write to the live place once they run again.
fn standing_of(note: &Note, live: Content<'_>, side: Content<'_>) -> Standing {
    let (to, old) = (note.to.as_deref(), note.old.as_deref());
    let after = || Standing::After { old: note.old.clone() };
    if to == old {
        return Standing::Before;
    }
    if note.back {
        return if live == to && side == old { after() } else { Standing::Before };
    }
    if live == old || side == to {
        return Standing::Before;
    }
    if side == old {
        return after();
    }
    if live == to && side.is_some() {
        // Died after the exchange, before it could note what it had replaced.
        return Standing::After { old: side.map(str::to_owned) };
    }
    Standing::Lost
}

fn keep(path: &str, note: &Note) -> Result<(), Error> {
    memory::keep(&key(path), note)
}

fn key(path: &str) -> String {
    format!("exchange {path}")
}

fn lost(path: &str) -> Error {
    Error::conflict(
        "exchange/lost",
        format!("neither {path} nor its side copy holds what this run left there"),
    )
}

#[cfg(test)]
mod tests {
    use super::{Note, Standing, standing_of};

    fn note(to: Option<&str>, old: Option<&str>, back: bool) -> Note {
        Note { to: to.map(Into::into), old: old.map(Into::into), back }
    }

    fn after(old: Option<&str>) -> Standing {
        Standing::After { old: old.map(Into::into) }
    }

    #[test]
    fn each_state_a_crash_can_leave_is_told_apart() {
        let replaced = note(Some("new"), Some("old"), false);
        for (live, side, expected) in [
            (Some("old"), Some("new"), Standing::Before),
            (Some("new"), Some("old"), after(Some("old"))),
            (Some("written since"), Some("old"), after(Some("old"))),
            (Some("written before"), Some("new"), Standing::Before),
            (Some("old"), Some("written since"), Standing::Before),
            (Some("new"), Some("written before"), after(Some("written before"))),
            (Some("what"), Some("ever"), Standing::Lost),
            (Some("what"), None, Standing::Lost),
            (Some("new"), None, Standing::Lost),
        ] {
            assert_eq!(standing_of(&replaced, live, side), expected, "{live:?} {side:?}");
        }
    }

    #[test]
    fn nothing_before_and_nothing_after_are_states_like_others() {
        let made = note(Some("new"), None, false);
        assert_eq!(standing_of(&made, None, Some("new")), Standing::Before);
        assert_eq!(standing_of(&made, Some("new"), None), after(None));
        assert_eq!(standing_of(&made, Some("written since"), None), after(None));
        let taken = note(None, Some("old"), false);
        assert_eq!(standing_of(&taken, Some("old"), None), Standing::Before);
        assert_eq!(standing_of(&taken, None, Some("old")), after(Some("old")));
        assert_eq!(standing_of(&taken, Some("made since"), Some("old")), after(Some("old")));
    }

    #[test]
    fn what_was_put_back_is_not_put_back_twice() {
        let back = note(Some("new"), Some("old"), true);
        assert_eq!(standing_of(&back, Some("written since"), Some("used")), Standing::Before);
        assert_eq!(standing_of(&back, Some("new"), Some("old")), after(Some("old")));
    }

    #[test]
    fn nothing_to_change_is_nothing_to_put_back() {
        let same = note(Some("same"), Some("same"), false);
        assert_eq!(standing_of(&same, Some("written since"), Some("same")), Standing::Before);
    }
}
