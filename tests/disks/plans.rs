//! The steps of the plans that are interrupted here.

/// Eight steps with everything there is: a service, files, a database, a
/// configuration, and somebody else who is told.
pub const ALL: &str = r#"
[[step]]
name = "stop hello"
uses = "service@0"
with = { stop = "hello" }
[[step]]
name = "restore files"
uses = "files@0"
with = { restore = "/opt/hello", remove = "/etc/hello/extra.toml", owner = "root", mode = "0640", directory-mode = "0750" }
[[step]]
name = "restore the database"
uses = "sqlite@0"
with = { restore = "/var/lib/hello/hello.db", mode = "0640" }
[[step]]
name = "drop the keys of 1.3"
uses = "config@0"
with = { file = "/etc/hello/config.json", drop = ["accent_folder"] }
wait = "10ms"
[[step]]
name = "tell somebody"
uses = "http@0"
with = { post = "LEDGER/${host.name}" }
undo = { delete = "LEDGER/${host.name}" }
[[step]]
name = "start hello"
uses = "service@0"
with = { start = "hello" }
[[step]]
name = "prove it"
uses = "http@0"
with = { get = "http://127.0.0.1:${host.label.port}/health", json = { version = "1.1" }, within = "5s", for = "50ms" }
"#;

/// Put after [`ALL`]: nobody answers there, so all is put back.
pub const FAILING: &str = r#"
[[step]]
name = "too much"
uses = "http@0"
with = { get = "http://127.0.0.1:9/", within = "50ms" }
"#;

/// Eight steps on files alone, so that a host without power loses no process.
pub const FILES: &str = r#"
[[step]]
name = "restore files"
uses = "files@0"
with = { restore = "/opt/hello", remove = "/etc/hello/extra.toml" }
[[step]]
name = "restore the database"
uses = "sqlite@0"
with = { restore = "/var/lib/hello/hello.db" }
[[step]]
name = "drop the keys of 1.3"
uses = "config@0"
with = { file = "/etc/hello/config.json", drop = ["accent_folder"] }
[[step]]
name = "mark 1"
uses = "config@0"
with = { file = "/etc/hello/config.json", set = { one = 1 } }
[[step]]
name = "mark 2"
uses = "config@0"
with = { file = "/etc/hello/config.json", set = { two = 2 } }
[[step]]
name = "mark 3"
uses = "config@0"
with = { file = "/etc/hello/config.json", set = { three = 3 } }
[[step]]
name = "mark 4"
uses = "config@0"
with = { file = "/etc/hello/config.json", set = { four = 4 } }
[[step]]
name = "mark 5"
uses = "config@0"
with = { file = "/etc/hello/config.json", set = { five = 5 } }
"#;

/// One step.
pub const ONE: &str = r#"
[[step]]
name = "restore files"
uses = "files@0"
with = { restore = "/opt/hello" }
"#;

/// Can be done whatever was done before.
pub const AFTER: &str = r#"
[[step]]
name = "mark"
uses = "config@0"
with = { file = "/etc/hello/config.json", set = { mark = 1 } }
"#;
