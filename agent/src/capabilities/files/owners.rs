//! Names of users and groups, from the host's own tables: no name service is
//! asked, so the answer is the same with the network gone.

use super::Ownership;
use super::tree::Change;
use crate::capabilities::{ErrorKind, HostError};

pub(super) fn user_name(uid: u32) -> String {
    name_of("/etc/passwd", uid).unwrap_or_else(|| uid.to_string())
}

pub(super) fn group_name(gid: u32) -> String {
    name_of("/etc/group", gid).unwrap_or_else(|| gid.to_string())
}

/// Turns names into numbers, so that a whole tree is changed by one lookup.
pub(super) fn resolve(to: &Ownership) -> Result<Change, HostError> {
    let number = |table: &str, what: &str, name: &Option<String>| match name {
        None => Ok(None),
        Some(name) => number_of(table, name).map(Some).ok_or_else(|| {
            HostError::new(
                ErrorKind::NotFound,
                "files/unknown-owner",
                format!("this host knows no {what} `{}`", name.escape_debug()),
            )
        }),
    };
    for mode in [to.file_mode, to.directory_mode].into_iter().flatten() {
        if mode > 0o7777 {
            return Err(HostError::new(
                ErrorKind::Invalid,
                "files/bad-mode",
                format!("{mode:o} is not a set of permission bits"),
            ));
        }
    }
    Ok(Change {
        uid: number("/etc/passwd", "user", &to.owner)?,
        gid: number("/etc/group", "group", &to.group)?,
        file_mode: to.file_mode,
        directory_mode: to.directory_mode,
    })
}

fn name_of(table: &str, wanted: u32) -> Option<String> {
    rows(table).into_iter().find_map(|(name, number)| (number == wanted).then_some(name))
}

pub(super) fn number_of(table: &str, wanted: &str) -> Option<u32> {
    // The highest number means "leave" to the kernel.
    if let Ok(number) = wanted.parse::<u32>() {
        return (number != u32::MAX).then_some(number);
    }
    rows(table).into_iter().find_map(|(name, number)| (name == wanted).then_some(number))
}

fn rows(table: &str) -> Vec<(String, u32)> {
    std::fs::read_to_string(table)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            Some((name, fields.nth(1)?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_number_zero_both_ways() {
        assert_eq!(user_name(0), "root");
        assert_eq!(number_of("/etc/passwd", "root"), Some(0));
        assert_eq!(number_of("/etc/passwd", "1234"), Some(1234));
        assert_eq!(number_of("/etc/passwd", "4294967295"), None);
        assert_eq!(user_name(4_000_000_001), "4000000001");
    }

    #[test]
    fn an_unknown_owner_and_an_impossible_mode_are_refused() {
        let owner = Ownership { owner: Some("nobody-has-this-name".into()), ..Ownership::default() };
        assert_eq!(resolve(&owner).unwrap_err().code, "files/unknown-owner");
        let mode = Ownership { file_mode: Some(0o10_000), ..Ownership::default() };
        assert_eq!(resolve(&mode).unwrap_err().code, "files/bad-mode");
    }
}
