//! The plugin with the host's forms and the real Python. An environment is a
//! text that names a folder by what is in it, so that a run killed anywhere can
//! be compared with one that was not. Wheels are made here; no index is asked.

#![expect(clippy::print_stdout, reason = "what is left out is said")]
#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test where it stands")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use python_env::PythonEnv;
use sternway_plugin::rehearsal::host::programs::{Call, Ended};
use sternway_plugin::rehearsal::{Goal, World, crash_matrix, forms, run, try_run};
use sternway_plugin::{Error, Failure};

const FORMS: &str = include_str!("../../../agent/src/capabilities/programs/forms/python.toml");

/// What a program answered, and what it left in the side copy.
type Answer = (Ended, Option<String>);

thread_local! {
    static FOLDER: RefCell<PathBuf> = RefCell::default();
    /// Each question is asked once of each environment.
    static ANSWERS: RefCell<BTreeMap<String, Answer>> = RefCell::default();
}

struct Hosts(PathBuf);

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Wheels of `tool` 1.0 and 2.0, which has a script, and of `lib` 1.0, which 1.0 needs.
const WHEELS: &str = r#"
import os, zipfile
os.makedirs('wheels', exist_ok=True)
def wheel(name, version, needs=''):
    info = f'{name}-{version}.dist-info'
    with zipfile.ZipFile(f'wheels/{name}-{version}-py3-none-any.whl', 'w') as file:
        file.writestr(f'{name}.py', f'VERSION = "{version}"\ndef main(): print(VERSION)\n')
        file.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}')
        file.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
        file.writestr(f'{info}/entry_points.txt', f'[console_scripts]\n{name}-run = {name}:main\n')
        file.writestr(f'{info}/RECORD', f'{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/entry_points.txt,,\n{info}/RECORD,,\n')
wheel('tool', '1.0', 'Requires-Dist: lib\n')
wheel('tool', '2.0')
wheel('lib', '1.0')
"#;

impl Hosts {
    /// None when this machine's Python makes no environments.
    fn new(test: &str) -> Option<Self> {
        let can = Command::new("python3").args(["-c", "import venv, ensurepip"]).output();
        if !can.is_ok_and(|done| done.status.success()) {
            println!("skipped  {test}: it needs python3 with venv and ensurepip");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("sternway-python-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("place")).unwrap();
        FOLDER.set(folder.clone());
        ANSWERS.take();
        std::fs::write(folder.join("make.py"), WHEELS).unwrap();
        shell(
            &folder,
            "python3 make.py; mkdir app; printf 'import tool\\nassert tool.VERSION == \"1.0\"\\n' > app/main.py
             python3 -m venv work; work/bin/python -m pip install -q --no-index --find-links wheels tool==2.0",
        );
        Some(Self(folder))
    }

    fn world(&self, requirements: &str) -> World {
        std::fs::write(self.0.join("requirements"), requirements).unwrap();
        if self.0.join("work").exists() {
            std::fs::rename(self.0.join("work"), self.0.join("kept-before")).unwrap();
        }
        let live = [
            ("/opt/app/.venv", "kept-before"),
            ("/opt/app/requirements.txt", requirements),
            ("/srv/wheels", "wheels"),
            ("/opt/app/src", "main.py\n__pycache__\nx/__pycache__\nx/y.py"),
        ];
        World {
            live: live.map(|(path, text)| (path.to_owned(), text.to_owned())).into_iter().collect(),
            programs: Some(programs),
            ..World::default()
        }
    }

    fn refusal(&self, requirements: &str, settings: &str) -> Failure {
        let world = self.world(requirements);
        let (ended, result) = try_run::<PythonEnv>(world.clone(), settings, None, Goal::Applied);
        assert_eq!(ended.live, world.live, "{requirements} {settings}");
        result.unwrap_err()
    }
}

fn shell(at: &Path, script: &str) -> String {
    let done = Command::new("sh").args(["-ec", script]).current_dir(at).output().unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// Where things really lie. An environment is to stand at `place/.venv` one day.
fn real(world: &World, kind: &str, path: &str) -> PathBuf {
    let folder = FOLDER.with_borrow(PathBuf::clone);
    match (kind, path) {
        ("side", _) => folder.join("work"),
        ("path", "/opt/app/.venv") => folder.join("place/.venv"),
        (_, "/opt/app/.venv") => folder.join(&world.live[path]),
        (_, "/opt/app/requirements.txt") => folder.join("requirements"),
        (_, "/opt/app/src") => folder.join("app"),
        (_, "/srv/wheels") => folder.join("wheels"),
        other => panic!("{other:?}"),
    }
}

fn programs(world: &mut World, call: &Call) -> Result<Ended, Error> {
    let venv = "/opt/app/.venv";
    let holes: Vec<String> =
        call.holes.iter().map(|hole| format!("{}={:?}", hole.name, hole.values)).collect();
    let seen = match call.form.as_str() {
        "python.create" | "python.version" => (None, None, None),
        "python.installed" => (world.live.get(venv), None, None),
        _ => (None, world.side.get(venv), world.live.get("/opt/app/requirements.txt")),
    };
    let key = format!("{} {holes:?} {seen:?}", call.form);
    let known = ANSWERS.with_borrow(|answers| answers.get(&key).cloned());
    let (ended, left) = known.unwrap_or_else(|| {
        let folder = FOLDER.with_borrow(PathBuf::clone);
        shell(&folder, "rm -rf work");
        if let Some(kept) = world.side.get(venv) {
            shell(&folder, &format!("cp -a {kept} work"));
        }
        let ended = forms::run(FORMS, call, &|kind, path| real(world, kind, path));
        let left = folder.join("work").exists().then(|| {
            let words = "{ cat pyvenv.cfg; cat bin/*-run 2>/dev/null || true; ls lib/*/site-packages; } | sha256sum | cut -c 1-16";
            let name = format!("kept-{}", shell(&folder.join("work"), words));
            shell(&folder, &format!("[ -e {name} ] || cp -a work {name}"));
            name
        });
        (ended, left)
    });
    ANSWERS.with_borrow_mut(|answers| answers.insert(key, (ended.clone(), left.clone())));
    if let Some(left) = left {
        world.side.insert(venv.to_owned(), left);
    }
    Ok(ended)
}

const PINNED: &str = "tool==1.0\nlib==1.0\n";

fn settings(more: &str) -> String {
    format!(
        r#"{{"venv": "/opt/app/.venv", "requirements": "/opt/app/requirements.txt", "wheels": "/srv/wheels"{more}}}"#
    )
}

/// One test, since making an environment takes long and all can share the first.
#[test]
fn environments_are_built_beside_and_only_whole_ones_go_live() {
    let Some(hosts) = Hosts::new("environments_are_built_beside_and_only_whole_ones_go_live") else { return };
    a_crash_anywhere_ends_as_no_crash(&hosts);
    what_is_not_whole_pinned_or_importable_never_goes_live(&hosts);
    hashes_are_judged_when_they_are_required(&hosts);
    a_file_changed_since_the_preview_is_not_installed_from(&hosts);
    an_environment_is_built_beside_and_runs_where_it_then_stands(&hosts);
}

fn a_crash_anywhere_ends_as_no_crash(hosts: &Hosts) {
    let settings =
        settings(r#", "imports": ["main"], "imports-from": "/opt/app/src", "clear-caches": "/opt/app/src""#);
    assert!(crash_matrix::<PythonEnv>(&hosts.world(PINNED), &settings, None) > 100);
}

fn an_environment_is_built_beside_and_runs_where_it_then_stands(hosts: &Hosts) {
    let settings = settings(
        r#", "imports": ["tool", "main"], "imports-from": "/opt/app/src", "clear-caches": "/opt/app/src""#,
    );
    let ended = run::<PythonEnv>(hosts.world(PINNED), &settings, None, Goal::Applied, None);
    let venv = &ended.live["/opt/app/.venv"];
    assert_ne!(venv, "kept-before");
    assert_eq!(ended.side["/opt/app/.venv"], "kept-before");
    assert_eq!(ended.live["/opt/app/src"], "main.py\nx/y.py");
    assert_eq!(shell(&hosts.0, &format!("mv {venv} place/.venv; place/.venv/bin/tool-run")), "1.0");
    assert_eq!(
        shell(&hosts.0, ". place/.venv/bin/activate; echo $VIRTUAL_ENV"),
        hosts.0.join("place/.venv").display().to_string()
    );
    assert_eq!(shell(&hosts.0, "grep -rIl '/work' place/.venv/bin place/.venv/pyvenv.cfg || true"), "");
}

fn what_is_not_whole_pinned_or_importable_never_goes_live(hosts: &Hosts) {
    let plain = settings("");
    for (requirements, settings, code) in [
        ("tool>=1.0\n", plain.clone(), "python/not-pinned"),
        ("tool==9.0\n", plain.clone(), "python/failed"),
        ("tool==1.0\n", plain.clone(), "python/incomplete"),
        ("tool==2.0\n", settings(r#", "imports": "no_such_module""#), "python/import-failed"),
        (
            "tool==2.0\n",
            settings(r#", "imports": "main", "imports-from": "/opt/app/src""#),
            "python/import-failed",
        ),
        ("tool==2.0\n", settings(r#", "require-hashes": true"#), "python/no-hash"),
        ("tool==2.0\n", plain.replace("/srv/wheels", "/srv/none"), "python/no-wheels"),
        ("tool==2.0\n", plain.replace("requirements.txt", "none.txt"), "python/no-requirements"),
    ] {
        let error = hosts.refusal(requirements, &settings).error;
        assert_eq!(error.code, code, "{requirements} {settings}: {}", error.message);
    }
}

fn hashes_are_judged_when_they_are_required(hosts: &Hosts) {
    let sum = shell(&hosts.0, "sha256sum wheels/tool-2.0-py3-none-any.whl | cut -d' ' -f1");
    let hashed = settings(r#", "require-hashes": true"#);
    let good = format!("tool==2.0 --hash=sha256:{sum}\n");
    let ended = run::<PythonEnv>(hosts.world(&good), &hashed, None, Goal::Applied, None);
    assert_ne!(ended.live["/opt/app/.venv"], "kept-before");
    let other = format!("tool==2.0 --hash=sha256:{}\n", "0".repeat(64));
    assert_eq!(hosts.refusal(&other, &hashed).error.code, "python/failed");
}

fn a_file_changed_since_the_preview_is_not_installed_from(hosts: &Hosts) {
    let world = World { programs: Some(changing), ..hosts.world(PINNED) };
    let (ended, result) = try_run::<PythonEnv>(world, &settings(""), None, Goal::Applied);
    assert_eq!(result.unwrap_err().error.code, "python/changed-since");
    assert_eq!(ended.live["/opt/app/.venv"], "kept-before");
}

fn changing(world: &mut World, call: &Call) -> Result<Ended, Error> {
    if call.form == "python.create" {
        world.live.insert("/opt/app/requirements.txt".to_owned(), "tool==2.0\n".to_owned());
    }
    programs(world, call)
}
