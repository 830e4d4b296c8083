use super::types::*;
use super::*;
use crate::capabilities::files::{Files, HostRoot};
use crate::capabilities::http::HttpClient;
use crate::capabilities::services::Services;
use crate::gate::{
    Cancel, Gate, GateParts, HostPolicy, Level, MemoryRecorder, Outside, Powers, Progress, Sink,
};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Instant;
use sternway_core::grant::Grant;

static GUEST: LazyLock<Vec<u8>> =
    LazyLock::new(|| std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest.wasm")).unwrap());
static PLUGIN: LazyLock<Plugin> =
    LazyLock::new(|| TICKS.load(&Digest::of(&GUEST), &GUEST).unwrap().named("guest"));
/// One engine for all: a plugin is stopped by the ticker of its own.
static TICKS: LazyLock<Sandbox> = LazyLock::new(|| Sandbox::without_cache().unwrap());

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<(Level, String)>>, Mutex<Vec<Progress>>);

impl Sink for Heard {
    fn line(&self, level: Level, line: &str) {
        self.0.lock().unwrap().push((level, line.to_owned()));
    }
    fn progress(&self, progress: &Progress) {
        self.1.lock().unwrap().push(progress.clone());
    }
}

struct World {
    directory: tempfile::TempDir,
    recorder: Arc<MemoryRecorder>,
    heard: Arc<Heard>,
    limits: Limits,
}

impl World {
    fn new() -> Self {
        LazyLock::force(&TICKS);
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("granted")).unwrap();
        std::fs::write(directory.path().join("granted/file"), "old").unwrap();
        let limits = Limits { time: Duration::from_secs(20), ..Limits::default() };
        Self { directory, recorder: Arc::default(), heard: Arc::default(), limits }
    }

    fn gate(&self) -> Gate {
        let grants = vec![Grant { power: "files".into(), scopes: vec!["/granted".into()] }];
        let root = HostRoot::open(self.directory.path()).unwrap();
        Gate::new(GateParts {
            policy: HostPolicy { permits: grants.clone() },
            grants,
            point: None,
            step: "run-1".into(),
            attempt: 1,
            powers: Powers {
                files: Files::new(root, "run", "step"),
                points: None,
                services: Services::new("state".into(), [], Vec::new()).unwrap(),
                http: HttpClient::new(),
                outside: Arc::new(Outside::bare(self.directory.path())),
            },
            recorder: self.recorder.clone(),
            sink: self.heard.clone(),
        })
    }

    fn apply(&self, settings: &str) -> Result<Result<Outcome, Failure>, CallError> {
        let invocation = Invocation {
            run_id: "run".into(),
            step: "step".into(),
            host: "web-1".into(),
            idempotency_key: "key".into(),
            attempt: 1,
            settings: settings.into(),
            undo_settings: None,
            point: None,
            facts: Vec::new(),
        };
        let looked = Looked { findings: Vec::new(), actions: Vec::new(), state: Vec::new() };
        let prepared = Prepared { summary: String::new(), state: Vec::new() };
        let call = PhaseCall::Apply { looked, prepared };
        match PLUGIN.call(&invocation, &call, self.gate(), &self.limits)? {
            Answer::Apply(answer) => Ok(answer),
            other => panic!("another phase answered: {other:?}"),
        }
    }

    fn says(&self, settings: &str) -> String {
        self.apply(settings).unwrap().unwrap().summary
    }

    fn fault(&self, settings: &str) -> CallError {
        self.apply(settings).unwrap_err()
    }
}

#[test]
fn a_plugin_describes_itself_without_any_power() {
    let manifest = PLUGIN.describe().unwrap();
    assert_eq!((manifest.name.as_str(), manifest.major()), ("guest", "0"));
}

#[test]
fn a_loop_without_end_is_stopped_also_when_it_calls_the_host() {
    let mut world = World::new();
    world.limits.time = Duration::from_millis(200);
    for settings in ["spin", "spin-calling"] {
        let started = Instant::now();
        let error = world.fault(settings);
        assert_eq!(error.fault, Fault::DeadlinePassed { limit_ms: 200 }, "{settings}");
        assert!(started.elapsed() < Duration::from_secs(5), "{settings}");
    }
}

#[test]
fn a_cancelled_plugin_that_does_not_listen_ends_after_the_grace() {
    let mut world = World::new();
    world.limits.grace = Duration::from_millis(50);
    world.limits.cancel = Cancel::new();
    world.limits.cancel.cancel();
    assert_eq!(world.fault("spin").fault, Fault::Cancelled);
    assert_eq!(world.says("sleep 60000"), "false");
}

#[test]
fn memory_stack_and_what_is_handed_over_have_bounds() {
    let world = World::new();
    let limit_bytes = 64 * 1024 * 1024;
    assert_eq!(world.fault("allocate").fault, Fault::MemoryOverrun { limit_bytes });
    assert!(matches!(world.fault("recurse").fault, Fault::Trapped { .. }));
    let handed_over = world.fault("hand-over 9000000").fault;
    assert!(matches!(handed_over, Fault::OutputOverrun { .. }), "{handed_over}");
    let refused = world.apply("hand-over 100000").unwrap().unwrap_err();
    assert_eq!(refused.error.code, "journal/too-large");
    assert!(matches!(world.fault("answer 2000000").fault, Fault::OutputOverrun { .. }));
    let refused = world.apply("calls").unwrap().unwrap_err();
    assert_eq!(refused.error.code, "gate/too-many-calls");
}

#[test]
fn a_panic_says_why_also_after_much_output() {
    let world = World::new();
    let error = world.fault("panic the disk is blue");
    assert!(error.stderr_tail.contains("this is why: the disk is blue"), "{error:?}");
    assert_eq!((error.plugin.as_str(), error.phase), ("guest", Phase::Apply));
    let error = world.fault("print");
    assert!(
        error.stderr_tail.ends_with("RUST_BACKTRACE=1` environment variable to display a backtrace")
            || error.stderr_tail.contains("after much output"),
        "{}",
        error.stderr_tail.len()
    );
    assert!(error.stderr_tail.len() <= 64 * 1024 + 8);
}

#[test]
fn the_log_is_capped_and_holds_no_control_characters() {
    let world = World::new();
    world.says("flood");
    let lines = std::mem::take(&mut *world.heard.0.lock().unwrap());
    assert_eq!(lines.len(), 201);
    assert!(lines.iter().all(|(_, line)| line.len() <= 4_100));
    world.says("escape");
    let lines = world.heard.0.lock().unwrap();
    assert_eq!(lines[0].1, "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
    assert_eq!(world.heard.1.lock().unwrap()[0].stage, "s\u{fffd}t");
}

#[test]
fn nothing_of_the_machine_is_there_and_waiting_is_the_hosts() {
    let world = World::new();
    assert_eq!(world.says("environment"), "0 variables, 0 arguments, true, true, true");
    let error = world.fault("wait");
    assert!(error.to_string().contains("control.sleep"), "{error}");
    assert_eq!(world.says("sleep 5"), "true");
}

#[test]
fn a_mark_left_open_by_a_crash_is_seen_by_the_next_try() {
    let world = World::new();
    world.fault("mark die");
    assert_eq!(world.says("mark"), "started note");
    assert_eq!(world.says("mark"), "finished value");
}

#[test]
fn a_granted_change_happens_and_is_recorded() {
    let world = World::new();
    assert_eq!(world.says("switch new"), "true");
    assert_eq!(std::fs::read(world.directory.path().join("granted/file")).unwrap(), b"new");
    assert_eq!(world.recorder.lines(), ["intent 0 files.switch-to", "result 0 ok"]);
}

#[test]
fn no_call_of_the_contract_passes_without_a_grant() {
    let world = World::new();
    for call in [
        "files.get-attributes",
        "files.get-digest",
        "files.read",
        "files.names",
        "files.stage-bytes",
        "files.stage-copy",
        "files.stage-ownership",
        "files.discard",
        "files.switch-to",
        "files.take-away",
        "files.keep-copy",
        "points.get",
        "points.entries",
        "points.stage",
        "services.get-status",
        "services.lines",
        "services.start",
        "services.stop",
        "http.send-get",
        "http.send-put",
        "databases.inspect",
        "databases.ask",
        "databases.settle",
    ] {
        let failure = world.apply(&format!("call {call}")).unwrap().unwrap_err();
        assert_eq!(failure.error.kind, ErrorKind::Denied, "{call}: {failure}");
    }
    assert_eq!(world.recorder.lines(), [""; 0]);
}

#[test]
fn what_is_not_the_named_component_is_not_loaded() {
    let sandbox = Sandbox::without_cache().unwrap();
    let load = |bytes: &[u8]| sandbox.load(&Digest::of(bytes), bytes).unwrap_err();
    let wrong = sandbox.load(&Digest::of(b"other"), &GUEST).unwrap_err();
    assert!(matches!(wrong, LoadError::WrongDigest { .. }), "{wrong}");
    assert!(matches!(load(&vec![0; COMPONENT_BYTES_MAX + 1]), LoadError::TooLarge { .. }));
    assert!(matches!(load(b""), LoadError::NotAComponent { .. }));
    assert!(matches!(load(b"\0asm\x01\0\0\0"), LoadError::NotAComponent { .. }));
    let text = b"(component)";
    assert!(matches!(load(text), LoadError::NotAComponent { .. }));
    // The same length, so that the component stays one: an import of another
    // package and one of another version.
    let swap = |from: &str, to: &str| {
        let (from, to) = (from.as_bytes(), to.as_bytes());
        let mut bytes = GUEST.clone();
        let found: Vec<usize> =
            (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
        found.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
        load(&bytes)
    };
    let other = swap("sternway:host/services@0.1.0", "sternway:evil/services@0.1.0");
    assert!(matches!(other, LoadError::ImportRefused { .. }), "{other}");
    let other = swap("sternway:host/services@0.1.0", "sternway:host/services@0.9.0");
    assert!(matches!(other, LoadError::OtherContract { .. }), "{other}");
}

#[test]
fn a_compiled_plugin_is_kept_and_a_flipped_bit_is_never_run() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache");
    let sandbox = Sandbox::new(&path).unwrap();
    let digest = Digest::of(&GUEST);
    sandbox.load(&digest, &GUEST).unwrap();
    let kept = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "cwasm"))
        .unwrap();
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o400);
    let good = std::fs::read(&kept).unwrap();
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let before = inode(&kept);
    Sandbox::new(&path).unwrap().load(&digest, &GUEST).unwrap().describe().unwrap();
    assert_eq!(inode(&kept), before, "what was kept is used");

    for at in [0, 40, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&kept, bad).unwrap();
        Sandbox::new(&path).unwrap().load(&digest, &GUEST).unwrap().describe().unwrap();
        assert_eq!(std::fs::read(&kept).unwrap(), good, "it was compiled again");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o770)).unwrap();
    let error = Sandbox::new(&path).unwrap_err();
    assert!(matches!(error, SandboxError::Cache(CacheError::Shared { .. })), "{error}");
}
