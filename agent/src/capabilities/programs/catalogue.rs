//! The forms that come with the agent: one file for each power.

use super::form::{self, Form, FormError};

/// Power and forms; sorted, one line each.
const FILES: &[(&str, &str)] = &[
    ("archive", include_str!("forms/archive.toml")),
    ("containers", include_str!("forms/containers.toml")),
    ("git", include_str!("forms/git.toml")),
    ("mysql", include_str!("forms/mysql.toml")),
    ("nginx", include_str!("forms/nginx.toml")),
    ("packages", include_str!("forms/packages.toml")),
    ("postgres", include_str!("forms/postgres.toml")),
    ("python", include_str!("forms/python.toml")),
];

/// The powers that have a file.
pub(super) fn powers() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(power, _)| *power)
}

/// All of them.
///
/// # Errors
/// A file is not as expected; a test proves that none is.
pub(super) fn forms() -> Result<Vec<Form>, FormError> {
    let mut all = Vec::new();
    for (power, text) in FILES {
        all.extend(form::parse(power, text)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_every_file_are_sound_and_none_is_there_twice() {
        let mut names: Vec<String> = forms().unwrap().into_iter().map(|form| form.name).collect();
        names.sort();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert!(FILES.is_sorted(), "sorted by power");
    }

    #[test]
    fn every_file_of_forms_is_compiled_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/capabilities/programs/forms");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
            if let Some(power) = name.strip_suffix(".toml") {
                assert!(FILES.iter().any(|(known, _)| *known == power), "`{name}` is not in the catalogue");
            }
        }
    }
}
