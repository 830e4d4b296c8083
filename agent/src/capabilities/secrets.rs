//! Secrets by name: a plan and a plugin only ever see `${secret.NAME}`. The host
//! reads the file at the moment of use, so that a changed secret counts at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::capabilities::{ErrorKind, HostError};

const OPENS: &str = "${secret.";
const STARS: &str = "********";
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// A shorter one could not be hidden without hiding half of every text.
const VALUE_BYTES_MIN: usize = 6;

/// The secrets of this host, by name; none of them is ever shown.
pub struct Secrets {
    files: BTreeMap<String, PathBuf>,
    /// Every value given out since the agent began, the longest first.
    given: Mutex<BTreeSet<Value>>,
}

/// Ordered so that the longest is hidden first: one may be part of another.
#[derive(PartialEq, Eq)]
struct Value(String);

impl Ord for Value {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.0.len().cmp(&self.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Secrets {
    /// Each name stands for what its file holds.
    pub fn new(files: BTreeMap<String, PathBuf>) -> Self {
        Self { files, given: Mutex::default() }
    }

    /// `text` with every `${secret.NAME}` replaced, and the names it took.
    ///
    /// # Errors
    /// `secrets/malformed`, `secrets/unknown`, or a file that cannot be used:
    /// `secrets/not-found`, `secrets/open-to-others`, `secrets/unusable`.
    pub fn fill(&self, text: &str) -> Result<(String, Vec<String>), HostError> {
        let names = names_in(text)?;
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        for name in &names {
            let (before, after) = rest.split_once(OPENS).expect("it was found there just before");
            let value = self.value(name)?;
            filled.push_str(before);
            filled.push_str(&value);
            rest = &after[name.len() + 1..];
            self.given.lock().unwrap_or_else(PoisonError::into_inner).insert(Value(value));
        }
        filled.push_str(rest);
        Ok((filled, names))
    }

    /// `text` with stars where a secret stands that was given out: for all that
    /// goes back to a plugin, into a log or to people.
    pub fn hide(&self, text: &str) -> String {
        let mut hidden = text.to_owned();
        for form in self.forms() {
            if hidden.contains(&form) {
                hidden = hidden.replace(&form, STARS);
            }
        }
        hidden
    }

    /// The same for bytes, which need not be text.
    pub fn hide_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut hidden = bytes.to_vec();
        for form in self.forms() {
            let form = form.as_bytes();
            let mut from = 0;
            while let Some(at) = hidden[from..].windows(form.len()).position(|seen| seen == form) {
                let at = from + at;
                hidden.splice(at..at + form.len(), STARS.bytes());
                from = at + STARS.len();
            }
        }
        hidden
    }

    /// Each value as it is, and as a JSON text or a URL would write it.
    fn forms(&self) -> Vec<String> {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let mut forms = Vec::new();
        for Value(value) in given.iter() {
            let json = value.replace('\\', "\\\\").replace('"', "\\\"");
            let url: String = value.bytes().map(percent_encoded).collect();
            forms.push(value.clone());
            forms.extend([json, url].into_iter().filter(|form| form != value));
        }
        forms
    }

    fn value(&self, name: &str) -> Result<String, HostError> {
        let path = self.files.get(name).ok_or_else(|| {
            HostError::new(
                ErrorKind::NotFound,
                "secrets/unknown",
                format!("this host has no secret named `{name}`: its configuration needs [[secret]]"),
            )
        })?;
        let text = read_private(path)?;
        let value = text.strip_suffix('\n').unwrap_or(&text);
        let value = value.strip_suffix('\r').unwrap_or(value);
        let unusable = |why: &str| {
            HostError::new(
                ErrorKind::Failed,
                "secrets/unusable",
                format!("the secret `{name}` in `{}` {why}", path.display()),
            )
        };
        if value.len() < VALUE_BYTES_MIN {
            return Err(unusable("is shorter than 6 bytes"));
        }
        if value.chars().any(char::is_control) {
            return Err(unusable("has more than one line, or control characters"));
        }
        Ok(value.to_owned())
    }
}

/// The names in `${secret.NAME}`, in the order of the text, each as often as it stands there.
///
/// # Errors
/// `secrets/malformed` when one is begun and not ended, or its name is none.
pub fn names_in(text: &str) -> Result<Vec<String>, HostError> {
    let malformed = |why: &str| {
        HostError::new(ErrorKind::Invalid, "secrets/malformed", format!("a `{OPENS}NAME}}` {why}"))
    };
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(OPENS) {
        rest = &rest[at + OPENS.len()..];
        let (name, after) = rest.split_once('}').ok_or_else(|| malformed("has no end"))?;
        if !is_name(name) {
            return Err(malformed("names none: 1 to 64 letters, digits, `-`, `_`, `.`"));
        }
        names.push(name.to_owned());
        rest = after;
    }
    Ok(names)
}

/// Whether `text` can name a secret.
pub fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=64).contains(&text.len()) && !text.starts_with(['.', '-']) && text.chars().all(plain)
}

/// What a file holds that only its owner can read, and whose owner is root or us.
///
/// # Errors
/// `secrets/not-found`, `secrets/open-to-others`, `secrets/unusable`.
pub(crate) fn read_private(path: &Path) -> Result<String, HostError> {
    let shown = path.display();
    let read = |cause: std::io::Error| {
        let (kind, code) = match cause.kind() {
            std::io::ErrorKind::NotFound => (ErrorKind::NotFound, "secrets/not-found"),
            _ => (ErrorKind::Failed, "secrets/unusable"),
        };
        HostError::new(kind, code, format!("could not read the secret `{shown}`: {cause}"))
    };
    let open = |why: String| {
        HostError::new(ErrorKind::Failed, "secrets/open-to-others", format!("the secret `{shown}` {why}"))
    };
    // Judged by what is opened, not by what stands there a moment later; and a
    // pipe in its place must not hold us.
    let wait_for_nobody = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file =
        std::fs::OpenOptions::new().read(true).custom_flags(wait_for_nobody).open(path).map_err(read)?;
    let found = file.metadata().map_err(read)?;
    if !found.is_file() || found.len() > FILE_BYTES_MAX {
        return Err(HostError::new(
            ErrorKind::Failed,
            "secrets/unusable",
            format!("the secret `{shown}` is no file of at most {FILE_BYTES_MAX} bytes"),
        ));
    }
    let mode = found.mode() & 0o7777;
    if ![0o600, 0o400].contains(&mode) {
        return Err(open(format!("has mode {mode:04o}: run `chmod 600` on it, and change what is in it")));
    }
    if found.uid() != 0 && found.uid() != rustix::process::geteuid().as_raw() {
        return Err(open(format!("belongs to user {}: run `chown root` on it", found.uid())));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(read)?;
    Ok(text)
}

fn percent_encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Kept {
        folder: tempfile::TempDir,
        secrets: Secrets,
    }

    fn kept(values: &[(&str, &str)]) -> Kept {
        let folder = tempfile::tempdir().unwrap();
        let mut files = BTreeMap::new();
        for (name, value) in values {
            let path = folder.path().join(name);
            std::fs::write(&path, value).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            files.insert((*name).to_owned(), path);
        }
        files.insert("gone".to_owned(), folder.path().join("nothing"));
        Kept { folder, secrets: Secrets::new(files) }
    }

    #[test]
    fn each_name_is_filled_in_and_one_trailing_newline_is_no_part_of_it() {
        let kept = kept(&[("pager", "hunter22\n"), ("db", "${secret.pager}")]);
        let (text, names) = kept.secrets.fill("Bearer ${secret.pager}, ${secret.db} ${other}").unwrap();
        assert_eq!(text, "Bearer hunter22, ${secret.pager} ${other}");
        assert_eq!(names, ["pager", "db"]);
        assert_eq!(kept.secrets.fill("plain").unwrap(), ("plain".into(), vec![]));
    }

    #[test]
    fn what_was_given_out_comes_back_as_stars_in_every_writing() {
        let kept = kept(&[("a", "hunter22"), ("b", "hunter22-longer"), ("c", "quo\"te sign")]);
        kept.secrets.fill("${secret.a} ${secret.b} ${secret.c}").unwrap();
        let echo = r#"{"auth": "Bearer hunter22", "x": "hunter22-longer", "y": "quo\"te sign", "z": "quo%22te%20sign"}"#;
        let hidden = kept.secrets.hide(echo);
        assert_eq!(
            hidden,
            r#"{"auth": "Bearer ********", "x": "********", "y": "********", "z": "********"}"#
        );
        assert_eq!(kept.secrets.hide_bytes(b"\xffhunter22\xff"), b"\xff********\xff");
        assert!(!format!("{:?}", kept.secrets).contains("hunter22"));
    }

    #[test]
    fn a_changed_file_counts_at_once_and_the_old_value_stays_hidden() {
        let kept = kept(&[("a", "hunter22")]);
        assert_eq!(kept.secrets.fill("${secret.a}").unwrap().0, "hunter22");
        std::fs::write(kept.folder.path().join("a"), "hunter33").unwrap();
        assert_eq!(kept.secrets.fill("${secret.a}").unwrap().0, "hunter33");
        assert_eq!(kept.secrets.hide("hunter22 hunter33"), "******** ********");
    }

    #[test]
    fn a_secret_that_others_can_read_or_that_is_none_is_refused_without_being_told() {
        let kept = kept(&[("a", "hunter22"), ("short", "abc\n"), ("lines", "hunter22\nhunter33")]);
        let path = kept.folder.path().join("a");
        for mode in [0o640, 0o604, 0o644, 0o700] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = kept.secrets.fill("${secret.a}").unwrap_err();
            assert_eq!(error.code, "secrets/open-to-others", "{mode:o}");
            assert!(!error.to_string().contains("hunter22"));
        }
        for (text, code) in [
            ("${secret.short}", "secrets/unusable"),
            ("${secret.lines}", "secrets/unusable"),
            ("${secret.gone}", "secrets/not-found"),
            ("${secret.nobody}", "secrets/unknown"),
            ("${secret.a", "secrets/malformed"),
            ("${secret.}", "secrets/malformed"),
            ("${secret.a b}", "secrets/malformed"),
        ] {
            let error = kept.secrets.fill(text).unwrap_err();
            assert_eq!(error.code, code, "{text}");
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
    }

    #[test]
    fn a_secret_of_another_user_or_in_no_file_is_refused() {
        let kept = kept(&[("a", "hunter22")]);
        let path = kept.folder.path().join("a");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
            assert_eq!(kept.secrets.fill("${secret.a}").unwrap_err().code, "secrets/open-to-others");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(kept.secrets.fill("${secret.a}").unwrap_err().code, "secrets/unusable");
    }
}
