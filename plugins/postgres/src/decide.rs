//! What the catalogue and the numbers mean for a plan. Pure.

use std::collections::BTreeMap;

use sternway_plugin::{Error, Finding, Verdict, Verification};

use crate::standing::{Catalogue, Standing};

/// Why the database cannot be switched; each refuses the run before anything is touched.
pub(crate) fn blockers(catalogue: &Catalogue, on: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if catalogue.replica {
        let message = "the server is a replica: restore on the primary";
        findings.push(Finding::blocking("postgres/replica", message));
    }
    if catalogue.named(on).is_some_and(|live| !live.open) {
        let message = format!("{on} takes no connections: an earlier run or a person has fenced it");
        findings.push(Finding::blocking("postgres/closed", message));
    }
    for (names, code, what) in [
        (&catalogue.prepared, "postgres/prepared", "transactions that are prepared"),
        (&catalogue.slots, "postgres/slots", "replication slots"),
        (&catalogue.subscriptions, "postgres/subscriptions", "subscriptions"),
    ] {
        if !names.is_empty() {
            let message = format!("{on} has {what}, and cannot be renamed: {}", names.join(", "));
            findings.push(Finding::blocking(code, message));
        }
    }
    if let Some(live) = catalogue.named(on).filter(|live| live.sessions > 0) {
        let message = format!("{} sessions of {on} will be ended", live.sessions);
        findings.push(Finding::note("postgres/sessions", message));
    }
    findings
}

/// Whether a second database of this size has room.
pub(crate) fn room(need: u64, free: Option<u64>) -> Option<Finding> {
    match free {
        None => {
            let message = format!(
                "about {need} bytes are needed beside; `data-directory` lets this be compared with what is free"
            );
            Some(Finding::note("postgres/room-unknown", message))
        }
        // A tenth for the log of what is written.
        Some(free) if free < need.saturating_add(need / 10) => {
            let message = format!("about {} bytes are needed beside, and {free} are free", need + need / 10);
            Some(Finding::blocking("postgres/too-little-disk", message))
        }
        Some(_) => None,
    }
}

pub(crate) fn leftovers(catalogue: &Catalogue, on: &str) -> Option<Finding> {
    let kept: Vec<String> =
        catalogue.kept(on).into_iter().map(|(kind, short)| format!("{on}__{kind}_{short}")).collect();
    (!kept.is_empty()).then(|| {
        let message = format!("earlier runs have left {}; `drop-kept` removes them", kept.join(", "));
        Finding::note("postgres/kept", message)
    })
}

pub(crate) fn proof_of_switch(on: &str, standing: &Standing) -> Verification {
    let (measured, verdict) = match standing {
        Standing::After { fenced: false } => ("live and open".to_owned(), Verdict::Pass),
        Standing::After { fenced: true } => ("live, and takes no connections".to_owned(), Verdict::Fail),
        Standing::Before { .. } | Standing::Back { .. } => ("not live".to_owned(), Verdict::Fail),
        Standing::Lost(how) => (how.clone(), Verdict::Fail),
    };
    Verification {
        name: format!("{on} is the restored database"),
        verdict,
        message: format!("the restored database is {measured}"),
        measured: Some(measured),
        expected: Some("live and open".to_owned()),
    }
}

/// The dump without lines `\restrict KEY` and `\unrestrict KEY`.
pub(crate) fn without_locks(dump: &[u8]) -> Vec<u8> {
    let is_lock = |line: &[u8]| {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let key = line.strip_prefix(b"\\restrict ").or_else(|| line.strip_prefix(b"\\unrestrict "));
        key.is_some_and(|key| !key.is_empty() && key.iter().all(u8::is_ascii_alphanumeric))
    };
    dump.split_inclusive(|byte| *byte == b'\n').filter(|line| !is_lock(line)).flatten().copied().collect()
}

/// One migration: its script's number, and the versions before and after going down.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Stair {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) down: String,
    pub(crate) up: String,
}

/// The stairs from the newest of `versions` down to `to`, highest first.
pub(crate) fn stairs(
    names: &[String],
    versions: &[u64],
    to: u64,
    is_rows: bool,
) -> Result<Vec<Stair>, Error> {
    let down = scripts(names, ".down.sql")?;
    let up = scripts(names, ".up.sql")?;
    let now = versions.last().copied().unwrap_or_default();
    if now < to {
        let message = format!("the database is at version {now}, below {to}: there is nothing to take back");
        return Err(Error::failed("postgres/version", message));
    }
    let done: Vec<u64> =
        if is_rows { versions.to_vec() } else { down.keys().copied().filter(|n| *n <= now).collect() };
    if to != 0 && to != now && !done.contains(&to) && is_rows {
        let message = format!("version {to} was never applied to the database, so it cannot be gone back to");
        return Err(Error::failed("postgres/version", message));
    }
    if !is_rows && now != to && !down.contains_key(&now) {
        return Err(lacking(now, "down"));
    }
    let mut above: Vec<u64> = done.into_iter().filter(|version| *version > to).collect();
    above.sort_unstable();
    above.dedup();
    let mut stairs = Vec::new();
    for (at, from) in above.iter().enumerate().rev() {
        let below = at.checked_sub(1).map_or(to, |below| above[below]);
        stairs.push(Stair {
            from: *from,
            to: below,
            down: down.get(from).cloned().ok_or_else(|| lacking(*from, "down"))?,
            up: up.get(from).cloned().ok_or_else(|| lacking(*from, "up"))?,
        });
    }
    Ok(stairs)
}

fn lacking(version: u64, way: &str) -> Error {
    let message =
        format!("there is no script `{version}_*.{way}.sql`; both ways are needed, the other one for undo");
    Error::failed("postgres/no-script", message)
}

fn scripts(names: &[String], suffix: &str) -> Result<BTreeMap<u64, String>, Error> {
    let mut found = BTreeMap::new();
    for name in names.iter().filter(|name| name.ends_with(suffix)) {
        let digits = name.bytes().take_while(u8::is_ascii_digit).count();
        let Ok(number) = name[..digits].parse::<u64>() else { continue };
        if let Some(other) = found.insert(number, name.clone()) {
            let message = format!("`{other}` and `{name}` are both version {number}");
            return Err(Error::failed("postgres/two-scripts", message));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::Database;

    fn catalogue() -> Catalogue {
        let live = Database { name: "a".into(), oid: 1, open: true, sessions: 0 };
        let (prepared, slots, subscriptions) = (vec![], vec![], vec![]);
        Catalogue { version: 150_018, replica: false, databases: vec![live], prepared, slots, subscriptions }
    }

    fn codes(findings: &[Finding]) -> Vec<(&str, bool)> {
        findings.iter().map(|finding| (finding.code.as_str(), finding.blocking)).collect()
    }

    #[test]
    fn what_would_block_the_switch_is_found_before_anything() {
        assert_eq!(codes(&blockers(&catalogue(), "a")), []);
        let mut bad = catalogue();
        bad.replica = true;
        bad.databases[0].open = false;
        bad.databases[0].sessions = 3;
        (bad.prepared, bad.slots, bad.subscriptions) = (vec!["p".into()], vec!["s".into()], vec!["u".into()]);
        assert_eq!(
            codes(&blockers(&bad, "a")),
            [
                ("postgres/replica", true),
                ("postgres/closed", true),
                ("postgres/prepared", true),
                ("postgres/slots", true),
                ("postgres/subscriptions", true),
                ("postgres/sessions", false),
            ]
        );
    }

    #[test]
    fn a_second_database_needs_room_for_itself_and_its_log() {
        assert_eq!(room(100, Some(110)), None);
        assert!(room(100, Some(109)).unwrap().blocking);
        assert!(!room(100, None).unwrap().blocking);
        assert_eq!(room(u64::MAX / 2, Some(u64::MAX)), None);
    }

    #[test]
    fn a_dumps_own_locks_go_and_everything_else_stays() {
        let dump = b"\\restrict aB3\nselect 1;\nCOPY t FROM stdin;\n\\N\t\\\\restrict x\n\\restrict a b\n\\.\n\\unrestrict aB3";
        let kept = without_locks(dump);
        assert_eq!(kept, b"select 1;\nCOPY t FROM stdin;\n\\N\t\\\\restrict x\n\\restrict a b\n\\.\n");
    }

    fn names(numbers: &[u64]) -> Vec<String> {
        numbers.iter().flat_map(|n| [format!("{n:03}_x.down.sql"), format!("{n:03}_x.up.sql")]).collect()
    }

    fn told(names: &[String], versions: &[u64], to: u64, is_rows: bool) -> Result<Vec<(u64, u64)>, String> {
        let stairs = stairs(names, versions, to, is_rows).map_err(|error| error.code)?;
        Ok(stairs.iter().map(|stair| (stair.from, stair.to)).collect())
    }

    #[test]
    fn migrations_go_down_one_by_one_to_the_version_asked_for() {
        let all = names(&[1, 2, 3, 5]);
        assert_eq!(told(&all, &[1, 2, 3, 5], 2, true), Ok(vec![(5, 3), (3, 2)]));
        assert_eq!(told(&all, &[5], 2, false), Ok(vec![(5, 3), (3, 2)]));
        assert_eq!(told(&all, &[1, 2], 2, true), Ok(vec![]));
        assert_eq!(told(&all, &[1, 2], 0, true), Ok(vec![(2, 1), (1, 0)]));
    }

    #[test]
    fn a_way_down_that_is_not_whole_is_refused() {
        assert_eq!(told(&names(&[1, 3]), &[1, 2, 3], 1, true).unwrap_err(), "postgres/no-script");
        assert_eq!(told(&names(&[1, 2]), &[3], 1, false).unwrap_err(), "postgres/no-script");
        assert_eq!(told(&names(&[1, 2]), &[1], 2, true).unwrap_err(), "postgres/version");
        assert_eq!(told(&names(&[1, 2, 3]), &[1, 3], 2, true).unwrap_err(), "postgres/version");
        let down_only = vec!["2_x.down.sql".to_owned()];
        assert_eq!(told(&down_only, &[1, 2], 1, true).unwrap_err(), "postgres/no-script");
        let twice = vec!["2_x.down.sql".to_owned(), "02_y.down.sql".to_owned()];
        assert_eq!(told(&twice, &[1, 2], 1, true).unwrap_err(), "postgres/two-scripts");
    }

    #[test]
    fn verify_wants_the_restored_database_live_and_open() {
        for (standing, verdict) in [
            (Standing::After { fenced: false }, Verdict::Pass),
            (Standing::After { fenced: true }, Verdict::Fail),
            (Standing::Before { fenced: false }, Verdict::Fail),
            (Standing::Lost("gone".into()), Verdict::Fail),
        ] {
            assert_eq!(proof_of_switch("a", &standing).verdict, verdict, "{standing:?}");
        }
    }
}
