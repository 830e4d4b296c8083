//! Containers of a project as Docker describes them, and what a step makes of
//! that: who is well, and what has to be as it was. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One container of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) number: u32,
    /// As the compose file names it.
    pub(crate) image: String,
    /// The image itself.
    pub(crate) image_id: String,
    pub(crate) state: State,
    pub(crate) exit_code: i32,
    pub(crate) restarts: u32,
    pub(crate) started_at: String,
    /// Whether Docker starts it again when it ends well.
    pub(crate) stays_up: bool,
    /// Folder of the project it was made for.
    pub(crate) folder: String,
    /// What it keeps in a volume without a name is lost with it.
    pub(crate) nameless_volumes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Created,
    /// It runs and has no health check.
    Running,
    /// It runs, and its health check has not said anything yet.
    Starting,
    Healthy,
    Unhealthy,
    Restarting,
    Paused,
    Ended,
    Dead,
}

/// What a service's containers are worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    Well,
    /// Well, if it stays so.
    IfSteady,
    Waiting(String),
    /// Waiting will not help.
    Broken(String),
}

/// The containers before the first touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before(pub(crate) Vec<Container>);

// Docker's own names, as `docker inspect` prints them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    name: String,
    image: String,
    #[serde(default)]
    restart_count: u32,
    state: InspectedState,
    config: InspectedConfig,
    host_config: Option<InspectedHost>,
    #[serde(default)]
    mounts: Vec<InspectedMount>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedState {
    status: String,
    #[serde(default)]
    exit_code: i32,
    #[serde(default)]
    started_at: String,
    health: Option<InspectedHealth>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedHealth {
    status: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedConfig {
    image: String,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedHost {
    restart_policy: Option<InspectedPolicy>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedPolicy {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedMount {
    #[serde(rename = "Type", default)]
    kind: String,
    #[serde(default)]
    name: String,
}

/// What `docker inspect` printed of containers, sorted by service and number.
pub(crate) fn read(json: &[u8]) -> Result<Vec<Container>, String> {
    let inspected: Vec<Inspected> = serde_json::from_slice(json).map_err(|cause| cause.to_string())?;
    let mut containers: Vec<Container> = inspected.into_iter().map(container).collect();
    sort(&mut containers);
    Ok(containers)
}

pub(crate) fn sort(containers: &mut [Container]) {
    containers.sort_by(|a, b| (&a.service, a.number, &a.name).cmp(&(&b.service, b.number, &b.name)));
}

/// The identity of an image that `docker image inspect` printed.
pub(crate) fn image_id(json: &[u8]) -> Result<String, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Image {
        id: String,
    }
    let images: Vec<Image> = serde_json::from_slice(json).map_err(|cause| cause.to_string())?;
    images.into_iter().next().map(|image| image.id).ok_or_else(|| "it names no image".to_owned())
}

fn container(inspected: Inspected) -> Container {
    let labels = inspected.config.labels.unwrap_or_default();
    let label = |name: &str| labels.get(&format!("com.docker.compose.{name}")).cloned().unwrap_or_default();
    let health = inspected.state.health.as_ref().map(|health| health.status.as_str());
    let policy = inspected.host_config.and_then(|host| host.restart_policy).map(|policy| policy.name);
    let is_nameless = |name: &str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    Container {
        name: inspected.name.trim_start_matches('/').to_owned(),
        service: label("service"),
        number: label("container-number").parse().unwrap_or(0),
        image: inspected.config.image,
        image_id: inspected.image,
        state: state(&inspected.state.status, health),
        exit_code: inspected.state.exit_code,
        restarts: inspected.restart_count,
        started_at: inspected.state.started_at,
        stays_up: matches!(policy.as_deref(), Some("always" | "unless-stopped")),
        folder: label("project.working_dir"),
        nameless_volumes: inspected
            .mounts
            .iter()
            .any(|mount| mount.kind == "volume" && is_nameless(&mount.name)),
        id: inspected.id,
    }
}

fn state(status: &str, health: Option<&str>) -> State {
    match (status, health) {
        ("running", Some("healthy")) => State::Healthy,
        ("running", Some("starting")) => State::Starting,
        ("running", Some("unhealthy")) => State::Unhealthy,
        ("running", _) => State::Running,
        ("restarting", _) => State::Restarting,
        ("paused", _) => State::Paused,
        ("created", _) => State::Created,
        ("dead" | "removing", _) => State::Dead,
        _ => State::Ended,
    }
}

impl State {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Created => "not started",
            Self::Running => "running",
            Self::Starting => "running, its health not known yet",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Restarting => "restarting again and again",
            Self::Paused => "paused",
            Self::Ended => "ended",
            Self::Dead => "dead",
        }
    }

    /// A crash loop runs too: stopping it is not what undo is for.
    pub(crate) fn runs(self) -> bool {
        matches!(
            self,
            Self::Running
                | Self::Starting
                | Self::Healthy
                | Self::Unhealthy
                | Self::Restarting
                | Self::Paused
        )
    }
}

impl Container {
    pub(crate) fn described(&self) -> String {
        match self.state {
            State::Ended => format!("{} ended with {}", self.name, self.exit_code),
            state => format!("{} is {}", self.name, state.word()),
        }
    }

    fn judged(&self) -> Judgement {
        match self.state {
            State::Healthy => Judgement::Well,
            State::Running => Judgement::IfSteady,
            // A job that did its work.
            State::Ended if self.exit_code == 0 && !self.stays_up => Judgement::Well,
            State::Ended if !self.stays_up => Judgement::Broken(self.described()),
            State::Dead => Judgement::Broken(self.described()),
            State::Created
            | State::Starting
            | State::Unhealthy
            | State::Restarting
            | State::Paused
            | State::Ended => Judgement::Waiting(self.described()),
        }
    }
}

/// One judgement of all containers that are about `service`; `expected` of them when it is known.
pub(crate) fn judge(service: &str, containers: &[Container], expected: Option<u32>) -> Judgement {
    let own: Vec<&Container> = containers.iter().filter(|container| container.service == service).collect();
    let have = u32::try_from(own.len()).unwrap_or(u32::MAX);
    match expected {
        Some(expected) if expected != have => {
            return Judgement::Waiting(format!("{service} has {have} containers instead of {expected}"));
        }
        None if own.is_empty() => return Judgement::Waiting(format!("{service} has no container")),
        _ => {}
    }
    own.into_iter().map(Container::judged).fold(Judgement::Well, worse)
}

/// The worse of two; of two alike the first.
pub(crate) fn worse(a: Judgement, b: Judgement) -> Judgement {
    let rank = |judgement: &Judgement| match judgement {
        Judgement::Well => 0,
        Judgement::IfSteady => 1,
        Judgement::Waiting(_) => 2,
        Judgement::Broken(_) => 3,
    };
    if rank(&b) > rank(&a) { b } else { a }
}

/// What has to stay the same while one looks for steadiness.
pub(crate) fn pulse(containers: &[Container]) -> Vec<(String, u32, String)> {
    let pulse =
        |container: &Container| (container.id.clone(), container.restarts, container.started_at.clone());
    containers.iter().map(pulse).collect()
}

impl Before {
    pub(crate) fn of(&self, service: &str) -> Vec<&Container> {
        self.0.iter().filter(|container| container.service == service).collect()
    }

    pub(crate) fn services(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.0.iter().map(|container| container.service.as_str()).collect();
        names.dedup();
        names
    }

    /// Services whose containers are not the very ones that were.
    pub(crate) fn made_anew(&self, now: &[Container]) -> Vec<String> {
        let ids = |containers: &[&Container]| {
            let mut ids: Vec<String> = containers.iter().map(|container| container.id.clone()).collect();
            ids.sort_unstable();
            ids
        };
        let services = self.services().into_iter();
        services
            .filter(|service| ids(&self.of(service)) != ids(&of(now, service)))
            .map(str::to_owned)
            .collect()
    }

    /// Containers of services that had none.
    pub(crate) fn strangers<'c>(&self, now: &'c [Container]) -> Vec<&'c Container> {
        now.iter().filter(|container| self.of(&container.service).is_empty()).collect()
    }

    /// What to start, in the order in which things were started, and what to stop.
    pub(crate) fn turns<'c>(&self, now: &'c [Container]) -> (Vec<&'c Container>, Vec<&'c Container>) {
        let (mut starts, mut stops) = (Vec::new(), Vec::new());
        for service in self.services() {
            for (was, is) in self.of(service).into_iter().zip(of(now, service)) {
                match (was.state.runs(), is.state.runs()) {
                    (true, false) => starts.push((was.started_at.as_str(), is)),
                    (false, true) => stops.push(is),
                    _ => {}
                }
            }
        }
        starts.sort_by_key(|(started_at, _)| *started_at);
        (starts.into_iter().map(|(_, container)| container).collect(), stops)
    }

    /// Services that ran and were not broken: those undo waits for.
    pub(crate) fn sound(&self) -> Vec<&str> {
        let broken = |container: &&Container| {
            matches!(container.state, State::Unhealthy | State::Restarting | State::Starting | State::Paused)
        };
        let sound = |service: &&str| {
            let own = self.of(service);
            own.iter().any(|container| container.state.runs()) && !own.iter().any(broken)
        };
        self.services().into_iter().filter(sound).collect()
    }

    /// Says what is not as it was; none when all is.
    pub(crate) fn not_back(&self, now: &[Container]) -> Option<String> {
        let mut wrong = Vec::new();
        for stranger in self.strangers(now) {
            wrong.push(format!("{} was not there before", stranger.name));
        }
        for service in self.services() {
            let (was, is) = (self.of(service), of(now, service));
            if was.len() != is.len() {
                wrong.push(format!("{service} had {} containers and has {}", was.len(), is.len()));
                continue;
            }
            for (was, is) in was.into_iter().zip(is) {
                if was.image_id != is.image_id {
                    wrong.push(format!(
                        "{} runs image {} and ran {}",
                        is.name,
                        short(&is.image_id),
                        short(&was.image_id)
                    ));
                }
                if was.state.runs() != is.state.runs() {
                    wrong.push(format!("{} was {} and is {}", is.name, was.state.word(), is.state.word()));
                }
            }
        }
        (!wrong.is_empty()).then(|| wrong.join("; "))
    }
}

pub(crate) fn of<'c>(containers: &'c [Container], service: &str) -> Vec<&'c Container> {
    containers.iter().filter(|container| container.service == service).collect()
}

/// `3 of shop/api:1.2 (7b3661b3f193), healthy`, or what there is.
pub(crate) fn described(own: &[&Container]) -> Option<String> {
    let first = own.first()?;
    let mut states: Vec<&str> = own.iter().map(|container| container.state.word()).collect();
    states.dedup();
    let count = if own.len() == 1 { String::new() } else { format!("{} of ", own.len()) };
    Some(format!("{count}{} ({}), {}", first.image, short(&first.image_id), states.join(" and ")))
}

pub(crate) fn short(image_id: &str) -> &str {
    let hex = image_id.strip_prefix("sha256:").unwrap_or(image_id);
    hex.get(..12).unwrap_or(hex)
}

#[cfg(test)]
mod tests;
