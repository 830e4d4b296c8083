//! `mysql` against a real MariaDB: killed before and after every program it asks
//! for, and refused where it has to be.

#![expect(clippy::print_stdout, reason = "what is left out is said")]
#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test where it stands")]

mod kit;

use kit::{Server, world};
use mysql::Mysql;
use sternway_plugin::Error;
use sternway_plugin::host::programs::{Call, Ended};
use sternway_plugin::rehearsal::{Goal, World, run, try_run};

const DUMP: &str = "/.sternway/database/orders.sql";
const SETTINGS: &str = r#"{"restore": "orders", "from-point": "/.sternway/database/orders.sql", "scratch": "/var/tmp/orders",
    "checks": [{"sql": "select count(*) from users", "at-least": 3}]}"#;

const SEED: &str = "create table users(id int primary key, name varchar(99)) engine=innodb;
    insert into users values (1, 'Ada'), (2, 'Grace'), (3, 'a\\nUSE `x`;\\n\\\\! touch /tmp/x');
    create table items(id int primary key, user int, foreign key (user) references users(id)) engine=innodb;
    insert into items values (1, 1);";

/// A server with the database `orders` as it is now, and a dump of how it was.
fn orders(test: &str) -> Option<(Server, String)> {
    let server = Server::start(test)?;
    server.sql(&format!("create database orders character set utf8mb4; use orders; {SEED}"));
    let dump = server.dump("named", &["--databases", "orders"]);
    reset(&server);
    Some((server, dump))
}

fn reset(server: &Server) {
    let names =
        server.sql("select schema_name from information_schema.schemata where schema_name regexp '^orders'");
    let drops: String = names.lines().map(|name| format!("drop database `{name}`;")).collect();
    server.sql(&format!(
        "set foreign_key_checks=0; {drops} create database orders character set utf8mb4; use orders; {SEED}
         delete from users where id > 1; create table newer(x int); insert into newer values (7)"
    ));
}

#[test]
fn a_crash_at_any_program_ends_as_no_crash() {
    let Some((server, dump)) = orders("matrix") else { return };
    let host = world(&[], &[(DUMP, &dump)]);
    let was = server.picture();
    let mut tried = 0;
    for goal in [Goal::Applied, Goal::Undone, Goal::GivenUp] {
        let clean = run::<Mysql>(host.clone(), SETTINGS, None, goal, None);
        let expected = if goal == Goal::GivenUp { was.clone() } else { server.picture() };
        if goal == Goal::Undone {
            assert_eq!(expected, was, "undo does not restore what was");
        }
        let every = std::env::var_os("STERNWAY_EVERY_CALL").is_some();
        for (call, name) in clean.log.iter().enumerate() {
            if !every && !name.starts_with("programs.stage") && !name.starts_with("programs.run") {
                continue;
            }
            for after in [false, true] {
                reset(&server);
                run::<Mysql>(host.clone(), SETTINGS, None, goal, Some((call, after)));
                assert_eq!(
                    server.picture(),
                    expected,
                    "killed at {call} ({name}), after: {after}, on the way to {goal:?}"
                );
                tried += 1;
            }
        }
        reset(&server);
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn a_dump_comes_back_whether_it_names_its_database_or_not() {
    let Some((server, named)) = orders("formats") else { return };
    server.sql(&format!("create database seed character set utf8mb4; use seed; {SEED}"));
    let unnamed = server.dump("unnamed", &["seed"]);
    let from_file = r#"{"restore": "orders", "from-file": "/b"}"#;
    for (host, settings) in [
        (world(&[("/b", &named)], &[]), from_file),
        (world(&[("/b", &unnamed)], &[]), from_file),
        (world(&[], &[(DUMP, &named)]), SETTINGS),
        (world(&[], &[(DUMP, &unnamed)]), SETTINGS),
        (
            world(&[], &[(DUMP, &std::fs::read_to_string(&named[1..]).unwrap())]),
            r#"{"restore": "orders", "from-point": "/.sternway/database/orders.sql"}"#,
        ),
    ] {
        reset(&server);
        run::<Mysql>(host, settings, None, Goal::Applied, None);
        assert_eq!(server.sql("select count(*), max(length(name)) from orders.users"), "3\t26");
        assert_eq!(server.sql("select count(*) from orders.items"), "1");
        assert!(
            server.try_sql("insert into orders.items values (9, 9)").is_err(),
            "the foreign key came along"
        );
        let aside = server.sql("select table_name from information_schema.tables where table_schema regexp '^orders__before_' order by 1");
        assert_eq!(aside, "items\nnewer\nusers");
    }
}

fn refusal(server: &Server, host: World, settings: &str) -> String {
    let was = server.picture();
    let (_, ended) = try_run::<Mysql>(host, settings, None, Goal::Applied);
    assert_eq!(server.picture(), was, "a refused run changes nothing");
    let left =
        server.sql("select count(*) from information_schema.schemata where schema_name regexp '__sternway_'");
    assert_eq!(left, "0", "a refused run leaves nothing beside");
    ended.unwrap_err().error.code
}

#[test]
fn what_cannot_be_restored_is_refused_with_nothing_changed() {
    let Some((server, dump)) = orders("refusals") else { return };
    let text = std::fs::read_to_string(&dump[1..]).unwrap();
    let from_file = |more: &str| format!(r#"{{"restore": "orders", "from-file": "/b"{more}}}"#);
    let file = |content: &str| world(&[("/b", content)], &[]);

    assert_eq!(refusal(&server, world(&[], &[]), SETTINGS), "mysql/not-in-point");
    assert_eq!(refusal(&server, world(&[], &[]), &from_file("")), "mysql/no-dump");
    assert_eq!(refusal(&server, file("drop database orders;"), &from_file("")), "mysql/no-dump");
    assert_eq!(refusal(&server, file(&text[..text.len() - 40]), &from_file("")), "mysql/damaged");
    assert_eq!(
        refusal(&server, file(&text.replace("USE `orders`;", "USE `orders`;\nUSE `mysql`;")), &from_file("")),
        "mysql/several-databases"
    );
    assert_eq!(
        refusal(&server, file(&text.replace("`id` int", "`id` integerish")), &from_file("")),
        "mysql/failed"
    );
    let shell = text
        .replace("USE `orders`;", &format!("USE `orders`;\nselect 1; \\! touch {}", server.place("taken")));
    assert_eq!(refusal(&server, file(&shell), &from_file("")), "mysql/commands-in-dump");
    assert!(!server.folder.join("taken").exists());
    assert_eq!(
        refusal(&server, file(&dump), &from_file(r#", "data-directory": "/proc""#)),
        "mysql/too-little-disk"
    );
    let checks = from_file(r#", "checks": [{"sql": "select count(*) from users", "at-least": 4}]"#);
    assert_eq!(refusal(&server, file(&dump), &checks), "mysql/check");
    let writes = from_file(r#", "checks": [{"sql": "delete from items", "equals": "1"}]"#);
    assert_eq!(refusal(&server, file(&dump), &writes), "mysql/failed");
    assert_eq!(
        refusal(&server, file(&dump), r#"{"restore": "orderz", "from-file": "/b"}"#),
        "mysql/no-database"
    );

    server.sql("create view orders.v as select 1 as x");
    assert_eq!(refusal(&server, file(&dump), &from_file("")), "mysql/views");
    server.sql("drop view orders.v; create procedure orders.p() select 1");
    assert_eq!(refusal(&server, file(&dump), &from_file("")), "mysql/routines");
    let with_routine = server.dump("with-routine", &["--databases", "orders"]);
    server.sql("drop procedure orders.p");
    assert_eq!(refusal(&server, file(&with_routine), &from_file("")), "mysql/routines");
    server.sql("create database other; create table other.t(u int, foreign key (u) references orders.users(id)) engine=innodb");
    assert_eq!(refusal(&server, file(&dump), &from_file("")), "mysql/references");
    server.sql("drop database other; set global read_only = 1");
    assert_eq!(refusal(&server, file(&dump), &from_file("")), "mysql/read-only");
    server.sql("set global read_only = 0");
    server.connect_to("nowhere");
    assert_eq!(refusal(&server, file(&dump), &from_file("")), "mysql/unreachable");
}

#[test]
fn a_table_that_somebody_made_meanwhile_stops_the_switch() {
    let Some((server, dump)) = orders("meanwhile") else { return };
    let host = World { programs: Some(with_another_table), ..world(&[], &[(DUMP, &dump)]) };
    let (_, ended) = try_run::<Mysql>(host, SETTINGS, None, Goal::Applied);
    assert_eq!(ended.unwrap_err().error.code, "mysql/changed-meanwhile");
    assert_eq!(server.sql("select count(*) from orders.newer"), "1");
}

/// The tables that `prepare` saw are not all when it comes to the switch.
fn with_another_table(world: &mut World, call: &Call) -> Result<Ended, Error> {
    let mut ended = kit::programs(world, call)?;
    let said = String::from_utf8_lossy(&ended.output).into_owned();
    if call.form == "mysql.state"
        && said.contains("__sternway_")
        && world.marks.values().any(|(_, value)| value.is_some())
    {
        ended.output = said.replace("orders/newer//", "orders/newer//orders/newest//").into_bytes();
    }
    Ok(ended)
}

#[test]
fn a_dump_is_made_and_checks_hold_or_say_what_they_found() {
    let Some((server, dump)) = orders("dump") else { return };
    let host = world(&[("/b", "earlier")], &[]);
    let settings = r#"{"dump": "orders", "to": "/b"}"#;
    let applied = run::<Mysql>(host.clone(), settings, None, Goal::Applied, None);
    assert!(std::fs::read_to_string(&applied.live["/b"][1..]).unwrap().contains("CREATE TABLE `newer`"));
    assert_eq!(run::<Mysql>(host, settings, None, Goal::Undone, None).live["/b"], "earlier");

    let check = |sql: &str, expected: &str| {
        let settings = format!(r#"{{"check": "orders", "checks": [{{"sql": "{sql}", {expected}}}]}}"#);
        try_run::<Mysql>(world(&[], &[]), &settings, None, Goal::Undone)
            .1
            .map_err(|failure| failure.error.code)
    };
    assert_eq!(check("select count(*) from users", r#""at-least": 1, "at-most": 1"#), Ok(()));
    assert_eq!(check("select name, 7 from users", r#""equals": "Ada""#), Ok(()));
    assert_eq!(check("select null", r#""equals": "NULL""#).unwrap_err(), "mysql/check");
    let was = server.picture();
    for sql in ["delete from items", "drop table newer", "create table y(x int)", "truncate newer"] {
        assert_eq!(check(sql, r#""at-least": 0"#).unwrap_err(), "mysql/failed", "{sql}");
    }
    assert_eq!(server.picture(), was);

    run::<Mysql>(world(&[], &[(DUMP, &dump)]), SETTINGS, None, Goal::Applied, None);
    server.sql("create database orders__mine");
    run::<Mysql>(world(&[], &[]), r#"{"drop-kept": "orders"}"#, None, Goal::Applied, None);
    let left = server.sql("select group_concat(schema_name order by schema_name) from information_schema.schemata where schema_name regexp '^orders'");
    assert_eq!(left, "orders,orders__mine");
}
