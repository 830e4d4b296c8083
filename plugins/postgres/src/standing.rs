//! Where the two databases of a restore stand, told by the catalogue alone: a
//! name may be anybody's, an object id is one database's for ever. Pure.

use serde::{Deserialize, Serialize};

/// The server, the database and what is named after it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Catalogue {
    /// `150018`.
    pub(crate) version: u32,
    pub(crate) replica: bool,
    pub(crate) databases: Vec<Database>,
    pub(crate) prepared: Vec<String>,
    pub(crate) slots: Vec<String>,
    pub(crate) subscriptions: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) oid: u64,
    /// Whether anybody may connect.
    pub(crate) open: bool,
    pub(crate) sessions: u64,
}

/// What `prepare` staged, by object id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Staged {
    /// The live database then; none when there was none.
    pub(crate) old: Option<u64>,
    /// The restored one.
    pub(crate) new: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The old one is live, the new one beside.
    Before { fenced: bool },
    /// The new one is live, the old one aside.
    After { fenced: bool },
    /// The old one is live, the new one is gone or was undone.
    Back { fenced: bool },
    /// Somebody else was here.
    Lost(String),
}

/// The names that stand beside a database in this step of this run.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) live: String,
    pub(crate) side: String,
    pub(crate) before: String,
    pub(crate) undone: String,
}

impl Names {
    pub(crate) fn of(live: &str, short: &str) -> Self {
        Self {
            live: live.to_owned(),
            side: format!("{live}__sternway_{short}"),
            before: format!("{live}__before_{short}"),
            undone: format!("{live}__undone_{short}"),
        }
    }
}

impl Catalogue {
    pub(crate) fn named(&self, name: &str) -> Option<&Database> {
        self.databases.iter().find(|database| database.name == name)
    }

    fn with_oid(&self, oid: u64) -> Option<&Database> {
        self.databases.iter().find(|database| database.oid == oid)
    }

    /// `orders__before_1a2b3c4d` and the like, as kind and key.
    pub(crate) fn kept(&self, on: &str) -> Vec<(String, String)> {
        let prefix = format!("{on}__");
        let kept = self.databases.iter().filter_map(|database| {
            let (kind, short) = database.name.strip_prefix(&prefix)?.split_once('_')?;
            let is_ours = ["before", "undone", "sternway"].contains(&kind)
                && short.len() == 8
                && short.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_ours.then(|| (kind.to_owned(), short.to_owned()))
        });
        kept.collect()
    }

    pub(crate) fn standing(&self, names: &Names, staged: Staged) -> Standing {
        let new = self.with_oid(staged.new).map(|database| database.name.as_str());
        let live = self.named(&names.live);
        let live_is = |oid: Option<u64>| live.map(|live| live.oid) == oid;
        let fenced = live.is_some_and(|live| !live.open);
        let old_is_aside = match staged.old {
            None => true,
            Some(old) => self.with_oid(old).is_some_and(|old| old.name == names.before),
        };
        match new {
            Some(name) if name == names.side && live_is(staged.old) => Standing::Before { fenced },
            Some(name) if name == names.live && old_is_aside => Standing::After { fenced },
            Some(name) if name == names.undone && live_is(staged.old) => Standing::Back { fenced },
            None if live_is(staged.old) => Standing::Back { fenced },
            _ => {
                let of = |oid: Option<u64>| {
                    let found = oid.and_then(|oid| self.with_oid(oid));
                    found.map_or_else(|| "gone".to_owned(), |found| format!("`{}`", found.name))
                };
                let (old, new) = (of(staged.old), of(Some(staged.new)));
                Standing::Lost(format!(
                    "the database that was `{}` is {old}, the restored one is {new}",
                    names.live
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(databases: &[(&str, u64, bool)]) -> Catalogue {
        let database = |&(name, oid, open): &(&str, u64, bool)| Database {
            name: format!("a{name}"),
            oid,
            open,
            sessions: 0,
        };
        Catalogue {
            version: 150_018,
            replica: false,
            databases: databases.iter().map(database).collect(),
            prepared: vec![],
            slots: vec![],
            subscriptions: vec![],
        }
    }

    const SIDE: &str = "__sternway_0000000k";
    const BEFORE: &str = "__before_0000000k";
    const UNDONE: &str = "__undone_0000000k";

    fn standing(databases: &[(&str, u64, bool)], old: Option<u64>) -> Standing {
        catalogue(databases).standing(&Names::of("a", "0000000k"), Staged { old, new: 2 })
    }

    #[test]
    fn each_state_a_crash_can_leave_is_told_apart() {
        let (before, after, back) = (
            |fenced| Standing::Before { fenced },
            |fenced| Standing::After { fenced },
            |fenced| Standing::Back { fenced },
        );
        for (databases, expected) in [
            (&[("", 1, true), (SIDE, 2, true)][..], before(false)),
            (&[("", 1, false), (SIDE, 2, true)], before(true)),
            (&[("", 2, true), (BEFORE, 1, false)], after(false)),
            (&[("", 2, false), (BEFORE, 1, false)], after(true)),
            (&[("", 1, true), (UNDONE, 2, false)], back(false)),
            (&[("", 1, true)], back(false)),
            (&[("", 1, false)], back(true)),
        ] {
            assert_eq!(standing(databases, Some(1)), expected, "{databases:?}");
        }
        assert_eq!(standing(&[(SIDE, 2, true)], None), before(false));
        assert_eq!(standing(&[("", 2, true)], None), after(false));
        assert_eq!(standing(&[(UNDONE, 2, true)], None), back(false));
        assert_eq!(standing(&[], None), back(false));
    }

    #[test]
    fn a_database_that_somebody_made_or_took_meanwhile_is_not_touched() {
        for databases in [
            &[("", 9, true), (SIDE, 2, true)][..],
            &[(SIDE, 2, true)],
            &[("", 2, true)],
            &[("", 1, true), ("__mine", 2, true)],
            &[("", 9, true)],
            &[],
        ] {
            assert!(matches!(standing(databases, Some(1)), Standing::Lost(_)), "{databases:?}");
        }
        assert!(matches!(standing(&[("", 9, true), (SIDE, 2, true)], None), Standing::Lost(_)));
    }

    #[test]
    fn only_names_that_we_gave_are_ours_to_drop() {
        let databases = [
            ("", 1, true),
            ("__before_0a1b2c3d", 2, true),
            ("__before_me", 3, true),
            ("__sternway_0a1b2c3d", 4, true),
            ("__old_0a1b2c3d", 5, true),
        ];
        let kept = catalogue(&databases).kept("a");
        assert_eq!(kept, [("before".into(), "0a1b2c3d".into()), ("sternway".into(), "0a1b2c3d".into())]);
    }
}
