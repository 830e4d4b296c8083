//! An example as its folder describes it: `site.toml` beside the plan.

use std::path::PathBuf;

use serde::Deserialize;

use super::folder;

/// `examples/NAME/site.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Site {
    #[serde(skip)]
    pub(crate) name: String,
    /// The name of its fleet, where its own name is too long for one.
    fleet: Option<String>,
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
    /// What is shown afterwards, each on its own.
    #[serde(default, rename = "fallback")]
    pub(crate) fallbacks: Vec<Fallback>,
}

/// `[[fallback]]`: another plan for what was deployed, such as one that does
/// without something that is lost as well, or one that takes a part of it back.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fallback {
    /// For people.
    pub(crate) summary: String,
    /// Those that its plan selects.
    pub(crate) hosts: Vec<String>,
    pub(crate) plan: String,
    /// Whether it is shown before the deployment, on hosts that are well but for `breaks`.
    #[serde(default)]
    pub(crate) early: bool,
    /// The script that makes it worse on a host first.
    pub(crate) breaks: Option<String>,
    /// The script that looks whether a host is as the plan makes it.
    #[serde(default = "usual_good")]
    pub(crate) good: String,
    /// The script that looks whether a host is as it was before, once it is undone.
    #[serde(default = "usual_bad")]
    pub(crate) bad: String,
}

fn usual_good() -> String {
    "good.sh".into()
}

fn usual_bad() -> String {
    "bad.sh".into()
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

    pub(crate) fn fleet(&self) -> &str {
        self.fleet.as_deref().unwrap_or(&self.name)
    }

    /// What a host has to hold up against after the rollback: the one that failed was put back.
    pub(crate) fn after(&self, host: &str) -> &'static str {
        match self.fails_on.as_deref() == Some(host) {
            true => "bad.sh",
            false => "good.sh",
        }
    }
}

/// In the folder of an example and no plans.
const NO_PLANS: [&str; 2] = ["site.toml", "agent.toml"];

/// What an example has beside its usual show.
impl Site {
    /// How a rollback of it ends.
    pub(crate) fn wanted(&self) -> i32 {
        if self.fails_on.is_some() { super::DONE_WITH_EXCEPTIONS } else { 0 }
    }

    /// All plans in its folder: the one that is shown, and others that only have to be sound.
    pub(crate) fn plans(&self) -> Result<Vec<PathBuf>, String> {
        let folder = folder(&self.name);
        let entries = std::fs::read_dir(&folder).map_err(|cause| format!("{}: {cause}", folder.display()))?;
        let mut plans: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
            .filter(|path| NO_PLANS.iter().all(|name| !path.ends_with(name)))
            .collect();
        plans.sort();
        Ok(plans)
    }

    /// The draft that whoever is on call runs when everything else was shown.
    pub(crate) fn emergency(&self) -> Option<PathBuf> {
        Some(folder(&self.name).join("emergency.toml")).filter(|path| path.exists())
    }

    /// The version that is bad, as the plan names it.
    pub(crate) fn bad_version(&self) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Versions {
            from: String,
        }
        let path = folder(&self.name).join("plan.toml");
        let text = std::fs::read_to_string(&path).map_err(|cause| format!("{}: {cause}", path.display()))?;
        let versions: Versions =
            toml::from_str(&text).map_err(|cause| format!("{}: {cause}", path.display()))?;
        Ok(versions.from)
    }

    /// What a host has to hold up against after the emergency, which may leave it
    /// otherwise than a rollback does, with its traffic elsewhere for example.
    pub(crate) fn after_emergency(&self, host: &str) -> &'static str {
        match self.after(host) {
            "good.sh" if folder(&self.name).join("calm.sh").exists() => "calm.sh",
            usual => usual,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

    use super::*;

    /// As `fleet up --name` takes it.
    const FLEET_LETTERS_MAX: usize = 16;

    #[test]
    fn every_example_names_a_fleet_that_can_be_and_scripts_and_plans_that_are_there() {
        let names = all().unwrap();
        assert!(!names.is_empty());
        for name in names {
            let site = Site::load(&name).unwrap();
            assert!(site.fleet().len() <= FLEET_LETTERS_MAX, "{name}: {}", site.fleet());
            let mut files: Vec<&str> =
                ["install.sh", "good.sh", "break.sh", "bad.sh", "agent.toml", "plan.toml"].to_vec();
            files.extend(site.fails_on.as_ref().map(|_| "sabotage.sh"));
            for fallback in &site.fallbacks {
                files.extend([&*fallback.plan, &*fallback.good, &*fallback.bad]);
                files.extend(fallback.breaks.as_deref());
            }
            for file in files {
                assert!(folder(&name).join(file).is_file(), "{name} has no {file}");
            }
            let hosts = site.fallbacks.iter().flat_map(|fallback| &fallback.hosts);
            for host in hosts.chain(&site.fails_on) {
                assert!(site.hosts.contains(host), "{name} has no host {host}");
            }
        }
    }

    #[test]
    fn what_a_site_says_of_its_fleet_is_not_taken_for_a_plan() {
        let site = Site::load("agents-orchestration").unwrap();
        let plans = site.plans().unwrap();
        let names: Vec<_> = plans.iter().filter_map(|plan| plan.file_name()?.to_str()).collect();
        assert_eq!(names, ["blue-green.toml", "full.toml", "partial.toml", "plan.toml"]);
    }
}
