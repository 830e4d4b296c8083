//! Owners and modes, as settings write them.

use crate::Error;
use crate::host::files::Ownership;

/// `owner` is `user` or `user:group`, modes are octal. None at all: leave as it is.
pub fn ownership(
    owner: Option<&str>,
    mode: Option<&str>,
    directory_mode: Option<&str>,
) -> Result<Option<Ownership>, Error> {
    if owner.is_none() && mode.is_none() && directory_mode.is_none() {
        return Ok(None);
    }
    let (owner, group) = match owner.map(|text| (text, text.split_once(':'))) {
        None => (None, None),
        Some((owner, None)) => (Some(owner), None),
        Some((_, Some((owner, group)))) => (Some(owner), Some(group)),
    };
    Ok(Some(Ownership {
        owner: owner.map(str::to_owned),
        group: group.map(str::to_owned),
        file_mode: mode.map(octal).transpose()?,
        directory_mode: directory_mode.map(octal).transpose()?,
    }))
}

fn octal(text: &str) -> Result<u32, Error> {
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    digits
        .then(|| u32::from_str_radix(text, 8).ok())
        .flatten()
        .ok_or_else(|| Error::invalid("step/mode", format!("`{text}` is not an octal mode such as 0644")))
}

#[cfg(test)]
mod tests {
    use super::ownership;

    #[test]
    fn what_is_left_out_is_left_alone() {
        assert_eq!(ownership(None, None, None), Ok(None));
        let both = ownership(Some("agora:www"), Some("0640"), Some("750")).unwrap().unwrap();
        assert_eq!((both.owner.as_deref(), both.group.as_deref()), (Some("agora"), Some("www")));
        assert_eq!((both.file_mode, both.directory_mode), (Some(0o640), Some(0o750)));
        let owner = ownership(Some("agora"), None, None).unwrap().unwrap();
        assert_eq!((owner.group, owner.file_mode), (None, None));
    }

    #[test]
    fn a_mode_is_three_or_four_octal_digits() {
        for bad in ["0999", "+644", "64", "00644", "rw-", ""] {
            assert_eq!(ownership(None, Some(bad), None).unwrap_err().code, "step/mode", "{bad:?}");
        }
    }
}
