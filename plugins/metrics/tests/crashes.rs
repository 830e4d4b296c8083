//! `metrics` against answers kept in `recorded/` (no Prometheus runs here), served
//! as they were with the time of the host's clock put in, and killed at every call.

#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test where it stands")]

use metrics::Metrics;
use sternway_plugin::host::http::{Request, Response};
use sternway_plugin::rehearsal::{Goal, World, crash_matrix, try_run};
use sternway_plugin::{Error, Failure};

const VECTOR: &str = include_str!("recorded/vector.json");
const EMPTY: &str = include_str!("recorded/empty.json");
const SCALAR: &str = include_str!("recorded/scalar.json");
const BAD: &str = include_str!("recorded/bad-query.json");

/// Queries are known by what they hold; `error_rate` comes and goes with the clock.
fn answer(world: &mut World, request: &Request) -> Result<Response, Error> {
    assert_eq!(request.method, "GET");
    let seconds = (world.now_ms / 1_000).to_string();
    let value = |value: &str| VECTOR.replace("\"VALUE\"", &format!("\"{value}\"")).replace("TIME", &seconds);
    let (status, body) = match request.url.as_str() {
        url if url.contains("query=error_rate") => {
            let bad = world
                .model
                .get("errors")
                .is_some_and(|at| seconds.parse::<u64>().unwrap() >= at.parse().unwrap());
            (200, value(if bad { "0.09" } else { "0.01" }))
        }
        url if url.contains("query=memory") => (200, value("104857600")),
        url if url.contains("query=gone") => (200, EMPTY.to_owned()),
        url if url.contains("query=time") => (200, SCALAR.replace("TIME", &seconds)),
        url if url.contains("query=bad") => (400, BAD.to_owned()),
        "http://127.0.0.1:8080/stats" => {
            (200, r#"{"cpu": {"percent": 41.5}, "memory": {"percent": "62"}}"#.to_owned())
        }
        url => return Err(Error::failed("http/unreachable", format!("{url} could not be reached"))),
    };
    Ok(Response { status, headers: vec![], body: body.into_bytes(), elapsed_us: 500 })
}

fn world() -> World {
    World { http: Some(answer), now_ms: 1_700_000_000_000, ..World::default() }
}

fn ended(world: World, settings: &str) -> Result<(), Failure> {
    try_run::<Metrics>(world, settings, None, Goal::Applied).1
}

fn query(query: &str, rest: &str) -> String {
    format!(
        r#"{{"prometheus":"http://127.0.0.1:9090","for":"15m","every":"30s","queries":{{"it":{{"query":"{query}",{rest}}}}}}}"#
    )
}

#[test]
fn values_that_stay_right_for_the_window_pass_through_every_crash() {
    let settings = r#"{
        "prometheus": "http://127.0.0.1:9090",
        "queries": {
            "error rate": { "query": "error_rate", "below": 0.05 },
            "memory": { "query": "memory", "baseline": { "at-most": 1.1 } },
            "clock": { "query": "time()", "above": 0 }
        },
        "json": { "http://127.0.0.1:8080/stats": { "cpu.percent": { "at-most": 80 }, "/memory/percent": { "below": 90 } } },
        "for": "2m", "every": "30s"
    }"#;
    assert!(crash_matrix::<Metrics>(&world(), settings, None) > 0);
}

#[test]
fn a_value_that_goes_wrong_in_the_window_fails_at_once_unless_it_is_allowed_to() {
    let mut world = world();
    world.model.insert("errors".into(), "1700000600".into());
    let settings = query("error_rate", r#""below":0.05"#);
    let (left, ended) = try_run::<Metrics>(world.clone(), &settings, None, Goal::Applied);
    let error = ended.unwrap_err().error;
    assert_eq!(error.code, "metrics/threshold");
    assert_eq!(
        error.message,
        "it was 0.09 (instance=web-1,job=web) (1 of 21 measurements), expected below 0.05"
    );
    assert_eq!(left.now_ms, 1_700_000_600_000, "it did not wait for the end of the window");
    let allowed = settings.replace(r#""for""#, r#""failures-allowed":10,"for""#);
    let (left, ended) = try_run::<Metrics>(world, &allowed, None, Goal::Applied);
    assert_eq!(ended.unwrap_err().error.code, "metrics/threshold");
    assert_eq!(left.now_ms, 1_700_000_900_000);
}

#[test]
fn what_cannot_be_told_is_not_a_failure_and_not_a_success() {
    for (settings, told) in [
        (query("gone", r#""below":0.05"#), "no data"),
        (query("nowhere", r#""below":0.05"#), "could not be reached"),
    ] {
        let thrown = std::panic::catch_unwind(|| ended(world(), &settings)).unwrap_err();
        let message = thrown.downcast_ref::<String>().unwrap();
        assert!(message.contains("Inconclusive") && message.contains(told), "{message}");
    }
    let strict = query("gone", r#""below":0.05"#).replace(r#""for""#, r#""on-no-data":"fail","for""#);
    assert_eq!(ended(world(), &strict).unwrap_err().error.code, "metrics/threshold");
}

#[test]
fn a_query_that_is_none_refuses_the_run_before_anything_is_touched() {
    let error = ended(world(), &query("bad{", r#""below":0.05"#)).unwrap_err().error;
    assert_eq!(error.code, "metrics/bad-query");
    assert!(error.message.contains("unexpected end of input"), "{}", error.message);
}
