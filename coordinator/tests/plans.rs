//! Good plans: what they come to, what the schema says of them, and that no
//! text whatsoever brings the reader down.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeSet;

#[allow(dead_code, reason = "the binary uses the rest")]
#[path = "../src"]
mod binary {
    pub(crate) mod draft;
    pub(crate) mod cli {
        pub(crate) mod check;
        pub(crate) mod schema;
    }
}
use binary::cli::{check, schema};
use binary::draft;

use proptest::prelude::*;
use serde_json::Value;
use sternway_core::exit;
use sternway_core::ids::{FleetId, HostName, Nonce};
use sternway_core::manifest::{Catalogue, Class};
use sternway_core::plan::keys::SECTIONS;
use sternway_core::plan::problem::Problem;
use sternway_core::plan::seal::SealFacts;
use sternway_core::plan::select::fold;
use sternway_core::plan::settings::check_catalogue;
use sternway_core::plan::{InventoryHost, Plan, PointChoice, Undo, Urgency};
use sternway_core::time::{Millis, Timestamp};

const HELLO: &str = include_str!("../../examples/hello/plan.toml");
const HELLO_FLEET: &str = include_str!("../../examples/hello/fleet.toml");
const EMERGENCY: &str = include_str!("../../examples/emergency/plan.toml");
const EMERGENCY_FLEET: &str = include_str!("../../examples/emergency/fleet.toml");
const AGORA: &str = include_str!("fixtures/good/plan.toml");
const AGORA_FLEET: &str = include_str!("fixtures/good/fleet.toml");

fn catalogue() -> Catalogue {
    serde_json::from_str(include_str!("fixtures/catalogue.json")).unwrap()
}

fn facts() -> SealFacts {
    SealFacts {
        fleet: FleetId([7; 16]),
        nonce: Nonce([9; 16]),
        author: "ada".parse().unwrap(),
        now: Timestamp(1_000_000),
    }
}

fn sealed(text: &str, fleet: &[InventoryHost]) -> Result<Plan, Vec<Problem>> {
    draft::load(text.as_bytes(), &catalogue(), Some(fleet)).draft.into_plan(fleet, &catalogue(), facts())
}

fn waves(plan: &Plan) -> Vec<String> {
    plan.waves.iter().map(|wave| fold(wave.hosts.iter().map(HostName::as_str))).collect()
}

#[test]
fn the_example_is_a_plan_for_twelve_hosts_in_four_waves() {
    let fleet = draft::read_inventory(HELLO_FLEET).unwrap().hosts;
    let loaded = draft::load(HELLO.as_bytes(), &catalogue(), Some(&fleet));
    assert_eq!(draft::render(&loaded.problems, "plan.toml", HELLO, false), "");
    let plan = sealed(HELLO, &fleet).unwrap();
    assert_eq!(fold(plan.hosts.iter().map(HostName::as_str)), "demo-[01-12]");
    assert_eq!(plan.waves.iter().map(|wave| wave.hosts.len()).collect::<Vec<_>>(), [1, 2, 3, 6]);
    assert_eq!(waves(&plan)[0], "demo-01");
    assert_eq!(plan.expires, Timestamp(1_000_000) + Millis::hours(1));
    let pins: Vec<&str> = plan.plugins.iter().map(|pin| pin.name.as_str()).collect();
    assert_eq!(pins, ["config", "files", "http", "service", "sqlite"]);
    assert_eq!(plan.text, HELLO);
    assert_eq!((plan.pace.failed, plan.pace.silent, plan.pace.at_once), (2, 2, 6));
}

#[test]
fn an_emergency_is_for_all_hosts_at_once_and_for_a_quarter_of_an_hour() {
    let fleet = draft::read_inventory(EMERGENCY_FLEET).unwrap().hosts;
    let loaded = draft::load(EMERGENCY.as_bytes(), &catalogue(), Some(&fleet));
    assert_eq!(draft::render(&loaded.problems, "plan.toml", EMERGENCY, false), "");
    let short = EMERGENCY.replace("valid    = \"15m\"", "").replace("soak  = \"1s\"", "");
    let plan = sealed(&short, &fleet).unwrap();
    assert_eq!(plan.urgency, Urgency::Emergency);
    assert_eq!(plan.point.as_ref().map(|point| &point.choice), Some(&PointChoice::NewestWhole));
    assert_eq!(plan.expires, Timestamp(1_000_000) + Millis::minutes(15), "when it says nothing");
    assert_eq!((waves(&plan), plan.waves[0].soak), (vec!["db-[01-08]".to_owned()], Millis::seconds(30)));
    assert!(plan.steps.iter().all(|step| step.undo.leads_back(step.class)));
}

#[test]
fn variables_are_put_in_and_facts_of_the_host_are_left_to_the_host() {
    let fleet = draft::read_inventory(HELLO_FLEET).unwrap().hosts;
    let plan = sealed(HELLO, &fleet).unwrap();
    let proof = plan.steps.last().unwrap();
    let settings: Value = serde_json::from_str(&proof.settings).unwrap();
    assert_eq!(settings["json"]["version"], "1.1");
    assert_eq!(settings["get"], "http://127.0.0.1:${host.label.port}/health");
    assert_eq!((proof.class, &proof.undo), (Class::Observe, &Undo::ByPlugin));
    assert_eq!(proof.grants[0].scopes, ["http://127.0.0.1:${host.label.port}/health"]);
}

#[test]
fn per_cent_count_the_whole_selection_rounded_up_and_gates_inherit() {
    let fleet = draft::read_inventory(AGORA_FLEET).unwrap().hosts;
    let plan = sealed(AGORA, &fleet).unwrap();
    // Six hosts (one excluded): 5% is 1, 25% is 2, 50% is 3.
    assert_eq!(plan.waves.iter().map(|wave| wave.hosts.len()).collect::<Vec<_>>(), [1, 1, 1, 3]);
    let gates: Vec<(&str, u32, u32)> =
        plan.waves.iter().map(|wave| (wave.gate.name.as_str(), wave.gate.failed, wave.gate.silent)).collect();
    assert_eq!(gates, [("strict", 0, 0), ("usual", 1, 1), ("usual", 1, 1), ("usual", 1, 1)]);
    assert!(matches!(&plan.steps[0].undo, Undo::Settings(settings) if settings.contains("ready")));
    assert_eq!(plan.pace.at_once, 2);
    assert_eq!(plan.approval.signatures, 2);
    assert!(!plan.approval.author);
}

#[test]
fn the_same_text_and_fleet_make_the_same_plan_whatever_the_order_of_the_fleet() {
    let mut fleet = draft::read_inventory(AGORA_FLEET).unwrap().hosts;
    let plan = sealed(AGORA, &fleet).unwrap();
    fleet.reverse();
    assert_eq!(sealed(AGORA, &fleet).unwrap(), plan);
}

#[test]
fn a_draft_with_a_problem_never_becomes_a_plan() {
    let fleet = draft::read_inventory(AGORA_FLEET).unwrap().hosts;
    for (right, wrong) in
        [("cut_off", "cut-off"), ("env=prod", "env=prd"), ("\"100%\"", "\"99%\""), ("[fleet]", "[fleet")]
    {
        let problems = sealed(&AGORA.replacen(right, wrong, 1), &fleet).unwrap_err();
        assert!(problems.iter().any(Problem::is_error), "{wrong}");
    }
}

#[test]
fn a_schema_with_words_that_are_not_understood_is_refused_when_the_catalogue_is_read() {
    let mut catalogue = catalogue();
    check_catalogue(&catalogue).unwrap();
    let files = catalogue.0.values_mut().next().unwrap();
    files.manifest.settings_schema["propertyNames"] = Value::Bool(true);
    assert!(check_catalogue(&catalogue).is_err());
}

#[test]
fn every_plan_of_an_example_has_no_problem_with_the_plugins_as_they_are_built() {
    let catalogue: Catalogue =
        serde_json::from_str(include_str!("../../plugins/built/catalogue.json")).unwrap();
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut checked = 0;
    for folder in std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()) {
        if !folder.join("site.toml").exists() {
            continue;
        }
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !name.ends_with(".toml") || ["site.toml", "agent.toml"].contains(&name.as_str()) {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let problems = draft::load(text.as_bytes(), &catalogue, None).problems;
            let said = draft::render(&problems, &path.to_string_lossy(), &text, false);
            assert!(!problems.iter().any(Problem::is_error), "{said}");
            checked += 1;
        }
    }
    assert!(checked > 0, "no example has a `site.toml`");
}

#[test]
fn check_ends_with_a_line_that_says_what_the_plan_comes_to() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello");
    let mut args =
        check::CheckArgs { file: root.join("plan.toml"), fleet: Some(root.join("fleet.toml")), json: false };
    let mut out = Vec::new();
    assert_eq!(check::check(&args, &catalogue(), &mut out, false).unwrap(), exit::DONE);
    let said = String::from_utf8(out).unwrap();
    assert!(
        said.ends_with(
            "plan.toml: 12 hosts in 4 waves (1, 3, 6, 12), 6 steps, 2 signatures, soaks 8s of 5m\n"
        ),
        "{said}"
    );
    args.json = true;
    let mut out = Vec::new();
    check::check(&args, &catalogue(), &mut out, false).unwrap();
    let json: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        (json["format"].as_str(), json["summary"]["hosts"].as_u64()),
        (Some("sternway.check/1.0"), Some(12))
    );
}

#[test]
fn check_answers_64_for_a_plan_with_problems_and_tells_them_to_programs_too() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/slips/08-unknown-key-gate");
    let args = check::CheckArgs { file: root.join("plan.toml"), fleet: None, json: true };
    let mut out = Vec::new();
    assert_eq!(check::check(&args, &catalogue(), &mut out, false).unwrap(), exit::INVALID);
    let json: Value = serde_json::from_slice(&out).unwrap();
    let problem = &json["problems"][0];
    assert_eq!((problem["code"].as_str(), problem["place"]["line"].as_u64()), (Some("P104"), Some(108)));
    assert_eq!(problem["help"]["replace"][0][1], "failed");
}

#[test]
fn no_picture_and_no_json_repeats_a_value_that_looks_like_a_key() {
    let secret = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
    for text in [
        AGORA.replace("\"drain\"", &format!("\"{secret}\"")),
        AGORA.replace("expect = 200", &format!("expect = \"{secret}\"")),
        AGORA.replace("[\"agora-07\"]", &format!("\"{secret}\"")),
        AGORA.replace("\"hold\"", &format!("\"{secret}\"")),
        AGORA.replace("\"hold\"", secret),
        AGORA.replace("files@0", secret),
        AGORA.replace("\"${version}\"", &format!("\"${{{secret}}}\"")),
    ] {
        assert!(text.contains(secret));
        let loaded = draft::load(text.as_bytes(), &catalogue(), None);
        assert!(!loaded.problems.is_empty());
        let picture = draft::render(&loaded.problems, "plan.toml", &text, false);
        assert!(!picture.contains(&secret[..20]), "{picture}");
        let json = serde_json::to_string(&draft::to_json(&loaded.problems, &text)).unwrap();
        assert!(!json.contains(&secret[..20]), "{json}");
    }
}

fn toml_as_json(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap()
}

#[test]
fn the_example_fits_the_schema_and_a_misspelt_key_does_not() {
    for catalogue in [None, Some(&catalogue())] {
        let schema = schema::plan_schema(catalogue);
        let validator = jsonschema::draft7::new(&schema).unwrap();
        for good in [HELLO, AGORA] {
            let errors: Vec<String> =
                validator.iter_errors(&toml_as_json(good)).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?}");
        }
        assert!(!validator.is_valid(&toml_as_json(&HELLO.replace("cut_off", "cut-off"))));
        let with_plugins = catalogue.is_some();
        assert_eq!(validator.is_valid(&toml_as_json(&HELLO.replace("stop =", "stopp ="))), !with_plugins);
    }
}

#[test]
fn the_schema_and_the_checker_know_the_same_keys_and_every_key_is_explained() {
    let schema = schema::plan_schema(None);
    let mut tables = vec![("", &schema)];
    let names =
        ["FleetTable", "ApprovalTable", "PointTable", "StepTable", "PaceTable", "WaveTable", "GateTable"];
    let headers = ["[fleet]", "[approval]", "[point]", "[[step]]", "[pace]", "[[wave]]", "[gate.NAME]"];
    tables.extend(headers.into_iter().zip(names.map(|name| &schema["definitions"][name])));
    assert_eq!(tables.len(), SECTIONS.len());
    for section in SECTIONS {
        let (_, table) = tables.iter().find(|(header, _)| *header == section.header).unwrap();
        let properties = table["properties"].as_object().unwrap();
        let in_schema: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(in_schema, section.keys.iter().copied().collect(), "{}", section.what);
        for (key, property) in properties {
            let described = property.to_string().contains("description")
                || property.to_string().contains("#/definitions/");
            assert!(described, "{} {key} has no words", section.what);
        }
        assert_eq!(table["additionalProperties"], false, "{}", section.what);
    }
}

/// Reads, judges, draws; every place must be inside the text.
fn swallow(bytes: &[u8]) {
    let fleet = draft::read_inventory(AGORA_FLEET).unwrap().hosts;
    let loaded = draft::load(bytes, &catalogue(), Some(&fleet));
    let text = &loaded.draft.text;
    for problem in &loaded.problems {
        let patches = problem.help.iter().flat_map(|fix| fix.patches.iter().map(|(span, _)| span));
        for span in
            [&problem.span].into_iter().chain(problem.related.iter().map(|(span, _)| span)).chain(patches)
        {
            assert!(text.get(span.clone()).is_some(), "{problem:?} is outside the text");
        }
    }
    draft::render(&loaded.problems, "plan.toml", text, true);
    let plan = loaded.draft.clone().into_plan(&fleet, &catalogue(), facts());
    assert_eq!(plan.is_err(), loaded.has_errors());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 192 } else { 2048 }))]

    #[test]
    fn any_bytes_are_only_a_bad_plan(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        swallow(&bytes);
    }

    #[test]
    fn any_text_is_only_a_bad_plan(text in "\\PC{0,80}") {
        swallow(text.as_bytes());
    }

    #[test]
    fn a_plan_with_a_hole_or_a_graft_is_judged_without_a_stumble(
        at in 0..AGORA.len(), length in 0usize..60, from in 0..AGORA.len(), graft in 0usize..60, odd in "\\PC{0,3}",
    ) {
        let mut bytes = AGORA.as_bytes().to_vec();
        let piece = bytes[from..(from + graft).min(bytes.len())].to_vec();
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, piece.into_iter().chain(odd.bytes()));
        swallow(&bytes);
    }

    #[test]
    fn lines_moved_about_are_judged_without_a_stumble(moves in proptest::collection::vec((0usize..110, 0usize..110), 1..6)) {
        let mut lines: Vec<&str> = AGORA.lines().collect();
        for (from, to) in moves {
            let line = lines.remove(from % lines.len());
            lines.insert(to % (lines.len() + 1), line);
        }
        swallow(lines.join("\n").as_bytes());
    }
}

#[test]
fn twenty_thousand_hosts_are_judged_and_sealed_in_seconds() {
    let host = |number: usize| InventoryHost {
        name: format!("h-{number:05}").parse().unwrap(),
        labels: [("zone".to_owned(), format!("z{}", number % 40)), ("port".to_owned(), "80".to_owned())]
            .into(),
    };
    let fleet: Vec<InventoryHost> = (0..20_000).map(host).collect();
    let text = AGORA
        .replace("service=agora & env=prod", "h-[00000-19999]")
        .replace("exclude = [\"agora-07\"]\n", "")
        .replace("max     = 8", "max     = 20000");
    let started = std::time::Instant::now();
    let plan = sealed(&text, &fleet).unwrap();
    assert_eq!(
        plan.waves.iter().map(|wave| wave.hosts.len()).collect::<Vec<_>>(),
        [1000, 4000, 5000, 10_000]
    );
    assert!(started.elapsed().as_secs() < 20, "took {:?}", started.elapsed());
}
