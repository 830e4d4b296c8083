//! `traffic` before a balancer that keeps what is put, killed at every host call.

#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test where it stands")]

use sternway_plugin::Error;
use sternway_plugin::host::http::{Request, Response};
use sternway_plugin::rehearsal::{Goal, World, crash_matrix, try_run};
use traffic::Traffic;

const URL: &str = "http://lb.internal/pools/app";

/// Keeps what is put; the pool `/stubborn` keeps what it has, and `/closed` tells nothing.
fn balancer(world: &mut World, request: &Request) -> Result<Response, Error> {
    let answer = |status: u16, body: String| {
        Ok(Response { status, headers: vec![], body: body.into_bytes(), elapsed_us: 1 })
    };
    if request.url.ends_with("/closed") {
        return answer(403, String::new());
    }
    if request.method == "PUT" && !request.url.ends_with("/stubborn") {
        if request.url.ends_with("/full") {
            return answer(507, String::new());
        }
        world.model.insert("pool".into(), String::from_utf8_lossy(&request.body).into_owned());
    }
    answer(200, world.model["pool"].clone())
}

fn world() -> World {
    let mut world = World { http: Some(balancer), ..World::default() };
    world.model.insert("pool".into(), r#"{"blue":0,"green":100,"since":7}"#.into());
    world
}

fn refused(settings: &str) -> String {
    try_run::<Traffic>(world(), settings, None, Goal::Applied).1.unwrap_err().error.code
}

#[test]
fn what_the_balancer_told_before_is_what_it_gets_back() {
    let settings = format!(r#"{{"put":"{URL}","body":{{"blue":100,"green":0}},"bearer":"lb"}}"#);
    assert!(crash_matrix::<Traffic>(&world(), &settings, None) > 0);
    let text = format!(r#"{{"put":"{URL}","body":"drain"}}"#);
    assert!(crash_matrix::<Traffic>(&world(), &text, None) > 0);
    let by_proof = format!(r#"{{"put":"{URL}","body":{{"blue":100,"green":0,"note":"x"}},"proof":"blue"}}"#);
    assert!(crash_matrix::<Traffic>(&world(), &by_proof, None) > 0);
}

#[test]
fn a_pool_that_is_so_already_is_left_alone() {
    let settings = format!(r#"{{"put":"{URL}","body":{{"green":100}}}}"#);
    let (left, ended) = try_run::<Traffic>(world(), &settings, None, Goal::Applied);
    ended.unwrap();
    assert_eq!(left.content(), world().content());
}

#[test]
fn a_balancer_that_does_not_take_it_fails_by_code() {
    let put = |pool: &str| format!(r#"{{"put":"http://lb.internal/{pool}","body":"drain"}}"#);
    assert_eq!(refused(&put("closed")), "traffic/unreadable");
    assert_eq!(refused(&put("full")), "traffic/refused");
    assert_eq!(refused(&put("stubborn")), "traffic/not-taken");
}
