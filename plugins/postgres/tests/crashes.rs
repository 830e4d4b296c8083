//! `postgres` killed at every host call, before and after its effect, over a
//! server that is a map: names of databases to object id, open or not, content.

#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test where it stands")]

use postgres::Postgres;
use sternway_plugin::Error;
use sternway_plugin::host::programs::{Call, Ended};
use sternway_plugin::rehearsal::{Goal, World, crash_matrix, run, try_run};

fn hole<'c>(call: &'c Call, name: &str) -> &'c str {
    call.holes.iter().find(|hole| hole.name == name).map_or("", |hole| &hole.values[0])
}

fn said(output: &str) -> Result<Ended, Error> {
    Ok(Ended { code: Some(0), signal: None, output: output.into(), complaint: String::new(), elapsed_ms: 1 })
}

fn refused(complaint: &str) -> Result<Ended, Error> {
    Ok(Ended { code: Some(1), signal: None, output: vec![], complaint: complaint.into(), elapsed_ms: 1 })
}

/// `oid open content`; what is staged or undone is private to the step, as side copies are.
fn place<'w>(world: &'w mut World, name: &str) -> &'w mut std::collections::BTreeMap<String, String> {
    if name.contains("__sternway_") || name.contains("__undone_") {
        &mut world.side
    } else {
        &mut world.model
    }
}

fn oid(world: &mut World, name: &str) -> u64 {
    place(world, name).get(name).map_or(0, |text| text.split(' ').next().unwrap().parse().unwrap())
}

fn set_open(world: &mut World, name: &str, open: bool) {
    let text = place(world, name).get_mut(name).unwrap();
    let parts: Vec<&str> = text.splitn(3, ' ').collect();
    *text = format!("{} {open} {}", parts[0], parts[2]);
}

fn rename(world: &mut World, from: &str, to: &str) {
    let text = place(world, from).remove(from).unwrap();
    place(world, to).insert(to.to_owned(), text);
}

fn server(world: &mut World, call: &Call) -> Result<Ended, Error> {
    let on = &call.on;
    let short = hole(call, "short");
    let (side, before) = (format!("{on}__sternway_{short}"), format!("{on}__before_{short}"));
    match call.form.as_str() {
        "postgres.state" => {
            let all =
                world.model.iter().chain(world.side.iter()).filter(|(name, _)| name.starts_with(on.as_str()));
            let databases: Vec<String> = all
                .map(|(name, text)| {
                    let parts: Vec<&str> = text.splitn(3, ' ').collect();
                    format!(r#"{{"name":"{name}","oid":{},"open":{},"sessions":0}}"#, parts[0], parts[1])
                })
                .collect();
            said(&format!(
                r#"{{"version":150018,"replica":false,"databases":[{}],"prepared":[],"slots":[],"subscriptions":[]}}"#,
                databases.join(",")
            ))
        }
        "postgres.names" => said(r#"{"roles":["clerk"],"extensions":["plpgsql"]}"#),
        "postgres.size" => said("1000"),
        "postgres.list-point" => match world.side.get(hole(call, "dump")) {
            Some(text) if text == "damaged" => refused("pg_restore: error: did not find magic string"),
            _ => said("2; 1259 1 TABLE public users clerk\n"),
        },
        "postgres.drop-beside" => {
            world.side.remove(&side);
            said("")
        }
        "postgres.create-beside" => {
            world.side.insert(side, "9 true empty".into());
            said("")
        }
        "postgres.restore-point" => {
            let dump = world.side[hole(call, "dump")].clone();
            world.side.insert(side, format!("9 true {dump}"));
            said("")
        }
        "postgres.analyze-beside" | "postgres.carry" => said(""),
        "postgres.query" | "postgres.query-beside" => said("3\n"),
        "postgres.fence" | "postgres.unfence" => {
            set_open(world, on, call.form == "postgres.unfence");
            said("")
        }
        "postgres.switch" => {
            if oid(world, on).to_string() != hole(call, "old")
                || oid(world, &side).to_string() != hole(call, "new")
            {
                return refused("ERROR:  sternway: another database has one of the two names by now");
            }
            if world.model.contains_key(on) {
                rename(world, on, &before);
            }
            rename(world, &side, on);
            set_open(world, on, true);
            said("")
        }
        "postgres.switch-back" => {
            rename(world, on, &format!("{on}__undone_{short}"));
            if world.model.contains_key(&before) {
                rename(world, &before, on);
                set_open(world, on, true);
            }
            said("")
        }
        "postgres.migrations" => said(&world.model["version"].clone()),
        "postgres.migrate" => {
            let versions: Vec<&str> = world.model["version"].lines().collect();
            if versions.last() != Some(&hole(call, "from")) {
                return refused("ERROR:  sternway: the version is not as expected");
            }
            let (from, to): (u64, u64) =
                (hole(call, "from").parse().unwrap(), hole(call, "to").parse().unwrap());
            let rows = if to < from {
                versions[..versions.len() - 1].join("\n")
            } else {
                format!("{}\n{to}", versions.join("\n"))
            };
            world.model.insert("version".into(), rows);
            said("")
        }
        other => Err(Error::not_found("programs/unknown", other)),
    }
}

fn texts(entries: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    entries.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

const DUMP: &str = "/.sternway/database/orders.pgdump";
const SETTINGS: &str = r#"{"restore": "orders", "from-point": "/.sternway/database/orders.pgdump",
    "checks": [{"sql": "select count(*) from users", "equals": "3"}]}"#;

fn world(model: &[(&str, &str)]) -> World {
    World { model: texts(model), point: texts(&[(DUMP, "old")]), programs: Some(server), ..World::default() }
}

#[test]
fn a_crash_anywhere_ends_as_no_crash() {
    for model in [&[("orders", "5 true new")][..], &[]] {
        assert!(crash_matrix::<Postgres>(&world(model), SETTINGS, None) > 80, "{model:?}");
    }
    let ended = run::<Postgres>(world(&[("orders", "5 true new")]), SETTINGS, None, Goal::Applied, None);
    assert_eq!(ended.model["orders"], "9 true old");
}

#[test]
fn a_database_that_was_replaced_meanwhile_is_not_switched() {
    fn meddled(world: &mut World, call: &Call) -> Result<Ended, Error> {
        if call.form == "postgres.fence" {
            world.model.insert("orders".into(), "77 true somebody's".into());
        }
        server(world, call)
    }
    let world = World { programs: Some(meddled), ..world(&[("orders", "5 true new")]) };
    let (_, ended) = try_run::<Postgres>(world, SETTINGS, None, Goal::Applied);
    assert_eq!(ended.unwrap_err().error.code, "postgres/changed-meanwhile");
}

#[test]
fn a_damaged_dump_is_refused_before_anything_is_made() {
    let mut world = world(&[("orders", "5 true new")]);
    world.point = texts(&[(DUMP, "damaged")]);
    let (world, ended) = try_run::<Postgres>(world, SETTINGS, None, Goal::Applied);
    assert_eq!(ended.unwrap_err().error.code, "postgres/no-archive");
    assert!(!world.log.iter().any(|call| call.contains("create-beside")));
}

#[test]
fn migrations_go_down_and_up_again_through_any_crash() {
    let mut world = world(&[("version", "1\n2\n3")]);
    let names = ["1_a.down.sql", "1_a.up.sql", "2_b.down.sql", "2_b.up.sql", "3_c.down.sql", "3_c.up.sql"];
    world.live = names.iter().map(|name| (format!("/m/{name}"), "select 1".to_owned())).collect();
    world.live.insert("/m".into(), names.join("\n"));
    let settings = r#"{"migrate": "orders", "to-version": 1, "table": "schema_version", "scripts": "/m"}"#;
    assert!(crash_matrix::<Postgres>(&world, settings, None) > 40);
    let ended = run::<Postgres>(world, settings, None, Goal::Applied, None);
    assert_eq!(ended.model["version"], "1");
}
