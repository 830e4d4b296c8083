//! The harness that plugin authors get, on the plugins that we give: the
//! committed components, with every case that stands beside their sources.

#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test where it stands")]

mod stand_in;

use std::path::{Path, PathBuf};

use sternway_agent::conformance::{Component, Harness, cases};

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins")
}

#[expect(clippy::print_stderr, reason = "what is left out is said")]
fn keeps_the_contract(name: &str) {
    let component = Component::load(&plugins().join(format!("built/{name}.wasm"))).unwrap();
    let harness = Harness::new(env!("CARGO_BIN_EXE_sternway-agent").into()).unwrap();
    let mut bad = String::new();
    for case in cases(&plugins().join(name).join("cases")).unwrap() {
        let report = harness.prove(&component, &case, None).unwrap();
        if let Some(why) = &report.skipped {
            eprintln!("skipped: {name} {}: {why}", report.case);
            continue;
        }
        assert!(report.tried() > 0, "{}: nothing was tried", report.case);
        if report.problems().next().is_some() {
            bad.push_str(&report.table(&format!(
                "sternway-agent plugin test plugins/built/{name}.wasm --case plugins/{name}/cases/{}",
                report.case
            )));
        }
    }
    assert!(bad.is_empty(), "{bad}");
}

#[test]
fn config_keeps_the_contract() {
    keeps_the_contract("config");
}

#[test]
fn files_keeps_the_contract() {
    keeps_the_contract("files");
}

#[test]
fn http_keeps_the_contract() {
    keeps_the_contract("http");
}

#[test]
fn log_scan_keeps_the_contract() {
    keeps_the_contract("log-scan");
}

#[test]
fn metrics_keeps_the_contract() {
    keeps_the_contract("metrics");
}

#[test]
fn notify_keeps_the_contract() {
    keeps_the_contract("notify");
}

#[test]
fn service_keeps_the_contract() {
    keeps_the_contract("service");
}

#[test]
fn sqlite_keeps_the_contract() {
    keeps_the_contract("sqlite");
}

#[test]
fn tcp_keeps_the_contract() {
    keeps_the_contract("tcp");
}

#[test]
fn traffic_keeps_the_contract() {
    keeps_the_contract("traffic");
}
