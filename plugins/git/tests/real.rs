//! The plugin with the host's forms and the real git. A tree in the pretended
//! host is a text that names a folder by its content, so that a run killed
//! anywhere can be compared with one that was not.

#![expect(clippy::unwrap_used, reason = "what cannot be set up ends the test where it stands")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use git::Git;
use sternway_plugin::rehearsal::host::programs::{Call, Ended};
use sternway_plugin::rehearsal::{Goal, World, crash_matrix, forms, run, try_run};
use sternway_plugin::{Error, Failure};

const FORMS: &str = include_str!("../../../agent/src/capabilities/programs/forms/git.toml");

/// What a program answered, and what it left in which side copies.
type Answer = (Ended, Vec<(String, String)>);

thread_local! {
    static FOLDER: RefCell<PathBuf> = RefCell::default();
    /// Git is asked once for each tree and question.
    static ANSWERS: RefCell<BTreeMap<String, Answer>> = RefCell::default();
}

struct Repositories(PathBuf);

impl Drop for Repositories {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Repositories {
    /// `app` has the tags backup-1 and backup-2, and main one commit further.
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sternway-git-{}-{name}", std::process::id()));
        let app = folder.join("app");
        std::fs::create_dir_all(app.join("agents")).unwrap();
        FOLDER.set(folder.clone());
        ANSWERS.take();
        let made = Self(folder);
        made.shell(
            "git init -q -b main --template= . && printf 'v1\n' > agents/planner.py && printf 'one\n' > only-1
             printf '*.log\n' > .gitignore; printf 'x\n' > 'with space'; commit 1; git tag backup-1
             printf 'v2\n' > agents/planner.py; commit 2; git tag backup-2
             git rm -q only-1; printf 'v3\n' > agents/planner.py; printf 'new\n' > new.py; commit 3
             printf 'ignored\n' > run.log",
        );
        made
    }

    fn shell(&self, script: &str) -> String {
        shell(&self.0.join("app"), script)
    }

    fn world(&self) -> World {
        let live = [
            ("/opt/app".to_owned(), keep(&self.0.join("app"), true)),
            ("/opt/app/.git/config".to_owned(), "settings".to_owned()),
            ("/opt/current".to_owned(), "-> /opt/releases/3".to_owned()),
        ];
        World { live: live.into_iter().collect(), programs: Some(programs), ..World::default() }
    }

    fn read(&self, world: &World, path: &str, file: &str) -> String {
        std::fs::read_to_string(self.0.join(&world.live[path]).join(file))
            .unwrap_or_else(|_| "none".to_owned())
    }

    fn head(&self, world: &World) -> String {
        shell(
            &self.0.join(&world.live["/opt/app"]),
            "git rev-parse --abbrev-ref HEAD; git log -1 --format=%s",
        )
    }

    fn refusal(&self, settings: &str) -> Failure {
        let world = self.world();
        let (ended, result) = try_run::<Git>(world.clone(), settings, None, Goal::Applied);
        assert_eq!(ended.live, world.live, "{settings}");
        assert!(ended.side.is_empty(), "{settings}");
        result.unwrap_err()
    }
}

fn shell(at: &Path, script: &str) -> String {
    let prelude = "set -e; commit() { git add -A; git -c user.name=a -c user.email=a@b commit -qm \"$1\"; }
        export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
        export GIT_AUTHOR_DATE=\"2026-01-01T00:00:00Z\" GIT_COMMITTER_DATE=\"2026-01-01T00:00:00Z\"\n";
    let done =
        Command::new("sh").args(["-c", &format!("{prelude}{script}")]).current_dir(at).output().unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// Keeps a copy of a tree or file under a name that tells its content.
fn keep(real: &Path, is_copied: bool) -> String {
    let words = "{ find . -path ./.git -prune -o -type f -print0 | sort -z | xargs -0 -r sha256sum
        find . -path ./.git -prune -o -type d -print | sort; find . -type l -print
        if [ -d .git ]; then cat .git/HEAD .git/config; git for-each-ref; git diff --cached --name-status HEAD; fi; } | sha256sum";
    let sum = if real.is_dir() {
        shell(real, words)
    } else {
        shell(real.parent().unwrap(), &format!("sha256sum < {}", real.file_name().unwrap().display()))
    };
    let name = format!("kept-{}", &sum[..16]);
    let to = FOLDER.with_borrow(|folder| folder.join(&name));
    if !to.exists() {
        let verb = if is_copied { "cp -a" } else { "mv" };
        shell(Path::new("/"), &format!("{verb} {} {}", real.display(), to.display()));
    }
    name
}

fn programs(world: &mut World, call: &Call) -> Result<Ended, Error> {
    let seen: Vec<String> = call
        .holes
        .iter()
        .flat_map(|hole| hole.values.iter().map(move |value| format!("{}={value}", hole.name)))
        .chain([format!("{:?} {:?}", world.live.get("/opt/app"), world.side)])
        .collect();
    let key = format!("{} {seen:?}", call.form);
    let known = ANSWERS.with_borrow(|answers| answers.get(&key).cloned());
    let answer = known.unwrap_or_else(|| really(world, call));
    ANSWERS.with_borrow_mut(|answers| answers.insert(key, answer.clone()));
    world.side.extend(answer.1);
    Ok(answer.0)
}

fn really(world: &World, call: &Call) -> Answer {
    let folder = FOLDER.with_borrow(PathBuf::clone);
    let sides: RefCell<BTreeMap<String, PathBuf>> = RefCell::default();
    let ended = forms::run(FORMS, call, &|kind, path| {
        if kind == "side" {
            let mut sides = sides.borrow_mut();
            let number = sides.len();
            let work = sides.entry(path.to_owned()).or_insert_with(|| {
                let work = folder.join(format!("work-{number}"));
                let _ = std::fs::remove_dir_all(&work);
                let _ = std::fs::remove_file(&work);
                if let Some(kept) = world.side.get(path) {
                    shell(&folder, &format!("cp -a {kept} {}", work.display()));
                }
                work
            });
            return work.clone();
        }
        let rest = path.strip_prefix("/opt/app").expect("only this tree is asked");
        folder.join(&world.live["/opt/app"]).join(rest.trim_start_matches('/'))
    });
    let left = sides.into_inner().into_iter().filter(|(_, work)| work.exists());
    (ended, left.map(|(path, work)| (path, keep(&work, false))).collect())
}

const DETACH: &str = r#"{"checkout": "/opt/app", "to": "backup-1"}"#;
const RELEASE: &str =
    r#"{"release": "/opt/releases/1", "from": "/opt/app", "to": "backup-1", "link": "/opt/current"}"#;

#[test]
fn a_crash_anywhere_ends_as_no_crash() {
    let repositories = Repositories::new("crash");
    repositories.shell("printf 'dirty\n' >> new.py; printf 'u\n' > unknown.py");
    for settings in [
        DETACH,
        RELEASE,
        r#"{"checkout": "/opt/app", "to": "HEAD~1", "head": "branch", "clean": true}"#,
        r#"{"checkout": "/opt/app", "to": "backup-1", "paths": ["agents/planner.py", "only-1"]}"#,
    ] {
        assert!(crash_matrix::<Git>(&repositories.world(), settings, None) > 60, "{settings}");
    }
}

#[test]
fn a_dirty_tree_goes_to_a_tag_and_comes_back_as_it_was() {
    let repositories = Repositories::new("dirty");
    repositories.shell("printf 'dirty\n' >> new.py; printf 'u\n' > unknown.py; printf 'w\n' > only-1");
    let world = repositories.world();
    let ended = run::<Git>(world.clone(), DETACH, None, Goal::Applied, None);
    assert_eq!(repositories.read(&ended, "/opt/app", "agents/planner.py"), "v1\n");
    assert_eq!(repositories.read(&ended, "/opt/app", "new.py"), "none");
    assert_eq!(repositories.read(&ended, "/opt/app", "only-1"), "one\n", "an unknown file in the way goes");
    assert_eq!(repositories.read(&ended, "/opt/app", "unknown.py"), "u\n");
    assert_eq!(repositories.read(&ended, "/opt/app", "run.log"), "ignored\n");
    assert_eq!(repositories.head(&ended), "HEAD\n1");
    assert_eq!(
        ended.live["/opt/app.kept"], world.live["/opt/app"],
        "what no commit holds is kept for people"
    );
    let undone = run::<Git>(world.clone(), DETACH, None, Goal::Undone, None);
    assert_eq!(undone.live["/opt/app"], world.live["/opt/app"]);
}

#[test]
fn a_branch_moves_when_asked_and_unknown_files_go_when_asked() {
    let repositories = Repositories::new("branch");
    repositories.shell("printf 'u\n' > unknown.py");
    let settings = r#"{"checkout": "/opt/app", "to": "HEAD~1", "head": "branch", "clean": true}"#;
    let ended = run::<Git>(repositories.world(), settings, None, Goal::Applied, None);
    assert_eq!(repositories.head(&ended), "main\n2");
    assert_eq!(repositories.read(&ended, "/opt/app", "unknown.py"), "none");
    assert_eq!(repositories.read(&ended, "/opt/app", "run.log"), "ignored\n");
}

#[test]
fn single_paths_come_back_and_nothing_else_changes() {
    let repositories = Repositories::new("paths");
    let settings =
        r#"{"checkout": "/opt/app", "to": "backup-1", "paths": ["agents/planner.py", "with space"]}"#;
    let ended = run::<Git>(repositories.world(), settings, None, Goal::Applied, None);
    assert_eq!(repositories.read(&ended, "/opt/app", "agents/planner.py"), "v1\n");
    assert_eq!(repositories.read(&ended, "/opt/app", "new.py"), "new\n");
    assert_eq!(repositories.head(&ended), "main\n3");
}

#[test]
fn a_release_is_made_of_a_commit_and_the_link_leads_to_it() {
    let repositories = Repositories::new("release");
    let world = repositories.world();
    let ended = run::<Git>(world.clone(), RELEASE, None, Goal::Applied, None);
    assert_eq!(repositories.read(&ended, "/opt/releases/1", "agents/planner.py"), "v1\n");
    assert_eq!(repositories.read(&ended, "/opt/releases/1", ".git/HEAD"), "none");
    assert_eq!(ended.live["/opt/current"], "-> /opt/releases/1");
    assert_eq!(ended.live["/opt/app"], world.live["/opt/app"], "the tree it is made from is only read");
}

#[test]
fn a_commit_that_only_the_remote_has_is_fetched_into_the_copy() {
    let repositories = Repositories::new("fetch");
    repositories.shell(
        "git clone -q --bare . ../remote.git; git remote add origin \"$PWD/../remote.git\"
         git clone -q ../remote.git ../other; cd ../other; printf 'v4\n' > agents/planner.py; commit 4
         git tag backup-4; git push -q --tags origin main",
    );
    let settings = r#"{"checkout": "/opt/app", "to": "backup-4", "fetch": true}"#;
    let ended = run::<Git>(repositories.world(), settings, None, Goal::Applied, None);
    assert_eq!(repositories.read(&ended, "/opt/app", "agents/planner.py"), "v4\n");
    let nowhere = r#"{"checkout": "/opt/app", "to": "backup-9", "fetch": true}"#;
    let (left, result) = try_run::<Git>(repositories.world(), nowhere, None, Goal::Applied);
    assert_eq!(result.unwrap_err().error.code, "git/unknown-revision");
    assert_eq!(left.live, repositories.world().live);
}

#[test]
fn a_repository_cannot_make_git_run_its_programs() {
    let repositories = Repositories::new("hooks");
    let told = repositories.0.join("told");
    repositories.shell(&format!(
        "mkdir -p .git/hooks; for hook in post-checkout reference-transaction post-index-change; do
           printf '#!/bin/sh\necho %s >> {told}\n' $hook > .git/hooks/$hook; chmod +x .git/hooks/$hook; done
         printf '#!/bin/sh\necho monitor >> {told}\n' > .git/monitor; chmod +x .git/monitor
         git config core.fsmonitor \"$PWD/.git/monitor\"; git config diff.external \"$PWD/.git/monitor\"
         git config core.sshCommand \"$PWD/.git/monitor\"; rm -f {told}",
        told = told.display()
    ));
    let clean = r#"{"checkout": "/opt/app", "to": "backup-1", "head": "branch", "clean": true}"#;
    for settings in [DETACH, RELEASE, clean] {
        run::<Git>(repositories.world(), settings, None, Goal::Applied, None);
        let said = std::fs::read_to_string(&told).unwrap_or_default();
        // What the test itself asks git for runs them too: only the plugin's own calls count.
        assert!(!said.contains("post-checkout"), "{settings}: {said}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_with_the_choices_before_anything_is_touched() {
    let repositories = Repositories::new("refusals");
    let choose = repositories.refusal(r#"{"checkout": "/opt/app", "tags": "backup-*"}"#).error;
    assert_eq!(choose.code, "git/choose");
    assert!(
        choose.message.contains("backup-1 2026-01-01") && choose.message.contains("backup-2"),
        "{choose:?}"
    );
    for (settings, code) in [
        (r#"{"checkout": "/opt/app", "to": "backup-7"}"#, "git/unknown-revision"),
        (r#"{"checkout": "/opt/app", "to": "backup-1", "paths": ["new.py"]}"#, "git/not-in-commit"),
        (r#"{"checkout": "/opt/none", "to": "backup-1"}"#, "git/no-repository"),
    ] {
        assert_eq!(repositories.refusal(settings).error.code, code, "{settings}");
    }
    for (script, code) in [
        ("git checkout -q --detach", "git/no-branch"),
        ("git config filter.crypt.smudge cat", "git/filters"),
        ("git config --unset filter.crypt.smudge; git config core.worktree /tmp", "git/elsewhere"),
        ("git config --unset core.worktree; git config filter.lfs.process x", "git/lfs"),
        ("git config --remove-section filter.lfs; git config submodule.lib.url x", "git/submodules"),
    ] {
        repositories.shell(script);
        let settings = r#"{"checkout": "/opt/app", "to": "backup-1", "head": "branch"}"#;
        assert_eq!(repositories.refusal(settings).error.code, code, "{script}");
    }
    repositories
        .shell("git config --remove-section submodule.lib; printf '[submodule]\n' > .gitmodules; commit 5");
    assert_eq!(
        repositories.refusal(r#"{"checkout": "/opt/app", "to": "HEAD"}"#).error.code,
        "git/submodules"
    );
    repositories
        .shell("git rm -q .gitmodules; printf '*.bin filter=lfs\n' > agents/.gitattributes; commit 6");
    assert_eq!(repositories.refusal(r#"{"checkout": "/opt/app", "to": "HEAD"}"#).error.code, "git/lfs");
}
