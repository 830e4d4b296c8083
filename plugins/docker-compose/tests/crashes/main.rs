//! `docker-compose` killed at every host call, before and after its effect.

#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test where it stands")]

mod daemon;

use daemon::{LOST, PINNED, running, world};
use docker_compose::DockerCompose;
use sternway_plugin::rehearsal::{Goal, World, crash_matrix, run, try_run};

const QUICK: &str = r#""health": {"within": "1s", "for": "500ms"}"#;

fn settings(mode: &str, more: &str) -> String {
    format!(r#"{{"{mode}": "/srv/shop", {QUICK} {more}}}"#)
}

fn applied(settings: &str) -> World {
    run::<DockerCompose>(world(), settings, None, Goal::Applied, None)
}

fn refused(world: World, settings: &str) -> (String, String) {
    let (ended, result) = try_run::<DockerCompose>(world.clone(), settings, None, Goal::Applied);
    assert_eq!(ended.services, world.services, "something was touched");
    assert_eq!(ended.live, world.live, "a file was touched");
    let error = result.unwrap_err().error;
    (error.code, error.message)
}

#[test]
fn a_crash_anywhere_ends_as_no_crash() {
    let pins = format!(r#", "images": {{"api": "{PINNED}"}}"#);
    for (mode, more) in [
        ("down", ""),
        ("down", r#", "services": "api""#),
        ("up", ""),
        ("restart", r#", "services": ["db", "api"]"#),
        ("scale", r#", "replicas": {"api": 3}"#),
        ("scale", r#", "replicas": {"api": 1}"#),
        ("restore", ""),
        ("restore", pins.as_str()),
        ("check", r#", "services": "db""#),
    ] {
        // A pulled image may stay: it is nobody's state.
        let mut world = world();
        world.model.insert(format!("image {PINNED}"), "sha256:api11".into());
        let tried = crash_matrix::<DockerCompose>(&world, &settings(mode, more), None);
        assert!(tried > 20, "{mode} {more}: {tried}");
    }
}

#[test]
fn each_mode_does_what_its_name_says() {
    for (mode, more, expected) in [
        ("down", "", ""),
        (
            "down",
            r#", "services": "api""#,
            "shop-api-1 shop/api:1.2 ended; shop-api-2 shop/api:1.2 ended; shop-db-1 shop/db:15 up",
        ),
        ("up", "", "shop-api-1 shop/api:1.2 up; shop-api-2 shop/api:1.2 up; shop-db-1 shop/db:15 up"),
        (
            "scale",
            r#", "replicas": {"api": 3}"#,
            "shop-api-1 shop/api:1.2 up; shop-api-2 shop/api:1.2 up; shop-api-3 shop/api:1.2 up; shop-db-1 shop/db:15 up",
        ),
        ("restore", "", "shop-api-1 shop/api:1.1 up; shop-db-1 shop/db:15 up"),
        (
            "restore",
            r#", "replicas": {"api": 2}"#,
            "shop-api-1 shop/api:1.1 up; shop-api-2 shop/api:1.1 up; shop-db-1 shop/db:15 up",
        ),
    ] {
        assert_eq!(running(&applied(&settings(mode, more))), expected, "{mode} {more}");
    }
}

#[test]
fn a_restore_switches_the_files_and_pulls_what_is_pinned() {
    let ended = applied(&settings("restore", &format!(r#", "images": {{"api": "{PINNED}"}}"#)));
    assert_eq!(running(&ended), format!("shop-api-1 {PINNED} up; shop-db-1 shop/db:15 up"));
    assert_eq!(ended.live["/srv/shop/.env"], "COLOUR=blue\n");
    assert!(ended.live["/srv/shop/compose.yaml"].contains("shop/api:1.1"));
    assert!(ended.live["/srv/shop/compose.sternway.yaml"].contains(PINNED));
    let pulled = ended.log.iter().position(|call| call == "programs.stage containers.pull").unwrap();
    let touched = ended.log.iter().position(|call| call.starts_with("programs.run")).unwrap();
    assert!(pulled < touched, "{:?}", ended.log);
}

#[test]
fn pins_stay_until_a_restore_takes_them_away() {
    let pinned = applied(&settings("restore", &format!(r#", "images": {{"api": "{PINNED}"}}"#)));
    let again = World { marks: Default::default(), ran: Default::default(), ..pinned };
    let restarted = run::<DockerCompose>(again.clone(), &settings("restart", ""), None, Goal::Applied, None);
    assert!(running(&restarted).contains(PINNED));
    let restored = run::<DockerCompose>(again, &settings("restore", ""), None, Goal::Applied, None);
    assert!(!running(&restored).contains(PINNED));
    assert!(!restored.live.contains_key("/srv/shop/compose.sternway.yaml"));
}

#[test]
fn a_restart_goes_service_by_service_and_makes_every_container_anew() {
    let ended = applied(&settings("restart", r#", "services": ["db", "api"]"#));
    for (name, service) in &ended.services {
        assert!(service.pid > 3, "{name} is the same as before");
    }
    let runs = ended.log.iter().filter(|call| *call == "programs.run containers.up").count();
    assert_eq!(runs, 2);
}

#[test]
fn undo_runs_the_very_image_also_when_its_name_was_given_away() {
    let moved = World { ..world() };
    let settings = settings("down", "");
    let (mut ended, result) = try_run::<DockerCompose>(moved, &settings, None, Goal::Applied);
    assert_eq!(result, Ok(()));
    ended.model.insert("image shop/api:1.2".into(), "sha256:other".into());
    let kept = serde_json::json!({
        "project": "shop", "files": ["/srv/shop/compose.yaml"], "env": "/srv/shop/.env", "services": ["api", "db"], "puts": []
    });
    let undone = sternway_plugin::rehearsal::undo_alone::<DockerCompose>(ended, &settings, &kept);
    assert_eq!(undone, Ok(()), "it proves the image ids itself");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_touched() {
    let with = |key: &str, value: &str| {
        let mut world = world();
        world.model.insert(key.into(), value.into());
        world
    };
    let live = |path: &str, text: Option<&str>| {
        let mut world = world();
        world.live.remove(path);
        if let Some(text) = text {
            world.live.insert(path.into(), text.into());
        }
        world
    };
    let pinned = format!(r#", "images": {{"api": "{LOST}"}}"#);
    let cases = [
        (World { programs: None, ..world() }, settings("up", ""), "docker-compose/no-docker"),
        (
            with("fails containers.version", "Is the docker daemon running?"),
            settings("up", ""),
            "docker-compose/no-daemon",
        ),
        (live("/srv/shop/compose.yaml", None), settings("up", ""), "docker-compose/no-file"),
        (live("/srv/shop/compose.yaml", Some("oops")), settings("down", ""), "docker-compose/invalid"),
        (with("folder", "/home/other/shop"), settings("down", ""), "docker-compose/other-folder"),
        (with("state", "paused"), settings("up", ""), "docker-compose/paused"),
        (world(), settings("up", r#", "services": "web""#), "docker-compose/unknown-service"),
        (world(), settings("scale", r#", "replicas": {"web": 2}"#), "docker-compose/unknown-service"),
        (world(), settings("up", &pinned), "docker-compose/no-image"),
        (world(), settings("restore", &pinned), "docker-compose/no-image"),
        (world(), settings("restore", r#", "also": "api.env""#), "docker-compose/not-in-point"),
        (
            live("/srv/shop/compose.yaml", Some("services:\n  api:\n    image: built\n")),
            settings("up", ""),
            "docker-compose/not-built",
        ),
    ];
    for (world, settings, code) in cases {
        let (found, message) = refused(world, &settings);
        assert_eq!(found, code, "{settings}: {message}");
    }
}

#[test]
fn a_point_with_files_compose_refuses_stops_before_anything_is_touched() {
    let mut world = world();
    world.point.insert("/srv/shop/compose.yaml".into(), "oops".into());
    let (code, message) = refused(world, &settings("restore", ""));
    assert_eq!(code, "docker-compose/invalid", "{message}");
}

#[test]
fn a_service_that_does_not_get_well_is_told_with_its_last_lines_and_undone() {
    let mut world = world();
    world.live.insert(
        "/srv/shop/compose.yaml".into(),
        "services:\n  api:\n    image: shop/api:1.1\n  db:\n    image: shop/db:15\n".into(),
    );
    world.model.insert("fails containers.up".into(), "port is already allocated".into());
    let (ended, result) = try_run::<DockerCompose>(world.clone(), &settings("up", ""), None, Goal::Applied);
    let error = result.unwrap_err().error;
    assert_eq!(error.code, "docker-compose/failed");
    assert!(error.message.ends_with("port is already allocated"), "{}", error.message);
    // The next try begins anew and does not hear the old answer again.
    let mut again = ended;
    again.model.remove("fails containers.up");
    let (ended, result) = try_run::<DockerCompose>(again, &settings("up", ""), None, Goal::Applied);
    assert_eq!(result, Ok(()));
    assert!(running(&ended).contains("shop-api-1 shop/api:1.1 up"));
}

#[test]
fn waiting_in_vain_says_who_and_in_its_own_words() {
    let mut world = world();
    world.model.insert("state".into(), "created".into());
    let (_, result) =
        try_run::<DockerCompose>(world, &settings("check", r#", "services": "api""#), None, Goal::Applied);
    let error = result.unwrap_err().error;
    assert_eq!(error.code, "docker-compose/unwell");
    assert!(error.message.starts_with("not well within 1 s: shop-api-1 is not started"), "{}", error.message);
    assert!(error.message.contains("last lines of shop-api-1: started | no database"), "{}", error.message);
}
