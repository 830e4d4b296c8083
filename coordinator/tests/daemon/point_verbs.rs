//! `sternway points` and `sternway ready` as a shell sees them: the program
//! itself, a real coordinator, and agents that answer as a script says.

use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;

use sternway_coordinator::pki::{Role, authority_certificate};
use sternway_core::exit;
use sternway_core::ids::PointId;
use sternway_core::point::readiness::{Facts, Wishes};
use sternway_core::point::retention::Why;
use sternway_core::point::{
    Answer as Said, Ask, Change, Checked, Depth, Dropped, Kind, Order, Origin, Point, Progress,
};
use sternway_core::time::Millis;
use sternway_core::trust::{Keyring, KeyringFile, Sealed};
use sternway_core::wire::{Answer, FRAME_BYTES_MAX, Request, encode_frame};

use crate::harness::{Incoming, Site, host, now, read};

fn point(number: u8, hours: u64) -> Point {
    Point {
        id: PointId([number; 32]),
        made: now() - Millis::hours(hours),
        service: "shop".into(),
        version: "1.3".into(),
        kind: Kind::Full,
        origin: Origin::Schedule { name: "nightly".into() },
        tags: vec!["nightly".into()],
        kept: None,
        reason: "nightly".into(),
        by: "schedule nightly".into(),
        paths: vec!["/opt/shop".into()],
        bytes: 3 << 30,
        files: 12,
        checked: Some(Checked { at: now(), depth: Depth::Full, finding: None }),
    }
}

fn facts(point: Option<Point>) -> Facts {
    Facts {
        service: "shop".into(),
        checked_full: point.as_ref().map(|_| now()),
        point,
        damaged: vec![],
        plugins_missing: vec![],
        space_needed: 1,
        space_free: 2,
        drill: None,
        hindered: vec![],
        wishes: Wishes::default(),
    }
}

/// A host that answers every ask by this, for as long as the test runs.
async fn answering(site: &Site, name: &str, say: impl Fn(Ask) -> Vec<Said> + Send + Sync + 'static) {
    let agent = site.agent(name).await;
    let say = Arc::new(say);
    tokio::spawn(async move {
        // All of it: an agent that drops its control stream is gone.
        let agent = agent;
        while let Ok((mut send, receive)) = agent.connection.accept_bi().await {
            let say = Arc::clone(&say);
            tokio::spawn(async move {
                let mut incoming = Incoming::new(receive, FRAME_BYTES_MAX);
                let Ok(Some(ask)) = incoming.next::<Ask>().await else { return };
                for said in say(ask).into_iter().chain([Said::Done]) {
                    send.write_all(&encode_frame(&said, FRAME_BYTES_MAX).unwrap()).await.unwrap();
                }
                send.finish().unwrap();
            });
        }
    });
}

/// What a sealed order says, judged as a host would.
fn obeyed(site_keyring: &KeyringFile, name: &str, ask: &Ask) -> Order {
    let Ask::Order(sealed) = ask else { panic!("{ask:?} is no order") };
    let keyring = Keyring::new(site_keyring.clone()).unwrap();
    let order = Sealed::<Order>::parse(sealed).unwrap().open_point_order(&keyring, now()).unwrap();
    order.admit_on(&host(name), now()).unwrap();
    order.value().clone()
}

fn keyring(site: &Site) -> KeyringFile {
    toml::from_str(&String::from_utf8(read(&site.dir.path().join("keyring.toml"))).unwrap()).unwrap()
}

/// Ada's identity directory; her key is the one of the harness.
fn identity(site: &Site) -> PathBuf {
    let directory = site.dir.path().join("ada");
    std::fs::create_dir_all(&directory).unwrap();
    let issued = site.issue(Role::Operator, "ada");
    std::fs::copy(issued.certificate, directory.join("operator.pem")).unwrap();
    std::fs::copy(issued.key, directory.join("operator.key")).unwrap();
    std::fs::copy(authority_certificate(&site.pki(), Role::Coordinator), directory.join("server-ca.pem"))
        .unwrap();
    std::fs::write(directory.join("coordinator"), site.address.to_string()).unwrap();
    let key = directory.join("signing.key");
    std::fs::write(&key, format!("person = \"ada\"\nseed = \"{}\"\n", "01".repeat(32))).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    directory
}

struct Shown {
    code: u8,
    stdout: String,
    stderr: String,
}

async fn sternway(site: &Site, words: &[&str]) -> Shown {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_sternway"));
    command.args(words).arg("--no-input").arg("--identity").arg(identity(site));
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output: Output = command.output().await.unwrap();
    Shown {
        code: u8::try_from(output.status.code().unwrap()).unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test]
async fn points_are_made_on_every_host_by_signed_orders_and_failures_are_named() {
    let site = Site::start(&["web-1", "web-2", "web-3"]);
    let keys = keyring(&site);
    answering(&site, "web-1", move |ask| {
        let order = obeyed(&keys, "web-1", &ask);
        assert_eq!(order.reason, "INC-4127");
        let Change::Create { service, tag, kind, .. } = order.change else { panic!("{:?}", order.change) };
        assert_eq!((service.as_deref(), tag.as_str(), kind), (Some("shop"), "before-1.3", Kind::Full));
        let progress = Progress { stage: "reading".into(), done: 5, total: Some(10), unit: "bytes".into() };
        vec![Said::Progress(progress), Said::Points(vec![Point { tags: vec![tag], ..point(1, 0) }])]
    })
    .await;
    answering(&site, "web-2", |_| {
        vec![Said::Refused {
            code: "unknown-service".into(),
            reason: "no service `shop` is described".into(),
        }]
    })
    .await;
    let words = ["points", "create", "--service", "shop", "--tag", "before-1.3", "--reason", "INC-4127"];
    let shown = sternway(&site, &words).await;
    assert_eq!(shown.code, exit::DONE_WITH_EXCEPTIONS, "{}", shown.stderr);
    assert!(shown.stdout.contains("web-1  01010101  shop 1.3  before-1.3  3.0 GiB"), "{}", shown.stdout);
    for said in [
        "✘ 1 host   web-2   no service `shop` is described",
        "✘ 1 host   web-3   the host is away",
        "web-1: reading, 5 B of 10 B",
        "made   1 of 3 hosts   full of shop as before-1.3",
    ] {
        assert!(shown.stderr.contains(said), "{said}: {}", shown.stderr);
    }
    let audit = site.operator("ada").await.all(&Request::Audit { rollout: None }).await;
    let lines: Vec<String> = audit
        .iter()
        .filter_map(|answer| match answer {
            Answer::Audit(line) => Some(format!("{} {}: {}", line.person, line.action, line.detail)),
            _ => None,
        })
        .collect();
    let wanted = "ada points create: web-[1-3]: full of shop as before-1.3: INC-4127";
    assert!(lines.iter().any(|line| line == wanted), "{lines:?}");
    let only_one = sternway(&site, &[&words[..], &["web-1", "--json"]].concat()).await;
    assert_eq!(only_one.code, exit::DONE, "{}", only_one.stderr);
    let record: serde_json::Value = serde_json::from_str(only_one.stdout.trim()).unwrap();
    assert_eq!(
        (record["format"].as_str(), record["host"].as_str()),
        (Some("sternway.point/1.0"), Some("web-1"))
    );
}

#[tokio::test]
async fn hosts_without_a_point_are_found_and_counted_in_the_exit_code() {
    let site = Site::start(&["web-1", "web-2"]);
    answering(&site, "web-1", |_| vec![Said::Points(vec![point(1, 20)]), Said::Points(vec![point(2, 44)])])
        .await;
    answering(&site, "web-2", |ask| match ask {
        Ask::List(want) if want.tag.is_some() => vec![Said::Points(vec![])],
        _ => vec![Said::Points(vec![point(3, 30)])],
    })
    .await;
    let shown = sternway(&site, &["points", "list"]).await;
    assert_eq!(shown.code, exit::DONE);
    assert!(shown.stdout.contains("2   web-[1-2]"), "{}", shown.stdout);
    assert!(shown.stdout.contains("6.0 GiB"), "the newest of each host: {}", shown.stdout);
    let all = sternway(&site, &["points", "list", "--all", "--json"]).await;
    assert_eq!(all.stdout.lines().count(), 3);
    let missing = sternway(&site, &["points", "list", "--tag", "nightly", "--missing"]).await;
    assert_eq!(missing.code, exit::DONE_WITH_EXCEPTIONS);
    assert_eq!(missing.stdout.trim(), "missing   1 host   web-2   tagged nightly");
    let nobody = sternway(&site, &["points", "list", "web-9"]).await;
    assert_eq!(nobody.code, exit::USAGE);
    assert!(nobody.stderr.contains("did you mean `web-"), "{}", nobody.stderr);
}

#[tokio::test]
async fn a_damaged_point_is_shown_and_counts() {
    let site = Site::start(&["web-1"]);
    answering(&site, "web-1", |ask| match ask {
        Ask::List(_) => vec![Said::Points(vec![point(1, 44), point(2, 20)])],
        Ask::Verify { which, depth: Depth::Full } => {
            assert_eq!(which.id, Some(PointId([2; 32]).to_string()), "the newest");
            let finding = Some("pack 3f is short".into());
            let checked = Some(Checked { at: now(), depth: Depth::Full, finding });
            vec![Said::Checked(Box::new(Point { checked, ..point(2, 20) }))]
        }
        other => panic!("{other:?}"),
    })
    .await;
    let shown = sternway(&site, &["points", "verify", "--newest", "--full"]).await;
    assert_eq!(shown.code, exit::DONE_WITH_EXCEPTIONS, "{}", shown.stderr);
    assert!(shown.stdout.contains("BAD  web-1  02020202"), "{}", shown.stdout);
    assert!(shown.stdout.contains("checked   0 of 1 point good   every byte"), "{}", shown.stdout);
}

#[tokio::test]
async fn nothing_is_dropped_but_what_was_counted() {
    let site = Site::start(&["web-1", "web-2", "web-3"]);
    for (name, go) in [("web-1", 2_u8), ("web-2", 1), ("web-3", 0)] {
        let keys = keyring(&site);
        answering(&site, name, move |ask| match &ask {
            Ask::WouldPrune => {
                let drop = (0..go).map(|number| Dropped { point: point(number, 900), bytes: 1 << 20 });
                vec![Said::WouldDrop {
                    drop: drop.collect(),
                    stay: vec![(PointId([9; 32]), vec![Why::LastGood, Why::Young])],
                }]
            }
            ask => {
                let order = obeyed(&keys, name, ask);
                assert_eq!(order.change, Change::Prune { confirmed: go.into() }, "its own part");
                assert!(go > 0, "nothing goes here");
                vec![Said::Dropped { points: go.into(), bytes: 1 << 20 }]
            }
        })
        .await;
    }
    let looked = sternway(&site, &["points", "prune"]).await;
    assert_eq!(looked.code, exit::DONE, "{}", looked.stderr);
    assert!(
        looked.stdout.contains("together  3   3.0 MiB  3     3 last good one, 3 young"),
        "{}",
        looked.stdout
    );
    assert!(looked.stderr.contains("nothing was dropped; to drop them: sternway points prune --confirm 3"));
    let wrong = sternway(&site, &["points", "prune", "--confirm", "4"]).await;
    assert_eq!(wrong.code, exit::USAGE);
    assert!(wrong.stderr.contains("it is 3: nothing was done"), "{}", wrong.stderr);
    let dropped = sternway(&site, &["points", "prune", "--confirm", "3"]).await;
    assert_eq!(dropped.code, exit::DONE, "{}", dropped.stderr);
    assert!(dropped.stdout.contains("dropped   3 points on 2 hosts   2.0 MiB"), "{}", dropped.stdout);
}

#[tokio::test]
async fn ready_counts_who_is_away_as_one_that_cannot() {
    let site = Site::start(&["web-1", "web-2", "web-3"]);
    answering(&site, "web-1", |ask| {
        let Ask::Ready { plugins, .. } = ask else { panic!("{ask:?}") };
        assert!(plugins.iter().any(|(name, _)| name.as_str() == "files"), "the plugins of the catalogue");
        vec![Said::Ready(vec![facts(Some(point(1, 3)))])]
    })
    .await;
    answering(&site, "web-2", |_| vec![Said::Ready(vec![facts(None)])]).await;
    let all_can = sternway(&site, &["ready", "web-1"]).await;
    assert_eq!(all_can.code, exit::DONE, "{}", all_can.stderr);
    assert!(all_can.stdout.starts_with("100 % can, 0 % cannot"), "{}", all_can.stdout);
    assert!(all_can.stdout.contains("never rehearsed"), "{}", all_can.stdout);
    let some = sternway(&site, &["ready", "--service", "shop"]).await;
    assert_eq!(some.code, exit::DONE_WITH_EXCEPTIONS);
    for said in [
        "33 % can, 67 % cannot",
        "the host is away",
        "sternway points create web-2 --service shop --tag by-hand",
    ] {
        assert!(some.stdout.contains(said), "{said}: {}", some.stdout);
    }
    let record = sternway(&site, &["ready", "--json"]).await;
    let record: serde_json::Value = serde_json::from_str(record.stdout.trim()).unwrap();
    assert_eq!((&record["can"], &record["cannot"], &record["percent"]), (&1.into(), &2.into(), &33.into()));
    let unknown = sternway(&site, &["ready", "--service", "shop", "web-3"]).await;
    assert_eq!(unknown.code, exit::DONE_WITH_EXCEPTIONS, "away, so nobody knows");
}

#[tokio::test]
async fn one_path_of_one_point_is_restored_when_the_host_is_named() {
    let site = Site::start(&["web-1"]);
    let keys = keyring(&site);
    answering(&site, "web-1", move |ask| {
        let order = obeyed(&keys, "web-1", &ask);
        let Change::Restore { which, path, into } = order.change else { panic!("{:?}", order.change) };
        assert_eq!((which.id.as_deref(), path.as_str()), (Some("0101"), "/etc/a"));
        let said = serde_json::json!({ "restored": { "path": into, "entries": 1, "bytes": 12 } });
        vec![serde_json::from_value(said).unwrap()]
    })
    .await;
    let words = ["points", "restore", "web-1", "0101", "/etc/a", "--into", "/root/a"];
    let unasked = sternway(&site, &words).await;
    assert_eq!(unasked.code, exit::USAGE);
    assert!(unasked.stderr.contains("--confirm web-1"), "{}", unasked.stderr);
    let restored = sternway(&site, &[&words[..], &["--confirm", "web-1"]].concat()).await;
    assert_eq!(restored.code, exit::DONE, "{}", restored.stderr);
    assert_eq!(restored.stdout.trim(), "restored   /root/a on web-1   1 entry, 12 B");
}
