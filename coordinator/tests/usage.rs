//! The program itself, as a shell sees it: what it answers when it is used
//! wrongly, and with which number.

#![expect(clippy::unwrap_used, reason = "what cannot be had breaks the test off")]

use std::path::Path;
use std::process::{Command, Output};

use sternway_core::exit;

fn sternway(directory: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sternway"))
        .args(words)
        .env_clear()
        .env("HOME", directory)
        .current_dir(directory)
        .output()
        .unwrap()
}

fn told(words: &[&str]) -> (i32, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let output = sternway(directory.path(), words);
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_misspelt_verb_is_wrong_use_and_gets_the_likely_one() {
    let (code, stdout, stderr) = told(&["lunch", "plan.sealed"]);
    assert_eq!(code, i32::from(exit::USAGE));
    assert!(stderr.contains("'launch'"), "{stderr}");
    assert_eq!(stdout, "");
}

#[test]
fn every_verb_begins_to_help_with_examples() {
    for verb in [
        "check",
        "sign",
        "show",
        "launch",
        "watch",
        "status",
        "approve",
        "hold",
        "go",
        "halt",
        "resume",
        "undo",
        "dead",
        "emergency",
        "log",
        "report",
        "fleet",
        "rollouts",
        "points",
        "ready",
        "audit",
        "keys",
        "schema",
        "serve",
        "dev",
    ] {
        let (code, stdout, _) = told(&[verb, "--help"]);
        assert_eq!(code, i32::from(exit::DONE), "{verb}");
        let examples = stdout.matches(&format!("  sternway {verb}")).count();
        assert!(examples >= 1, "{verb}: {stdout}");
    }
}

#[test]
fn without_an_identity_the_missing_file_and_the_way_out_are_named() {
    let (code, _, stderr) = told(&["hold", "r-1"]);
    assert_eq!(code, i32::from(exit::INVALID));
    assert!(stderr.contains(".config/sternway/coordinator"), "{stderr}");
    assert!(stderr.contains("hint: ") && stderr.contains("--identity"), "{stderr}");
}

/// An identity for a coordinator that is not there.
fn identity(directory: &Path, port: u16) {
    for words in [
        vec!["keys", "authorities", "pki"],
        vec![
            "keys",
            "issue",
            "pki",
            "--operator",
            "ada",
            "--out",
            "ada",
            "--coordinator",
            &format!("127.0.0.1:{port}"),
        ],
        vec!["keys", "new", "--person", "ada", "--groups", "sre", "--identity", "ada"],
    ] {
        let output = sternway(directory, &words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_coordinator_that_is_not_there_is_named_within_seconds() {
    let directory = tempfile::tempdir().unwrap();
    // Bound and never answered: nobody else can take the port meanwhile.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    identity(directory.path(), port);
    let begun = std::time::Instant::now();
    let output = sternway(directory.path(), &["status", "--identity", "ada"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(i32::from(exit::UNREACHABLE)), "{stderr}");
    assert!(stderr.contains(&format!("127.0.0.1:{port}")), "{stderr}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(10));
}

#[test]
fn a_signing_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    identity(directory.path(), 1);
    let key = directory.path().join("ada/signing.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = sternway(directory.path(), &["keys", "show", "--identity", "ada"]);
    assert_eq!(output.status.code(), Some(i32::from(exit::INVALID)));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("chmod 600"), "{stderr}");
}

#[test]
fn what_is_not_a_sealed_plan_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("plan.sealed"), b"\xff\x00not an envelope").unwrap();
    let output = sternway(directory.path(), &["show", "plan.sealed"]);
    assert_eq!(output.status.code(), Some(i32::from(exit::REFUSED)));
    let output = sternway(directory.path(), &["show", "nothing.sealed"]);
    assert_eq!(output.status.code(), Some(i32::from(exit::USAGE)));
}

#[test]
fn a_failure_is_a_record_too_when_records_are_wanted() {
    let (code, stdout, _) = told(&["rollouts", "--json"]);
    assert_eq!(code, i32::from(exit::INVALID));
    let record: serde_json::Value = serde_json::from_str(stdout.trim()).unwrap();
    assert_eq!(record["format"], "sternway.error/1.0");
    assert_eq!(record["exit"], exit::INVALID);
}
