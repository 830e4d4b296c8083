//! `postgres` against a real server: killed before and after every program it
//! asks for, and refused where it has to be.

#![expect(clippy::print_stdout, reason = "what is left out is said")]
#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test where it stands")]

mod kit;

use kit::{Server, stands_for, world};
use postgres::Postgres;
use sternway_plugin::Error;
use sternway_plugin::host::programs::{Call, Ended};
use sternway_plugin::rehearsal::{Goal, World, run, try_run};

const SETTINGS: &str = r#"{"restore": "orders", "from-point": "/.sternway/database/orders.pgdump",
    "checks": [{"sql": "select count(*) from users", "at-least": 3}]}"#;

/// A server with the database `orders` as it is now, and a dump of how it was.
fn orders(test: &str) -> Option<Server> {
    let server = Server::start(test)?;
    server.sql("postgres", "create role clerk login; create role reader");
    server.sql("postgres", "create database seed owner clerk");
    server.sql(
        "seed",
        "create extension pgcrypto; create table users(id int primary key, name text not null);
         insert into users values (1, 'Ada'), (2, 'Grace'), (3, E'\\u00e4\\n\\\\N'); alter table users owner to clerk;
         create table audit(at timestamptz default now()); grant select on users to reader",
    );
    for format in ["custom", "plain", "tar"] {
        let format_option = format!("--format={format}");
        server.run("pg_dump", &[&format_option, "-d", "seed", "-f", &server.place(format)]).unwrap();
    }
    server.run("pg_dump", &["--format=directory", "-d", "seed", "-f", &server.place("directory")]).unwrap();
    reset(&server);
    Some(server)
}

/// `orders` as it is before every run, with all that belongs to a database.
fn reset(server: &Server) {
    let names = server.sql("postgres", "select datname from pg_database where datname ~ '^orders'");
    for name in names.lines() {
        server.sql("postgres", &format!("alter database \"{name}\" allow_connections true"));
        server.run("dropdb", &["--force", name]).unwrap();
    }
    server.sql("postgres", "create database orders template seed owner clerk");
    server.sql(
        "orders",
        "delete from users where id > 1; create table newer(x int); insert into newer values (7)",
    );
    server.sql(
        "postgres",
        "alter database orders set search_path to \"$user\", public, \"Odd one\";
         alter database orders set datestyle to 'ISO, DMY';
         alter role clerk in database orders set work_mem to '8MB';
         alter database orders connection limit 50; comment on database orders is 'it''s ours';
         revoke all on database orders from public; grant connect on database orders to reader with grant option",
    );
}

fn host(server: &Server) -> World {
    world(&[], &[("/.sternway/database/orders.pgdump", &stands_for(&server.folder.join("custom")))])
}

/// Kills at programs only, since nothing else reaches the server; at every host
/// call with STERNWAY_EVERY_CALL=1.
fn kills(world: &World) -> Vec<(usize, bool)> {
    let every = std::env::var_os("STERNWAY_EVERY_CALL").is_some();
    let calls = world.log.iter().enumerate();
    let calls = calls
        .filter(|(_, name)| every || name.starts_with("programs.stage") || name.starts_with("programs.run"));
    calls.flat_map(|(call, _)| [(call, false), (call, true)]).collect()
}

fn matrix(server: &Server, host: &World, settings: &str) -> usize {
    let was = server.picture();
    let mut tried = 0;
    for goal in [Goal::Applied, Goal::Undone, Goal::GivenUp] {
        let clean = run::<Postgres>(host.clone(), settings, None, goal, None);
        let expected = if goal == Goal::GivenUp { was.clone() } else { server.picture() };
        if goal == Goal::Undone {
            assert_eq!(expected, was, "undo does not restore what was");
        }
        for kill in kills(&clean) {
            reset(server);
            run::<Postgres>(host.clone(), settings, None, goal, Some(kill));
            assert_eq!(
                server.picture(),
                expected,
                "killed at {kill:?} ({}) on the way to {goal:?}",
                clean.log[kill.0]
            );
            tried += 1;
        }
        reset(server);
    }
    tried
}

#[test]
fn a_crash_at_any_program_ends_as_no_crash() {
    let Some(server) = orders("matrix") else { return };
    assert!(matrix(&server, &host(&server), SETTINGS) > 30);
}

#[test]
fn the_restored_database_takes_over_all_that_belongs_to_the_old_one() {
    let Some(server) = orders("carry") else { return };
    let belongs = |picture: String| {
        let line = picture.lines().find(|line| line.starts_with("orders |")).unwrap().to_owned();
        line.split(" | ").take(7).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = belongs(server.picture());
    let mut session = server.session("orders");
    let ended = run::<Postgres>(host(&server), SETTINGS, None, Goal::Applied, None);
    assert!(!session.wait().unwrap().success(), "its session was ended");
    assert_eq!(belongs(server.picture()), before);
    assert_eq!(server.sql("orders", "select count(*) from users"), "3");
    assert_eq!(server.sql("orders", "show search_path"), "\"$user\", public, \"Odd one\"");
    assert_eq!(server.sql("orders", "show datestyle"), "ISO, DMY");
    assert!(server.run("psql", &["-d", "orders", "-c", "select 1 from newer"]).is_err());
    assert!(ended.log.iter().any(|call| call == "programs.run postgres.switch"));
}

#[test]
fn a_database_that_is_gone_comes_back_and_goes_again() {
    let Some(server) = orders("gone") else { return };
    server.run("dropdb", &["orders"]).unwrap();
    let was = server.picture();
    run::<Postgres>(host(&server), SETTINGS, None, Goal::Applied, None);
    assert_eq!(server.sql("orders", "select count(*) from users"), "3");
    server.run("dropdb", &["orders"]).unwrap();
    run::<Postgres>(host(&server), SETTINGS, None, Goal::Undone, None);
    assert_eq!(server.picture(), was);
}

#[test]
fn every_format_comes_back_from_a_file() {
    let Some(server) = orders("formats") else { return };
    for (file, more) in [
        ("custom", ""),
        ("custom", r#", "jobs": 2"#),
        ("tar", r#", "no-owner": true"#),
        ("plain", ""),
        ("plain", r#", "format": "plain""#),
        ("directory/", r#", "jobs": 2"#),
    ] {
        reset(&server);
        let host = world(&[("/b/orders", &stands_for(&server.folder.join(file)))], &[]);
        let settings = format!(r#"{{"restore": "orders", "from-file": "/b/orders"{more}}}"#);
        run::<Postgres>(host, &settings, None, Goal::Applied, None);
        assert_eq!(server.sql("orders", "select count(*) from users"), "3", "{file} {more}");
        assert_eq!(
            server.sql("orders", "select name = E'\\u00e4\\n\\\\N' from users where id = 3"),
            "t",
            "{file}"
        );
    }
}

fn refusal(server: &Server, host: World, settings: &str) -> String {
    let was = server.picture();
    let (_, ended) = try_run::<Postgres>(host, settings, None, Goal::Applied);
    assert_eq!(server.picture(), was, "a refused run changes nothing");
    let left = server.sql("postgres", "select count(*) from pg_database where datname ~ '__sternway_'");
    assert_eq!(left, "0", "a refused run leaves nothing beside");
    ended.unwrap_err().error.code
}

#[test]
fn what_cannot_be_restored_is_refused_with_nothing_changed() {
    let Some(server) = orders("refusals") else { return };
    let file = |content: &str| world(&[("/b", content)], &[]);
    let from_file = |more: &str| format!(r#"{{"restore": "orders", "from-file": "/b"{more}}}"#);
    let custom = stands_for(&server.folder.join("custom"));

    assert_eq!(refusal(&server, world(&[], &[]), SETTINGS), "postgres/not-in-point");
    assert_eq!(refusal(&server, world(&[], &[]), &from_file("")), "postgres/no-dump");
    assert_eq!(refusal(&server, file("no dump"), &from_file("")), "postgres/no-archive");
    let room = from_file(r#", "data-directory": "/proc""#);
    assert_eq!(refusal(&server, file(&custom), &room), "postgres/too-little-disk");
    let checks = from_file(r#", "checks": [{"sql": "select count(*) from users", "at-least": 4}]"#);
    assert_eq!(refusal(&server, file(&custom), &checks), "postgres/check");
    let writes = from_file(r#", "checks": [{"sql": "delete from users", "equals": "1"}]"#);
    assert_eq!(refusal(&server, file(&custom), &writes), "postgres/failed");

    let damaged = server.folder.join("damaged");
    let bytes = std::fs::read(server.folder.join("custom")).unwrap();
    std::fs::write(&damaged, &bytes[..bytes.len() - 200]).unwrap();
    assert_eq!(refusal(&server, file(&stands_for(&damaged)), &from_file("")), "postgres/no-archive");
    let data = bytes.windows(2).rposition(|two| two == [0x78, 0x9c]).unwrap();
    let rotten = [&bytes[..data + 4], &[0xff; 8], &bytes[data + 12..]].concat();
    std::fs::write(&damaged, rotten).unwrap();
    assert_eq!(refusal(&server, file(&stands_for(&damaged)), &from_file("")), "postgres/failed");

    for attack in [
        "\\! touch PLACE\n",
        "select 1; \\! touch PLACE\n",
        "\\restrict a\n\\unrestrict a\n\\! touch PLACE\n",
        "\\connect orders\ndrop table users;\n",
    ] {
        let plain = attack.replace("PLACE", &server.place("taken"));
        assert_eq!(
            refusal(&server, file(&plain), &from_file(r#", "format": "plain""#)),
            "postgres/commands-in-dump"
        );
        assert!(!server.folder.join("taken").exists(), "{attack}");
    }

    server.sql("orders", "begin; insert into newer values (9); prepare transaction 'p'");
    assert_eq!(refusal(&server, file(&custom), &from_file("")), "postgres/prepared");
    server.sql("orders", "rollback prepared 'p'");
    server.sql("orders", "select pg_create_logical_replication_slot('s', 'test_decoding')");
    assert_eq!(refusal(&server, file(&custom), &from_file("")), "postgres/slots");
    server.sql("orders", "select pg_drop_replication_slot('s')");

    // The dump's owner is not there any more.
    server.sql("seed", "alter table users owner to reader");
    server.run("pg_dump", &["-Fc", "-d", "seed", "-f", &server.place("of-reader")]).unwrap();
    server.sql("postgres", "alter role reader rename to writer");
    let of_reader = stands_for(&server.folder.join("of-reader"));
    assert_eq!(refusal(&server, file(&of_reader), &from_file("")), "postgres/role-missing");
    let no_owner = from_file(r#", "no-owner": true, "no-privileges": true"#);
    run::<Postgres>(file(&of_reader), &no_owner, None, Goal::Undone, None);

    server.connect_as("nobody");
    assert_eq!(refusal(&server, file(&custom), &from_file("")), "postgres/unreachable");
}

#[test]
fn a_database_that_somebody_replaced_meanwhile_is_left_alone() {
    let Some(server) = orders("meanwhile") else { return };
    let clean = run::<Postgres>(host(&server), SETTINGS, None, Goal::Undone, None);
    let fence = clean.log.iter().position(|call| call == "programs.run postgres.fence").unwrap();
    reset(&server);
    // Killed before the fence, and then taken up again by nobody: undo drops what was staged.
    run::<Postgres>(host(&server), SETTINGS, None, Goal::GivenUp, Some((fence, false)));
    assert_eq!(server.sql("postgres", "select count(*) from pg_database where datname ~ '__'"), "0");
    let names = "select string_agg(datname || datallowconn, ' ' order by datname) from pg_database where datname ~ '^orders'";
    let taken = World { programs: Some(with_another_before_the_switch), ..host(&server) };
    let (_, ended) = try_run::<Postgres>(taken, SETTINGS, None, Goal::Applied);
    assert_eq!(ended.unwrap_err().error.code, "postgres/changed-meanwhile");
    let names = server.sql("postgres", names);
    assert!(names.starts_with("ordersfalse orders__sternway_"), "{names}");
}

/// The database that `prepare` saw is another one when it comes to the switch.
fn with_another_before_the_switch(world: &mut World, call: &Call) -> Result<Ended, Error> {
    let mut call = call.clone();
    for hole in call.holes.iter_mut().filter(|hole| call.form == "postgres.switch" && hole.name == "old") {
        hole.values = vec!["1".into()];
    }
    kit::programs(world, &call)
}

#[test]
fn a_dump_is_made_and_the_file_before_it_comes_back() {
    let Some(server) = orders("dump") else { return };
    let settings = r#"{"dump": "orders", "to": "/b/orders.dump"}"#;
    let host = world(&[("/b/orders.dump", "earlier")], &[]);
    let applied = run::<Postgres>(host.clone(), settings, None, Goal::Applied, None);
    let real = applied.live["/b/orders.dump"].strip_prefix('@').unwrap().to_owned();
    let list = server.run("pg_restore", &["--list", &real]).unwrap();
    assert!(list.contains("TABLE DATA public newer"), "{list}");
    let undone = run::<Postgres>(host, settings, None, Goal::Undone, None);
    assert_eq!(undone.live["/b/orders.dump"], "earlier");
    let (_, ended) =
        try_run::<Postgres>(world(&[], &[]), r#"{"dump": "nothing", "to": "/b"}"#, None, Goal::Applied);
    assert_eq!(ended.unwrap_err().error.code, "postgres/no-database");
}

#[test]
fn checks_hold_or_say_what_they_found() {
    let Some(server) = orders("checks") else { return };
    let check = |sql: &str, expected: &str| {
        let settings =
            format!(r#"{{"check": "orders", "lag-max": "5s", "checks": [{{"sql": "{sql}", {expected}}}]}}"#);
        try_run::<Postgres>(world(&[], &[]), &settings, None, Goal::Undone)
            .1
            .map_err(|failure| failure.error.code)
    };
    assert_eq!(check("select count(*) from users", r#""at-least": 1, "at-most": 1"#), Ok(()));
    assert_eq!(check("select '<a&b>' || chr(92)", r#""equals": "<a&b>\\""#), Ok(()));
    assert_eq!(check("select name from users", r#""equals": "Ada""#), Ok(()));
    for (sql, expected) in [
        ("select count(*) from users", r#""at-least": 2"#),
        ("select null", r#""equals": "x""#),
        ("select 1 where false", r#""at-least": 0"#),
    ] {
        assert_eq!(check(sql, expected).unwrap_err(), "postgres/check", "{sql}");
    }
    let was = server.picture();
    for sql in [
        "delete from users",
        "commit; delete from users",
        "select 1; drop table users",
        "select set_config('transaction_read_only', 'off', false)",
        "with x as (delete from users returning 1) select count(*) from x",
        "copy (select 1) to program 'touch /tmp/taken'",
    ] {
        assert_eq!(check(sql, r#""at-least": 0"#).unwrap_err(), "postgres/failed", "{sql}");
    }
    assert_eq!(server.picture(), was);
}

#[test]
fn what_was_set_aside_is_removed_when_it_is_asked_for() {
    let Some(server) = orders("kept") else { return };
    run::<Postgres>(host(&server), SETTINGS, None, Goal::Applied, None);
    server.sql("postgres", "create database orders__mine");
    let aside =
        "select string_agg(datname, ' ' order by datname) from pg_database where datname ~ '^orders__'";
    assert!(server.sql("postgres", aside).starts_with("orders__before_"));
    run::<Postgres>(world(&[], &[]), r#"{"drop-kept": "orders"}"#, None, Goal::Applied, None);
    assert_eq!(server.sql("postgres", aside), "orders__mine");
}

#[test]
fn migrations_are_taken_back_one_transaction_each_and_put_on_again() {
    let Some(server) = orders("migrate") else { return };
    let scripts = [
        ("1_users.down.sql", "drop table t1;"),
        ("1_users.up.sql", "create table t1(x int);"),
        ("2_more.down.sql", "drop table t2;"),
        ("2_more.up.sql", "create table t2(x int);"),
        ("3_most.down.sql", "alter table t1 drop column y;"),
        ("3_most.up.sql", "alter table t1 add column y int;"),
    ];
    let host = |changed: &str| {
        let text = |name: &str, text: &str| {
            if changed == name { "drop table t2; select 1/0;".into() } else { text.to_owned() }
        };
        let mut host = world(&[], &[]);
        host.live = scripts.iter().map(|(name, sql)| (format!("/m/{name}"), text(name, sql))).collect();
        host.live.insert("/m".into(), scripts.map(|(name, _)| name).join("\n"));
        host
    };
    let settings = |more: &str| {
        format!(
            r#"{{"migrate": "orders", "to-version": 1, "table": "public.schema_version", "scripts": "/m"{more}}}"#
        )
    };
    let made = "create table t1(x int, y int); create table t2(x int); create table schema_version(version bigint primary key);
                insert into schema_version values (1), (2), (3)";
    let tables = "select string_agg(relname || relnatts, ' ' order by relname) from pg_class where relname ~ '^t[12]$'";
    server.sql("orders", made);
    let was = server.picture();
    let clean = run::<Postgres>(host(""), &settings(""), None, Goal::Undone, None);
    assert_eq!(server.picture(), was, "up again");
    for kill in kills(&clean) {
        run::<Postgres>(host(""), &settings(""), None, Goal::Undone, Some(kill));
        assert_eq!(server.picture(), was, "killed at {kill:?}");
    }
    let (_, ended) = try_run::<Postgres>(host("2_more.down.sql"), &settings(""), None, Goal::Applied);
    assert_eq!(ended.unwrap_err().error.code, "postgres/failed");
    assert_eq!(
        server.sql("orders", "select max(version) from schema_version"),
        "2",
        "the failed script left nothing"
    );
    assert!(server.sql("orders", tables).contains("t2"));
    run::<Postgres>(host(""), &settings(""), None, Goal::Applied, None);
    assert!(!server.sql("orders", tables).contains("t2"));

    server.sql(
        "orders",
        "truncate schema_version; insert into schema_version values (1); create table t2(x int)",
    );
    server.sql("orders", "update schema_version set version = 2");
    run::<Postgres>(host(""), &settings(r#", "keeps": "one""#), None, Goal::Applied, None);
    assert_eq!(server.sql("orders", "select version from schema_version"), "1");
    let (_, ended) = try_run::<Postgres>(
        host(""),
        &settings("").replace("schema_version", "nothing"),
        None,
        Goal::Applied,
    );
    assert_eq!(ended.unwrap_err().error.code, "postgres/failed");
    let shell = run_shell_script(&server, host(""), &settings(r#", "keeps": "one""#));
    assert_eq!(shell, "postgres/commands-in-dump");
}

/// A script that would start a shell.
fn run_shell_script(server: &Server, mut host: World, settings: &str) -> String {
    server.sql("orders", "update schema_version set version = 3");
    host.live.insert("/m/3_most.down.sql".into(), format!("\\! touch {}\n", server.place("taken")));
    let (_, ended) = try_run::<Postgres>(host, settings, None, Goal::Applied);
    assert!(!server.folder.join("taken").exists());
    ended.unwrap_err().error.code
}
