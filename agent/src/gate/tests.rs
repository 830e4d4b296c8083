use super::*;
use crate::capabilities::clusters::ClusterRequest;
use crate::capabilities::files::{HostRoot, Ownership, Place};
use crate::capabilities::http::HttpRequest;
use crate::capabilities::programs::Call;
use crate::capabilities::sockets::Exchange;
use crate::capabilities::systemd::{FileChange, Job};

struct World {
    directory: tempfile::TempDir,
    recorder: Arc<MemoryRecorder>,
}

const GRANTED: [(&str, &str); 10] = [
    ("files", "/granted"),
    ("points", "/granted"),
    ("services", "web"),
    ("http", "http://127.0.0.1:1/granted"),
    ("databases", "/granted/app.db"),
    ("systemd", "web"),
    ("containers", "/granted"),
    ("sockets", "tcp://127.0.0.1:1"),
    ("mail", "web"),
    ("clusters", "prod/web"),
];

fn grants(of: &[(&str, &str)]) -> Vec<Grant> {
    of.iter().map(|(power, scope)| Grant { power: (*power).into(), scopes: vec![(*scope).into()] }).collect()
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("granted")).unwrap();
        std::fs::write(directory.path().join("granted/file"), "old").unwrap();
        std::fs::write(directory.path().join("other"), "kept").unwrap();
        Self { directory, recorder: Arc::new(MemoryRecorder::new()) }
    }

    fn gate(&self, phase: Phase, granted: &[(&str, &str)], permits: &[(&str, &str)]) -> Gate {
        let root = HostRoot::open(self.directory.path()).unwrap();
        let services = Services::new(self.directory.path().join("state"), [], Vec::new()).unwrap();
        let mut gate = Gate::new(GateParts {
            grants: grants(granted),
            policy: HostPolicy { permits: grants(permits) },
            point: Some("aa".into()),
            step: "run-1".into(),
            attempt: 1,
            powers: Powers {
                files: Files::new(root, "run", "step"),
                points: None,
                services,
                http: HttpClient::new(),
                outside: Arc::new(Outside::bare(self.directory.path())),
            },
            recorder: self.recorder.clone(),
            sink: Arc::new(Silent),
        });
        gate.enter(phase, Instant::now() + Duration::from_secs(5), Cancel::new());
        gate
    }

    fn open_gate(&self, phase: Phase) -> Gate {
        let any: Vec<_> = GRANTED.iter().map(|(power, _)| (*power, "*")).collect();
        self.gate(phase, &GRANTED, &any)
    }
}

fn http(method: &str, url: &str) -> Request {
    Request::HttpSend(HttpRequest {
        method: method.into(),
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: 200,
        body_bytes_max: 10,
    })
}

/// Every call on `path`, a service and a URL.
fn every_request(path: &str, service: &str, url: &str) -> Vec<Request> {
    let (at, path, name, id) = (Place::Live, path.to_owned(), service.to_owned(), "aa".to_owned());
    vec![
        Request::FilesGetAttributes { at, path: path.clone() },
        Request::FilesGetDigest { at, path: path.clone() },
        Request::FilesRead { at, path: path.clone(), bytes_max: 1 },
        Request::FilesNames { at, path: path.clone() },
        Request::FilesStageBytes { path: path.clone(), data: b"x".to_vec() },
        Request::FilesStageCopy { path: path.clone() },
        Request::FilesStageOwnership { path: path.clone(), to: Ownership::default() },
        Request::FilesDiscard { path: path.clone() },
        Request::FilesSwitchTo { path: path.clone(), to: "00".into() },
        Request::FilesTakeAway { path: path.clone() },
        Request::FilesKeepCopy { path: path.clone() },
        Request::PointsEntries { id: id.clone(), path: path.clone() },
        Request::PointsStage { id: id.clone(), path: path.clone() },
        Request::ServicesGetStatus { name: name.clone() },
        Request::ServicesLines { name: name.clone(), lines_max: 1 },
        Request::ServicesStart { name: name.clone(), timeout_ms: 1 },
        Request::ServicesStop { name, timeout_ms: 1 },
        http("GET", url),
        http("PUT", url),
        Request::DatabasesInspect { at, path: path.clone() },
        Request::DatabasesAsk { at, path: path.clone(), sql: "SELECT 1".into() },
        Request::DatabasesSettle { path: path.clone() },
        Request::FilesReadTail { at, path: path.clone(), bytes_max: 1 },
        Request::FilesFind { at, path: path.clone(), suffix: ".x".into() },
        Request::FilesStageArchive { path: path.clone(), archive: path.clone(), bytes_max: 1 },
        Request::FilesStageLink { path: path.clone(), target: "x".into() },
        Request::FilesStagePutBack { path: path.clone(), suffix: ".x".into() },
        Request::FilesStageRemoval { path: path.clone(), inside: vec![] },
    ]
    .into_iter()
    .chain(outside_requests(&path, service, url))
    .collect()
}

fn outside_requests(path: &str, service: &str, url: &str) -> Vec<Request> {
    let name = service.to_owned();
    let call = Call { form: "containers.logs".into(), on: path.into(), holes: vec![], timeout_ms: 200 };
    let exchange = Exchange {
        address: url.trim_end_matches("/granted").replace("http", "tcp"),
        data: vec![],
        until: vec![],
        bytes_max: 1,
        timeout_ms: 200,
    };
    let letter = |to: &str| Request::MailSend {
        to: to.into(),
        subject: "x".into(),
        body: "x".into(),
        key: "x".into(),
    };
    let cluster = |method: &str| {
        Request::ClustersSend(ClusterRequest {
            cluster: "prod".into(),
            namespace: service.into(),
            method: method.into(),
            group: "v1".into(),
            rest: "pods".into(),
            content_type: String::new(),
            body: vec![],
            timeout_ms: 200,
        })
    };
    vec![
        Request::Systemd(SystemdCall::GetUnit { name: name.clone() }),
        Request::Systemd(SystemdCall::Lines { name: name.clone(), since_ms: 0, lines_max: 1 }),
        Request::Systemd(SystemdCall::RunJob { name: name.clone(), job: Job::Stop, timeout_ms: 1 }),
        Request::Systemd(SystemdCall::Kill { name: name.clone() }),
        Request::Systemd(SystemdCall::ResetFailed { name: name.clone() }),
        Request::Systemd(SystemdCall::ChangeFile { name, change: FileChange::Mask }),
        Request::Programs(ProgramCall::Ask(call.clone())),
        Request::Programs(ProgramCall::Stage(call.clone())),
        Request::Programs(ProgramCall::Run { key: "k".into(), call }),
        Request::Sockets(SocketCall::Probe { address: exchange.address.clone(), timeout_ms: 200 }),
        Request::Sockets(SocketCall::Ask(exchange.clone())),
        Request::Sockets(SocketCall::Tell(exchange)),
        letter(service),
        cluster("GET"),
        cluster("PUT"),
    ]
}

#[test]
fn no_call_passes_outside_its_grant_and_the_denial_names_both() {
    let world = World::new();
    let outside = every_request("/other", "db", "http://127.0.0.1:1/other");
    for request in outside {
        let mut gate = world.open_gate(Phase::Apply);
        let error = gate.pass(&request).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{request:?}: {error}");
        assert_eq!(error.code, format!("{}/outside-grant", request.power().unwrap()));
        assert!(error.message.contains(request.name()), "{error}");
        assert!(error.message.contains(&request.scope().unwrap()), "{error}");
        let (_, scope) = GRANTED.iter().find(|(power, _)| request.power() == Some(*power)).unwrap();
        assert!(error.message.contains(scope), "{error}");
    }
    assert_eq!(std::fs::read(world.directory.path().join("other")).unwrap(), b"kept");
    assert_eq!(world.recorder.lines(), [""; 0], "what is denied leaves no trace of having begun");
}

#[test]
fn no_call_passes_without_any_grant_or_without_the_hosts_permission() {
    let world = World::new();
    let mut inside = every_request("/granted", "web", "http://127.0.0.1:1/granted");
    inside.push(Request::PointsGet { id: "aa".into() });
    for request in inside {
        let any: Vec<_> = GRANTED.iter().map(|(power, _)| (*power, "*")).collect();
        let error = world.gate(Phase::Apply, &[], &any).pass(&request).unwrap_err();
        assert_eq!(error.code, format!("{}/outside-grant", request.power().unwrap()), "{request:?}");
        if request.interface() == "databases" {
            continue;
        }
        let error = world.gate(Phase::Apply, &GRANTED, &[]).pass(&request).unwrap_err();
        assert_eq!(error.code, format!("{}/outside-policy", request.power().unwrap()), "{request:?}");
    }
}

#[test]
fn phases_that_read_refuse_everything_else() {
    let world = World::new();
    for phase in [Phase::Describe, Phase::Look, Phase::Prepare, Phase::Verify] {
        for request in every_request("/granted/file", "web", "http://127.0.0.1:1/granted") {
            let allowed = match (phase, request.effect()) {
                (Phase::Describe, _) => false,
                (_, Effect::Read) => true,
                (Phase::Prepare, Effect::Stage) => true,
                _ => false,
            };
            let denied = world
                .open_gate(phase)
                .pass(&request)
                .is_err_and(|error| error.code.ends_with("/wrong-phase"));
            assert_eq!(denied, !allowed, "{phase} {request:?}");
        }
        let begin = Request::JournalBegin { key: "k".into(), note: Vec::new() };
        let begun = world.open_gate(phase).pass(&begin);
        assert_eq!(begun.is_ok(), phase == Phase::Prepare, "{phase}");
    }
}

#[test]
fn a_change_is_written_down_before_and_after_it_happens() {
    let world = World::new();
    let mut gate = world.open_gate(Phase::Apply);
    let path = "/granted/file".to_owned();
    let staged = gate.pass(&Request::FilesStageBytes { path: path.clone(), data: b"new".to_vec() });
    let Ok(Reply::Digest(digest)) = staged else { panic!("{staged:?}") };
    let switch = Request::FilesSwitchTo { path: path.clone(), to: digest.sha256 };
    assert_eq!(gate.pass(&switch).unwrap(), Reply::Changed(true));
    assert_eq!(gate.pass(&switch).unwrap(), Reply::Changed(false));
    gate.pass(&Request::FilesSwitchTo { path, to: "00".into() }).unwrap_err();
    assert_eq!(
        world.recorder.lines(),
        [
            "intent 0 files.switch-to",
            "result 0 ok",
            "intent 1 files.switch-to",
            "result 1 ok",
            "intent 2 files.switch-to",
            "result 2 failed",
        ]
    );
}

#[test]
fn what_cannot_be_written_down_is_not_done() {
    let world = World::new();
    let mut gate = world.open_gate(Phase::Apply);
    let path = "/granted/file".to_owned();
    let staged = gate.pass(&Request::FilesStageBytes { path: path.clone(), data: b"new".to_vec() });
    let Ok(Reply::Digest(digest)) = staged else { panic!("{staged:?}") };
    world.recorder.refuse();
    let error = gate.pass(&Request::FilesSwitchTo { path, to: digest.sha256 }).unwrap_err();
    assert_eq!(error.code, "journal/not-written");
    assert_eq!(std::fs::read(world.directory.path().join("granted/file")).unwrap(), b"old");
}

#[test]
fn a_mark_says_fresh_then_started_then_finished() {
    let world = World::new();
    let begin = |note: &[u8]| Request::JournalBegin { key: "restart".into(), note: note.to_vec() };
    let finish = Request::JournalFinish { key: "restart".into(), value: b"done".to_vec() };
    let pass = |request: &Request| world.open_gate(Phase::Apply).pass(request);
    assert_eq!(pass(&finish).unwrap_err().code, "journal/not-written");
    assert_eq!(pass(&begin(b"first")).unwrap(), Reply::Mark(Mark::Fresh));
    assert_eq!(pass(&begin(b"second")).unwrap(), Reply::Mark(Mark::Started(b"first".to_vec())));
    assert_eq!(pass(&finish).unwrap(), Reply::Done);
    assert_eq!(pass(&begin(b"third")).unwrap(), Reply::Mark(Mark::Finished(b"done".to_vec())));
    let long = Request::JournalBegin { key: "k".repeat(257), note: Vec::new() };
    assert_eq!(pass(&long).unwrap_err().code, "journal/too-large");
}

#[test]
fn a_kept_copy_has_the_same_name_on_every_attempt() {
    let world = World::new();
    let keep = Request::FilesKeepCopy { path: "/granted/file".into() };
    let first = world.open_gate(Phase::Prepare).pass(&keep).unwrap();
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(world.open_gate(Phase::Apply).pass(&keep).unwrap(), first);
    let Reply::Text(name) = first else { panic!("{first:?}") };
    assert!(name.starts_with("/granted/file.20") && name.ends_with('Z'), "{name}");
}

#[test]
fn after_cancelling_reading_goes_on_and_changing_does_not() {
    let world = World::new();
    let mut gate = world.open_gate(Phase::Apply);
    let cancel = Cancel::new();
    gate.enter(Phase::Apply, Instant::now() + Duration::from_secs(5), cancel.clone());
    cancel.cancel();
    let path = "/granted/file".to_owned();
    gate.pass(&Request::FilesRead { at: Place::Live, path: path.clone(), bytes_max: 9 }).unwrap();
    gate.pass(&Request::JournalBegin { key: "k".into(), note: Vec::new() }).unwrap();
    for request in [
        Request::FilesStageCopy { path: path.clone() },
        Request::FilesTakeAway { path },
        http("PUT", "http://127.0.0.1:1/granted"),
    ] {
        assert_eq!(gate.pass(&request).unwrap_err().kind, ErrorKind::Cancelled, "{request:?}");
    }
    assert!(!gate.sleep(60_000));
}

#[test]
fn after_the_deadline_and_after_too_many_calls_nothing_passes() {
    let world = World::new();
    let read = Request::FilesRead { at: Place::Live, path: "/granted/file".into(), bytes_max: 9 };
    let mut gate = world.open_gate(Phase::Look);
    gate.enter(Phase::Look, Instant::now(), Cancel::new());
    assert_eq!(gate.pass(&read).unwrap_err().kind, ErrorKind::TimedOut);
    let mut gate = world.open_gate(Phase::Look);
    gate.calls = CALLS_MAX;
    assert_eq!(gate.pass(&read).unwrap_err().code, "gate/too-many-calls");
}

#[test]
fn only_the_rollback_point_of_the_run_can_be_named() {
    let world = World::new();
    let entries = |id: &str| Request::PointsEntries { id: id.into(), path: "/granted/x".into() };
    let mut gate = world.open_gate(Phase::Look);
    assert_eq!(gate.pass(&entries("bb")).unwrap_err().code, "points/not-this-run");
    assert_eq!(gate.pass(&entries("aa")).unwrap_err().code, "points/none-here");
}
