use super::*;

fn task(json: &str) -> Result<Task, Error> {
    serde_json::from_str::<Settings>(json).unwrap().task()
}

fn pool(pairs: &[(&str, Share)]) -> Vec<(String, Share)> {
    pairs.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect()
}

#[test]
fn the_schema_file_says_what_the_settings_take() {
    sternway_plugin::schema::assert_current::<Settings>(
        concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json"),
        include_str!("../../settings.schema.json"),
    );
}

#[test]
fn unsound_settings_are_refused_by_code() {
    for (json, code) in [
        ("{}", "traffic/one-of"),
        (r#"{"maintenance":"on","put":"http://a"}"#, "traffic/one-of"),
        (r#"{"maintenance":"on","config":"/etc/nginx/nginx.conf"}"#, "traffic/switch"),
        (r#"{"maintenance":"on","flag":"/a","link":"/b","config":"/c"}"#, "traffic/switch"),
        (r#"{"maintenance":"on","link":"/b","config":"/c"}"#, "traffic/target"),
        (r#"{"maintenance":"on","flag":"/a"}"#, "traffic/no-config"),
        (r#"{"maintenance":"off","flag":"/a","content-off":"x","config":"/c"}"#, "traffic/content"),
        (r#"{"maintenance":"on","flag":"a","config":"/c"}"#, "step/path"),
        (r#"{"maintenance":"on","flag":"/a","config":"/c","weights":{"a":1}}"#, "traffic/part"),
        (r#"{"maintenance":"on","flag":"/a","config":"/c","reload":"nginx"}"#, "traffic/unit"),
        (r#"{"upstream":"/a","config":"/c"}"#, "traffic/who"),
        (r#"{"upstream":"/a","config":"/c","weights":{}}"#, "traffic/who"),
        (r#"{"upstream":"/a","config":"/c","weights":{"a":1},"stable":"a","to":"1%"}"#, "traffic/who"),
        (r#"{"upstream":"/a","config":"/c","weights":{"a":"drain"}}"#, "traffic/share"),
        (r#"{"upstream":"/a","config":"/c","stable":"a","to":"120%"}"#, "traffic/percent"),
        (r#"{"haproxy":"/run/x.sock","backend":"b","weights":{"a":1}}"#, "traffic/address"),
        (r#"{"haproxy":"unix:///x","weights":{"a":1}}"#, "traffic/name"),
        (r#"{"haproxy":"unix:///x","backend":"b;","weights":{"a":1}}"#, "traffic/name"),
        (r#"{"haproxy":"unix:///x","backend":"b","weights":{"a 1":1}}"#, "traffic/name"),
        (r#"{"haproxy":"unix:///x","backend":"b","weights":{"a":257}}"#, "traffic/share"),
        (r#"{"haproxy":"unix:///x","backend":"b","weights":{"a":"backup"}}"#, "traffic/share"),
        (r#"{"haproxy":"unix:///x","backend":"b","weights":{"a":1},"within":"soon"}"#, "traffic/duration"),
        (r#"{"put":"http://a"}"#, "traffic/no-body"),
        (r#"{"put":"http://a","body":7}"#, "traffic/no-body"),
        (r#"{"put":"lb","body":"x"}"#, "traffic/url"),
        (r#"{"put":"http://a","body":"x","bearer":"a b"}"#, "traffic/bearer"),
    ] {
        assert_eq!(task(json).unwrap_err().code, code, "{json}");
    }
    assert!(serde_json::from_str::<Settings>(r#"{"maintenance":"maybe"}"#).is_err());
}

#[test]
fn everything_goes_to_the_stable_ones_in_one_step() {
    let shares = Shares::Divided { stable: vec!["blue".into()], percent: 100 };
    let now = pool(&[("blue", Share::Weight(0)), ("green", Share::Weight(9)), ("spare", Share::Backup)]);
    let wanted = shares.of(&now, 256).unwrap();
    assert_eq!(wanted, pool(&[("blue", Share::Weight(1)), ("green", Share::Weight(0))]));
}

#[test]
fn who_rests_is_not_woken_by_a_share_for_the_others() {
    let now = pool(&[("blue", Share::Down), ("green", Share::Weight(3)), ("broken", Share::Down)]);
    let some = Shares::Divided { stable: vec!["blue".into()], percent: 25 };
    assert_eq!(some.of(&now, 256).unwrap(), pool(&[("blue", Share::Weight(1)), ("green", Share::Weight(3))]));
    let all = Shares::Divided { stable: vec!["green".into()], percent: 50 };
    assert_eq!(all.of(&now, 256).unwrap_err().code, "traffic/no-others");
    let other = Shares::Divided { stable: vec!["red".into()], percent: 50 };
    assert_eq!(other.of(&now, 256).unwrap_err().code, "traffic/no-such-server");
}

#[test]
fn a_pool_that_nobody_would_serve_is_refused() {
    let now = pool(&[("blue", Share::Weight(1)), ("green", Share::Down)]);
    let none = Shares::Named(pool(&[("blue", Share::Down)]));
    assert_eq!(none.of(&now, 256).unwrap_err().code, "traffic/nobody-left");
    let missing = Shares::Named(pool(&[("red", Share::Down)]));
    assert_eq!(missing.of(&now, 256).unwrap_err().code, "traffic/no-such-server");
}
