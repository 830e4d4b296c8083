use super::*;
use crate::settings::{Settings, Task};

fn task(json: &str) -> Units {
    match serde_json::from_str::<Settings>(json).unwrap().task().unwrap() {
        Task::Units(units) => units,
        Task::Files(files) => panic!("{files:?}"),
    }
}

fn unit(name: &str, active: Active, pid: Option<u32>) -> Unit {
    Unit {
        name: format!("{name}.service"),
        load: Load::Loaded,
        active,
        sub: "sub".into(),
        unit_file: "disabled".into(),
        main_pid: pid,
        since_ms: None,
        restarts: 0,
        outcome: "success".into(),
        last_exit: None,
        needs_reload: false,
        path: format!("/lib/systemd/system/{name}.service"),
        drop_ins: vec![],
    }
}

fn up(name: &str, pid: u32) -> Unit {
    unit(name, Active::Active, Some(pid))
}

fn down(name: &str) -> Unit {
    unit(name, Active::Inactive, None)
}

fn linked(name: &str, file: &str) -> Unit {
    let load = if file == "masked" { Load::Masked } else { Load::Loaded };
    Unit { load, unit_file: file.into(), ..down(name) }
}

fn said(deeds: &[Deed]) -> String {
    summary(deeds).replace(".service", "")
}

#[test]
fn what_is_left_to_do_follows_from_the_wish_and_the_units() {
    let states = |active: [Active; 3]| {
        ["a", "b", "c"].into_iter().zip(active).map(|(n, s)| unit(n, s, None)).collect::<Vec<_>>()
    };
    use Active::{Activating, Active as Up, Deactivating, Failed, Inactive, Reloading};
    for (wish, active, expected) in [
        ("stop", [Up, Up, Up], "stop c, stop b, stop a"),
        ("stop", [Activating, Deactivating, Failed], "stop b, stop a"),
        ("stop", [Inactive, Inactive, Reloading], "stop c"),
        ("start", [Inactive, Failed, Up], "start a, start b"),
        ("start", [Activating, Deactivating, Up], "start a, start b"),
        ("reload", [Up, Up, Up], "reload a, reload b, reload c"),
        ("check", [Inactive, Failed, Up], "nothing to do"),
    ] {
        let task = task(&format!(r#"{{"{wish}":["a","b","c"]}}"#));
        let now = states(active);
        assert_eq!(said(&deeds(&task, &Before::new(0, &now), &now)), expected, "{wish} {active:?}");
    }
}

#[test]
fn links_are_changed_where_they_differ() {
    let now = [linked("a", "enabled"), linked("b", "disabled"), linked("c", "masked")];
    for (wish, expected) in [
        ("enable", "enable b, enable c"),
        ("disable", "disable a"),
        ("mask", "mask a, mask b"),
        ("unmask", "unmask c"),
    ] {
        let task = task(&format!(r#"{{"{wish}":["a","b","c"]}}"#));
        assert_eq!(said(&deeds(&task, &Before::new(0, &now), &now)), expected, "{wish}");
    }
}

#[test]
fn a_restart_that_died_half_way_finishes_and_repeats_nothing() {
    let task = task(r#"{"restart":["a","b"]}"#);
    let before = Before::new(0, &[up("a", 1), down("b")]);
    for (now, expected) in [
        ([up("a", 1), down("b")], "restart a, restart b"),
        ([up("a", 9), down("b")], "restart b"),
        ([down("a"), down("b")], "restart a, restart b"),
        ([up("a", 9), up("b", 10)], "nothing to do"),
    ] {
        assert_eq!(said(&deeds(&task, &before, &now)), expected, "{now:?}");
    }
    let socket = |since_ms| Unit { since_ms, ..unit("s", Active::Active, None) };
    let before = Before::new(0, &[socket(Some(5))]);
    assert_eq!(said(&deeds(&task, &before, &[socket(Some(5))])), "restart s");
    assert_eq!(said(&deeds(&task, &before, &[socket(Some(6))])), "nothing to do");
}

#[test]
fn undo_makes_of_each_unit_what_it_was() {
    let rising = unit("c", Active::Activating, None);
    let before = Before::new(0, &[up("a", 1), down("b"), rising.clone()]);
    for (wish, now, expected) in [
        ("stop", [down("a"), down("b"), down("c")], "start a, start c"),
        ("start", [up("a", 1), up("b", 2), up("c", 3)], "stop b"),
        ("restart", [up("a", 9), up("b", 2), up("c", 3)], "stop b"),
        ("restart", [unit("a", Active::Failed, None), up("b", 2), rising], "stop b, start a, start c"),
        ("reload", [up("a", 1), down("b"), up("c", 3)], "reload a, reload c"),
        ("check", [down("a"), up("b", 2), down("c")], "nothing to do"),
    ] {
        let task = task(&format!(r#"{{"{wish}":["a","b","c"]}}"#));
        assert_eq!(said(&undo_deeds(&task, &before, &now)), expected, "{wish}");
    }
}

#[test]
fn undo_of_links_goes_backwards_and_knows_what_was_there() {
    let before = Before::new(0, &[linked("a", "enabled"), linked("b", "disabled"), linked("c", "masked")]);
    let enabled = [linked("a", "enabled"), linked("b", "enabled"), linked("c", "masked")];
    assert_eq!(said(&undo_deeds(&task(r#"{"enable":["a","b"]}"#), &before, &enabled)), "disable b");
    let disabled = [linked("a", "disabled"), linked("b", "disabled")];
    assert_eq!(said(&undo_deeds(&task(r#"{"disable":["a","b"]}"#), &before, &disabled)), "enable a");
    let masked = [linked("a", "masked"), linked("b", "masked"), linked("c", "masked")];
    assert_eq!(said(&undo_deeds(&task(r#"{"mask":["a","b","c"]}"#), &before, &masked)), "unmask b, unmask a");
    let unmasked = [linked("a", "enabled"), linked("c", "disabled")];
    assert_eq!(said(&undo_deeds(&task(r#"{"unmask":["a","c"]}"#), &before, &unmasked)), "mask c");
}

#[test]
fn undo_is_proved_unit_by_unit() {
    let stop = task(r#"{"stop":["a","b","c"]}"#);
    let before = Before::new(0, &[up("a", 1), down("b"), unit("c", Active::Activating, None)]);
    assert_eq!(not_back(&stop, &before, &[up("a", 5), unit("b", Active::Failed, None), down("c")]), None);
    assert_eq!(
        not_back(&stop, &before, &[down("a"), up("b", 5)]).unwrap(),
        "a.service was up before and is now inactive (sub), disabled; \
         b.service was down before and is now active (sub), disabled"
    );
    let enable = task(r#"{"enable":"a"}"#);
    assert!(not_back(&enable, &before, &[linked("a", "enabled")]).unwrap().contains("was not enabled"));
    let unmask = task(r#"{"unmask":"m"}"#);
    let masked = Before::new(0, &[linked("m", "masked")]);
    assert!(not_back(&unmask, &masked, &[linked("m", "disabled")]).unwrap().contains("was masked"));
}

#[test]
fn what_stands_in_the_way_blocks_before_anything_is_touched() {
    let unknown = Unit { load: Load::NotFound, ..down("a") };
    let runs_on = Unit { load: Load::NotFound, ..up("a", 1) };
    let broken = Unit { load: Load::Broken, ..down("a") };
    let defined_in_etc = Unit { path: "/etc/systemd/system/a.service".into(), ..down("a") };
    for (wish, unit, expected) in [
        ("start", &unknown, Some("systemd/unknown-unit")),
        ("stop", &unknown, Some("systemd/unknown-unit")),
        ("mask", &unknown, Some("systemd/unknown-unit")),
        ("stop", &runs_on, None),
        ("start", &linked("a", "masked"), Some("systemd/masked")),
        ("restart", &linked("a", "masked"), Some("systemd/masked")),
        ("enable", &linked("a", "masked"), Some("systemd/masked")),
        ("stop", &linked("a", "masked"), None),
        ("unmask", &linked("a", "masked"), None),
        ("enable", &linked("a", "static"), Some("systemd/no-install")),
        ("start", &linked("a", "static"), None),
        ("start", &broken, Some("systemd/broken-unit")),
        ("mask", &defined_in_etc, Some("systemd/file-in-the-way")),
        ("start", &defined_in_etc, None),
    ] {
        let found = findings(&task(&format!(r#"{{"{wish}":"a"}}"#)), unit);
        let blocking = found.iter().find(|finding| finding.blocking).map(|finding| finding.code.as_str());
        assert_eq!(blocking, expected, "{wish} {unit:?}");
    }
    let stale = Unit { needs_reload: true, ..up("a", 1) };
    let found = findings(&task(r#"{"restart":"a"}"#), &stale);
    assert_eq!((found[0].code.as_str(), found[0].blocking), ("systemd/needs-reload", false));
}

#[test]
fn verify_wants_what_was_asked_for() {
    let failed = Unit { outcome: "exit-code".into(), ..unit("a", Active::Failed, None) };
    for (wish, unit, ended, expected) in [
        (Wish::Stop, down("a"), false, Verdict::Pass),
        (Wish::Stop, failed.clone(), false, Verdict::Pass),
        (Wish::Stop, unit("a", Active::Deactivating, None), false, Verdict::Fail),
        (Wish::Start, up("a", 1), false, Verdict::Pass),
        (Wish::Start, unit("a", Active::Activating, None), false, Verdict::Fail),
        (Wish::Start, down("a"), false, Verdict::Fail),
        (Wish::Start, down("a"), true, Verdict::Pass),
        (Wish::Start, failed, true, Verdict::Fail),
        (Wish::Check, up("a", 1), false, Verdict::Pass),
        (Wish::Enable, linked("a", "enabled"), false, Verdict::Pass),
        (Wish::Disable, linked("a", "enabled"), false, Verdict::Fail),
        (Wish::Mask, linked("a", "masked"), false, Verdict::Pass),
        (Wish::Unmask, linked("a", "masked"), false, Verdict::Fail),
    ] {
        assert_eq!(proof(wish, &unit, ended).verdict, expected, "{wish:?} {unit:?}");
    }
}

#[test]
fn a_crash_loop_is_not_up_though_it_is_active() {
    let looping = Unit { restarts: 4, last_exit: Some("exit 7".into()), ..up("a", 1) };
    assert_eq!(
        not_up(&looping, 1).unwrap(),
        "a.service does not stay up: systemd started it again 3 times after exit 7"
    );
    assert_eq!(not_up(&looping, 4), None);
    let failed = Unit { last_exit: Some("exit 7".into()), ..unit("a", Active::Failed, None) };
    assert_eq!(not_up(&failed, 0).unwrap(), "a.service is failed (sub, exit 7), disabled");
}
