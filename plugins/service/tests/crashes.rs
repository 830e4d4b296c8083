//! `service` killed at every host call, before and after its effect.

use service::Service as Plugin;
use sternway_plugin::rehearsal::{Goal, Service, World, crash_matrix, run};

fn world() -> World {
    let services = [("db", true), ("web", true), ("idle", false)];
    World {
        services: services
            .map(|(name, running)| (name.to_owned(), Service { running, pid: 7 }))
            .into_iter()
            .collect(),
        ..World::default()
    }
}

#[test]
fn a_crash_anywhere_ends_as_no_crash() {
    for settings in [
        r#"{"stop": ["db", "web", "idle"]}"#,
        r#"{"start": ["db", "web", "idle"]}"#,
        r#"{"restart": ["db", "web", "idle"]}"#,
        r#"{"check": ["db", "web"]}"#,
    ] {
        assert!(crash_matrix::<Plugin>(&world(), settings, None) > 10, "{settings}");
    }
}

#[test]
fn a_restart_makes_each_service_another_process() {
    let ended = run::<Plugin>(world(), r#"{"restart": ["db", "idle"]}"#, None, Goal::Applied, None);
    assert_eq!(ended.services["db"], Service { running: true, pid: 8 });
    assert_eq!(ended.services["web"], Service { running: true, pid: 7 });
    assert_eq!(ended.services["idle"], Service { running: true, pid: 8 });
}
