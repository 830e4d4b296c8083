//! What a host must refuse, a folder a case: `case.toml` says what is spoiled,
//! `error.txt` what the host answers. `STERNWAY_BLESS=1` writes the answers anew;
//! read them before you commit them.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sternway_core::canonical;
use sternway_core::ids::{Digest, FleetId, HostName, PlanId};
use sternway_core::manifest::Class;
use sternway_core::plan::{Plan, Undo, Urgency};
use sternway_core::time::{Millis, Timestamp};
use sternway_core::trust::{Admitted, HostFacts, Order, Sealed, Verb};
use sternway_tests::sealed::{self, SEALED_AT};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// For people.
    what: String,
    #[serde(default)]
    signers: Option<Vec<String>>,
    #[serde(default)]
    spoil: Option<Spoil>,
    /// Mary's plan for the emergency route, signed by her alone.
    #[serde(default)]
    emergency: bool,
    /// The host's keyring has no emergency route.
    #[serde(default)]
    no_route: bool,
    /// Seconds between sealing and arrival; may be negative.
    #[serde(default)]
    arrives_after_s: i64,
    #[serde(default)]
    host: Option<String>,
    #[serde(default)]
    accepted_before: bool,
    #[serde(default)]
    busy: bool,
    /// Seconds by which the host's journal is ahead of its clock.
    #[serde(default)]
    floor_ahead_s: u64,
}

/// What is wrong with the plan or its bytes.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Spoil {
    /// One bit, in every byte there is, one after the other.
    EveryByte,
    /// Cut off after every length there is.
    EveryLength,
    Trailing,
    Oversized,
    Relabelled,
    OrderAsPlan,
    OtherFleet,
    NotCanonical,
    HostListUnsorted,
    ValidForAYear,
    FormatFromTheFuture,
    NotPinned,
    SettingsNoObject,
    TooManySteps,
    AuthorNotCounted,
    UrgencyNormal,
    WithoutPoint,
    NothingRestored,
    ValidForTwoHours,
    NoWayBack,
    OneShot,
    OtherPlugin,
    TwoWanted,
}

fn plan_of(case: &Case) -> Plan {
    let mut plan = if case.emergency { sealed::emergency() } else { sealed::plan() };
    match case.spoil {
        Some(Spoil::OtherFleet) => plan.fleet = FleetId([9; 16]),
        Some(Spoil::HostListUnsorted) => plan.hosts.reverse(),
        Some(Spoil::ValidForAYear) => plan.expires = SEALED_AT + Millis::hours(24 * 365),
        Some(Spoil::FormatFromTheFuture) => plan.format = 2,
        Some(Spoil::NotPinned) => plan.plugins.clear(),
        Some(Spoil::SettingsNoObject) => plan.steps[0].settings = "[]".into(),
        Some(Spoil::TooManySteps) => plan.steps = vec![plan.steps[0].clone(); 65],
        Some(Spoil::AuthorNotCounted) => plan.approval.author = false,
        Some(Spoil::UrgencyNormal) => plan.urgency = Urgency::Normal,
        Some(Spoil::WithoutPoint) => plan.point = None,
        Some(Spoil::NothingRestored) => plan.steps[0].grants.retain(|grant| grant.power != "points"),
        Some(Spoil::ValidForTwoHours) => plan.expires = SEALED_AT + Millis::hours(2),
        Some(Spoil::NoWayBack) => plan.steps[0].undo = Undo::Nothing,
        Some(Spoil::OneShot) => plan.steps[0].class = Class::OneShot,
        Some(Spoil::OtherPlugin) => plan.plugins[0].sha256 = Digest::of(b"a plugin of mine"),
        Some(Spoil::TwoWanted) => plan.approval.signatures = 2,
        _ => {}
    }
    plan
}

/// The envelopes that arrive; one, or one for every byte.
fn arrivals(case: &Case) -> Vec<Vec<u8>> {
    let mut envelope = Sealed::new(&plan_of(case)).expect("the plan can be sealed");
    let usual = if case.emergency { &["mary"][..] } else { &["ada", "grace"] };
    let usual = || usual.iter().map(|person| (*person).to_owned()).collect();
    let signers = case.signers.clone().unwrap_or_else(usual);
    for signer in &signers {
        envelope.sign(&sealed::key_of(signer)).expect("it can be signed");
    }
    let bytes = envelope.to_bytes();
    match case.spoil {
        Some(Spoil::EveryByte) => (0..bytes.len())
            .map(|at| {
                let mut spoiled = bytes.clone();
                spoiled[at] ^= 1;
                spoiled
            })
            .collect(),
        Some(Spoil::EveryLength) => (0..bytes.len()).map(|length| bytes[..length].to_vec()).collect(),
        Some(Spoil::Trailing) => vec![[&bytes[..], &[0]].concat()],
        Some(Spoil::Oversized) => vec![vec![0; 1024 * 1024 + 64 * 1024 + 1]],
        Some(Spoil::Relabelled) => vec![replaced(&bytes, b"sternway.plan.v1", b"sternway.plan.v2")],
        Some(Spoil::OrderAsPlan) => vec![order_as_plan()],
        // The map's own head, written the long way.
        Some(Spoil::NotCanonical) => vec![[&[0xb8, 0x03], &bytes[1..]].concat()],
        _ => vec![bytes],
    }
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).expect("it is in there");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

/// A well-signed order, sent where a plan is expected.
fn order_as_plan() -> Vec<u8> {
    let order = Order {
        fleet: sealed::fleet(),
        plan: PlanId([0; 32]),
        nonce: sternway_core::ids::Nonce([0; 16]),
        verb: Verb::Undo,
        person: "ada".parse().expect("a name"),
        reason: String::new(),
        issued: SEALED_AT,
        expires: SEALED_AT + Millis::minutes(5),
    };
    let mut envelope = Sealed::new(&order).expect("it can be sealed");
    envelope.sign(&sealed::key_of("ada")).expect("it can be signed");
    envelope.to_bytes()
}

/// What a host does with bytes, as `sternway-agent` does it.
fn admit(bytes: &[u8], case: &Case) -> Result<Admitted, String> {
    let now = Timestamp(SEALED_AT.0.saturating_add_signed(case.arrives_after_s * 1000));
    let host: HostName = case.host.as_deref().unwrap_or("db-1").parse().expect("a name");
    let verified = Sealed::<Plan>::parse(bytes)
        .map_err(|error| in_full(&error))?
        .open(&if case.no_route { sealed::keyring_without_route() } else { sealed::keyring() }, now)
        .map_err(|error| in_full(&error))?;
    let facts = HostFacts {
        host: &host,
        now,
        time_floor: now + Millis::seconds(case.floor_ahead_s),
        accepted_before: case.accepted_before,
        busy_with: case.busy.then_some(PlanId([7; 32])),
    };
    verified.admit(facts).map_err(|refusal| in_full(&refusal))
}

fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

fn folders() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("refusals");
    let entries = std::fs::read_dir(&here).expect("the folder of refusals is there");
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

#[test]
fn every_spoiled_plan_is_refused_for_its_own_reason() {
    let mut wrong = Vec::new();
    for folder in folders() {
        let text = std::fs::read_to_string(folder.join("case.toml")).expect("a case has its case.toml");
        let case: Case =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        assert!(!case.what.is_empty());
        let mut answers: Vec<String> = arrivals(&case)
            .iter()
            .map(|bytes| admit(bytes, &case).err().unwrap_or_else(|| "ADMITTED".into()))
            .collect();
        assert!(!answers.contains(&"ADMITTED".to_owned()), "{}: a host would run it", folder.display());
        // Where many bytes are tried, that all are refused is the claim; the first answer stands for them.
        answers.truncate(1);
        let answer = format!("{}\n", answers.concat());
        let path = folder.join("error.txt");
        if std::env::var_os("STERNWAY_BLESS").is_some() {
            std::fs::write(&path, &answer).expect("the answer can be written");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if answer != expected {
            wrong.push(format!("{}\n  expected {expected}  answered {answer}", folder.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(folders().len() >= 20, "cases got lost");
}

#[test]
fn the_plan_that_is_spoiled_here_would_be_admitted_unspoiled() {
    let case: Case = toml::from_str("what = 'nothing is spoiled'").expect("a case");
    let admitted = admit(&arrivals(&case)[0], &case).expect("it is admitted");
    assert_eq!(admitted.signers().len(), 2);
    assert_eq!(canonical::encode(admitted.plan()).ok(), canonical::encode(&sealed::plan()).ok());
}

#[test]
fn one_person_on_call_suffices_for_an_emergency_and_the_usual_two_for_anything() {
    let alone: Case = toml::from_str("what = 'mary alone'\nemergency = true").expect("a case");
    let admitted = admit(&arrivals(&alone)[0], &alone).expect("it is admitted");
    assert_eq!(admitted.signers().len(), 1);
    // Whatever the route refuses, enough people may still sign; the plan's own wish stays.
    for text in [
        "what = 'no route'\nemergency = true\nno_route = true\nsigners = ['mary', 'ada']",
        "what = 'too long'\nemergency = true\nspoil = 'valid-for-two-hours'\nsigners = ['ada', 'mary']",
        "what = 'irreversible'\nemergency = true\nspoil = 'no-way-back'\nsigners = ['mary', 'grace']",
    ] {
        let case: Case = toml::from_str(text).expect("a case");
        admit(&arrivals(&case)[0], &case).unwrap_or_else(|refused| panic!("{text}: {refused}"));
    }
}
