//! Paths on a host, as settings name them.

use crate::{Error, Texts};

/// The path `text` names: absolute, without `.`, `..`, doubled or closing slashes.
pub fn path(text: &str) -> Result<String, Error> {
    let path = text.strip_suffix('/').unwrap_or(text);
    let sound = path.starts_with('/') && path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    if !sound {
        return Err(Error::invalid(
            "step/path",
            format!("`{text}` is not an absolute path without `.` and `..`"),
        ));
    }
    Ok(path.to_owned())
}

/// Each of `texts` as a path; none at all for none.
pub fn all(texts: Option<&Texts>) -> Result<Vec<String>, Error> {
    texts.into_iter().flat_map(Texts::iter).map(path).collect()
}

/// Whether `path` lies below `tree`.
pub fn is_within(path: &str, tree: &str) -> bool {
    path.strip_prefix(tree).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::{is_within, path};

    #[test]
    fn a_path_that_could_lead_elsewhere_is_refused() {
        for bad in ["opt/a", "", "/", "//", "/opt/../etc", "/opt/./a", "/opt//a", "../a", "/opt/.."] {
            assert_eq!(path(bad).unwrap_err().code, "step/path", "{bad:?}");
        }
        assert_eq!(path("/opt/a/").unwrap(), "/opt/a");
    }

    #[test]
    fn a_neighbour_with_the_same_beginning_is_not_within() {
        assert!(is_within("/opt/a/b", "/opt/a"));
        assert!(!is_within("/opt/ab", "/opt/a"));
        assert!(!is_within("/opt/a", "/opt/a"));
    }
}
