//! The plugin on the real Docker, with both versions of compose, through the
//! forms the agent has: what it does, what undo brings back, and what a kill leaves.

#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test where it stands")]

mod docker;

use docker::{Project, kill_next_up};
use docker_compose::DockerCompose;
use sternway_plugin::rehearsal::{Goal, World, run, try_run};

/// Runs `test` with each version of compose that is here.
fn with_each_version(name: &str, test: fn(&Project)) {
    for version_1 in [true, false] {
        let label = format!("{name}-v{}", if version_1 { 1 } else { 2 });
        match docker::lacking(version_1) {
            #[allow(clippy::print_stdout, reason = "the one line of a test that cannot run")]
            Some(why) => println!("skipped  {label}: {why}"),
            None => test(&Project::new(&label, version_1)),
        }
    }
}

fn settings(project: &Project, mode: &str, more: &str) -> String {
    let (folder, name) = (project.folder.to_str().unwrap(), &project.name);
    format!(
        r#"{{"{mode}": "{folder}", "project": "{name}", "grace": "2s", "health": {{"within": "20s", "for": "500ms"}} {more}}}"#
    )
}

fn applied(world: World, settings: &str) -> World {
    run::<DockerCompose>(world, settings, None, Goal::Applied, None)
}

/// Without the memory of the step before.
fn next(world: World) -> World {
    World {
        marks: Default::default(),
        ran: Default::default(),
        side: Default::default(),
        calls: 0,
        log: vec![],
        ..world
    }
}

const ON_1_1: [&str; 3] = ["api 1.1 running -", "db 1.1 running healthy", "job 1.1 ended -"];
const ON_1_2: [&str; 3] = ["api 1.2 running -", "db 1.1 running healthy", "job 1.1 ended -"];

#[test]
fn a_project_goes_back_to_its_point_and_forward_again() {
    with_each_version("restore", |project| {
        let world = project.world();
        project.up_by_hand(&world, &["--scale", "api=2"]);
        let two = ["api 1.2 running -", "api 1.2 running -", "db 1.1 running healthy", "job 1.1 ended -"];
        let restore = settings(project, "restore", r#", "also": "api.env""#);
        let restored = applied(world.clone(), &restore);
        assert_eq!(project.state(), ON_1_1);
        assert_eq!(restored.live[&project.path(".env")], "TAG=1.1\n");
        project.up_by_hand(&world, &["--scale", "api=2"]);
        let undone = run::<DockerCompose>(next(world.clone()), &restore, None, Goal::Undone, None);
        assert_eq!(undone.live, world.live);
        assert_eq!(project.state(), two);
    });
}

#[test]
fn down_scale_and_restart_are_undone_to_what_ran() {
    with_each_version("modes", |project| {
        let world = project.world();
        project.up_by_hand(&world, &[]);
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        for (mode, more, expected) in [
            ("down", "", vec![]),
            (
                "down",
                r#", "services": "api""#,
                vec!["api 1.2 ended -", "db 1.1 running healthy", "job 1.1 ended -"],
            ),
            (
                "scale",
                r#", "replicas": {"api": 2}"#,
                vec!["api 1.2 running -", "api 1.2 running -", "db 1.1 running healthy", "job 1.1 ended -"],
            ),
            ("restart", r#", "services": "api""#, ON_1_2.to_vec()),
        ] {
            let settings = settings(project, mode, more);
            let before = project.ids("api");
            let ended = applied(world.clone(), &settings);
            assert_eq!(project.state(), expected, "{mode}");
            if mode == "restart" {
                assert_ne!(project.ids("api"), before);
            }
            let kept = kept(project);
            sternway_plugin::rehearsal::undo_alone::<DockerCompose>(ended, &settings, &kept).unwrap();
            assert_eq!(project.state(), ON_1_2, "{mode} undone");
        }
        let checked = applied(world.clone(), &settings(project, "check", r#", "services": ["api", "db"]"#));
        assert!(!checked.log.iter().any(|call| call.starts_with("programs.run")));
    });
}

#[test]
fn images_are_pinned_by_digest_and_missing_ones_refuse_the_step() {
    with_each_version("pins", |project| {
        let world = project.world();
        project.up_by_hand(&world, &[]);
        let pinned = format!(r#", "images": {{"api": "{}"}}"#, project.image_id("1.1"));
        let ended = applied(world.clone(), &settings(project, "up", &pinned));
        assert_eq!(project.state(), ON_1_1);
        assert!(ended.live[&project.path("compose.sternway.yaml")].contains("sha256:"));
        let before = project.ids("api");
        let lost = format!(r#", "images": {{"api": "127.0.0.1:1/lost@sha256:{}"}}"#, "9".repeat(64));
        let (_, result) =
            try_run::<DockerCompose>(next(ended), &settings(project, "up", &lost), None, Goal::Applied);
        let error = result.unwrap_err().error;
        assert_eq!(error.code, "docker-compose/no-image", "{}", error.message);
        assert_eq!(project.ids("api"), before);
    });
}

#[test]
fn killed_at_what_changes_something_it_ends_as_no_crash() {
    with_each_version("kills", |project| {
        let world = project.world();
        let restore = settings(project, "restore", "");
        project.up_by_hand(&world, &[]);
        let clean = run::<DockerCompose>(world.clone(), &restore, None, Goal::Applied, None);
        let changing = |call: &String| call.starts_with("programs.run") || call == "files.switch-to";
        let calls: Vec<usize> = (0..clean.log.len()).filter(|at| changing(&clean.log[*at])).collect();
        assert!(calls.len() >= 2, "{:?}", clean.log);
        for call in calls {
            for after in [false, true] {
                for goal in [Goal::Applied, Goal::GivenUp] {
                    project.up_by_hand(&world, &[]);
                    let ended =
                        run::<DockerCompose>(world.clone(), &restore, None, goal, Some((call, after)));
                    let (state, live) =
                        if goal == Goal::Applied { (ON_1_1, &clean.live) } else { (ON_1_2, &world.live) };
                    assert_eq!(project.state(), state, "{goal:?} killed at {call} {after}");
                    assert_eq!(&ended.live, live, "{goal:?} killed at {call} {after}");
                }
            }
        }
    });
}

#[test]
fn compose_killed_in_mid_up_is_resumed_by_the_next_try() {
    with_each_version("mid-up", |project| {
        let world = project.world();
        let restore = settings(project, "restore", "");
        project.up_by_hand(&world, &[]);
        kill_next_up();
        let (half, result) = try_run::<DockerCompose>(world, &restore, None, Goal::Applied);
        let error = result.unwrap_err().error;
        assert_eq!(error.code, "docker-compose/failed", "{}", error.message);
        assert!(error.message.contains("signal 9"), "{}", error.message);
        let ended = run::<DockerCompose>(half, &restore, None, Goal::Applied, None);
        assert_eq!(project.state(), ON_1_1);
        assert_eq!(ended.live[&project.path(".env")], "TAG=1.1\n");
    });
}

/// What `prepare` answered of a mode that switches no files.
fn kept(project: &Project) -> serde_json::Value {
    serde_json::json!({
        "project": project.name, "files": [project.path("compose.yaml")], "env": project.path(".env"),
        "services": ["api", "db", "job"], "puts": [],
    })
}
