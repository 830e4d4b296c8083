//! `systemd` killed at every host call, before and after its effect, and refused
//! before it touches anything.

use sternway_plugin::rehearsal::{Goal, UnitModel, World, crash_matrix, run, try_run};
use systemd::Systemd;

const FILE: &str = "/etc/systemd/system/web.service";
const DROP_IN: &str = "/etc/systemd/system/db.service.d/limits.conf";

fn world() -> World {
    let unit = |running, enabled, masked| UnitModel { running, enabled, masked, pid: 7, reloads: 0 };
    let units = [
        ("db", unit(true, true, false)),
        ("web", unit(true, false, false)),
        ("idle", unit(false, false, false)),
        ("gone", unit(false, true, true)),
    ];
    let text = |pairs: [(&str, &str); 2]| {
        pairs.map(|(path, content)| (path.to_owned(), content.to_owned())).into_iter().collect()
    };
    World {
        units: units.map(|(name, unit)| (format!("{name}.service"), unit)).into_iter().collect(),
        live: text([(FILE, "new"), (DROP_IN, "same")]),
        point: text([(FILE, "old"), (DROP_IN, "same")]),
        ..World::default()
    }
}

#[test]
fn a_crash_anywhere_ends_as_no_crash() {
    for settings in [
        r#"{"stop": ["db", ["web", "idle"]]}"#,
        r#"{"start": ["db", ["web", "idle"]], "settle": "1s"}"#,
        r#"{"restart": ["db", "web", "idle"]}"#,
        r#"{"reload": ["db", "web"]}"#,
        r#"{"enable": ["db", "web", "idle"]}"#,
        r#"{"disable": ["db", "web", "idle"]}"#,
        r#"{"mask": ["db", "idle"]}"#,
        r#"{"unmask": ["gone", "db"]}"#,
        r#"{"check": ["db", "web"]}"#,
        r#"{"unit-files": ["/etc/systemd/system/web.service", "/etc/systemd/system/db.service.d/limits.conf"]}"#,
    ] {
        assert!(crash_matrix::<Systemd>(&world(), settings, None) > 10, "{settings}");
    }
}

#[test]
fn a_restart_makes_each_unit_another_process_and_only_those() {
    let ended = run::<Systemd>(world(), r#"{"restart": ["db", "idle"]}"#, None, Goal::Applied, None);
    let pid = |name: &str| ended.units[name].pid;
    assert_eq!([pid("db.service"), pid("idle.service"), pid("web.service")], [8, 8, 7]);
}

#[test]
fn systemd_reads_unit_files_after_an_exchange_there_and_back_and_only_then() {
    let reloads = |settings: &str, goal| {
        let ended = run::<Systemd>(world(), settings, None, goal, None);
        ended.log.iter().filter(|call| *call == "systemd.daemon-reload").count()
    };
    let changed = r#"{"unit-files": "/etc/systemd/system/web.service"}"#;
    let same = r#"{"unit-files": "/etc/systemd/system/db.service.d/limits.conf"}"#;
    assert_eq!(reloads(changed, Goal::Applied), 1);
    assert_eq!(reloads(changed, Goal::Undone), 2);
    assert_eq!(reloads(same, Goal::Undone), 0);
    let ended = run::<Systemd>(world(), changed, None, Goal::Applied, None);
    assert_eq!(ended.live[FILE], "old");
}

#[test]
fn what_cannot_be_done_is_refused_and_nothing_is_touched() {
    for (settings, code) in [
        (r#"{"start": "nobody"}"#, "systemd/unknown-unit"),
        (r#"{"stop": ["db", "nobody"]}"#, "systemd/unknown-unit"),
        (r#"{"start": ["db", "gone"]}"#, "systemd/masked"),
        (r#"{"restart": "gone"}"#, "systemd/masked"),
        (r#"{"enable": "gone"}"#, "systemd/masked"),
        (r#"{"mask": "web"}"#, "systemd/file-in-the-way"),
        (r#"{"unit-files": "/etc/systemd/system/other.service"}"#, "systemd/not-in-point"),
        (r#"{"start": "db", "stop": "web"}"#, "systemd/one-of"),
        (r#"{"unit-files": "/etc/passwd"}"#, "systemd/no-unit-file"),
        (r#"{"check": "idle"}"#, "systemd/not-active"),
    ] {
        let (ended, result) = try_run::<Systemd>(world(), settings, None, Goal::Applied);
        assert_eq!(result.unwrap_err().error.code, code, "{settings}");
        assert_eq!(ended.content(), world().content(), "{settings}");
    }
}

#[test]
fn unit_files_that_somebody_changed_meanwhile_come_back_as_he_left_them() {
    let meddled = World { meddles: [(FILE.to_owned(), "by hand".to_owned())].into(), ..world() };
    let settings = r#"{"unit-files": "/etc/systemd/system/web.service"}"#;
    let ended = run::<Systemd>(meddled, settings, None, Goal::Undone, None);
    assert_eq!(ended.live[FILE], "by hand");
}
