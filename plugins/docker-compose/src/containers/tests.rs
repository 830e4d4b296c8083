use super::*;

/// `docker inspect` of Docker 20.10, shortened: a crash loop, a failed job, one
/// without and one with a health check, the last two made by compose 1.29.2.
const INSPECTED: &str = include_str!("inspected.json");

fn all() -> Vec<Container> {
    let mut all = read(INSPECTED.as_bytes()).unwrap();
    for container in &mut all {
        // Two were not made by compose and have no such labels.
        container.folder = "/srv/shop".into();
    }
    all
}

fn one(service: &str) -> Container {
    all().into_iter().find(|container| container.service == service).unwrap()
}

fn with(container: Container, change: impl FnOnce(&mut Container)) -> Container {
    let mut changed = container;
    change(&mut changed);
    changed
}

#[test]
fn dockers_own_words_are_read() {
    let read: Vec<String> = all()
        .iter()
        .map(|one| {
            format!("{} {} {:?} {} {}", one.service, one.number, one.state, one.exit_code, one.stays_up)
        })
        .collect();
    assert_eq!(
        read,
        ["api 1 Running 0 true", "db 1 Healthy 0 false", "job 0 Ended 3 false", "loop 0 Restarting 3 true"]
    );
    let api = one("api");
    assert_eq!((api.name.as_str(), api.image.as_str()), ("shop_api_1", "shop/api:1.2"));
    assert!(api.image_id.starts_with("sha256:") && !api.nameless_volumes && api.restarts == 0);
    assert!(one("loop").restarts > 0);
    assert!(read_error("[{}]") && read_error("no json") && !read_error("[]"));
}

fn read_error(text: &str) -> bool {
    read(text.as_bytes()).is_err()
}

#[test]
fn every_state_is_told_apart() {
    for (status, health, expected) in [
        ("running", None, State::Running),
        ("running", Some("none"), State::Running),
        ("running", Some("starting"), State::Starting),
        ("running", Some("healthy"), State::Healthy),
        ("running", Some("unhealthy"), State::Unhealthy),
        ("restarting", Some("starting"), State::Restarting),
        ("created", None, State::Created),
        ("paused", Some("healthy"), State::Paused),
        ("exited", Some("unhealthy"), State::Ended),
        ("dead", None, State::Dead),
    ] {
        assert_eq!(state(status, health), expected, "{status} {health:?}");
    }
}

#[test]
fn a_service_is_as_well_as_its_worst_container() {
    let judged = |service: &str| judge(service, &all(), None);
    assert_eq!(judged("db"), Judgement::Well);
    assert_eq!(judged("api"), Judgement::IfSteady);
    assert_eq!(judged("job"), Judgement::Broken("shop_ended ended with 3".into()));
    assert_eq!(judged("loop"), Judgement::Waiting("shop_loop is restarting again and again".into()));
    assert_eq!(judged("web"), Judgement::Waiting("web has no container".into()));
    assert_eq!(judge("db", &all(), Some(3)), Judgement::Waiting("db has 1 containers instead of 3".into()));
    let done = with(one("job"), |job| job.exit_code = 0);
    assert_eq!(judge("job", &[done], None), Judgement::Well);
    let ended = with(one("api"), |api| (api.state, api.exit_code) = (State::Ended, 0));
    assert!(matches!(judge("api", &[ended], None), Judgement::Waiting(_)), "it has to stay up");
    let two = [one("db"), with(one("db"), |db| db.state = State::Unhealthy)];
    assert_eq!(judge("db", &two, None), Judgement::Waiting("shop_db_1 is unhealthy".into()));
}

#[test]
fn undo_makes_again_what_is_another_container_and_starts_in_the_old_order() {
    let before = Before(all());
    assert_eq!(before.made_anew(&all()), Vec::<String>::new());
    let now: Vec<Container> = all()
        .into_iter()
        .map(|one| {
            with(one, |one| {
                if one.service != "job" {
                    one.id.push('x');
                    one.state = State::Created;
                }
            })
        })
        .collect();
    assert_eq!(before.made_anew(&now), ["api", "db", "loop"]);
    let (starts, stops) = before.turns(&now);
    let names: Vec<&str> = starts.iter().map(|one| one.service.as_str()).collect();
    assert_eq!(names, ["db", "api", "loop"]);
    assert!(stops.is_empty());
    let ran_again = with(one("job"), |job| job.state = State::Running);
    let now = [ran_again];
    let (_, stops) = before.turns(&now);
    assert_eq!(stops[0].service, "job");
    assert_eq!(before.sound(), ["api", "db"], "a crash loop is not waited for");
}

#[test]
fn being_back_is_proved_by_image_and_number_and_state() {
    let before = Before(all());
    assert_eq!(before.not_back(&all()), None);
    let mut now = all();
    now[0].image_id = "sha256:0123456789abcdef".into();
    now[1].state = State::Ended;
    now.remove(2);
    now.push(with(one("api"), |api| (api.service, api.name) = ("new".into(), "shop_new_1".into())));
    let said = before.not_back(&now).unwrap();
    for part in [
        "shop_new_1 was not there before",
        "shop_api_1 runs image 0123456789ab and ran",
        "shop_db_1 was healthy and is ended",
        "job had 1 containers and has 0",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn the_identity_of_an_image_is_dockers_own() {
    assert_eq!(image_id(br#"[{"Id":"sha256:ab","RepoTags":["shop/api:1.2"]}]"#).unwrap(), "sha256:ab");
    assert!(image_id(b"[]").is_err());
}
