//! What systemd takes for the name of a unit.

use crate::capabilities::{ErrorKind, HostError};

const BYTES_MAX: usize = 255;
/// The kinds that a step may look at and move.
pub(super) const SUFFIXES: [&str; 6] = [".service", ".socket", ".timer", ".path", ".target", ".mount"];

/// # Errors
/// `systemd/name`.
pub(super) fn check(name: &str) -> Result<(), HostError> {
    let refuse =
        |why: &str| Err(HostError::new(ErrorKind::Invalid, "systemd/name", format!("{name:?} {why}")));
    if name.len() > BYTES_MAX {
        return refuse("is longer than 255 bytes");
    }
    let Some(stem) = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)) else {
        return refuse("does not end with .service, .socket, .timer, .path, .target or .mount");
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if stem.is_empty() || !stem.chars().all(plain) {
        return refuse("has characters that no unit's name has");
    }
    // Of a template only its instances are units: `app@1.service`.
    if stem.starts_with('@') || stem.ends_with('@') {
        return refuse("is a template; name one of its instances");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn names_are_those_of_units_that_can_be_moved() {
        for good in [
            "web.service",
            "app@1.service",
            "app@a\\x2db.service",
            "db.socket",
            "backup.timer",
            "spool.path",
            "multi-user.target",
            "srv-data.mount",
            "a.b:c_d.service",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let long = format!("{}.service", "a".repeat(248));
        for bad in [
            "",
            "web",
            ".service",
            "web.scope",
            "a/b.service",
            "../a.service",
            "a b.service",
            "@.service",
            "app@.service",
            "@1.service",
            "ä.service",
            "a\n.service",
            "-.slice",
            long.as_str(),
        ] {
            assert_eq!(check(bad).unwrap_err().code, "systemd/name", "{bad:?}");
        }
    }
}
