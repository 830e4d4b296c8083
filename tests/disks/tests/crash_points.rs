//! The agent dies at every place where it can die, by SIGKILL and with no last
//! words, and the host still comes to the end it would have come to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use sternway_agent::crash;
use sternway_core::run::{Because, Ending};
use sternway_disks::draw::Draw;
use sternway_disks::ground::Ground;
use sternway_disks::host::{Host, wait_until, was_killed};
use sternway_disks::tree::{self, Tree};
use sternway_disks::{is_long, plans};
use sternway_tests::fleet::text;

/// Hosts in hand at a time: they mostly wait for services to settle.
const AT_ONCE: usize = 4;

/// Places that no run of a real plan comes to, and why they are there.
const UNREACHED: [(&str, &str); 11] = [
    (":halted-locally", "a person on the host halts it: agent/src/verbs has its own tests"),
    (":resumed-locally", "a person on the host ends that halt"),
    (":permit-declined", "a permit comes to a host that a person halted"),
    (":permitted-here", "a person on the host lets the run begin"),
    (":not-confirmed", "nobody reaches the host after a change; the simulated fleet comes there"),
    (":decided", "a person answers for a stuck host; the simulated fleet comes there"),
    ("files.stage-copy", "no built-in plugin copies what is live; a stranger's may"),
    ("programs.told", "no plan here runs a program: agent/src/capabilities/programs has its own tests"),
    ("programs.attendant-spawned", "likewise"),
    ("points.tagged", "a person tags a point: agent/src/points has its own tests"),
    ("points.forgotten", "a person or the host's rules drop a point: agent/src/points has its own tests"),
];

/// What a run left behind, as far as it must be the same.
#[derive(Debug, Clone, PartialEq)]
struct End {
    finished: bool,
    tree: Tree,
    health: Option<serde_json::Value>,
    told: usize,
    taken_back: usize,
}

impl End {
    fn of(ground: &Ground, host: &mut Host) -> Self {
        let ending = host.wait_for_ending();
        let finished = match ending {
            Ending::Finished => true,
            Ending::Undone { .. } => false,
            odd => panic!("{}: ended as {odd:?}\n{}", host.name, host.account()),
        };
        host.stop_agent();
        Self {
            finished,
            tree: host.tree(),
            health: settled_health(host),
            told: ground.ledger.count(&format!("POST /{}", host.name)),
            taken_back: ground.ledger.count(&format!("DELETE /{}", host.name)),
        }
    }

    fn complaints(&self, expected: &Self) -> Vec<String> {
        let mut complaints = tree::difference(&expected.tree, &self.tree);
        let mut same = |what: &str, is: String, should: String| {
            if is != should {
                complaints.push(format!("{what}: {is}, not {should}"));
            }
        };
        same("finished", self.finished.to_string(), expected.finished.to_string());
        same("health", format!("{:?}", self.health), format!("{:?}", expected.health));
        same("told", self.told.to_string(), expected.told.to_string());
        same("taken back", self.taken_back.to_string(), expected.taken_back.to_string());
        complaints
    }
}

/// Reads again and again what a run switches, as a program that uses it would.
struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Reader {
    fn of(host: &Host) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, root) = (Arc::clone(&stop), host.root());
        let thread = std::thread::spawn(move || {
            let mut odd = Vec::new();
            while !seen.load(Ordering::Relaxed) {
                odd.extend(blend(&root));
                std::thread::sleep(Duration::from_millis(2));
            }
            odd
        });
        Self { stop, thread: Some(thread) }
    }

    /// What it saw that was neither old nor new.
    fn stop(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it stops once").join().expect("it only reads")
    }
}

/// One look through one open folder: all of it is of one version.
fn blend(root: &Path) -> Option<String> {
    use std::os::fd::AsRawFd as _;
    let folder = match std::fs::File::open(root.join("opt/hello")) {
        Ok(folder) => folder,
        Err(error) => return Some(format!("/opt/hello: {error}")),
    };
    let inside = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    let read =
        |name: &str| std::fs::read_to_string(inside.join(name)).unwrap_or_else(|error| error.to_string());
    let (readme, release) = (read("README"), read("release.toml"));
    let version = readme.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    if !["1.1", "1.3"].contains(&version.as_str()) || !release.contains(&format!("version = \"{version}\"")) {
        return Some(format!("a blend in /opt/hello: {readme:?} beside {release:?}"));
    }
    let config = std::fs::read_to_string(root.join("etc/hello/config.json")).unwrap_or_default();
    let is_whole = config.ends_with("}\n") && config.contains("\"greeting\": \"plain\"");
    (!is_whole).then(|| format!("half a configuration: {config:?}"))
}

/// A service that was started a moment ago may not listen yet.
fn settled_health(host: &Host) -> Option<serde_json::Value> {
    let mut health = None;
    wait_until(|| {
        health = host.health();
        health.is_some()
    });
    health
}

/// A run that nobody interrupted, and every place it came through, in order.
#[derive(Debug)]
struct Recorded {
    end: End,
    starts: usize,
    places: Vec<String>,
}

fn record(steps: &str) -> Recorded {
    let ground = Ground::of(1);
    let mut host = ground.host(0);
    let log = host.folder.join("places");
    host.start_service();
    let reader = Reader::of(&host);
    host.start_agent(&[("STERNWAY_CRASH_LOG", &log.display().to_string())]);
    ground.launch(steps);
    let end = End::of(&ground, &mut host);
    assert_eq!(reader.stop(), [""; 0]);
    let places = std::fs::read_to_string(&log).expect("the agent wrote down where it came through");
    Recorded { end, starts: host.starts(), places: places.lines().map(str::to_owned).collect() }
}

fn good() -> &'static Recorded {
    static RECORDED: OnceLock<Recorded> = OnceLock::new();
    RECORDED.get_or_init(|| record(plans::ALL))
}

fn failing() -> &'static Recorded {
    static RECORDED: OnceLock<Recorded> = OnceLock::new();
    RECORDED.get_or_init(|| record(&format!("{}{}", plans::ALL, plans::FAILING)))
}

fn name_of(place: &str) -> &str {
    place.rsplit_once('#').map_or(place, |(name, _)| name)
}

/// The first and the last time that each place was come through, or every time.
/// How many files the agent keeps for itself depends on what its cache holds
/// already, and how often it notes an acknowledgement on when it comes, so of
/// those it is the first.
fn chosen(places: &[String]) -> Vec<String> {
    let is_chosen = |at: usize| {
        let name = name_of(&places[at]);
        let same = |place: &String| name_of(place) == name;
        let is_first = !places[..at].iter().any(same);
        let is_last = !places[at + 1..].iter().any(same);
        let depends = name.starts_with("durable.") || name.ends_with(":acked");
        is_first || !depends && (is_last || is_long())
    };
    (0..places.len()).filter(|at| is_chosen(*at)).map(|at| places[at].clone()).collect()
}

/// Work for some hosts at a time; what goes wrong with one is told at the end,
/// with all the others.
fn on_each<T: Sync>(work: &[T], one: impl Fn(usize, &T) -> Vec<String> + Sync) {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = work.get(at) else { return };
                    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one(at, item)));
                    let said = done.unwrap_or_else(|panic| {
                        vec![panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".into())]
                    });
                    // At once too: a run that is cut short has shown what it found.
                    said.iter().for_each(|said| println!("{said}"));
                    failures.lock().expect("nobody dies while holding it").extend(said);
                }
            });
        }
    });
    let failures = failures.into_inner().expect("nobody dies while holding it");
    assert!(failures.is_empty(), "{} of {} hosts:\n{}", failures.len(), work.len(), failures.join("\n\n"));
}

/// Dies at these places, one a life, then lives on.
fn die_and_go_on(ground: &Ground, at: usize, traps: &[String], expected: &Recorded) -> Vec<String> {
    let mut host = ground.host(at);
    host.start_service();
    let reader = Reader::of(&host);
    for (life, trap) in traps.iter().enumerate() {
        host.start_agent(&[("STERNWAY_CRASH_AT", trap)]);
        let (mut ended, mut settled) = (None, 0);
        wait_until(|| {
            ended = host.agent_ended();
            settled += u32::from(host.ending().is_some());
            // What is still to be done after the end takes no second.
            ended.is_some() || settled > 50
        });
        match ended {
            Some(ended) => assert!(was_killed(ended), "{trap}: {ended}\n{}", host.account()),
            // What the first life went through, a later one need not go through again.
            None => {
                assert!(life > 0 && !trap.contains(":resumed"), "{trap} was not reached\n{}", host.account())
            }
        }
        host.kill_agent();
    }
    host.start_agent(&[]);
    let end = End::of(ground, &mut host);
    let mut complaints = end.complaints(&expected.end);
    complaints.extend(reader.stop());
    let starts_max = expected.starts + traps.len();
    if host.starts() > starts_max {
        complaints.push(format!("the service was started {} times, at most {starts_max}", host.starts()));
    }
    host.stop_service();
    match complaints.is_empty() {
        true => vec![],
        false => {
            vec![format!("died at {}:\n{}\n{}", traps.join(", "), complaints.join("\n"), host.account())]
        }
    }
}

fn from_each(steps: &str, expected: &Recorded, traps: &[Vec<String>]) {
    assert!(traps.len() > 20, "only {} places: {traps:?}", traps.len());
    let ground = Ground::of(traps.len());
    ground.launch(steps);
    on_each(traps, |at, traps| die_and_go_on(&ground, at, traps, expected));
}

/// Somewhere in the middle of [`plans::ALL`], with a side copy staged.
const MIDDLE: &str = "journal.synced:began-apply#2";

/// What an agent comes through that finds a run under way.
fn resumed() -> Vec<String> {
    let ground = Ground::of(1);
    let mut host = ground.host(0);
    let log = host.folder.join("places").display().to_string();
    host.start_service();
    host.start_agent(&[("STERNWAY_CRASH_AT", MIDDLE)]);
    ground.launch(plans::ALL);
    assert!(wait_until(|| host.agent_ended().is_some()), "{MIDDLE} was not reached");
    host.start_agent(&[("STERNWAY_CRASH_LOG", &log)]);
    assert_eq!(End::of(&ground, &mut host).complaints(&good().end), [""; 0]);
    std::fs::read_to_string(log).expect("the agent writes it").lines().map(str::to_owned).collect()
}

#[test]
fn a_run_killed_anywhere_comes_to_the_same_end() {
    let recorded = good();
    let mut traps: Vec<Vec<String>> = chosen(&recorded.places).into_iter().map(|trap| vec![trap]).collect();
    for (place, _) in crash::RECORD_PLACES {
        traps.push(vec![MIDDLE.into(), format!("{place}:resumed#1")]);
    }
    if is_long() {
        // Every pair that lies a prime number of places apart: all kinds meet, and it ends.
        let pairs = recorded.places.iter().zip(recorded.places.iter().skip(7));
        traps.extend(pairs.map(|(first, second)| {
            let again = format!("{}#1", name_of(second));
            vec![first.clone(), again]
        }));
    }
    from_each(plans::ALL, recorded, &traps);
}

#[test]
fn an_undo_killed_anywhere_comes_to_the_same_end() {
    let recorded = failing();
    let begun = recorded.places.iter().position(|place| place.starts_with("journal.begins:began-undo"));
    let traps = chosen(&recorded.places[begun.expect("the plan is undone")..]);
    let traps: Vec<Vec<String>> = traps.into_iter().map(|trap| vec![trap]).collect();
    from_each(&format!("{}{}", plans::ALL, plans::FAILING), recorded, &traps);
}

#[test]
fn an_agent_killed_while_it_resumes_again_and_again_leaves_a_known_state() {
    let (done, undone) = (good(), failing());
    let seeds: Vec<u64> = (1..=if is_long() { 60 } else { 8 }).collect();
    let ground = Ground::of(seeds.len());
    ground.launch(plans::ALL);
    on_each(&seeds, |at, seed| {
        let mut draw = Draw::of(*seed);
        let mut host = ground.host(at);
        host.start_service();
        let reader = Reader::of(&host);
        host.start_agent(&[]);
        let begun = wait_until(|| host.records().iter().any(|record| crash::record(record) == "permitted"));
        assert!(begun, "seed {seed}: no permit\n{}", host.account());
        let mut lives = 0;
        while host.ending().is_none() && lives < 40 {
            std::thread::sleep(Duration::from_millis(draw.between(5, 50) * (1 + lives / 8)));
            host.kill_agent();
            host.start_agent(&[]);
            lives += 1;
        }
        let ending = host.wait_for_ending();
        host.stop_agent();
        let mut complaints = reader.stop();
        match ending {
            Ending::Finished => complaints.extend(tree::difference(&done.end.tree, &host.tree())),
            Ending::Undone { .. } => {
                let difference = tree::difference(&undone.end.tree, &host.tree());
                complaints.extend(difference.into_iter().filter(|line| !is_of_later_steps(line)));
            }
            // Too often interrupted to be told: then it says so, and with which step.
            Ending::NeedsOperator { because, .. } => {
                let says_so = matches!(
                    because,
                    Because::InterruptedTooOften { .. } | Because::CrashLoop { .. } | Because::InDoubt { .. }
                );
                assert!(says_so, "seed {seed}: {because}");
            }
            Ending::Unfit { .. } => complaints.push("unfit after its permit".into()),
        }
        host.stop_service();
        match complaints.is_empty() {
            true => vec![],
            false => vec![format!("seed {seed}: {}\n{}", complaints.join("\n"), host.account())],
        }
    });
}

/// A run that turned round early has staged and kept less beside what is live.
fn is_of_later_steps(difference: &str) -> bool {
    difference.contains("/.sternway-") || difference.contains(".KEPT")
}

/// What a host is for in the rollout of what seldom happens.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Running,
    /// Its configuration does not permit what the plan does.
    Unfit,
    /// In the second wave, which never opens.
    Waiting,
}

#[derive(Debug)]
struct Trap {
    part: Part,
    /// Where it dies; it writes down where it came through when unset.
    place: Option<String>,
}

/// Hosts of a part that have no record of this kind. Who died over just that
/// need not write it again: a host that comes up cut off was not cut off then.
fn those_without<'a>(
    part: Part,
    kind: &str,
    hosts: &'a [Host],
    traps: &'a [Trap],
    died: &[bool],
) -> Vec<(&'a Host, &'a Trap)> {
    let over_this = format!(":{kind}#");
    let excused =
        |trap: &Trap, died: bool| died && trap.place.as_ref().is_some_and(|place| place.contains(&over_this));
    hosts
        .iter()
        .zip(traps)
        .zip(died)
        .filter(|((_, trap), died)| trap.part == part && !excused(trap, **died))
        .map(|(pair, _)| pair)
        .filter(|(host, _)| !host.records().iter().any(|record| crash::record(record) == kind))
        .collect()
}

/// A rollout in which everything happens that seldom happens: the coordinator
/// goes away and comes back, the rollout is halted, a finished host is found
/// unwell, and a person orders it back. Each host dies where its trap says.
fn seldom(traps: &[Trap]) -> Vec<String> {
    const STEPS: &str = r#"
[[step]]
name = "mark"
uses = "config@0"
with = { file = "/etc/hello/config.json", set = { mark = 1 } }
[[step]]
name = "still there"
uses = "http@0"
with = { get = "http://127.0.0.1:${host.label.port}/health", json = { version = "1.3" }, within = "2s" }
wait = "10ms"
[[step]]
name = "the test says go on"
uses = "http@0"
with = { get = "LEDGER/go", within = "100s", every = "1s" }
timeout = "110s"
[[step]]
name = "mark again"
uses = "config@0"
with = { file = "/etc/hello/config.json", set = { mark = 2 } }
confirm = "60s"
"#;
    let mut ground = Ground::of(traps.len());
    let mut hosts: Vec<Host> = (0..traps.len()).map(|at| ground.host(at)).collect();
    let before = hosts[0].tree();
    let log = |host: &Host| host.folder.join("places").display().to_string();
    for (host, trap) in hosts.iter_mut().zip(traps) {
        if trap.part == Part::Unfit {
            let config = host.folder.join("agent.toml");
            let text = std::fs::read_to_string(&config).expect("it was written");
            std::fs::write(config, text.replace("\"/etc/hello\", ", "")).expect("it can be written");
        }
        host.start_service();
        let log = log(host);
        match &trap.place {
            Some(place) => host.start_agent(&[("STERNWAY_CRASH_AT", place)]),
            None => host.start_agent(&[("STERNWAY_CRASH_LOG", &log)]),
        }
    }
    let first_wave = traps.iter().filter(|trap| trap.part != Part::Waiting).count();
    ground.launch_in_waves(STEPS, &[first_wave, traps.len()]);
    let mut died = vec![false; hosts.len()];
    let mut all = |part: Part, kind: &str, connected: Option<&Ground>, hosts: &mut [Host]| {
        let so = wait_until(|| {
            for (at, host) in hosts.iter_mut().enumerate() {
                if let Some(ended) = host.agent_ended() {
                    assert!(was_killed(ended), "{ended}\n{}", host.account());
                    died[at] = true;
                    host.start_agent(&[]);
                }
            }
            those_without(part, kind, hosts, traps, &died).is_empty()
                && connected.is_none_or(|ground| {
                    let fleet = ground.fleet.sternway("ada", &["fleet", "--json"]);
                    text(&fleet.stdout).matches("\"connected\":true").count() == hosts.len()
                })
        });
        let missing: Vec<String> = those_without(part, kind, hosts, traps, &died)
            .iter()
            .map(|(host, trap)| format!("{}, {:?}: {}", host.name, trap.place, host.account()))
            .collect();
        let first = missing.first().cloned().unwrap_or_default();
        assert!(so, "waited in vain for {kind}, {} hosts, such as {first}", missing.len());
    };
    // Only who is here can be cut off.
    all(Part::Running, "waited", Some(&ground), &mut hosts);
    end_in_order(&mut ground);
    all(Part::Running, "cut-off", None, &mut hosts);
    ground.fleet.start_coordinator();
    all(Part::Running, "rejoined", None, &mut hosts);
    let halted = ground.fleet.sternway("grace", &["halt", "r-1", "--reason", "a test"]);
    assert!(halted.status.success(), "{}", text(&halted.stderr));
    all(Part::Waiting, "halt-told", None, &mut hosts);
    ground.ledger.say_go();
    all(Part::Running, "settled", None, &mut hosts);
    hosts.iter_mut().for_each(Host::stop_service);
    all(Part::Running, "health", None, &mut hosts);
    let count = traps.iter().filter(|trap| trap.part == Part::Running).count().to_string();
    let mut undo = ground.fleet.sternway_beside(
        "ada",
        &["undo", "r-1", "--confirm", &count, "--reason", "a test", "--timeout", "50s"],
    );
    all(Part::Running, "undo-ordered", None, &mut hosts);
    all(Part::Running, "released", None, &mut hosts);
    undo.wait().expect("it is our child");
    let mut complaints = Vec::new();
    for ((host, trap), died) in hosts.iter_mut().zip(traps).zip(died) {
        host.stop_agent();
        if let Some(place) = &trap.place
            && !died
        {
            complaints.push(format!("{}: {place} was not reached\n{}", host.name, host.account()));
        }
        let difference =
            tree::difference(&tree::without_kept(before.clone()), &tree::without_kept(host.tree()));
        if !difference.is_empty() {
            complaints.push(format!(
                "{}, {trap:?}: {}\n{}",
                host.name,
                difference.join("\n"),
                host.account()
            ));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
    let logs = hosts.iter().filter_map(|host| std::fs::read_to_string(log(host)).ok());
    logs.flat_map(|log| log.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// SIGTERM: it says goodbye, so that the agents notice at once.
fn end_in_order(ground: &mut Ground) {
    let pid = ground.fleet.processes().last().copied().expect("the coordinator runs");
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process has a number");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is our child");
    std::thread::sleep(Duration::from_millis(500));
    ground.fleet.kill_coordinator();
}

#[test]
fn what_seldom_happens_can_be_interrupted_too() {
    let running =
        ["cut-off", "rejoined", "waited", "confirmed", "health", "undo-ordered", "released", "epoch-seen"];
    let around = |part: Part, kinds: &[&str]| -> Vec<Trap> {
        let each = |kind: &&str| {
            crash::RECORD_PLACES.map(|(place, _)| Trap { part, place: Some(format!("{place}:{kind}#1")) })
        };
        kinds.iter().flat_map(each).collect()
    };
    let mut traps = around(Part::Running, &running);
    for place in ["plan.removed#1", "durable.removed#1"] {
        traps.push(Trap { part: Part::Running, place: Some(place.into()) });
    }
    traps.extend(around(Part::Unfit, &["unfit"]));
    traps.extend(around(Part::Waiting, &["halt-told"]));
    seldom(&traps);
}

#[test]
fn every_place_on_the_list_is_reached() {
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let rare = seldom(&[Part::Running, Part::Unfit, Part::Waiting].map(|part| Trap { part, place: None }));
    let points = crashes_of_making_a_point(&Ground::of(1));
    for place in good().places.iter().chain(&failing().places).chain(&resumed()).chain(&rare).chain(&points) {
        reached.insert(name_of(place).to_owned());
    }
    let listed: BTreeSet<String> = crash::all().map(|(name, _)| name).collect();
    let unlisted: Vec<&String> = reached.difference(&listed).collect();
    assert!(unlisted.is_empty(), "reached, and not on the list of agent/src/crash.rs: {unlisted:?}");
    let is_excused = |name: &str| UNREACHED.iter().any(|(excused, _)| name.ends_with(excused));
    let missed: Vec<&String> = listed.difference(&reached).filter(|name| !is_excused(name)).collect();
    assert!(missed.is_empty(), "on the list, and no run comes there: {missed:?}");
    let excused: Vec<&String> = reached.iter().filter(|name| is_excused(name)).collect();
    assert!(excused.is_empty(), "excused, and reached: {excused:?}");
}

#[test]
fn an_agent_whose_runs_are_over_starts_again() {
    let ground = Ground::of(1);
    let mut host = ground.host(0);
    host.start_agent(&[]);
    let settled = |host: &Host, wanted: usize| {
        let so =
            || host.records().iter().filter(|record| crash::record(record) == "settled").count() == wanted;
        assert!(wait_until(so), "{}\n{}", host.account(), ground.fleet.logs());
    };
    ground.launch(plans::ONE);
    settled(&host, 1);
    let ended = || ground.fleet.sternway("ada", &["status", "r-1"]).status.code() == Some(0);
    assert!(wait_until(ended), "{}", ground.fleet.logs());
    // The first run gives way to the second, and its plan goes.
    ground.launch(plans::AFTER);
    settled(&host, 2);
    let kept = std::fs::read_dir(host.disk().join("state/plans")).expect("there is one").count();
    assert_eq!(kept, 1, "the plan of a run that is over is removed");
    host.stop_agent();
    host.start_agent(&[]);
    let comes = || ground.fleet.sternway("ada", &["fleet", "--json"]);
    let came =
        wait_until(|| text(&comes().stdout).contains("\"connected\":true") || host.agent_ended().is_some());
    assert!(came && host.agent_ended().is_none(), "it does not stay up\n{}", host.account());
    host.stop_agent();
}

/// Every place that `points create` comes through on a host without a repository.
fn crashes_of_making_a_point(ground: &Ground) -> Vec<String> {
    let host = ground.host(0);
    let log = host.folder.join("places");
    let (code, _) = make_point(&host, "STERNWAY_CRASH_LOG", &log.display().to_string());
    assert_eq!(code, Some(0));
    let places = std::fs::read_to_string(log).expect("the agent wrote down where it came through");
    places.lines().map(str::to_owned).collect()
}

fn make_point(host: &Host, variable: &str, value: &str) -> (Option<i32>, String) {
    let _ = std::fs::remove_dir_all(host.disk().join("state"));
    let mut command = host.agent_verb(&["points", "create", "--tag", "now", "/opt/hello", "/etc/hello"]);
    let output = command.env(variable, value).output().expect("the agent's program can be started");
    (output.status.code(), text(&output.stderr))
}

#[test]
fn a_point_is_whole_or_not_there_wherever_its_making_ends() {
    let ground = Ground::of(1);
    let places = crashes_of_making_a_point(&ground);
    let offered = places.iter().position(|place| name_of(place) == "points.offered");
    let offered = offered.expect("a point that is made is offered");
    for (at, place) in places.into_iter().enumerate() {
        let host = ground.host(0);
        let (code, said) = make_point(&host, "STERNWAY_CRASH_AT", &place);
        assert_eq!(code, None, "{place}: {said}");
        let again = host.verb(&["points", "create", "--tag", "now", "/opt/hello", "/etc/hello"]);
        assert!(again.status.success(), "after {place}: {}", text(&again.stderr));
        let verified = host.verb(&["points", "verify", "--full", "--json"]);
        assert!(verified.status.success(), "after {place}: {}", text(&verified.stderr));
        // Once it is offered it is there, though nobody heard so.
        let points = if at >= offered { 2 } else { 1 };
        assert_eq!(
            text(&verified.stdout).lines().count(),
            points,
            "after {place}: {}",
            text(&verified.stdout)
        );
    }
}
