//! Working trees: which commit is there, on which branch, and what is changed
//! on top of it, so that the very state can be made again from a clone.

use std::time::Duration;

use sternway_core::point::PieceKind;

use super::program::{Call, ProgramError};
use super::{Ground, Names, PiecesError};
use crate::capabilities::files::HostPath;
use crate::points::making::{Content, Extra};

const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn pieces(
    ground: &Ground<'_>,
    names: &mut Names,
    path: &HostPath,
) -> Result<Vec<Extra>, PiecesError> {
    let git = call(ground, path)?;
    let failed = |cause| PiecesError::Git { path: path.to_string(), cause };
    let line = |words: &[&str]| line(&git, words).map_err(failed);
    let commit = line(&["rev-parse", "--verify", "HEAD^{commit}"])?;
    let described = line(&["describe", "--tags", "--always"])?;
    // Alone on a commit, without a branch, is an ordinary answer.
    let branch = said(&git, &["symbolic-ref", "--quiet", "--short", "HEAD"]);
    let branch = branch.try_ask(PATIENCE).map_err(failed)?.text();
    let tags = ask(&git, &["tag", "--points-at", "HEAD"]).map_err(failed)?;
    let remotes = remotes(&git).map_err(failed)?;
    let words = ["status", "--porcelain=v2", "--branch", "--untracked-files=all"];
    let status = ask(&git, &words).map_err(failed)?;

    let tags = tags.lines().collect::<Vec<_>>().join(" ");
    let text = format!(
        "commit {commit}\ndescribed {described}\nbranch {}\ntags {tags}\n{remotes}\n{status}",
        branch.trim()
    );
    let count = Changes::of(&status);
    let extra =
        |file, note, content| Extra { kind: PieceKind::Git, name: path.to_string(), file, note, content };
    let file = names.file(PieceKind::Git, path.as_str(), "state");
    let note = format!("{described}{}", count.note());
    let mut extras = vec![extra(file, note, Content::Bytes(text.into_bytes()))];
    if count.changed > 0 {
        let words =
            ["diff", "--binary", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD"];
        let diff = said(&git, &words).open(PATIENCE, true);
        let file = names.file(PieceKind::Git, path.as_str(), "diff");
        extras.push(extra(file, "what is not committed".into(), Content::Stream(diff)));
    }
    Ok(extras)
}

/// What `git describe` calls the state of a working tree.
pub(super) fn describe(ground: &Ground<'_>, path: &HostPath) -> Result<String, PiecesError> {
    let git = call(ground, path)?;
    line(&git, &["describe", "--tags", "--always"])
        .map_err(|cause| PiecesError::Git { path: path.to_string(), cause })
}

/// Settings of a working tree may name programs, so it is looked at by its
/// owner and not by us. Nothing in it is written: no lock, no refreshed index.
fn call(ground: &Ground<'_>, path: &HostPath) -> Result<Call, PiecesError> {
    let folder = ground.folder(path)?;
    let git = ground
        .programs
        .call("git")
        .map_err(|cause| PiecesError::Git { path: path.to_string(), cause })?
        .with("GIT_OPTIONAL_LOCKS", "0")
        .with("GIT_TERMINAL_PROMPT", "0")
        .with("GIT_CEILING_DIRECTORIES", folder.place.parent().unwrap_or(&folder.place))
        .words(["--no-pager", "-c", "core.fsmonitor=false", "-C"])
        .words([&folder.place]);
    Ok(match folder.owner {
        Some(owner) => git.run_by(owner),
        None => git,
    })
}

fn said(git: &Call, words: &[&str]) -> Call {
    git.clone().shown_as(format!("git {}", words[0])).words(words)
}

fn ask(git: &Call, words: &[&str]) -> Result<String, ProgramError> {
    Ok(said(git, words).ask(PATIENCE)?.text())
}

fn line(git: &Call, words: &[&str]) -> Result<String, ProgramError> {
    Ok(ask(git, words)?.trim().to_owned())
}

fn remotes(git: &Call) -> Result<String, ProgramError> {
    // Without a remote there is nothing to get, which is an exit of 1.
    let said = said(git, &["config", "--get-regexp", r"^remote\..*\.url$"]).try_ask(PATIENCE)?;
    let text = said.text();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    Ok(lines.map(|(name, url)| format!("{name} {}\n", without_credentials(url))).collect())
}

/// What stands before the `@` of an address goes, but for a bare user name of ssh.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) if scheme.contains("ssh") => match user.split_once(':') {
            Some((user, _)) => format!("{user}@{host}"),
            None => format!("{user}@{host}"),
        },
        Some((_, host)) => host.to_owned(),
        None => authority.to_owned(),
    };
    // Keys are also given as `?token=…`.
    let path = path.map(|path| path.split(['?', '#']).next().unwrap_or_default());
    match path {
        Some(path) => format!("{scheme}://{authority}/{path}"),
        None => format!("{scheme}://{authority}"),
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    changed: usize,
    unmerged: usize,
    unknown: usize,
}

impl Changes {
    fn of(status: &str) -> Self {
        let count = |marks: &[&str]| {
            status.lines().filter(|line| marks.iter().any(|mark| line.starts_with(mark))).count()
        };
        Self { changed: count(&["1 ", "2 ", "u "]), unmerged: count(&["u "]), unknown: count(&["? "]) }
    }

    fn note(&self) -> String {
        let files = |count: usize| if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
        let mut note = String::new();
        if self.changed > 0 {
            note.push_str(&format!(", {} changed", files(self.changed)));
        }
        if self.unmerged > 0 {
            note.push_str(&format!(", {} in conflict", self.unmerged));
        }
        if self.unknown > 0 {
            note.push_str(&format!(", {} not tracked", self.unknown));
        }
        note
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::pieces::tests::{Host, content, skipped};

    /// A working tree of one tagged commit and one more; none without `git`.
    fn host() -> Option<Host> {
        let host = Host::with_programs_of_machine();
        if !host.ground().programs.has("git") {
            skipped("there is no `git` here");
            return None;
        }
        host.write("/opt/agora/run", "v1\n");
        host.write("/opt/agora/lib", "a\n");
        let git = |words: &[&str]| {
            let done = std::process::Command::new("git")
                .args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"])
                .args(["-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false", "-C"])
                .arg(host.real("/opt/agora"))
                .args(words)
                .output()
                .unwrap();
            assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        };
        git(&["init", "--quiet"]);
        git(&["add", "."]);
        git(&["commit", "--quiet", "-m", "one"]);
        git(&["tag", "v1.3"]);
        host.write("/opt/agora/run", "v2\n");
        git(&["commit", "--quiet", "-am", "two"]);
        git(&["remote", "add", "origin", "https://ada:s3cret@git.example/agora.git?token=t0ken"]);
        Some(host)
    }

    fn path() -> HostPath {
        HostPath::parse("/opt/agora").unwrap()
    }

    #[test]
    fn a_clean_tree_is_its_commit_and_its_remotes_without_credentials() {
        let Some(host) = host() else { return };
        let extras = pieces(&host.ground(), &mut Names::default(), &path()).unwrap();
        let [state] = extras.try_into().unwrap();
        assert!(state.note.starts_with("v1.3-1-g"), "{}", state.note);
        assert!(!state.note.contains(','), "{}", state.note);
        let note = state.note.clone();
        let text = content(state).unwrap();
        assert!(text.contains("branch main\n") && text.contains(&format!("described {note}\n")), "{text}");
        assert!(text.contains("remote.origin.url https://git.example/agora.git\n"), "{text}");
        assert!(!text.contains("s3cret") && !text.contains("t0ken"), "{text}");
        assert!(describe(&host.ground(), &path()).unwrap().starts_with("v1.3-1-g"));
    }

    #[test]
    fn what_is_not_committed_is_counted_and_kept_and_can_be_put_on_a_clone() {
        let Some(host) = host() else { return };
        host.write("/opt/agora/run", "v2, patched by hand\n");
        host.write("/opt/agora/lib", "b\n");
        host.write("/opt/agora/new", "n\n");
        let extras = pieces(&host.ground(), &mut Names::default(), &path()).unwrap();
        let [state, diff] = extras.try_into().unwrap();
        assert!(state.note.ends_with(", 2 files changed, 1 not tracked"), "{}", state.note);
        assert!(content(state).unwrap().contains("? new"));
        let patch = host.real("/patch");
        std::fs::write(&patch, content(diff).unwrap()).unwrap();
        for words in [["checkout", "--quiet", "--force"].as_slice(), &["apply", patch.to_str().unwrap()]] {
            let done =
                std::process::Command::new("git").arg("-C").arg(host.real("/opt/agora")).args(words).output();
            let done = done.unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        assert_eq!(std::fs::read(host.real("/opt/agora/run")).unwrap(), b"v2, patched by hand\n");
    }

    #[test]
    fn a_settings_program_of_a_tree_does_not_run_with_the_agents_rights() {
        use std::os::unix::fs::{PermissionsExt, chown};
        let Some(host) = host() else { return };
        if !rustix::process::geteuid().is_root() {
            skipped("only root can give a working tree to somebody else");
            return;
        }
        let proof = host.real("/opt/agora/whoami");
        host.write("/opt/agora/.gitattributes", "* filter=trap\n");
        let script = host.real("/opt/agora/trap");
        std::fs::write(&script, format!("#!/bin/sh\nid -u > {}\ncat\n", proof.display())).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = host.real("/opt/agora/.git/config");
        let mut text = std::fs::read_to_string(&config).unwrap();
        text.push_str(&format!("[filter \"trap\"]\n\tclean = {}\n", script.display()));
        std::fs::write(&config, text).unwrap();
        host.write("/opt/agora/run", "v3\n");
        let done = std::process::Command::new("chown")
            .args(["-R", "65534:65534"])
            .arg(host.real("/opt/agora"))
            .status()
            .unwrap();
        assert!(done.success());
        chown(host.real("/opt/agora"), Some(65534), Some(65534)).unwrap();
        let extras = pieces(&host.ground(), &mut Names::default(), &path()).unwrap();
        assert!(extras.len() == 2, "{extras:?}");
        for extra in extras {
            content(extra).unwrap();
        }
        assert_eq!(std::fs::read_to_string(proof).unwrap().trim(), "65534", "it ran as the tree's owner");
    }

    #[test]
    fn a_folder_that_is_no_working_tree_is_an_error_also_below_one() {
        let Some(host) = host() else { return };
        std::fs::create_dir_all(host.real("/opt/agora/below")).unwrap();
        std::fs::create_dir_all(host.real("/opt/plain")).unwrap();
        for path in ["/opt/plain", "/opt/agora/below"] {
            let path = HostPath::parse(path).unwrap();
            let error = pieces(&host.ground(), &mut Names::default(), &path).unwrap_err();
            assert!(error.to_string().contains(path.as_str()), "{error}");
        }
        let error = pieces(&host.ground(), &mut Names::default(), &HostPath::parse("/opt/gone").unwrap())
            .unwrap_err();
        assert!(error.to_string().contains("/opt/gone"), "{error}");
    }

    #[test]
    fn credentials_leave_an_address_and_nothing_else_does() {
        for (url, shown) in [
            ("https://git.example/a.git", "https://git.example/a.git"),
            ("https://t0ken@git.example/a.git", "https://git.example/a.git"),
            ("https://ada:p@ss@git.example", "https://git.example"),
            ("ssh://git@git.example:2222/a.git", "ssh://git@git.example:2222/a.git"),
            ("ssh://git:pw@git.example/a.git", "ssh://git@git.example/a.git"),
            ("git@git.example:a.git", "git@git.example:a.git"),
            ("/srv/a.git", "/srv/a.git"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
    }
}
