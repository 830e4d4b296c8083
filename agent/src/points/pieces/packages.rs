//! Which packages are there and in which version: of the system, as `dpkg`
//! tells it, and of Python environments.

use std::time::Duration;

use sternway_core::point::PieceKind;

use super::{Ground, Names, PiecesError};
use crate::capabilities::ErrorKind;
use crate::capabilities::files::{Files, HostPath, Place};
use crate::points::making::{Content, Extra};

/// The word for the system's own packages, where others are paths.
pub(crate) const SYSTEM: &str = "dpkg";
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn piece(ground: &Ground<'_>, names: &mut Names, what: &str) -> Result<Extra, PiecesError> {
    let (text, note) = match what {
        SYSTEM => system(ground)?,
        path => environment(ground, &HostPath::parse(path)?)?,
    };
    let file = names.file(PieceKind::Packages, what, "txt");
    let content = Content::Bytes(text.into_bytes());
    Ok(Extra { kind: PieceKind::Packages, name: what.to_owned(), file, note, content })
}

fn counted(count: usize) -> String {
    if count == 1 { "1 package".into() } else { format!("{count} packages") }
}

fn system(ground: &Ground<'_>) -> Result<(String, String), PiecesError> {
    let failed = |cause| PiecesError::Packages { what: SYSTEM.into(), cause };
    let words = ["--show", "--showformat", "${db:Status-Abbrev}\t${binary:Package}\t${Version}\n"];
    let asked = ground.programs.call("dpkg-query").map_err(failed)?.words(words);
    let said = asked.ask(PATIENCE).map_err(failed)?.text();
    let mut installed: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(status, _)| status.trim_end().ends_with('i'))
        .map(|(_, package)| package)
        .collect();
    installed.sort_unstable();
    let count = counted(installed.len());
    Ok((lines(&installed), count))
}

fn lines<T: AsRef<str>>(lines: &[T]) -> String {
    lines.iter().map(|line| format!("{}\n", line.as_ref())).collect()
}

/// Asked by its owner: an environment's Python runs what lies in the environment.
fn environment(ground: &Ground<'_>, path: &HostPath) -> Result<(String, String), PiecesError> {
    let folder = ground.folder(path)?;
    let python = folder.place.join("bin/python");
    let asked = ground.programs.call(&python.to_string_lossy()).ok().map(|call| {
        let words = ["-I", "-m", "pip", "freeze", "--all", "--disable-pip-version-check"];
        let call = call.shown_as("pip freeze").words(words).with("PIP_NO_INPUT", "1");
        match folder.owner {
            Some(owner) => call.run_by(owner),
            None => call,
        }
    });
    let frozen = asked.and_then(|call| call.ask(PATIENCE).ok());
    let version = python_version(ground, path)?;
    let version = version.map(|version| format!(", Python {version}")).unwrap_or_default();
    if let Some(said) = frozen {
        let text = said.text();
        let count = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).count();
        return Ok((text, format!("{}{version}", counted(count))));
    }
    let found = installed(ground, path)?;
    let note = format!("{}{version}, read from dist-info", counted(found.len()));
    Ok((lines(&found), note))
}

fn python_version(ground: &Ground<'_>, path: &HostPath) -> Result<Option<String>, PiecesError> {
    let file = HostPath::parse(&format!("{path}/pyvenv.cfg"))?;
    if !ground.is_file(&file)? {
        return Ok(None);
    }
    let text = ground.short_text(&file)?.unwrap_or_default();
    Ok(text.lines().filter_map(|line| line.split_once('=')).find_map(|(key, value)| {
        let is_it = matches!(key.trim(), "version" | "version_info");
        is_it.then(|| value.trim().chars().take(40).collect())
    }))
}

/// `name==version` of everything that was installed, as its own records have it.
fn installed(ground: &Ground<'_>, path: &HostPath) -> Result<Vec<String>, PiecesError> {
    let files = Files::new(ground.root.clone(), "points", "packages");
    let names = |text: &str| {
        let path = HostPath::parse(text)?;
        match files.names(Place::Live, &path) {
            Err(error) if matches!(error.kind, ErrorKind::NotFound) => Ok(Vec::new()),
            other => other,
        }
    };
    let mut found = Vec::new();
    let mut is_environment = false;
    for python in names(&format!("{path}/lib"))? {
        let packages = format!("{path}/lib/{python}/site-packages");
        if !python.starts_with("python") || !ground.is_folder(&HostPath::parse(&packages)?)? {
            continue;
        }
        is_environment = true;
        for name in names(&packages)?.into_iter().filter(|name| name.ends_with(".dist-info")) {
            let file = HostPath::parse(&format!("{packages}/{name}/METADATA"))?;
            if !ground.is_file(&file)? {
                continue;
            }
            let text = ground.short_text(&file)?.unwrap_or_default();
            let field = |wanted: &str| {
                let head = text.lines().take_while(|line| !line.is_empty());
                head.filter_map(|line| line.split_once(": "))
                    .find_map(|(name, value)| (name == wanted).then(|| value.trim().to_owned()))
            };
            if let (Some(name), Some(version)) = (field("Name"), field("Version")) {
                found.push(format!("{name}=={version}"));
            }
        }
    }
    if !is_environment {
        return Err(PiecesError::NoEnvironment { path: path.to_string() });
    }
    found.sort_by_key(|line| line.to_lowercase());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::pieces::tests::{Host, content, skipped};

    fn read(host: &Host, what: &str) -> Result<(String, String), PiecesError> {
        let extra = piece(&host.ground(), &mut Names::default(), what)?;
        Ok((extra.note.clone(), content(extra).unwrap()))
    }

    #[test]
    fn the_systems_packages_are_those_that_are_installed() {
        let host = Host::new();
        host.programs.add(
            "dpkg-query",
            r"printf 'ii \tzlib1g:amd64\t1:1.2\nrc \tgone\t1\nii \tadduser\t3.1\nhi \theld\t2\n'",
        );
        let (note, text) = read(&host, "dpkg").unwrap();
        assert_eq!(
            (note.as_str(), text.as_str()),
            ("3 packages", "adduser\t3.1\nheld\t2\nzlib1g:amd64\t1:1.2\n")
        );
    }

    #[test]
    fn the_real_dpkg_knows_its_own_package() {
        let host = Host::with_programs_of_machine();
        if !host.ground().programs.has("dpkg-query") {
            skipped("there is no `dpkg-query` here");
            return;
        }
        let (note, text) = read(&host, "dpkg").unwrap();
        assert!(text.lines().any(|line| line.starts_with("dpkg\t")), "{note}");
        assert_eq!(note, format!("{} packages", text.lines().count()));
    }

    #[test]
    fn an_environment_without_pip_is_read_from_its_records() {
        let host = Host::new();
        host.write("/opt/agora/venv/pyvenv.cfg", "home = /usr/bin\nversion = 3.11.2\n");
        let packages = "/opt/agora/venv/lib/python3.11/site-packages";
        host.write(&format!("{packages}/b-1.dist-info/METADATA"), "Name: Babel\nVersion: 1.0\n\nName: no\n");
        host.write(
            &format!("{packages}/a-2.dist-info/METADATA"),
            "Metadata-Version: 2.1\nName: anyio\nVersion: 2\n",
        );
        host.write(&format!("{packages}/half.dist-info/RECORD"), "");
        let (note, text) = read(&host, "/opt/agora/venv").unwrap();
        assert_eq!(note, "2 packages, Python 3.11.2, read from dist-info");
        assert_eq!(text, "anyio==2\nBabel==1.0\n");
        host.program("/opt/agora/venv/bin/python", "[ \"$1 $2 $3\" = '-I -m pip' ] && echo anyio==2");
        assert_eq!(read(&host, "/opt/agora/venv").unwrap().0, "1 package, Python 3.11.2");
        host.program("/opt/agora/venv/bin/python", "echo 'No module named pip' >&2; exit 1");
        assert_eq!(read(&host, "/opt/agora/venv").unwrap().0, note);
        let error = read(&host, "/opt/agora").unwrap_err();
        assert_eq!(error.to_string(), "`/opt/agora` is no Python environment");
    }

    #[test]
    fn a_real_environment_says_what_pip_says() {
        let host = Host::with_programs_of_machine();
        std::fs::create_dir_all(host.real("/opt")).unwrap();
        let made = std::process::Command::new("python3")
            .args(["-m", "venv"])
            .arg(host.real("/opt/venv"))
            .output()
            .is_ok_and(|made| made.status.success());
        if !made {
            skipped("`python3 -m venv` does not work here");
            return;
        }
        let (note, text) = read(&host, "/opt/venv").unwrap();
        assert!(text.contains("pip==") && !note.contains("dist-info"), "{note}: {text}");
        let by_hand = installed(&host.ground(), &HostPath::parse("/opt/venv").unwrap()).unwrap();
        let mut frozen: Vec<&str> = text.lines().collect();
        frozen.sort_by_key(|line| line.to_lowercase());
        assert_eq!(by_hand, frozen, "both ways say the same");
    }
}
