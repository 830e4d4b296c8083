//! What the server's state and the lines of a dump mean. Pure.

use serde::{Deserialize, Serialize};
use sternway_plugin::{Error, Finding, Verdict, Verification};

/// As the server tells it: names with `/` between, and `//` between pairs.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Told {
    pub(crate) version: String,
    read_only: serde_json::Value,
    databases: Option<String>,
    tables: Option<String>,
    bytes: Option<String>,
    views: Option<String>,
    triggers: Option<String>,
    routines: Option<String>,
    events: Option<String>,
    references: Option<String>,
}

/// The tables that a restore found and made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Staged {
    pub(crate) old: Vec<String>,
    pub(crate) new: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The restored tables lie beside.
    Before,
    /// They are live, the old ones aside.
    After,
    /// Nothing of this step is left but what was undone.
    Back,
    /// Somebody else was here.
    Lost(String),
}

impl Told {
    pub(crate) fn has(&self, database: &str) -> bool {
        self.databases.iter().flat_map(|names| names.split('/')).any(|name| name == database)
    }

    pub(crate) fn tables(&self, database: &str) -> Vec<String> {
        of(self.tables.as_ref(), database)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.as_ref().and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// `orders__before_1a2b3c4d` and the like, as kind and key.
    pub(crate) fn kept(&self, on: &str) -> Vec<(String, String)> {
        let prefix = format!("{on}__");
        let names = self.databases.iter().flat_map(|names| names.split('/'));
        let kept = names.filter_map(|name| {
            let (kind, short) = name.strip_prefix(&prefix)?.split_once('_')?;
            let is_ours = ["before", "undone", "sternway"].contains(&kind)
                && short.len() == 8
                && short.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_ours.then(|| (kind.to_owned(), short.to_owned()))
        });
        kept.collect()
    }

    pub(crate) fn standing(&self, on: &str, short: &str, staged: &Staged) -> Standing {
        let live = self.tables(on);
        let side = self.tables(&format!("{on}__sternway_{short}"));
        let before = self.tables(&format!("{on}__before_{short}"));
        if side == staged.new && before.is_empty() {
            return match live == staged.old {
                true => Standing::Before,
                false => Standing::Lost(format!("tables of {on} came or went since they were looked at")),
            };
        }
        if side.is_empty() && before == staged.old && !(before.is_empty() && live != staged.new) {
            // A table that a program made since is its own.
            let all = staged.new.iter().all(|table| live.contains(table));
            return if all {
                Standing::After
            } else {
                Standing::Lost(format!("a restored table of {on} is gone"))
            };
        }
        if side.is_empty() && before.is_empty() && live == staged.old {
            return Standing::Back;
        }
        Standing::Lost(format!("the tables of {on} are not where this run left them"))
    }

    /// What of `database` a change of names cannot take along.
    pub(crate) fn cannot_move(&self, database: &str) -> Option<(&'static str, String)> {
        for (told, code, what) in [
            (&self.views, "mysql/views", "views"),
            (&self.triggers, "mysql/triggers", "triggers"),
            (&self.routines, "mysql/routines", "routines"),
            (&self.events, "mysql/events", "events"),
        ] {
            let names = of(told.as_ref(), database);
            if !names.is_empty() {
                let message = format!("{what} cannot move from database to database: {}", names.join(", "));
                return Some((code, message));
            }
        }
        None
    }

    /// Each refuses the run before anything is touched.
    pub(crate) fn blockers(&self, on: &str) -> Vec<Finding> {
        let mut found = Vec::new();
        if !self.has(on) {
            found.push(("mysql/no-database", format!("there is no database {on}")));
        }
        if !is_atomic(&self.version) {
            let message = format!(
                "{} does not rename many tables all or nothing: MariaDB 10.6 or MySQL 8.0 does",
                self.version
            );
            found.push(("mysql/version", message));
        }
        if ["1", "\"ON\"", "\"1\"", "true"].contains(&self.read_only.to_string().as_str()) {
            found.push(("mysql/read-only", "the server only reads: restore on the primary".to_owned()));
        }
        found.extend(self.cannot_move(on));
        if let Some(names) = &self.references {
            let message = format!("tables of other databases refer to {on}: {}", names.replace("//", ", "));
            found.push(("mysql/references", message));
        }
        found.into_iter().map(|(code, message)| Finding::blocking(code, message)).collect()
    }
}

fn of(told: Option<&String>, database: &str) -> Vec<String> {
    let pairs = told.into_iter().flat_map(|text| text.split("//"));
    let mut names: Vec<String> =
        pairs.filter_map(|pair| pair.strip_prefix(database)?.strip_prefix('/')).map(str::to_owned).collect();
    names.sort_unstable();
    names
}

fn is_atomic(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or_default());
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    if version.contains("MariaDB") { (major, minor) >= (10, 6) } else { major >= 8 }
}

/// Whether a second set of tables of this size has room.
pub(crate) fn room(need: u64, free: Option<u64>) -> Option<Finding> {
    match free {
        None => {
            let message = format!(
                "about {need} bytes are needed beside; `data-directory` lets this be compared with what is free"
            );
            Some(Finding::note("mysql/room-unknown", message))
        }
        // A tenth for the log of what is written.
        Some(free) if free < need.saturating_add(need / 10) => {
            let message = format!("about {} bytes are needed beside, and {free} are free", need + need / 10);
            Some(Finding::blocking("mysql/too-little-disk", message))
        }
        Some(_) => None,
    }
}

/// Whether the lines are those of a whole dump of one database; answers whether
/// they name it, so that it has to be written again without.
pub(crate) fn dump(path: &str, lines: &str) -> Result<bool, Error> {
    let (mut begins, mut ends) = (false, false);
    let (mut uses, mut others) = (Vec::new(), 0);
    for line in lines.lines() {
        let small = line.to_ascii_lowercase();
        if small.contains("-- mysql dump ") || small.contains("-- mariadb dump ") {
            begins = true;
        } else if small.starts_with("-- dump completed") {
            ends = true;
        } else if line.starts_with("USE `") && line.ends_with("`;") && line.matches('`').count() == 2 {
            uses.push(line.to_owned());
        } else if !(line.starts_with("CREATE DATABASE ")
            && line.ends_with(';')
            && line.matches(';').count() == 1)
        {
            others += 1;
        }
    }
    let refused = |code: &str, message: String| Err(Error::failed(code, message));
    if !begins {
        return refused(
            "mysql/no-dump",
            format!("{path} is no dump of mysqldump or mariadb-dump, or is compressed"),
        );
    }
    if !ends {
        return refused(
            "mysql/damaged",
            format!("{path} breaks off: its last line `-- Dump completed` is not there"),
        );
    }
    uses.sort_unstable();
    uses.dedup();
    if uses.len() > 1 || others > 0 {
        return refused(
            "mysql/several-databases",
            format!("{path} is of more than one database, or drops one"),
        );
    }
    Ok(!uses.is_empty())
}

/// The dump without the lines that name its database.
pub(crate) fn unnamed(dump: &[u8]) -> Vec<u8> {
    let names = |line: &&[u8]| line.starts_with(b"USE `") || line.starts_with(b"CREATE DATABASE ");
    dump.split_inclusive(|byte| *byte == b'\n').filter(|line| !names(line)).flatten().copied().collect()
}

pub(crate) fn proof_of_switch(on: &str, standing: &Standing) -> Verification {
    let (measured, verdict) = match standing {
        Standing::After => ("live".to_owned(), Verdict::Pass),
        Standing::Before | Standing::Back => ("not live".to_owned(), Verdict::Fail),
        Standing::Lost(how) => (how.clone(), Verdict::Fail),
    };
    Verification {
        name: format!("{on} has the restored tables"),
        verdict,
        message: format!("the restored tables are {measured}"),
        measured: Some(measured),
        expected: Some("live".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tables: &str) -> Told {
        Told {
            version: "10.11.19-MariaDB".into(),
            databases: Some("a".into()),
            tables: Some(tables.into()),
            ..Told::default()
        }
    }

    fn standing(tables: &str) -> Standing {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        told(tables).standing("a", "k", &Staged { old: names(&["o", "t"]), new: names(&["n", "t"]) })
    }

    #[test]
    fn each_state_a_crash_can_leave_is_told_apart() {
        assert_eq!(standing("a/o//a/t//a__sternway_k/n//a__sternway_k/t"), Standing::Before);
        assert_eq!(standing("a/n//a/t//a__before_k/o//a__before_k/t"), Standing::After);
        assert_eq!(standing("a/mine//a/n//a/t//a__before_k/o//a__before_k/t"), Standing::After);
        assert_eq!(standing("a/o//a/t//a__undone_k/n//a__undone_k/t"), Standing::Back);
        for lost in
            ["a/o//a__sternway_k/n//a__sternway_k/t", "a/t//a__before_k/o//a__before_k/t", "a/n//a/t", ""]
        {
            assert!(matches!(standing(lost), Standing::Lost(_)), "{lost}");
        }
    }

    #[test]
    fn what_would_block_the_switch_is_found_before_anything() {
        let codes = |told: &Told| told.blockers("a").into_iter().map(|found| found.code).collect::<Vec<_>>();
        assert_eq!(codes(&told("a/t")), [""; 0]);
        let bad = Told {
            version: "5.7.44-log".into(),
            read_only: 1.into(),
            databases: Some("b".into()),
            triggers: Some("a/x".into()),
            references: Some("b/t".into()),
            ..told("")
        };
        assert_eq!(
            codes(&bad),
            ["mysql/no-database", "mysql/version", "mysql/read-only", "mysql/triggers", "mysql/references"]
        );
        for (version, atomic) in
            [("10.5.1-MariaDB", false), ("11.4.2-MariaDB", true), ("8.0.36", true), ("5.7.1", false)]
        {
            assert_eq!(is_atomic(version), atomic, "{version}");
        }
        assert!(room(100, Some(109)).unwrap().blocking && room(100, Some(110)).is_none());
    }

    #[test]
    fn only_a_whole_dump_of_one_database_is_taken() {
        let (head, tail) = ("-- MariaDB dump 10.19  Distrib\n", "-- Dump completed\n");
        let code = |middle: &str| dump("/d", &format!("{head}{middle}{tail}")).map_err(|error| error.code);
        assert_eq!(code(""), Ok(false));
        assert_eq!(code("CREATE DATABASE /*!32312 IF NOT EXISTS*/ `a`;\nUSE `a`;\n"), Ok(true));
        for bad in ["USE `a`;\nUSE `b`;\n", "use a;\n", "DROP DATABASE `a`;\n", "USE `a`; drop table x;\n"] {
            assert_eq!(code(bad).unwrap_err(), "mysql/several-databases", "{bad}");
        }
        assert_eq!(dump("/d", head).unwrap_err().code, "mysql/damaged");
        assert_eq!(dump("/d", tail).unwrap_err().code, "mysql/no-dump");
        assert_eq!(unnamed(b"x\nCREATE DATABASE `a`;\n\nUSE `a`;\ny"), b"x\n\ny");
    }
}
