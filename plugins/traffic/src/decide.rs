//! The settings as one of four tasks. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use sternway_plugin::{Action, Error, Risk, Texts, duration_ms, paths};

use crate::haproxy;
use crate::share::{Share, divided, percent};

const WITHIN_MS: u64 = 10_000;

/// Moves traffic; exactly one of `maintenance`, `upstream`, `haproxy` and `put`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(
    extend("oneOf" = [
        {"required": ["maintenance"]}, {"required": ["upstream"]},
        {"required": ["haproxy"]}, {"required": ["put"]},
    ]),
    extend("dependencies" = {
        "maintenance": ["config"], "upstream": ["config"], "haproxy": ["backend"], "put": ["body"],
        "stable": ["to"], "to": ["stable"], "link": ["target", "target-off"],
        "content-off": ["flag", "content"], "content": ["flag"],
    }),
))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// nginx: whether everybody sees the maintenance page. Needs `flag` or `link`.
    maintenance: Option<Switch>,
    /// The file that is there while maintenance is on.
    flag: Option<String>,
    /// What `flag` holds then. Left out: whatever it holds already, or `on`.
    content: Option<String>,
    /// What `flag` holds otherwise. Left out: it is not there.
    content_off: Option<String>,
    /// The symbolic link that leads to `target` while maintenance is on, else to `target-off`.
    link: Option<String>,
    target: Option<String>,
    target_off: Option<String>,

    /// nginx: the file with the servers.
    upstream: Option<String>,
    /// Which upstream, when the file has several.
    block: Option<String>,
    /// nginx: its main configuration, by which everything is tested before it is reloaded.
    config: Option<String>,
    /// The systemd unit to reload. Left out: nginx is told by its own program.
    #[cfg_attr(test, schemars(regex(pattern = "^[^/]+\\.service$")))]
    reload: Option<String>,

    /// HAProxy: the address of its runtime interface, at level `admin`.
    haproxy: Option<String>,
    /// Its backend.
    backend: Option<String>,

    /// What each server gets: a weight, `"down"` (`"maint"`), `"drain"` (HAProxy) or `"backup"` (nginx). Others are left alone.
    weights: Option<BTreeMap<String, Share>>,
    /// In place of `weights`: these servers share `to` of everything, the others the rest.
    stable: Option<Texts>,
    /// `5%`, `100%`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]{1,3}%$")))]
    to: Option<String>,
    /// How long it may take until a server that is to get traffic works. Left out: `10s`.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+(ms|s|m|h)$")))]
    within: Option<String>,

    /// Another balancer: the URL whose GET tells its state and whose PUT sets it.
    #[cfg_attr(test, schemars(regex(pattern = "^https?://")))]
    put: Option<String>,
    /// What is put: a text, or a table sent as JSON.
    body: Option<Value>,
    /// The value of the answer that counts, by key, dotted key or pointer. Left out: all of `body`.
    proof: Option<String>,
    /// Name of a secret of the host, sent as `Authorization: Bearer`.
    #[cfg_attr(test, schemars(regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")))]
    bearer: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Switch {
    On,
    Off,
}

/// The settings, found sound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Task {
    Maintenance { nginx: Nginx, path: String, wanted: Wanted },
    Upstream { nginx: Nginx, path: String, block: Option<String>, shares: Shares },
    Haproxy { address: String, backend: String, shares: Shares, within_ms: u64 },
    Put { url: String, body: Value, proof: Option<String>, bearer: Option<String> },
}

/// What has to stand at a path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wanted {
    /// This text; none: any.
    Text(Option<String>),
    Link(String),
    Nothing,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Nginx {
    pub(crate) config: String,
    pub(crate) unit: Option<String>,
}

/// Who is to get how much.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shares {
    Named(Vec<(String, Share)>),
    Divided { stable: Vec<String>, percent: u32 },
}

impl Settings {
    pub(crate) fn task(&self) -> Result<Task, Error> {
        self.check_parts()?;
        if let Some(switch) = self.maintenance {
            let (path, wanted) = self.wanted(switch)?;
            return Ok(Task::Maintenance { nginx: self.nginx()?, path, wanted });
        }
        if let Some(path) = &self.upstream {
            let shares = self.shares()?;
            if let Shares::Named(named) = &shares
                && named.iter().any(|(_, share)| *share == Share::Drain)
            {
                return Err(invalid("share", "nginx cannot drain a server: `down` or a weight"));
            }
            let (path, block) = (paths::path(path)?, self.block.clone());
            return Ok(Task::Upstream { nginx: self.nginx()?, path, block, shares });
        }
        if let Some(address) = &self.haproxy {
            return self.haproxy(address);
        }
        let (Some(url), Some(body)) = (&self.put, &self.body) else {
            return Err(invalid("no-body", "`put` needs `body`"));
        };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(invalid("url", &format!("`{url}` is not an http or https URL")));
        }
        if !matches!(body, Value::String(_) | Value::Object(_)) {
            return Err(invalid("no-body", "`body` is a text or a table"));
        }
        if let Some(name) = &self.bearer {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if !(1..=64).contains(&name.len()) || !name.chars().all(plain) {
                return Err(invalid("bearer", "`bearer` is the name of a secret of the host"));
            }
        }
        let (proof, bearer) = (self.proof.clone(), self.bearer.clone());
        Ok(Task::Put { url: url.clone(), body: body.clone(), proof, bearer })
    }

    /// What belongs to another task is a mistake, not something to pass over.
    fn check_parts(&self) -> Result<(), Error> {
        let tasks = [
            ("maintenance", self.maintenance.is_some()),
            ("upstream", self.upstream.is_some()),
            ("haproxy", self.haproxy.is_some()),
            ("put", self.put.is_some()),
        ];
        let mut asked = tasks.iter().filter(|(_, is)| *is).map(|(name, _)| *name);
        let (Some(task), None) = (asked.next(), asked.next()) else {
            return Err(invalid(
                "one-of",
                "exactly one of `maintenance`, `upstream`, `haproxy` and `put` has to be set",
            ));
        };
        let parts = [
            ("flag", self.flag.is_some(), &["maintenance"][..]),
            ("content", self.content.is_some(), &["maintenance"]),
            ("content-off", self.content_off.is_some(), &["maintenance"]),
            ("link", self.link.is_some(), &["maintenance"]),
            ("target", self.target.is_some() || self.target_off.is_some(), &["maintenance"]),
            ("block", self.block.is_some(), &["upstream"]),
            ("config", self.config.is_some(), &["maintenance", "upstream"]),
            ("reload", self.reload.is_some(), &["maintenance", "upstream"]),
            ("backend", self.backend.is_some(), &["haproxy"]),
            ("within", self.within.is_some(), &["haproxy"]),
            ("weights", self.weights.is_some(), &["upstream", "haproxy"]),
            ("stable", self.stable.is_some() || self.to.is_some(), &["upstream", "haproxy"]),
            ("body", self.body.is_some(), &["put"]),
            ("proof", self.proof.is_some(), &["put"]),
            ("bearer", self.bearer.is_some(), &["put"]),
        ];
        match parts.iter().find(|(_, is, with)| *is && !with.contains(&task)) {
            Some((part, _, _)) => Err(invalid("part", &format!("`{part}` says nothing about `{task}`"))),
            None => Ok(()),
        }
    }

    fn wanted(&self, switch: Switch) -> Result<(String, Wanted), Error> {
        match (&self.flag, &self.link) {
            (Some(flag), None) => {
                let wanted = match (switch, &self.content, &self.content_off) {
                    (Switch::On, content, _) => Wanted::Text(content.clone()),
                    (Switch::Off, Some(_), Some(text)) => Wanted::Text(Some(text.clone())),
                    (Switch::Off, None, Some(_)) => {
                        return Err(invalid("content", "`content-off` needs `content`"));
                    }
                    (Switch::Off, _, None) => Wanted::Nothing,
                };
                Ok((paths::path(flag)?, wanted))
            }
            (None, Some(link)) => {
                let (Some(on), Some(off)) = (&self.target, &self.target_off) else {
                    return Err(invalid("target", "`link` needs `target` and `target-off`"));
                };
                let target = if switch == Switch::On { on } else { off };
                Ok((paths::path(link)?, Wanted::Link(target.clone())))
            }
            _ => Err(invalid("switch", "`maintenance` needs `flag` or `link`, and not both")),
        }
    }

    fn nginx(&self) -> Result<Nginx, Error> {
        let Some(config) = &self.config else {
            return Err(invalid("no-config", "`config` has to name nginx' main configuration, to test it"));
        };
        if self.reload.as_ref().is_some_and(|unit| !unit.ends_with(".service") || unit.contains('/')) {
            return Err(invalid("unit", "`reload` names a unit: nginx.service"));
        }
        Ok(Nginx { config: paths::path(config)?, unit: self.reload.clone() })
    }

    fn haproxy(&self, address: &str) -> Result<Task, Error> {
        if !address.starts_with("unix:///") && !address.starts_with("tcp://") {
            return Err(invalid("address", "`haproxy` is unix:///path or tcp://host:port"));
        }
        let backend = self.backend.clone().unwrap_or_default();
        let shares = self.shares()?;
        let mut names: Vec<&String> = vec![&backend];
        match &shares {
            Shares::Named(named) => names.extend(named.iter().map(|(name, _)| name)),
            Shares::Divided { stable, .. } => names.extend(stable),
        }
        if let Some(name) = names.iter().find(|name| !haproxy::is_name(name)) {
            return Err(invalid(
                "name",
                &format!("`{}` is no name of a backend or server", name.escape_debug()),
            ));
        }
        if let Shares::Named(named) = &shares {
            for (name, share) in named {
                match share {
                    Share::Weight(weight) if *weight > haproxy::WEIGHT_MAX => {
                        return Err(invalid("share", &format!("`{name}`: HAProxy's weights end at 256")));
                    }
                    Share::Backup => {
                        return Err(invalid("share", "HAProxy cannot make a server a backup while it runs"));
                    }
                    _ => {}
                }
            }
        }
        let within = self.within.as_deref().map(duration_ms).transpose();
        let within_ms = within.map_err(|cause| invalid("duration", &cause.to_string()))?.unwrap_or(WITHIN_MS);
        Ok(Task::Haproxy { address: address.to_owned(), backend, shares, within_ms })
    }

    fn shares(&self) -> Result<Shares, Error> {
        match (&self.weights, &self.stable, &self.to) {
            (Some(weights), None, None) if !weights.is_empty() => {
                Ok(Shares::Named(weights.iter().map(|(name, share)| (name.clone(), *share)).collect()))
            }
            (None, Some(stable), Some(to)) => {
                let stable = stable.iter().map(str::to_owned).collect();
                Ok(Shares::Divided { stable, percent: percent(to)? })
            }
            _ => Err(invalid("who", "either `weights`, or `stable` with `to`, has to say who gets how much")),
        }
    }
}

impl Shares {
    /// What each of these servers is to get; those that are not named are left alone.
    pub(crate) fn of(&self, now: &[(String, Share)], weight_max: u32) -> Result<Vec<(String, Share)>, Error> {
        let wanted = match self {
            Self::Named(named) => {
                let known = |name: &String| now.iter().any(|(known, _)| known == name);
                if let Some((name, _)) = named.iter().find(|(name, _)| !known(name)) {
                    let message = format!("there is no server `{name}`");
                    return Err(Error::not_found("traffic/no-such-server", message));
                }
                named.clone()
            }
            Self::Divided { stable, percent } => {
                // Who rests is not woken by a share for the others.
                let counts = |(name, share): &&(String, Share)| share.receives() || stable.contains(name);
                let names: Vec<String> = now.iter().filter(counts).map(|(name, _)| name.clone()).collect();
                let missing = |name: &&String| !now.iter().any(|(known, _)| known == *name);
                if let Some(name) = stable.iter().find(missing) {
                    let message = format!("there is no server `{name}`");
                    return Err(Error::not_found("traffic/no-such-server", message));
                }
                divided(&names, stable, *percent, weight_max)?
            }
        };
        let ends_as = |name: &String, now: Share| {
            wanted.iter().find(|(wanted, _)| wanted == name).map_or(now, |(_, share)| *share)
        };
        if !now.iter().any(|(name, share)| ends_as(name, *share).receives()) {
            return Err(invalid("nobody-left", "then no server would get any traffic"));
        }
        Ok(wanted)
    }
}

/// One server's change; none when it is so already.
pub(crate) fn action(place: &str, name: &str, now: Share, to: Share) -> Action {
    let risk = if now.receives() && !to.receives() { Risk::High } else { Risk::Low };
    Action {
        summary: format!("move traffic of {name}"),
        target: format!("{place} {name}"),
        before: Some(now.to_string()),
        after: Some(to.to_string()),
        risk,
    }
}

fn invalid(reason: &str, message: &str) -> Error {
    Error::invalid(&format!("traffic/{reason}"), message)
}

#[cfg(test)]
mod tests;
