//! An example as its folder describes it: `site.toml` beside the plan.

use serde::Deserialize;

use super::folder;

/// `examples/NAME/site.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Site {
    /// Also the name of its fleet.
    #[serde(skip)]
    pub(crate) name: String,
    /// What it shows, for people.
    pub(crate) summary: String,
    pub(crate) hosts: Vec<String>,
    /// Hosts with a Docker of their own.
    #[serde(default)]
    pub(crate) docker: Vec<String>,
    /// As the hosts' configuration and labels name it.
    pub(crate) service: String,
    /// Of the point that every host makes while it is well.
    pub(crate) tag: String,
    /// A host on which `sabotage.sh` makes a proof fail: it must be put back.
    pub(crate) fails_on: Option<String>,
    /// A person of each group that has to sign; the first one seals and launches.
    pub(crate) signers: Vec<String>,
}

impl Site {
    pub(crate) fn load(name: &str) -> Result<Self, String> {
        let path = folder(name).join("site.toml");
        let text = std::fs::read_to_string(&path).map_err(|cause| {
            let known = all().unwrap_or_default().join(", ");
            format!("could not read {}: {cause}; there are: {known}", path.display())
        })?;
        let site: Self = toml::from_str(&text).map_err(|cause| format!("{}: {cause}", path.display()))?;
        if site.signers.is_empty() || site.hosts.is_empty() {
            return Err(format!("{}: it needs hosts and signers", path.display()));
        }
        Ok(Self { name: name.to_owned(), ..site })
    }

    /// What a host has to hold up against after the rollback: the one that failed was put back.
    pub(crate) fn after(&self, host: &str) -> &'static str {
        match self.fails_on.as_deref() == Some(host) {
            true => "bad.sh",
            false => "good.sh",
        }
    }
}

/// Names of all examples that a fleet can show.
pub(crate) fn all() -> Result<Vec<String>, String> {
    let entries = std::fs::read_dir(folder("")).map_err(|cause| format!("examples: {cause}"))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("site.toml").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}
