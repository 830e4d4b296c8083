//! What `pg_restore --list` says of a dump, and what the server lacks for it. Pure.

use std::collections::BTreeSet;

/// The table of contents of an archive.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Major version of the server it was dumped from.
    pub(crate) server: Option<u32>,
    pub(crate) extensions: BTreeSet<String>,
    pub(crate) owners: BTreeSet<String>,
    pub(crate) tables: usize,
}

/// Reads lines such as `215; 1259 16389 TABLE public users orders_owner`.
pub(crate) fn read(list: &str) -> Contents {
    let mut contents = Contents::default();
    for line in list.lines() {
        if let Some(version) = line.strip_prefix(";     Dumped from database version: ") {
            contents.server =
                version.split(['.', ' ', 'd', 'b', 'r']).next().and_then(|major| major.parse().ok());
        }
        let Some((number, rest)) = line.split_once("; ") else { continue };
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let words: Vec<&str> = rest.split(' ').skip(2).collect();
        match words.as_slice() {
            ["EXTENSION", "-", name, ..] => {
                contents.extensions.insert((*name).to_owned());
            }
            ["COMMENT" | "ACL", ..] | [] => {}
            ["TABLE", "DATA", ..] => contents.tables += 1,
            [.., owner] if !owner.is_empty() => {
                contents.owners.insert((*owner).to_owned());
            }
            _ => {}
        }
    }
    contents
}

/// What a server must have; each with a code and a sentence.
pub(crate) fn lacking(
    contents: &Contents,
    server: u32,
    roles: &[String],
    extensions: &[String],
    keeps_owners: bool,
) -> Vec<(&'static str, String)> {
    let mut lacking = Vec::new();
    if let Some(from) = contents.server.filter(|from| *from > server) {
        let message = format!(
            "the dump is of PostgreSQL {from}, and the server is {server}: it cannot go back that far"
        );
        lacking.push(("postgres/dump-too-new", message));
    }
    for name in contents.extensions.iter().filter(|name| !extensions.contains(name)) {
        let message = format!("the dump needs the extension `{name}`, which the server does not have");
        lacking.push(("postgres/extension-missing", message));
    }
    for name in contents.owners.iter().filter(|name| keeps_owners && !roles.contains(name)) {
        let message = format!(
            "the dump gives things to the role `{name}`, which the server does not have; `no-owner` leaves that out"
        );
        lacking.push(("postgres/role-missing", message));
    }
    lacking
}

/// Whether the complaint says that the file is plain SQL, as `pg_dump` begins it.
pub(crate) fn is_plain(complaint: &str) -> bool {
    complaint.contains("appears to be a text format dump")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
;
; Archive created at 2026-11-21 20:00:00 UTC
;     dbname: orders
;     TOC Entries: 12
;     Format: CUSTOM
;     Dumped from database version: 15.18 (Debian 15.18-0+deb12u1)
;     Dumped by pg_dump version: 15.18 (Debian 15.18-0+deb12u1)
;
2; 3079 16390 EXTENSION - pgcrypto 
3347; 0 0 COMMENT - EXTENSION pgcrypto 
215; 1259 16389 TABLE public users orders_owner
3349; 0 0 ACL public TABLE users orders_owner
3345; 0 16389 TABLE DATA public users orders_owner
217; 1259 16400 SEQUENCE public users_id_seq reader
";

    #[test]
    fn a_list_names_extensions_owners_and_the_version() {
        let contents = read(LIST);
        assert_eq!(contents.server, Some(15));
        assert_eq!(contents.tables, 1);
        assert_eq!(contents.extensions.iter().collect::<Vec<_>>(), ["pgcrypto"]);
        assert_eq!(contents.owners.iter().collect::<Vec<_>>(), ["orders_owner", "reader"]);
    }

    #[test]
    fn what_the_server_lacks_is_named_by_code() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let contents = read(LIST);
        let codes = |server, roles: &[&str], extensions: &[&str], owners| -> Vec<&str> {
            let found = lacking(&contents, server, &names(roles), &names(extensions), owners);
            found.into_iter().map(|(code, _)| code).collect()
        };
        assert_eq!(codes(15, &["orders_owner", "reader"], &["pgcrypto"], true), [""; 0]);
        assert_eq!(codes(14, &["orders_owner", "reader"], &["pgcrypto"], true), ["postgres/dump-too-new"]);
        assert_eq!(
            codes(15, &["reader"], &[], true),
            ["postgres/extension-missing", "postgres/role-missing"]
        );
        assert_eq!(codes(17, &[], &["pgcrypto"], false), [""; 0]);
    }
}
