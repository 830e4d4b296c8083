use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::points::making::Content;

/// A folder of programs that stand in for those of a host.
pub(super) struct StandIns {
    folder: tempfile::TempDir,
    path: std::ffi::OsString,
}

impl StandIns {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = std::env::join_paths([folder.path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
        Self { folder, path }
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn add(&self, name: &str, script: &str) {
        write_program(&self.folder.path().join(name), script);
    }

    pub(super) fn find(&self) -> Programs {
        Programs::in_path(self.path.clone())
    }
}

/// Written beside and renamed: a thread that forks meanwhile must not hold it open for writing.
fn write_program(place: &Path, script: &str) {
    let beside = place.with_extension("new");
    let written = std::process::Command::new("install")
        .args(["-m", "0755", "/dev/stdin"])
        .arg(&beside)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            std::io::Write::write_all(
                &mut child.stdin.take().unwrap(),
                format!("#!/bin/sh\n{script}\n").as_bytes(),
            )?;
            child.wait()
        });
    assert!(written.unwrap().success());
    fs::rename(beside, place).unwrap();
}

/// A host's root with its own programs.
pub(super) struct Host {
    directory: tempfile::TempDir,
    pub(super) programs: StandIns,
    found: Programs,
    root: HostRoot,
    scratch: PathBuf,
}

impl Host {
    pub(super) fn new() -> Self {
        Self::with(|programs| programs.find())
    }

    pub(super) fn with_programs_of_machine() -> Self {
        Self::with(|_| Programs::of_host())
    }

    pub(super) fn with(found: impl Fn(&StandIns) -> Programs) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Programs run by others have to find their folders.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let top = directory.path().join("root");
        fs::create_dir(&top).unwrap();
        let programs = StandIns::new();
        let found = found(&programs);
        let root = HostRoot::open(&top).unwrap();
        let scratch = directory.path().join("scratch");
        Self { directory, programs, found, root, scratch }
    }

    pub(super) fn real(&self, path: &str) -> PathBuf {
        self.directory.path().join("root").join(path.trim_start_matches('/'))
    }

    pub(super) fn scratch(&self) -> &Path {
        &self.scratch
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let place = self.real(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, text).unwrap();
    }

    pub(super) fn program(&self, path: &str, script: &str) {
        let place = self.real(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        write_program(&place, script);
    }

    pub(super) fn ground(&self) -> Ground<'_> {
        Ground { root: &self.root, programs: &self.found, scratch: &self.scratch }
    }
}

/// All that an extra holds, or why it is not whole.
pub(super) fn bytes(extra: Extra) -> std::io::Result<Vec<u8>> {
    match extra.content {
        Content::Bytes(bytes) => Ok(bytes),
        Content::Stream(open) => {
            let mut bytes = Vec::new();
            open()?.read_to_end(&mut bytes).map(|_| bytes)
        }
        Content::Measured(open) => {
            let mut bytes = Vec::new();
            let (mut reader, length) = open()?;
            reader.read_to_end(&mut bytes)?;
            assert_eq!(bytes.len() as u64, length);
            Ok(bytes)
        }
    }
}

pub(super) fn content(extra: Extra) -> std::io::Result<String> {
    bytes(extra).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[expect(clippy::print_stdout, reason = "who reads the tests has to know")]
pub(super) fn skipped(why: &str) {
    println!("skipped: {why}");
}

pub(super) fn service(text: &str) -> PointService {
    let config: crate::config::PointsConfig = toml::from_str(&format!("[[service]]\n{text}")).unwrap();
    config.services.into_iter().next().unwrap()
}

fn wish(kind: Kind, component: Option<&str>) -> Wish {
    Wish {
        kind,
        component: component.map(str::to_owned),
        origin: Origin::Person,
        tags: vec!["before-1.4".into()],
        reason: "before 1.4".into(),
        by: "ada".into(),
        version: None,
    }
}

const AGORA: &str = r#"
    name = "agora"
    version = { file = "/opt/agora/VERSION" }
    files = ["/opt/agora"]
    config = ["/etc/agora"]
    units = ["agora.service"]
    compose = ["/srv/agora/compose.yaml"]
    packages = ["dpkg"]
    flags = ["/etc/agora/flags.json"]
    environment = ["/etc/default/agora"]
    database = [
        { name = "main", source = { command = ["dump-it"] } },
        { name = "other", source = { command = ["dump-it"] } },
    ]
    component = [
        { name = "api", files = ["/opt/agora/api"] },
        { name = "ui", files = ["/srv/ui"] },
    ]
"#;

fn host() -> Host {
    let host = Host::new();
    host.write("/opt/agora/VERSION", "1.3\n");
    host.write("/opt/agora/api", "api");
    host.write("/srv/ui", "ui");
    host.write("/etc/agora/flags.json", r#"{"fast": true}"#);
    host.write("/etc/default/agora", "TOKEN=s3cret\n");
    host.write("/srv/agora/compose.yaml", "services: {}\n");
    host.programs
        .add("systemctl", "printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=static\\n'");
    host.programs.add("docker", "[ \"$1\" = ps ] || exit 1");
    host.programs.add("docker-compose", "echo 'services: {}'");
    host.programs.add("dpkg-query", "printf 'ii \\tadduser\\t3\\n'");
    host.programs.add("dump-it", "printf dumped");
    host
}

fn taken(host: &Host, kind: Kind, component: Option<&str>) -> (Vec<String>, Vec<String>) {
    let made = making_on(&host.ground(), &service(AGORA), wish(kind, component)).unwrap();
    let paths = made.paths.iter().map(|(kind, path)| format!("{} {path}", kind.name())).collect();
    let extras =
        made.extras.iter().map(|extra| format!("{}/{}: {}", extra.kind.name(), extra.file, extra.note));
    (paths, extras.collect())
}

#[test]
fn a_full_point_holds_everything_and_every_other_kind_its_part() {
    let host = host();
    let (paths, extras) = taken(&host, Kind::Full, None);
    assert_eq!(
        paths,
        [
            "files /opt/agora",
            "files /srv/ui",
            "config /etc/agora",
            "compose /srv/agora/compose.yaml",
            "flags /etc/agora/flags.json",
            "environment /etc/default/agora",
        ]
    );
    assert_eq!(
        extras,
        [
            "unit/agora.service.state: active static",
            "compose/srv_agora_compose.yaml.resolved.yaml: as Docker resolves it",
            "compose/srv_agora_compose.yaml.containers.json: no container runs",
            "flags/etc_agora_flags.json.keys: 1 key",
            "environment/etc_default_agora.keys: 1 key",
            "packages/dpkg.txt: 1 package",
            "database/main.dump: what `dump-it` gives",
            "database/other.dump: what `dump-it` gives",
        ]
    );
    let (paths, extras) = taken(&host, Kind::Config, None);
    assert_eq!((paths.len(), extras.len()), (4, 3), "{paths:?} {extras:?}");
    assert!(!paths.iter().any(|path| path.starts_with("files")), "{paths:?}");
    assert!(
        !extras.iter().any(|extra| extra.contains("database") || extra.contains("containers")),
        "{extras:?}"
    );
    let (paths, extras) = taken(&host, Kind::Data, None);
    assert_eq!((paths.len(), extras.len()), (0, 2));
    assert_eq!(taken(&host, Kind::Component, Some("ui")), (vec!["files /srv/ui".into()], vec![]));
}

#[test]
fn the_wish_is_in_the_making_and_the_version_is_found_out_unless_it_is_said() {
    let host = host();
    let made = making_on(&host.ground(), &service(AGORA), wish(Kind::Data, None)).unwrap();
    assert_eq!((made.service.as_str(), made.version.as_str(), made.by.as_str()), ("agora", "1.3", "ada"));
    assert_eq!((made.tags, made.reason.as_str()), (vec!["before-1.4".to_owned()], "before 1.4"));
    let said = Wish { version: Some("1.4-rc1".into()), ..wish(Kind::Data, None) };
    assert_eq!(making_on(&host.ground(), &service(AGORA), said).unwrap().version, "1.4-rc1");
}

#[test]
fn a_point_that_would_hold_nothing_is_not_made() {
    let host = host();
    let bare = service("name = \"bare\"\nconfig = [\"/etc/agora\"]");
    let refused =
        |kind, component| making_on(&host.ground(), &bare, wish(kind, component)).unwrap_err().to_string();
    assert_eq!(
        refused(Kind::Data, None),
        "a point of kind `data` would hold nothing: `bare` has no database"
    );
    assert_eq!(refused(Kind::Component, Some("api")), "`bare` has no component `api`; it has none");
    let refused = |kind, component| {
        making_on(&host.ground(), &service(AGORA), wish(kind, component)).unwrap_err().to_string()
    };
    assert_eq!(
        refused(Kind::Component, None),
        "a point of a component needs its name; `agora` has `api`, `ui`"
    );
    assert!(refused(Kind::Full, Some("api")).contains("not of one component"));
}

#[test]
fn values_of_flags_and_environment_are_in_no_note() {
    let host = host();
    let made = making_on(&host.ground(), &service(AGORA), wish(Kind::Full, None)).unwrap();
    assert!(made.extras.iter().all(|extra| !extra.note.contains("s3cret")));
    for extra in made.extras {
        let (file, text) = (extra.file.clone(), content(extra).unwrap());
        assert!(!text.contains("s3cret"), "{file}: {text}");
    }
}

#[test]
fn names_of_files_are_plain_and_used_once() {
    let mut names = Names::default();
    assert_eq!(names.file(PieceKind::Unit, "a@b\\x2d.service", "state"), "a_b_x2d.service.state");
    assert_eq!(names.file(PieceKind::Git, "/opt/a b", "diff"), "opt_a_b.diff");
    assert_eq!(names.file(PieceKind::Git, "/opt/a_b", "diff"), "opt_a_b-2.diff");
    assert_eq!(names.file(PieceKind::Database, "/opt/a_b", "diff"), "opt_a_b.diff");
    assert_eq!(names.file(PieceKind::Database, "..", "x"), "piece.x");
    assert!(names.file(PieceKind::Git, &"x".repeat(500), "diff").len() < 120);
}

#[test]
fn programs_of_the_agents_own_path_are_used_outside_of_tests() {
    let host = host();
    let bare =
        service("name = \"bare\"\ndatabase = [{ name = \"n\", source = { command = [\"printf\", \"x\"] } }]");
    let made = making(&bare, &host.root, wish(Kind::Data, None)).unwrap();
    assert_eq!(content(made.extras.into_iter().next().unwrap()).unwrap(), "x");
}
