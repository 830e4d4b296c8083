use serde_json::json;

use super::*;

fn decided(settings: Value, text: &str) -> Result<Decided, Error> {
    serde_json::from_value::<Settings>(settings).unwrap().decide(text)
}

fn written(settings: Value, text: &str) -> String {
    let first = decided(settings.clone(), text).unwrap().text.expect("something changes");
    let second = decided(settings, &first).unwrap();
    assert_eq!(second.changes, [], "the second time changes something in\n{first}");
    first
}

#[test]
fn the_schema_file_says_what_the_settings_take() {
    sternway_plugin::schema::assert_current::<Settings>(
        concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json"),
        include_str!("../../settings.schema.json"),
    );
}

#[test]
fn the_four_kinds_of_change_come_in_their_order() {
    let settings = json!({
        "file": "/a.json",
        "rename": {"old": "new.name"},
        "keep": ["new", "server"],
        "drop": ["server.tls", "no.such"],
        "set": {"server.port": 80, "added": true},
    });
    let text = r#"{"gone": 1, "old": "x", "server": {"port": 1, "tls": {}, "host": "h"}}"#;
    assert_eq!(
        written(settings, text),
        r#"{"server":{"port":80,"host":"h"},"new":{"name":"x"},"added":true}"#
    );
}

#[test]
fn comments_in_toml_stay_where_they_were() {
    let text = "# head\nport = 1 # not 80\n\n[a]\n# of b\nb = 1.10\nc = 2026-01-01\n";
    let settings = json!({"file": "/a.toml", "set": {"port": 2, "a.d": "x", "n.m": [1, {"k": false}]}});
    assert_eq!(
        written(settings, text),
        "# head\nport = 2 # not 80\n\n[a]\n# of b\nb = 1.10\nc = 2026-01-01\nd = \"x\"\n\n[n]\nm = [1, { k = false }]\n"
    );
}

#[test]
fn comments_in_yaml_and_env_stay_where_they_were() {
    let settings = |file: &str| json!({"file": file, "rename": {"A": "B"}, "drop": ["C"], "set": {"D": 5}});
    assert_eq!(
        written(settings("/a.yml"), "# head\nA: 1  # one\nC: [x]\n# of D\nD: 4\n"),
        "# head\nB: 1  # one\n# of D\nD: 5\n"
    );
    assert_eq!(
        written(settings("/a.env"), "# head\nexport A='1'\nC=x\n# of D\nD=4\n"),
        "# head\nexport B='1'\n# of D\nD=5\n"
    );
}

#[test]
fn nothing_to_do_writes_nothing() {
    let settings = json!({"file": "/a.json", "drop": ["x"], "set": {"a": {"b": 1}}, "rename": {"y": "z"}});
    let decided = decided(settings, "{ \"a\" : {\"b\":1} }").unwrap();
    assert!(decided.text.is_none() && decided.changes.is_empty());
}

#[test]
fn what_cannot_be_done_without_loss_is_refused_by_code() {
    for (settings, text, code) in [
        (json!({"file": "/a.conf", "drop": ["x"]}), "", "config/format"),
        (json!({"file": "/a.json", "drop": ["x"]}), "{", "config/not-readable"),
        (json!({"file": "/a.json", "drop": ["x"]}), "[1]", "config/no-table"),
        (json!({"file": "/a.yaml", "drop": ["x"]}), "- 1\n", "config/no-table"),
        (json!({"file": "/a.toml", "drop": ["x"]}), "a = 1\na = 2\n", "config/not-readable"),
        (json!({"file": "/a.json", "rename": {"a": "b"}}), r#"{"a":1,"b":2}"#, "config/both-there"),
        (json!({"file": "/a.json", "set": {"a.b": 1}}), r#"{"a":1}"#, "config/in-the-way"),
        (json!({"file": "/a.toml", "set": {"a": null}}), "", "config/no-null"),
        (json!({"file": "/a.env", "set": {"A": [1]}}), "", "config/not-a-text"),
        (json!({"file": "/a.yaml", "set": {"a": 1}}), "a: !!str 5\n", "config/not-as-meant"),
        (json!({"file": "/a.yaml", "drop": ["a"]}), "a: &x 1\nb: *x\n", "config/not-as-meant"),
        (json!({"file": "/a.yaml", "set": {"a": 2}}), "a: &x 1\nb: *x\n", "config/not-as-meant"),
    ] {
        assert_eq!(decided(settings.clone(), text).unwrap_err().code, code, "{settings} {text:?}");
    }
}

#[test]
fn a_preview_names_each_key_and_hides_what_looks_secret() {
    let settings = json!({"file": "/a.json", "set": {
        "port": 2, "db.password": "new", "url": "postgres://u:p@db/x", "tls.key": "k", "keyboard": "de",
    }});
    let text = r#"{"port": 1, "db": {"password": "old"}}"#;
    let actions: Vec<String> = decided(settings, text)
        .unwrap()
        .changes
        .iter()
        .map(|change| change.action("/a.json"))
        .map(|action| format!("{}: {:?} {:?}", action.summary, action.before, action.after))
        .collect();
    assert_eq!(
        actions,
        [
            r#"set db.password in /a.json: Some("(hidden)") Some("(hidden)")"#,
            r#"add keyboard in /a.json: None Some("de")"#,
            r#"set port in /a.json: Some("1") Some("2")"#,
            r#"add tls.key in /a.json: None Some("(hidden)")"#,
            r#"add url in /a.json: None Some("(hidden)")"#,
        ]
    );
}
