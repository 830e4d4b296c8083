//! What a rollback point costs and how long a switch takes: the same tree and
//! database kept, checked and restored by us, by `restic` and by `tar | zstd`
//! in one run, and the time in which a service would be down while a restored
//! tree takes its place. Prints `name<TAB>value` lines for `cargo xtask bench`.
//!
//! `STERNWAY_BENCH_MB` is the size of the tree (1024), `STERNWAY_BENCH_ROUNDS`
//! how often all is done (3), `STERNWAY_BENCH_SWITCH_MB` the sizes of the trees
//! that are switched (`1024,10240`), `STERNWAY_BENCH_SWITCH_FILES` how many
//! small files are (20000). `TMPDIR` says on which disk.

#![expect(clippy::print_stdout, reason = "the numbers are what is asked for")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use sternway_agent::capabilities::files::{Files, HostPath, HostRoot};
use sternway_agent::capabilities::http::HttpClient;
use sternway_agent::capabilities::services::Services;
use sternway_agent::config::PointsConfig;
use sternway_agent::gate::{Gate, GateParts, HostPolicy, MemoryRecorder, Outside, Powers, Silent};
use sternway_agent::points::making::nobody;
use sternway_agent::points::pieces::{self, Wish};
use sternway_agent::points::{Place, Points};
use sternway_agent::sandbox::types::{Answer, Invocation, PhaseCall};
use sternway_agent::sandbox::{Limits, Plugin, Sandbox};
use sternway_core::grant::Grant;
use sternway_core::ids::{Digest, HostName, PointId};
use sternway_core::point::{Depth, Kind, Origin};

const MIB: u64 = 1024 * 1024;
const SMALL_BYTES: u64 = 12 * 1024;
const BIG_BYTES: u64 = 16 * MIB;
/// What is left free beside all that is written.
const RESERVE_BYTES: u64 = 2 * 1024 * MIB;
/// A file that changed a moment ago is read once more the next time; a day goes by between points in earnest.
const REST: Duration = Duration::from_secs(3);
const SERVICE: &str = r#"
    [[service]]
    name = "bench"
    files = ["/srv/data"]
    database = [{ name = "main", source = { sqlite = "/var/app.db" } }]
"#;

/// Numbers without a pattern, the same in every run.
struct Draw(u64);

impl Draw {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn noise(&mut self, bytes: u64) -> Vec<u8> {
        (0..bytes.div_ceil(8)).flat_map(|_| self.number().to_le_bytes()).take(bytes as usize).collect()
    }

    /// About as compressible as programs and logs are.
    fn text(&mut self, bytes: u64) -> Vec<u8> {
        let mut text = Vec::with_capacity(bytes as usize + 64);
        while (text.len() as u64) < bytes {
            let word = self.number();
            let line = format!(
                "{:08} host-{:02} took {} ms: state={}\n",
                word % 99_999_999,
                word % 40,
                word >> 52,
                word % 7
            );
            text.extend_from_slice(line.as_bytes());
        }
        text.truncate(bytes as usize);
        text
    }
}

/// A tree of many small files, some big ones and a share that nothing makes
/// smaller, with a database beside it.
struct Ground {
    folder: tempfile::TempDir,
    small: Vec<PathBuf>,
    big: Vec<PathBuf>,
    draw: Draw,
}

impl Ground {
    fn lay(megabytes: u64) -> std::io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let top = folder.path().join("root/srv/data");
        let bytes = megabytes * MIB;
        let mut ground = Self { folder, small: vec![], big: vec![], draw: Draw(0x9e37_79b9_7f4a_7c15) };
        for number in 0..(bytes * 4 / 10 / SMALL_BYTES).max(8) {
            let path = top.join(format!("small/{:03}/{number}", number % 500));
            let length = SMALL_BYTES / 2 + ground.draw.number() % SMALL_BYTES;
            write(&path, &ground.draw.text(length))?;
            ground.small.push(path);
        }
        for number in 0..(bytes * 6 / 10 / BIG_BYTES).max(2) {
            let path = top.join(format!("big/{number}"));
            let content =
                if number % 2 == 0 { ground.draw.text(BIG_BYTES) } else { ground.draw.noise(BIG_BYTES) };
            write(&path, &content)?;
            ground.big.push(path);
        }
        let database = ground.database();
        fs::create_dir_all(database.parent().unwrap_or(Path::new("/")))?;
        let rows = (bytes / 16 / 200).max(1000);
        let filled = Connection::open(database).and_then(|connection| {
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.execute_batch("CREATE TABLE entry(id INTEGER PRIMARY KEY, text TEXT);")?;
            connection.execute(
                "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?1)
                 INSERT INTO entry SELECT x, hex(randomblob(90)) FROM n",
                [rows as i64],
            )
        });
        filled.map_err(std::io::Error::other)?;
        Ok(ground)
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn database(&self) -> PathBuf {
        self.root().join("var/app.db")
    }

    /// One per cent of all: small files written anew, as many bytes of one large
    /// file in a hundred or of every one, rows.
    fn change(&mut self, is_everywhere: bool) -> std::io::Result<()> {
        for _ in 0..self.small.len().div_ceil(100) {
            let at = self.draw.number() as usize % self.small.len();
            let length = SMALL_BYTES / 2 + self.draw.number() % SMALL_BYTES;
            fs::write(&self.small[at], self.draw.text(length))?;
        }
        let hit = if is_everywhere { self.big.len() } else { self.big.len().div_ceil(100) };
        let bytes = (self.big.len() as u64 * BIG_BYTES / 100 / hit as u64).min(BIG_BYTES / 2);
        let first = self.draw.number() as usize;
        for number in 0..hit {
            let piece = self.draw.noise(bytes);
            let offset = self.draw.number() % (BIG_BYTES - bytes);
            let path = &self.big[(first + number) % self.big.len()];
            File::options().write(true).open(path)?.write_all_at(&piece, offset)?;
        }
        let first = self.draw.number() % 90;
        Connection::open(self.database())
            .and_then(|connection| {
                let sql = "UPDATE entry SET text = hex(randomblob(90)) WHERE id % 100 = ?1";
                connection.execute(sql, [first as i64])
            })
            .map(|_| ())
            .map_err(std::io::Error::other)
    }
}

fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::create(path)?.write_all(content)
}

/// Who keeps what is there.
trait Keeper {
    fn name(&self) -> &'static str;
    fn create(&mut self, ground: &Ground);
    fn verify(&mut self, ground: &Ground);
    /// The newest, to the empty folder `back` below the host's root.
    fn restore(&mut self, ground: &Ground);
    fn store(&self, ground: &Ground) -> PathBuf;
}

#[derive(Default)]
struct Ours {
    newest: Option<PointId>,
}

impl Ours {
    /// As a process does that has just been started.
    fn open(&self, ground: &Ground) -> Points {
        open_points(&ground.root(), &self.store(ground))
    }
}

fn open_points(root: &Path, repository: &Path) -> Points {
    let place = Place::folder(repository, &repository.with_extension("password"));
    let root = HostRoot::open(root).expect("the root is there");
    let host: HostName = "bench".parse().expect("a name");
    Points::open_or_create(root, &host, &place).expect("a repository")
}

fn wish(tag: &str) -> Wish {
    Wish {
        kind: Kind::Full,
        component: None,
        origin: Origin::Person,
        tags: vec![tag.to_owned()],
        reason: "a bench".into(),
        by: "bench".into(),
        version: Some("1".into()),
    }
}

fn make(points: &Points, root: &Path, services: &str) -> PointId {
    let config: PointsConfig = toml::from_str(services).expect("a service");
    let mut service = config.services.into_iter().next().expect("one service");
    service.scratch = root.with_file_name("scratch");
    let root = HostRoot::open(root).expect("the root is there");
    let making = pieces::making(&service, &root, wish("bench")).expect("all is there");
    points.make(making, &nobody()).expect("a point").id
}

impl Keeper for Ours {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn create(&mut self, ground: &Ground) {
        self.newest = Some(make(&self.open(ground), &ground.root(), SERVICE));
    }

    fn verify(&mut self, ground: &Ground) {
        let point = self.newest.expect("a point was made");
        self.open(ground).verify(point, Depth::Full, &nobody()).expect("it is whole");
    }

    fn restore(&mut self, ground: &Ground) {
        let point = self.newest.expect("a point was made");
        let points = self.open(ground);
        for (from, to) in [("/srv/data", "/back/data"), ("/.sternway/database/main.sqlite", "/back/app.db")] {
            points.stage(point, &path(from), &path(to)).expect("it comes back");
        }
    }

    fn store(&self, ground: &Ground) -> PathBuf {
        ground.folder.path().join("ours")
    }
}

fn path(text: &str) -> HostPath {
    HostPath::parse(text).expect("a path")
}

/// What others need to keep a database whole: a copy made beside it.
fn copy_database(ground: &Ground) -> PathBuf {
    let copy = ground.root().join("var/app.copy");
    let _ = fs::remove_file(&copy);
    Connection::open(ground.database())
        .and_then(|connection| connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()]))
        .expect("a copy of the database");
    copy
}

struct Restic;

impl Restic {
    fn run(&self, ground: &Ground, words: &[&str]) {
        let done = Command::new("restic")
            .arg("--quiet")
            .arg("--repo")
            .arg(self.store(ground))
            .arg("--cache-dir")
            .arg(ground.folder.path().join("restic-cache"))
            .env("RESTIC_PASSWORD", "bench")
            .args(words)
            .stdout(Stdio::null())
            .status();
        assert!(done.is_ok_and(|status| status.success()), "restic {words:?}");
    }
}

impl Keeper for Restic {
    fn name(&self) -> &'static str {
        "restic"
    }

    fn create(&mut self, ground: &Ground) {
        if !self.store(ground).exists() {
            self.run(ground, &["init"]);
        }
        let copy = copy_database(ground);
        let tree = ground.root().join("srv/data");
        self.run(ground, &["backup", &tree.to_string_lossy(), &copy.to_string_lossy()]);
    }

    fn verify(&mut self, ground: &Ground) {
        self.run(ground, &["check", "--read-data"]);
    }

    fn restore(&mut self, ground: &Ground) {
        let to = ground.root().join("back");
        self.run(ground, &["restore", "latest", "--target", &to.to_string_lossy()]);
    }

    fn store(&self, ground: &Ground) -> PathBuf {
        ground.folder.path().join("restic")
    }
}

#[derive(Default)]
struct Tar {
    archives: u32,
}

impl Tar {
    fn newest(&self, ground: &Ground) -> PathBuf {
        self.store(ground).join(format!("{}.tar.zst", self.archives))
    }
}

/// Both ends of a pipe, to their ends.
fn pipe(mut first: Command, mut second: Command) {
    let mut writer = first.stdout(Stdio::piped()).spawn().expect("the first program");
    let output = writer.stdout.take().expect("its output is a pipe");
    let read = second.stdin(output).status().expect("the second program");
    let written = writer.wait().expect("the first program ends");
    assert!(read.success() && written.success(), "{first:?} | {second:?}");
}

fn command<const N: usize>(program: &str, words: [&std::ffi::OsStr; N]) -> Command {
    let mut command = Command::new(program);
    command.args(words);
    command
}

impl Keeper for Tar {
    fn name(&self) -> &'static str {
        "tar | zstd"
    }

    fn create(&mut self, ground: &Ground) {
        copy_database(ground);
        fs::create_dir_all(self.store(ground)).expect("a folder");
        self.archives += 1;
        let (root, archive) = (ground.root(), self.newest(ground));
        let what = ["srv/data", "var/app.copy"].map(std::ffi::OsStr::new);
        pipe(
            command("tar", ["-C".as_ref(), root.as_ref(), "-cf".as_ref(), "-".as_ref(), what[0], what[1]]),
            command("zstd", ["-q".as_ref(), "-T0".as_ref(), "-o".as_ref(), archive.as_ref()]),
        );
    }

    fn verify(&mut self, ground: &Ground) {
        let archive = self.newest(ground);
        let mut listing = command("tar", ["-tf".as_ref(), "-".as_ref()]);
        listing.stdout(Stdio::null());
        pipe(command("zstd", ["-qdc".as_ref(), archive.as_ref()]), listing);
    }

    fn restore(&mut self, ground: &Ground) {
        let (to, archive) = (ground.root().join("back"), self.newest(ground));
        pipe(
            command("zstd", ["-qdc".as_ref(), archive.as_ref()]),
            command("tar", ["-C".as_ref(), to.as_ref(), "-xpf".as_ref(), "-".as_ref()]),
        );
    }

    fn store(&self, ground: &Ground) -> PathBuf {
        ground.folder.path().join("tar")
    }
}

fn has(program: &str, word: &str) -> bool {
    let asked = Command::new(program).arg(word).stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// Bytes on the disk below a folder.
fn space(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => space(&entry.path()),
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(of).sum()
}

/// Until what was written is on the disk, for whoever it is.
fn timed(ground: &Ground, work: impl FnOnce()) -> f64 {
    sync(ground.folder.path());
    let began = Instant::now();
    work();
    sync(ground.folder.path());
    began.elapsed().as_secs_f64()
}

fn sync(folder: &Path) {
    let synced = File::open(folder).and_then(|opened| Ok(rustix::fs::syncfs(opened)?));
    synced.expect("the disk takes what was written");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    First,
    Again,
    AgainEverywhere,
    Verify,
    Restore,
    Space,
}

const PHASES: [(Phase, &str, &str); 6] = [
    (Phase::First, "create, first", "s"),
    (Phase::Again, "create, again after 1 % changed", "s"),
    (Phase::AgainEverywhere, "create, again after 1 % changed in every large file", "s"),
    (Phase::Verify, "verify every byte", "s"),
    (Phase::Restore, "restore", "s"),
    (Phase::Space, "space of three points", "MiB"),
];

fn compare(megabytes: u64, rounds: usize) {
    let mut ground = Ground::lay(megabytes).expect("room for the tree");
    let mut taken: BTreeMap<(Phase, &'static str), Vec<f64>> = BTreeMap::new();
    for round in 0..rounds {
        let mut keepers: Vec<Box<dyn Keeper>> = vec![Box::new(Ours::default())];
        if has("restic", "version") {
            keepers.push(Box::new(Restic));
        }
        if has("zstd", "--version") && has("tar", "--version") {
            keepers.push(Box::new(Tar::default()));
        }
        // Nobody always comes first, when the disk's memory is cold.
        let count = keepers.len();
        keepers.rotate_left(round % count);
        for (phase, ..) in PHASES {
            if matches!(phase, Phase::Again | Phase::AgainEverywhere) {
                ground.change(phase == Phase::AgainEverywhere).expect("the tree can be changed");
            }
            std::thread::sleep(REST);
            for keeper in &mut keepers {
                fs::create_dir_all(ground.root().join("back")).expect("a folder to restore to");
                let value = match phase {
                    Phase::Verify => timed(&ground, || keeper.verify(&ground)),
                    Phase::Restore => timed(&ground, || keeper.restore(&ground)),
                    Phase::Space => space(&keeper.store(&ground)) as f64 / MIB as f64,
                    _ => timed(&ground, || keeper.create(&ground)),
                };
                let _ = fs::remove_dir_all(ground.root().join("back"));
                taken.entry((phase, keeper.name())).or_default().push(value);
            }
        }
        for keeper in &keepers {
            fs::remove_dir_all(keeper.store(&ground)).expect("it can be taken away");
        }
        let _ = fs::remove_dir_all(ground.folder.path().join("restic-cache"));
        let _ = fs::remove_file(ground.folder.path().join("ours.password"));
    }
    println!("points: tree and database, MiB, {rounds} rounds\t{megabytes}");
    for missing in [("restic", "restic"), ("tar | zstd", "tar or zstd")] {
        if !taken.contains_key(&(Phase::First, missing.0)) {
            println!("points: {}\tskipped: there is no {} here", missing.0, missing.1);
        }
    }
    for (phase, name, unit) in PHASES {
        let ours = median(taken[&(phase, "ours")].clone());
        println!("points: {name}, ours, {unit}\t{ours:.2}");
        for other in ["restic", "tar | zstd"] {
            if let Some(values) = taken.get(&(phase, other)) {
                let other_value = median(values.clone());
                println!("points: {name}, {other}, {unit}\t{other_value:.2}");
                println!("points: {name}, {other} against ours\t{:.2}", other_value / ours);
            }
        }
    }
}

/// A tree that is switched.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// So many megabytes, in large files and a few small ones. The content
    /// repeats after a gigabyte: it is real on the disk, and does not take the
    /// repository as much.
    Megabytes(u64),
    /// So many small files.
    Files(u64),
}

impl Shape {
    fn bytes(self) -> u64 {
        match self {
            Self::Megabytes(megabytes) => megabytes * MIB,
            Self::Files(files) => files * SMALL_BYTES,
        }
    }

    /// Answers those that change later.
    fn lay(self, top: &Path) -> std::io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let (large, small) = match self {
            Self::Megabytes(_) => ((self.bytes() / BIG_BYTES).max(2), 200),
            Self::Files(files) => (1, files),
        };
        for number in 0..large {
            let mut draw = Draw(1 + number % (1024 * MIB / BIG_BYTES));
            let path = top.join(format!("part-{number}"));
            write(&path, &draw.noise(BIG_BYTES))?;
            files.push(path);
        }
        for number in 0..small {
            let path = top.join(format!("etc/{}/{number}", number / 100));
            write(&path, &Draw(number + 7).text(SMALL_BYTES))?;
            files.extend(matches!(self, Self::Files(_)).then_some(path));
        }
        Ok(files)
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Megabytes(megabytes) => write!(f, "{megabytes} MiB"),
            Self::Files(files) => write!(f, "{files} files of {} KiB", SMALL_BYTES / 1024),
        }
    }
}

/// Everything that carries one step of the real `files` plugin out.
struct Machinery {
    plugin: Plugin,
    /// Opened once, as an agent does.
    root: HostRoot,
    points: Arc<Points>,
    point: PointId,
    services: Services,
    outside: Arc<Outside>,
}

impl Machinery {
    fn call(&self, run: &str, call: &PhaseCall) -> Answer {
        let scopes = vec!["/srv/app".to_owned()];
        let grants = ["files", "points"].map(|power| Grant { power: power.into(), scopes: scopes.clone() });
        let gate = Gate::new(GateParts {
            grants: grants.to_vec(),
            policy: HostPolicy { permits: grants.to_vec() },
            point: Some(self.point.to_string()),
            step: "run-1".into(),
            attempt: 1,
            powers: Powers {
                files: Files::new(self.root.clone(), run, "0"),
                points: Some(Arc::clone(&self.points)),
                services: self.services.clone(),
                http: HttpClient::new(),
                outside: Arc::clone(&self.outside),
            },
            recorder: Arc::new(MemoryRecorder::new()),
            sink: Arc::new(Silent),
        });
        let invocation = Invocation {
            run_id: run.to_owned(),
            step: "restore".into(),
            host: "bench".into(),
            idempotency_key: format!("{run}-1-bench"),
            attempt: 1,
            settings: r#"{"restore":["/srv/app"]}"#.into(),
            undo_settings: None,
            point: Some(self.point.to_string()),
            facts: vec![],
        };
        let limits = Limits { time: Duration::from_secs(3600), ..Limits::default() };
        self.plugin.call(&invocation, call, gate, &limits).expect("the plugin answers")
    }
}

/// Staged while the old version serves, then switched: in seconds and in
/// milliseconds. The tree that is replaced differs in every tenth file.
fn switch(shape: Shape, rounds: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let free = rustix::fs::statvfs(folder.path()).map_or(0, |disk| disk.f_bavail * disk.f_frsize);
    let needed = shape.bytes() * 2 + shape.bytes().min(1024 * MIB) + RESERVE_BYTES;
    if free < needed {
        let short = format!("{} MiB free, {} are needed", free / MIB, needed / MIB);
        println!("switch: a tree of {shape}\tskipped: {short}");
        return;
    }
    let root = folder.path().join("root");
    let files = shape.lay(&root.join("srv/app")).expect("room for the tree");
    let points = open_points(&root, &folder.path().join("points"));
    let point = make(&points, &root, "[[service]]\nname = \"app\"\nfiles = [\"/srv/app\"]");
    let component = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/built/files.wasm");
    let bytes = fs::read(component).expect("plugins/built/files.wasm is committed");
    let plugin =
        Sandbox::without_cache().map(|sandbox| sandbox.load(&Digest::of(&bytes), &bytes).expect("it loads"));
    let services = Services::new(folder.path().join("services"), [], vec![]).expect("no services");
    let plugin = plugin.expect("a sandbox");
    let own = HostRoot::open(&root).expect("the root is there");
    let outside = Arc::new(Outside::bare(folder.path()));
    let points = Arc::new(points);
    let machinery = Machinery { plugin, root: own.clone(), points, point, services, outside };
    let (mut staged, mut switched) = (vec![], vec![]);
    for round in 0..rounds {
        for (at, file) in files.iter().enumerate().filter(|(at, _)| at % 10 == 0) {
            let changed = Draw((0xfeed_0000 + round * 10_000 + at) as u64).noise(4096);
            File::options()
                .write(true)
                .open(file)
                .and_then(|file| file.write_all_at(&changed, 0))
                .expect("it changes");
        }
        sync(folder.path());
        let run = format!("bench-{round}");
        let Answer::Look(Ok(looked)) = machinery.call(&run, &PhaseCall::Look) else {
            panic!("it cannot look")
        };
        let began = Instant::now();
        let call = PhaseCall::Prepare { looked: looked.clone() };
        let Answer::Prepare(Ok(prepared)) = machinery.call(&run, &call) else { panic!("it cannot stage") };
        staged.push(began.elapsed().as_secs_f64());
        let began = Instant::now();
        let answer = machinery.call(&run, &PhaseCall::Apply { looked, prepared });
        switched.push(began.elapsed().as_secs_f64() * 1e3);
        let Answer::Apply(Ok(outcome)) = answer else { panic!("it cannot switch: {answer:?}") };
        assert!(outcome.changed, "something was switched");
        check_restored(&files[0]);
        Files::new(own.clone(), &run, "0").discard(&path("/srv/app")).expect("the old tree goes");
    }
    println!("switch: staging a tree of {shape} beside, s\t{:.2}", median(staged));
    println!("switch: down while a tree of {shape} is switched, ms\t{:.1}", median(switched));
}

fn check_restored(file: &Path) {
    let mut found = vec![0; 4096];
    File::open(file).and_then(|mut file| file.read_exact(&mut found)).expect("it is there");
    assert!(found == Draw(1).noise(4096), "what was switched to is what the point holds");
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn main() {
    let rounds = number("STERNWAY_BENCH_ROUNDS", 3) as usize;
    compare(number("STERNWAY_BENCH_MB", 1024), rounds);
    let sizes = std::env::var("STERNWAY_BENCH_SWITCH_MB").unwrap_or_else(|_| "1024,10240".into());
    for megabytes in sizes.split(',').filter_map(|size| size.trim().parse().ok()) {
        switch(Shape::Megabytes(megabytes), if megabytes > 4096 { 1 } else { rounds });
    }
    switch(Shape::Files(number("STERNWAY_BENCH_SWITCH_FILES", 20_000)), rounds);
}
