//! A file of requirements, of which each is pinned to one version. Pure.

use std::collections::BTreeMap;

use sternway_plugin::Error;

/// Versions by name, as [`canonical`] writes it; and whether each has a hash.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pinned {
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) without_hash: Vec<String>,
}

/// # Errors
/// The first line that is not `name==version`, with its reason.
pub(crate) fn pinned(text: &str) -> Result<Pinned, Error> {
    let mut pinned = Pinned { versions: BTreeMap::new(), without_hash: vec![] };
    for line in text.replace("\\\r\n", " ").replace("\\\n", " ").lines() {
        let line = match line.find('#') {
            Some(0) => "",
            Some(at) if line[..at].ends_with(char::is_whitespace) => &line[..at],
            _ => line,
        };
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if line.starts_with('-') {
            return Err(refuse(
                line,
                "options, other files and folders are not taken; write each package with its version",
            ));
        }
        let (requirement, hashes) = match line.split_once(" --hash") {
            Some((requirement, rest)) => (requirement, Some(rest)),
            None => (line, None),
        };
        let (requirement, marker) = requirement.split_once(';').unwrap_or((requirement, ""));
        if requirement.contains('@') || requirement.contains("://") {
            return Err(refuse(line, "an address is not taken; write the package with its version"));
        }
        let Some((name, version)) = requirement.split_once("==") else {
            return Err(refuse(line, "it is not pinned with =="));
        };
        let name = name.split('[').next().unwrap_or_default().trim();
        let version = version.trim();
        let is_version = version.starts_with(|first: char| first.is_ascii_digit())
            && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+!-_".contains(&byte));
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if name.is_empty() || !is_name || !is_version {
            return Err(refuse(line, "it is not pinned to one version"));
        }
        if hashes.is_none() {
            pinned.without_hash.push(name.to_owned());
        }
        // One with a marker may be meant for another Python.
        if marker.trim().is_empty() {
            pinned.versions.insert(canonical(name), version.to_owned());
        }
    }
    if pinned.versions.is_empty() {
        return Err(Error::invalid("python/nothing-pinned", "the file of requirements names no package"));
    }
    Ok(pinned)
}

/// Versions by name, of lines `name==version`.
pub(crate) fn installed(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.trim().split_once("=="));
    pairs.map(|(name, version)| (canonical(name), version.to_owned())).collect()
}

/// Names differ in case and in `-`, `_` and `.` without meaning.
fn canonical(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        match letter {
            '-' | '_' | '.' if text.ends_with('-') => {}
            '-' | '_' | '.' => text.push('-'),
            letter => text.push(letter.to_ascii_lowercase()),
        }
    }
    text
}

fn refuse(line: &str, why: &str) -> Error {
    let shown: String = line.chars().take(100).collect();
    Error::invalid("python/not-pinned", format!("`{shown}`: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pip_freezes_is_read() {
        let text = "# of 1.1\nFlask==2.3.2  # web\nzope.interface[test]==6.0 ; python_version > '3'\n\
                    Py_YAML==6.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n\n";
        let read = pinned(text).unwrap();
        assert_eq!(
            read.versions.into_iter().collect::<Vec<_>>(),
            [("flask".to_owned(), "2.3.2".to_owned()), ("py-yaml".to_owned(), "6.0".to_owned()),]
        );
        assert_eq!(read.without_hash, ["Flask", "zope.interface"]);
    }

    #[test]
    fn what_is_not_one_version_of_one_package_is_refused() {
        for bad in [
            "flask",
            "flask>=2",
            "flask==2.*",
            "flask~=2.0",
            "-r other.txt",
            "-e .",
            "--index-url x",
            "flask @ https://x/y.whl",
            "./flask.whl",
            "git+https://x/y",
            "flask==",
            "==1",
            "flask==2,!=2.1",
        ] {
            assert_eq!(pinned(bad).unwrap_err().code, "python/not-pinned", "{bad}");
        }
        assert_eq!(pinned("# nothing\n").unwrap_err().code, "python/nothing-pinned");
    }
}
