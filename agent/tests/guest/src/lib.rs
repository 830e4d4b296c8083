//! Misbehaves as its settings say: `look` and `apply` do the word in `settings`.

wit_bindgen::generate!({ world: "step", path: "../../../wit", generate_all });

use exports::sternway::step::lifecycle::Guest;
use sternway::host::{control, databases, errors, files, http, journal, log, points, progress, services};
use sternway::step::types::*;

struct Bad;
export!(Bad);

impl Guest for Bad {
    fn describe() -> Manifest {
        // What is refused here must be refused as an answer, not as a trap.
        assert!(files::get_digest(files::Place::Live, "/").is_err());
        assert!(journal::begin("key", &[]).is_err());
        log::write(log::Level::Info, "nobody hears this");
        Manifest {
            name: "guest".into(),
            version: "0.1.0".into(),
            summary: "misbehaves".into(),
            settings_schema: "{\"type\":\"object\"}".into(),
            modes: vec![],
            powers: vec![],
            default_timeout_ms: 1_000,
        }
    }

    fn look(on: Invocation) -> Result<Looked, errors::Error> {
        let state = act(&on.settings)?.into_bytes();
        Ok(Looked { findings: vec![], actions: vec![], state })
    }

    fn prepare(on: Invocation, _: Looked) -> Result<Prepared, errors::Error> {
        Ok(Prepared { summary: act(&on.settings)?, state: vec![] })
    }

    fn apply(on: Invocation, _: Looked, _: Prepared) -> Result<Outcome, Failure> {
        match act(&on.settings) {
            Ok(summary) => Ok(Outcome { changed: true, summary, state: vec![] }),
            Err(error) => Err(Failure { error, undo_advised: true }),
        }
    }

    fn verify(on: Invocation, _: Outcome) -> Result<Vec<Verification>, errors::Error> {
        act(&on.settings)?;
        Ok(vec![])
    }

    fn undo(on: Invocation, _: Looked, _: Prepared) -> Result<Outcome, Failure> {
        Self::apply(on, Looked { findings: vec![], actions: vec![], state: vec![] }, Prepared {
            summary: String::new(),
            state: vec![],
        })
    }
}

fn act(settings: &str) -> Result<String, errors::Error> {
    let (word, rest) = settings.split_once(' ').unwrap_or((settings, ""));
    match word {
        "spin" => loop {
            core::hint::black_box(0);
        },
        "spin-calling" => loop {
            control::cancelled();
        },
        "allocate" => {
            let mut kept = Vec::new();
            loop {
                kept.push(vec![1_u8; 1 << 20]);
            }
        }
        "recurse" => Ok(recurse(1).to_string()),
        "panic" => panic!("this is why: {rest}"),
        "print" => {
            for line in 0..20_000 {
                eprintln!("line {line}");
            }
            panic!("after much output");
        }
        "flood" => {
            for line in 0..10_000 {
                log::write(log::Level::Info, &format!("line {line} {}", "x".repeat(10_000)));
            }
            log::write(log::Level::Error, "never heard");
            Ok("flooded".into())
        }
        "escape" => {
            log::write(log::Level::Info, "a\u{1b}[2Jb\nc\u{202e}d");
            progress::report("s\u{1b}t", 1, Some(2), "files");
            Ok(String::new())
        }
        "hand-over" => {
            let size: usize = rest.parse().unwrap();
            journal::begin("big", &vec![7; size])?;
            Ok("handed over".into())
        }
        "answer" => Ok("x".repeat(rest.parse().unwrap())),
        "wait" => {
            std::thread::sleep(std::time::Duration::from_secs(3600));
            Ok("waited".into())
        }
        "sleep" => Ok(control::sleep(rest.parse().unwrap()).to_string()),
        "calls" => {
            for _ in 0..20_000 {
                files::get_attributes(files::Place::Live, "/granted")?;
            }
            Ok("called".into())
        }
        "environment" => Ok(format!(
            "{} variables, {} arguments, {}, {}, {}",
            std::env::vars().count(),
            std::env::args().count(),
            std::fs::read("/etc/passwd").is_err(),
            std::net::TcpStream::connect("127.0.0.1:22").is_err(),
            std::fs::write("/tmp/escaped", "x").is_err(),
        )),
        "mark" => Ok(match journal::begin("key", b"note")? {
            journal::Mark::Fresh if rest == "die" => panic!("between begin and finish"),
            journal::Mark::Fresh => {
                journal::finish("key", b"value")?;
                "fresh".into()
            }
            journal::Mark::Started(note) => {
                journal::finish("key", b"value")?;
                format!("started {}", String::from_utf8_lossy(&note))
            }
            journal::Mark::Finished(value) => {
                format!("finished {}", String::from_utf8_lossy(&value))
            }
        }),
        "switch" => {
            let staged = files::stage_bytes("/granted/file", rest.as_bytes())?;
            Ok(files::switch_to("/granted/file", &staged.sha256)?.to_string())
        }
        "call" => call(rest),
        "nothing" => Ok(String::new()),
        _ => panic!("no such misbehaviour: {word}"),
    }
}

/// Each call once, on what was not granted.
fn call(name: &str) -> Result<String, errors::Error> {
    let (live, path) = (files::Place::Live, "/etc/passwd");
    let no_change =
        files::Ownership { owner: None, group: None, file_mode: None, directory_mode: None };
    let request = |method: &str| http::Request {
        method: method.into(),
        url: "http://127.0.0.1:1/".into(),
        headers: vec![],
        body: vec![],
        timeout_ms: 100,
        body_bytes_max: 1,
    };
    match name {
        "files.get-attributes" => drop(files::get_attributes(live, path)?),
        "files.get-digest" => drop(files::get_digest(live, path)?),
        "files.read" => drop(files::read(live, path, 10)?),
        "files.names" => drop(files::names(live, "/etc")?),
        "files.stage-bytes" => drop(files::stage_bytes(path, b"x")?),
        "files.stage-copy" => drop(files::stage_copy(path)?),
        "files.stage-ownership" => drop(files::stage_ownership(path, &no_change)?),
        "files.discard" => files::discard(path)?,
        "files.switch-to" => drop(files::switch_to(path, "00")?),
        "files.take-away" => drop(files::take_away(path)?),
        "files.keep-copy" => drop(files::keep_copy(path)?),
        "points.get" => drop(points::get("00")?),
        "points.entries" => drop(points::entries("00", path)?),
        "points.stage" => drop(points::stage("00", path)?),
        "services.get-status" => drop(services::get_status("sshd")?),
        "services.lines" => drop(services::lines("sshd", 1)?),
        "services.start" => drop(services::start("sshd", 100)?),
        "services.stop" => drop(services::stop("sshd", 100)?),
        "http.send-get" => drop(http::send(&request("GET"))?),
        "http.send-put" => drop(http::send(&request("PUT"))?),
        "databases.inspect" => drop(databases::inspect(live, path)?),
        "databases.ask" => drop(databases::ask(live, path, "SELECT 1")?),
        "databases.settle" => databases::settle(path)?,
        _ => panic!("no such call: {name}"),
    }
    Ok("allowed".into())
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let held = core::hint::black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { recurse(depth + 1) + held[(depth % 64) as usize] }
}
