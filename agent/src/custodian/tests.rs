use super::*;
use crate::config::Config;
use crate::halt::Halt;
use crate::halt::HaltFlag;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::AtomicU8;
use sternway_core::ids::{Digest, FleetId, Nonce};
use sternway_core::point::{Change, Depth, Kind, Order, Want};
use sternway_core::time::{Millis, Timestamp};
use sternway_core::trust::{KeyringFile, KeyringKey, Sealed, SigningKey};

const FLEET: FleetId = FleetId([0x5e; 16]);

struct Ground {
    directory: tempfile::TempDir,
    custodian: Arc<Custodian>,
}

fn key(person: &str) -> SigningKey {
    SigningKey::from_seed(&Digest::of(person.as_bytes()).0)
}

fn ground() -> Ground {
    ground_with("")
}

fn ground_with(more: &str) -> Ground {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir_all(path("root/opt/agora/bin")).unwrap();
    fs::write(path("root/opt/agora/bin/run"), "v1").unwrap();
    fs::write(path("root/opt/agora/data"), vec![7; 200_000]).unwrap();
    fs::create_dir_all(path("root/srv")).unwrap();
    fs::create_dir_all(path("root/etc")).unwrap();
    fs::write(path("root/etc/shadow"), "secret").unwrap();
    fs::write(
        path("agent.toml"),
        format!(
            r#"
            host = "db-1"
            coordinator = "127.0.0.1:1"
            state = "state"
            root = "root"
            keyring = "keyring.toml"
            [identity]
            certificate = "c"
            key = "k"
            server_authority = "a"
            [permit]
            files = ["/opt", "/srv"]
            [points]
            keep = {{ newest = 1, within = "0s" }}
            [[points.service]]
            name = "agora"
            files = ["/opt/agora"]
            {more}
            "#
        ),
    )
    .unwrap();
    let config = Config::load(&path("agent.toml")).unwrap();
    let known = |person: &str| KeyringKey {
        person: person.parse().unwrap(),
        groups: vec!["sre".parse().unwrap()],
        public: key(person).public(),
        until: None,
    };
    let file = KeyringFile {
        fleet: FLEET,
        signatures: 2,
        emergency: None,
        keys: vec![known("ada"), known("grace")],
    };
    let host = Arc::new(Host::new(&config).unwrap());
    let custodian = Arc::new(Custodian::new(host, Keyring::new(file).unwrap()));
    Ground { directory, custodian }
}

impl Ground {
    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join("root").join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_default()
    }

    /// Everything but progress; the last word is always the same.
    fn ask(&self, ask: Ask) -> Vec<Answer> {
        let (said, heard) = std::sync::mpsc::channel();
        let listener = Listener::new(move |answer| _ = said.send(answer));
        self.custodian.answer(ask, &listener);
        drop(listener);
        let mut answers: Vec<Answer> =
            heard.iter().filter(|answer| !matches!(answer, Answer::Progress(_))).collect();
        assert_eq!(answers.pop(), Some(Answer::Done));
        answers
    }

    fn order(&self, change: Change) -> Order {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let now = clock::now();
        Order {
            fleet: FLEET,
            host: "db-1".parse().unwrap(),
            nonce: Nonce([NEXT.fetch_add(1, Ordering::Relaxed); 16]),
            change,
            person: "ada".parse().unwrap(),
            reason: "a test".into(),
            issued: now,
            expires: now + Millis::minutes(10),
        }
    }

    fn obey(&self, change: Change) -> Vec<Answer> {
        self.ask(Ask::Order(sealed(&self.order(change), "ada")))
    }

    fn make(&self) -> Point {
        match &self.obey(create())[..] {
            [Answer::Points(points)] => points[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    fn ready(&self) -> sternway_core::point::readiness::Facts {
        self.custodian.facts(None, &[]).pop().unwrap()
    }
}

fn sealed(order: &Order, signer: &str) -> Vec<u8> {
    let mut sealed = Sealed::new(order).unwrap();
    sealed.sign(&key(signer)).unwrap();
    sealed.to_bytes()
}

fn create() -> Change {
    create_of("agora")
}

fn create_of(service: &str) -> Change {
    Change::Create {
        service: Some(service.into()),
        paths: vec![],
        kind: Kind::Full,
        component: None,
        tag: "before".into(),
        version: Some("1.3".into()),
        hook: false,
    }
}

fn by_id(point: &Point) -> Want {
    Want { id: Some(point.id.short()), ..Want::default() }
}

fn code(answers: &[Answer]) -> &str {
    match answers {
        [Answer::Refused { code, .. }] => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_order_counts_when_it_is_signed_for_this_host_and_time_by_whom_it_names_and_once() {
    let ground = ground();
    let good = ground.order(create());
    let refused = |order: &Order, signer: &str| {
        let answers = ground.ask(Ask::Order(sealed(order, signer)));
        code(&answers).to_owned()
    };
    assert_eq!(refused(&good, "mallory"), "nobody-known");
    assert_eq!(refused(&good, "grace"), "other-person");
    let mut bytes = sealed(&good, "ada");
    let at = bytes.windows(6).position(|window| window == b"before").unwrap();
    bytes[at] ^= 1;
    assert_eq!(code(&ground.ask(Ask::Order(bytes))), "forged");
    assert_eq!(code(&ground.ask(Ask::Order(vec![1, 2, 3]))), "seal");
    assert_eq!(refused(&Order { host: "db-2".parse().unwrap(), ..good.clone() }, "ada"), "other-host");
    assert_eq!(refused(&Order { fleet: FleetId([1; 16]), ..good.clone() }, "ada"), "other-fleet");
    let past = Timestamp(clock::now().0 - 3_600_000);
    let expired = Order { issued: past, expires: past + Millis::minutes(5), ..good.clone() };
    assert_eq!(refused(&expired, "ada"), "expired");
    let for_ever = Order { expires: good.issued + Millis::hours(24), ..good.clone() };
    assert_eq!(refused(&for_ever, "ada"), "valid-too-long");
    assert_eq!(ground.ask(Ask::List(Want::default())), [Answer::Points(vec![])], "nothing was done");

    let answers = ground.ask(Ask::Order(sealed(&good, "ada")));
    let [Answer::Points(made)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((made[0].by.as_str(), made[0].reason.as_str()), ("ada", "a test"));
    assert!(
        made[0].checked.as_ref().is_some_and(|checked| checked.finding.is_none()),
        "it is looked at at once"
    );
    assert_eq!(refused(&good, "ada"), "replayed");
    // Another process, as after a restart.
    let keyring = ground.custodian.keyring.clone().unwrap();
    let again =
        Ground { custodian: Arc::new(Custodian::new(Arc::clone(&ground.custodian.host), keyring)), ..ground };
    assert_eq!(code(&again.ask(Ask::Order(sealed(&good, "ada")))), "replayed");
    let points = again.ask(Ask::List(Want::default()));
    assert!(matches!(&points[..], [Answer::Points(points)] if points.len() == 1), "{points:?}");
}

#[test]
fn a_halted_host_changes_nothing_but_names() {
    let ground = ground();
    let point = ground.make();
    let flag = HaltFlag::of(&ground.custodian.state());
    flag.set(&Halt { by: "mona".into(), reason: "smoke".into(), at: Timestamp(1) }).unwrap();
    let order = ground.order(create());
    assert_eq!(code(&ground.ask(Ask::Order(sealed(&order, "ada")))), "halted");
    assert_eq!(code(&ground.obey(Change::Prune { confirmed: 0 })), "halted");
    let tagged = ground.obey(Change::Tag { which: by_id(&point), tag: "evidence".into(), keep: true });
    let [Answer::Points(points)] = &tagged[..] else { panic!("{tagged:?}") };
    assert_eq!(points[0].id, point.id, "a point keeps its id");
    assert_eq!(points[0].kept.as_ref().map(|kept| kept.owner.as_str()), Some("ada"));
    assert!(ground.ready().hindered.iter().any(|why| why.contains("smoke")));
    flag.clear().unwrap();
    // It was refused before it was taken, so it still counts.
    assert!(matches!(&ground.ask(Ask::Order(sealed(&order, "ada")))[..], [Answer::Points(_)]));
}

#[test]
fn what_comes_from_afar_stays_within_what_the_host_permits() {
    let ground = ground();
    let paths = |paths: &[&str]| Change::Create {
        service: None,
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        kind: Kind::Full,
        component: None,
        tag: "t".into(),
        version: None,
        hook: false,
    };
    assert_eq!(code(&ground.obey(paths(&["/opt/agora", "/etc/shadow"]))), "not-permitted");
    assert_eq!(code(&ground.obey(paths(&[]))), "paths");
    assert!(matches!(&ground.obey(paths(&["/opt/agora"]))[..], [Answer::Points(_)]));
    let point = ground.make();
    let restore = |path: &str, into: &str| {
        ground.obey(Change::Restore { which: by_id(&point), path: path.into(), into: into.into() })
    };
    assert_eq!(code(&restore("/opt/agora/bin/run", "/etc/run")), "not-permitted");
    assert_eq!(code(&restore("/etc/shadow", "/srv/shadow")), "not-permitted");
    assert_eq!(code(&restore("/opt/agora/none", "/srv/x")), "points/nothing-there");
    // Whoever has the host in hands needs no permit.
    let word = Word::at_hand("Mona".into(), "in need".into());
    let change =
        Change::Restore { which: by_id(&point), path: "/opt/agora/bin/run".into(), into: "/etc/run".into() };
    ground.custodian.carry_out(&change, &word, &Listener::nobody()).unwrap();
    assert_eq!(ground.read("etc/run"), "v1");
    assert_eq!(code(&ground.obey(create_of("agorra"))), "unknown-service");
}

#[test]
fn a_restored_path_stands_beside_or_in_the_place_of_what_is_then_kept() {
    let ground = ground();
    let point = ground.make();
    fs::write(ground.at("opt/agora/bin/run"), "v2").unwrap();
    let restore = |into: &str| {
        let which = by_id(&point);
        match &ground.obey(Change::Restore { which, path: "/opt/agora/bin/run".into(), into: into.into() })[..]
        {
            [Answer::Restored { path, old, entries: 1, bytes: 2 }] => (path.clone(), old.clone()),
            other => panic!("{other:?}"),
        }
    };
    let short = point.id.short();
    assert_eq!(restore(""), (format!("/opt/agora/bin/run.from-{short}"), None));
    assert_eq!(restore(""), (format!("/opt/agora/bin/run.from-{short}-2"), None));
    assert_eq!(restore("/srv/run"), ("/srv/run".into(), None));
    assert_eq!(ground.read("opt/agora/bin/run"), "v2", "beside is beside");
    let other = format!("/opt/agora/bin/run.other-{short}");
    assert_eq!(restore("/opt/agora/bin/run"), ("/opt/agora/bin/run".into(), Some(other.clone())));
    assert_eq!((ground.read("opt/agora/bin/run"), ground.read(&other[1..])), ("v1".into(), "v2".into()));
    fs::remove_file(ground.at("opt/agora/bin/run")).unwrap();
    assert_eq!(
        restore("/opt/agora/bin/run"),
        ("/opt/agora/bin/run".into(), None),
        "nothing was there to keep"
    );
    let onto =
        Change::Restore { which: by_id(&point), path: "/opt/agora/bin/run".into(), into: "/srv/run".into() };
    assert_eq!(code(&ground.obey(onto)), "in-the-way");
    let hidden = fs::read_dir(ground.at("opt/agora/bin")).unwrap();
    let hidden =
        hidden.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0, "nothing hidden stays behind");
}

#[test]
fn points_go_when_exactly_as_many_are_confirmed_as_would_go() {
    let ground = ground();
    let points: Vec<Point> = (0..3).map(|_| ground.make()).collect();
    let would = ground.ask(Ask::WouldPrune);
    let [Answer::WouldDrop { drop, stay }] = &would[..] else { panic!("{would:?}") };
    assert_eq!((drop.len(), stay.len()), (2, 1));
    assert_eq!(code(&ground.obey(Change::Prune { confirmed: 3 })), "count");
    assert_eq!(ground.custodian.catalogue.read().points.len(), 3);
    let gone = ground.obey(Change::Prune { confirmed: 2 });
    assert!(matches!(gone[..], [Answer::Dropped { points: 2, .. }]), "{gone:?}");
    let left = ground.ask(Ask::List(Want::default()));
    assert!(
        matches!(&left[..], [Answer::Points(left)] if left[0].id == points[2].id && left.len() == 1),
        "{left:?}"
    );
    assert_eq!(ground.custodian.catalogue.read().points.len(), 1, "what is gone is forgotten");
    assert_eq!(code(&ground.ask(Ask::Show(by_id(&points[0])))), "not-found");
}

/// Flips a bit in the largest stored file.
fn rot(ground: &Ground) {
    let data = ground.directory.path().join("state/points/data");
    let shelves = fs::read_dir(data).unwrap();
    let mut packs: Vec<PathBuf> = shelves
        .flat_map(|shelf| fs::read_dir(shelf.unwrap().path()).unwrap())
        .map(|pack| pack.unwrap().path())
        .collect();
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
    let pack = packs.last().unwrap();
    let mut bytes = fs::read(pack).unwrap();
    bytes[40] ^= 1;
    fs::set_permissions(pack, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(pack, bytes).unwrap();
}

#[test]
fn what_rots_is_found_by_the_scrub_and_seen_by_everybody_from_then_on() {
    let ground = ground();
    let point = ground.make();
    let clean = ground.custodian.scrub(&Cycle::go_on(None, 1, clock::now()), &Listener::nobody()).unwrap();
    assert!(clean.is_clean && clean.bytes > 0, "{clean:?}");
    assert!(ground.ready().point.is_some());
    rot(&ground);
    let parts: Vec<_> = (0..3)
        .map(|next| Cycle { parts: 3, next, began: clock::now(), is_clean: true })
        .map(|cycle| ground.custodian.scrub(&cycle, &Listener::nobody()).unwrap().is_clean)
        .collect();
    assert!(parts.contains(&false), "all parts together read everything");
    let facts = ground.ready();
    assert_eq!((facts.point.clone(), facts.damaged.clone()), (None, vec![point.id.short()]));
    assert!(!facts.judge(clock::now()).can());
    let listed = ground.ask(Ask::List(Want::default()));
    assert!(matches!(&listed[..], [Answer::Points(points)] if !points[0].is_good()), "{listed:?}");
    // A look at the index does not make it good again.
    ground.ask(Ask::Verify { which: by_id(&point), depth: Depth::Quick });
    assert!(ground.ready().point.is_none());
    let checked = ground.ask(Ask::Verify { which: Want::default(), depth: Depth::Full });
    assert!(matches!(&checked[..], [Answer::Checked(point)] if !point.is_good()), "{checked:?}");
}

#[test]
fn a_host_can_go_back_once_every_byte_was_read_and_says_why_it_cannot() {
    let ground = ground_with("plugins = [\"files\"]");
    let reasons = |ground: &Ground, plugins: &[_]| -> Vec<String> {
        let facts = ground.custodian.facts(Some("agora"), plugins).pop().unwrap();
        facts.judge(clock::now()).lacks.iter().map(ToString::to_string).collect()
    };
    assert_eq!(reasons(&ground, &[]), ["no rollback point"]);
    let point = ground.make();
    assert_eq!(reasons(&ground, &[]), ["no check has read every byte of the newest point"]);
    assert_eq!(ground.custodian.unread().unwrap().len(), 1);
    ground.ask(Ask::Verify { which: by_id(&point), depth: Depth::Full });
    assert_eq!(reasons(&ground, &[]), [""; 0]);
    assert!(ground.custodian.unread().unwrap().is_empty());
    let facts = ground.ready();
    assert!(facts.space_needed > point.bytes && facts.space_free > facts.space_needed, "{facts:?}");
    let digest = Digest::of(b"files");
    let plugins = [("files".parse().unwrap(), digest)];
    assert_eq!(reasons(&ground, &plugins), ["plugin `files` is not here"]);
    let folder = ground.directory.path().join("state/plugins");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{digest}.wasm")), "files").unwrap();
    assert_eq!(reasons(&ground, &plugins), [""; 0]);
    assert!(ground.custodian.facts(Some("other"), &[]).is_empty());
}

#[test]
fn a_rehearsal_brings_everything_back_aside_and_leaves_nothing() {
    let ground = ground();
    let drill = || ground.obey(Change::Drill { service: "agora".into() });
    assert_eq!(code(&drill()), "not-found");
    ground.make();
    fs::set_permissions(ground.at("opt/agora/data"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(ground.at("opt/agora/data"), "otherwise").unwrap();
    let drilled = drill();
    let [Answer::Drilled { drill: good, .. }] = &drilled[..] else { panic!("{drilled:?}") };
    assert_eq!(good.finding, None, "the live host may differ, the point came back as it was");
    assert_eq!(ground.read("opt/agora/data"), "otherwise");
    assert!(!ground.directory.path().join("state/custodian/drill").exists());
    assert_eq!(ground.ready().drill.as_ref(), Some(good));
    rot(&ground);
    let drilled = drill();
    assert!(
        matches!(&drilled[..], [Answer::Drilled { drill, .. }] if drill.finding.is_some()),
        "{drilled:?}"
    );
    assert!(!ground.directory.path().join("state/custodian/drill").exists());
}

#[test]
fn one_point_at_a_time_is_made_and_who_does_not_want_to_wait_leaves() {
    let ground = ground();
    let held = ground.custodian.making_lock(&Listener::nobody()).unwrap();
    let listener = Listener::nobody();
    let gone = listener.gone();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ground.custodian.making_lock(&listener).map(|_| ()));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waiting.is_finished());
        gone.store(true, Ordering::Relaxed);
        assert_eq!(waiting.join().unwrap().unwrap_err().code(), "called-off");
    });
    drop(held);
    ground.custodian.making_lock(&Listener::nobody()).unwrap();
}

/// Runs the rounds until it is so.
fn rounds_until(ground: &Ground, what: &str, is_so: impl Fn(&Memory) -> bool) -> Memory {
    let file = MemoryFile::of(&ground.custodian.state());
    let on_rounds = Rounds::of(Arc::clone(&ground.custodian)).unwrap().begin().unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !is_so(&file.read()) {
        assert!(std::time::Instant::now() < until, "waited for {what}: {:?}", file.read());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    drop(on_rounds);
    file.read()
}

const NIGHTLY: &str = "[[points.schedule]]\nname = \"nightly\"\nservice = \"agora\"\njitter = \"0s\"";

fn seen_days_ago(ground: &Ground, days: u64) {
    let file = MemoryFile::of(&ground.custodian.state());
    let mut memory = file.read();
    let since = Timestamp(clock::now().0 - days * 86_400_000);
    memory.schedules.insert("nightly".into(), Past { done: Some(since), ..Past::new(since) });
    file.write(&memory).unwrap();
}

#[test]
fn a_night_that_was_missed_is_made_up_for_once_and_the_new_point_is_read_in_full() {
    let ground = ground_with(NIGHTLY);
    ground.make();
    seen_days_ago(&ground, 9);
    let before = clock::now();
    let read = |memory: &Memory| {
        let done = memory.schedules.get("nightly").and_then(|past| past.done);
        let checks = ground.custodian.catalogue.read();
        done.is_some_and(|done| before.since(done) < Millis::hours(24))
            && checks.points.values().any(|known| known.whole.is_some())
    };
    rounds_until(&ground, "the point", read);
    let listed = ground.ask(Ask::List(Want { tag: Some("nightly".into()), ..Want::default() }));
    let [Answer::Points(points)] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!(points.len(), 1, "nine nights were missed, one is made up for");
    assert_eq!(points[0].origin, sternway_core::point::Origin::Schedule { name: "nightly".into() });
    assert!(points[0].is_good());
    assert!(ground.ready().judge(clock::now()).can(), "{:?}", ground.ready());
    let all = ground.ask(Ask::List(Want::default()));
    assert!(matches!(&all[..], [Answer::Points(all)] if all.len() == 1), "the older one was let go: {all:?}");
}

#[test]
fn a_point_that_cannot_be_made_is_remembered_with_the_reason_and_lets_nothing_go() {
    let ground = ground_with(NIGHTLY);
    let old: Vec<Point> = (0..2).map(|_| ground.make()).collect();
    seen_days_ago(&ground, 2);
    fs::rename(ground.at("opt/agora"), ground.at("opt/gone")).unwrap();
    let failed = |memory: &Memory| memory.schedules.get("nightly").is_some_and(|past| past.failed.is_some());
    let memory = rounds_until(&ground, "the failure", failed);
    let failed = memory.schedules["nightly"].failed.clone().unwrap();
    assert!(failed.times == 1 && failed.why.contains("/opt/agora"), "{failed:?}");
    let listed = ground.ask(Ask::List(Want::default()));
    assert!(matches!(&listed[..], [Answer::Points(points)] if points.len() == old.len()), "{listed:?}");
}

#[test]
fn a_halted_host_makes_nothing_by_itself() {
    let ground = ground_with(NIGHTLY);
    seen_days_ago(&ground, 2);
    let flag = HaltFlag::of(&ground.custodian.state());
    flag.set(&Halt { by: "mona".into(), reason: "smoke".into(), at: Timestamp(1) }).unwrap();
    let on_rounds = Rounds::of(Arc::clone(&ground.custodian)).unwrap().begin().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(on_rounds);
    assert_eq!(ground.ask(Ask::List(Want::default())), [Answer::Points(vec![])]);
}
