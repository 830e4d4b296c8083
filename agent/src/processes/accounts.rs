//! As whom a program runs. What belongs to somebody is looked at as that
//! person: the settings of a working tree or of a Python environment name
//! programs, which must not run with the agent's rights.

use std::path::PathBuf;

/// A user of this host, from its own table: no name service is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: Option<PathBuf>,
}

impl Account {
    /// Ours.
    pub(crate) fn own() -> Option<Self> {
        let uid = rustix::process::geteuid().as_raw();
        rows().into_iter().find(|(_, account)| account.uid == uid).map(|(_, account)| account)
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        rows().into_iter().find(|(known, _)| known == name).map(|(_, account)| account)
    }

    /// Who owns something, when the agent may become that user at all.
    pub(crate) fn owner(uid: u32, gid: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let known = rows().into_iter().find(|(_, account)| account.uid == uid);
        Some(known.map_or(Self { uid, gid, home: None }, |(_, account)| account))
    }

    /// Whether the agent can run a program as this user.
    pub(crate) fn is_open_to_us(&self) -> bool {
        let own = rustix::process::geteuid();
        own.is_root() || own.as_raw() == self.uid
    }
}

fn rows() -> Vec<(String, Account)> {
    std::fs::read_to_string("/etc/passwd").unwrap_or_default().lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<(String, Account)> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1).filter(|home| !home.is_empty()).map(PathBuf::from);
    Some((name, Account { uid, gid, home }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_with_group_and_home() {
        let root = Account::named("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(Account::named("nobody-of-that-name"), None);
        let (name, account) = row("db:x:70:71:a database:/var/db:/bin/false").unwrap();
        assert_eq!((name.as_str(), account.uid, account.gid), ("db", 70, 71));
        assert_eq!(account.home, Some("/var/db".into()));
        assert!(row("broken:x:a").is_none());
    }
}
