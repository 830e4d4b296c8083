//! What this host may say to the outside, and the secrets it says it with.
//!
//! `[mail]` is the relay letters go over, each `[[secret]]` a name that plans
//! may use as `${secret.NAME}` and the file that holds its value.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::capabilities::mail::{MailSettings, Security};
use crate::capabilities::secrets::is_name;

/// `[mail]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mail {
    pub relay: String,
    /// Left out: 465 for `tls`, 587 for `starttls`, else 25.
    pub port: Option<u16>,
    #[serde(default)]
    pub tls: MailTls,
    /// The sender of every letter.
    pub from: String,
    pub user: Option<String>,
    /// Mode 0600.
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) trusted besides the public ones.
    pub authority: Option<PathBuf>,
    /// Left out: the host's name.
    pub hello_name: Option<String>,
}

/// How the connection to the relay is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    None,
    #[default]
    StartTls,
    Tls,
}

/// `[[secret]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    pub name: String,
    /// Mode 0600 or 0400, owned by root or the agent's user.
    pub file: PathBuf,
}

impl Mail {
    /// As the sender of letters takes it; `host` is this host's name.
    pub fn settings(&self, host: &str) -> MailSettings {
        let tls = match self.tls {
            MailTls::None => Security::None,
            MailTls::StartTls => Security::StartTls,
            MailTls::Tls => Security::Tls,
        };
        let usual = match tls {
            Security::None => 25,
            Security::StartTls => 587,
            Security::Tls => 465,
        };
        MailSettings {
            relay: self.relay.clone(),
            port: self.port.unwrap_or(usual),
            tls,
            from: self.from.clone(),
            user: self.user.clone(),
            password_file: self.password_file.clone(),
            authority: self.authority.clone(),
            hello_name: self.hello_name.clone().unwrap_or_else(|| host.to_owned()),
        }
    }
}

/// The secrets' files by name.
pub(super) fn files(secrets: &[Secret]) -> BTreeMap<String, PathBuf> {
    secrets.iter().map(|secret| (secret.name.clone(), secret.file.clone())).collect()
}

/// What cannot be right in the two parts, in the order of the file.
pub(super) fn problems(mail: Option<&Mail>, secrets: &[Secret], host: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(mail) = mail {
        problems.extend(mail.settings(host).problems().into_iter().map(|problem| format!("mail: {problem}")));
        for (key, path) in [("password-file", &mail.password_file), ("authority", &mail.authority)] {
            if path.as_ref().is_some_and(|path| !path.is_absolute()) {
                problems.push(format!("mail: `{key}` is no absolute path"));
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    for secret in secrets {
        let shown = secret.name.escape_debug();
        if !is_name(&secret.name) {
            problems.push(format!("`{shown}` cannot name a secret: 1 to 64 letters, digits, `-`, `_`, `.`"));
        }
        if !seen.insert(&secret.name) {
            problems.push(format!("`{shown}` names a secret twice"));
        }
        if !secret.file.is_absolute() {
            problems.push(format!("the secret `{shown}`: `file` is no absolute path"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Part {
        mail: Option<Mail>,
        #[serde(default, rename = "secret")]
        secrets: Vec<Secret>,
    }

    fn part(text: &str) -> Part {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_port_and_the_name_follow_from_what_is_said() {
        let part = part("[mail]\nrelay = \"mail.example.org\"\nfrom = \"ops@example.org\"\n");
        let settings = part.mail.as_ref().unwrap().settings("host-1");
        assert_eq!(
            (settings.port, settings.tls, settings.hello_name.as_str()),
            (587, Security::StartTls, "host-1")
        );
        assert_eq!(problems(part.mail.as_ref(), &[], "host-1"), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_right_is_told_with_its_place() {
        let part = part(
            "[mail]\nrelay = \"mail.example.org\"\ntls = \"none\"\nfrom = \"ops@example.org\"\nuser = \"ops\"\n\
             password-file = \"secret\"\n\
             [[secret]]\nname = \"a\"\nfile = \"/etc/a\"\n[[secret]]\nname = \"a\"\nfile = \"b\"\n\
             [[secret]]\nname = \"no name\"\nfile = \"/etc/c\"\n",
        );
        let told = problems(part.mail.as_ref(), &part.secrets, "host-1");
        assert_eq!(told.len(), 5, "{told:?}");
        assert!(told[0].starts_with("mail: a password would cross the network"), "{told:?}");
        assert_eq!(files(&part.secrets).len(), 2);
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(toml::from_str::<Part>("[[secret]]\nname = \"a\"\nvalue = \"hunter22\"\n").is_err());
        assert!(toml::from_str::<Part>("[mail]\nrelay = \"a\"\nfrom = \"b@c\"\npassword = \"x\"\n").is_err());
    }
}
