//! `fleet up`: from nothing to a fleet whose hosts are all connected, step by
//! step with times. What fails in between is taken away again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::docker::Docker;
use super::state::{self, COORDINATOR, HOSTS_MAX, State};
use super::words::Words;
use super::{Trouble, founding, image, links, machines, needs};

const HOSTS: usize = 3;

struct Wishes {
    hosts: Vec<String>,
    docker_hosts: Vec<String>,
    labels: BTreeMap<String, String>,
    policy: Option<PathBuf>,
    programs: Option<PathBuf>,
    mirror: Option<String>,
    install: bool,
}

pub(crate) fn up(name: &str, words: Words) -> Result<(), Trouble> {
    let wishes = read(words)?;
    let folder = state::folder(name)?;
    if folder.exists() {
        return Err(
            format!("fleet `{name}` is up, or is left from before; first: cargo xtask fleet down").into()
        );
    }
    let began = Instant::now();
    let docker = step("docker", || {
        let found = Docker::find();
        let is_there = image::is_archived() || found.as_ref().is_some_and(image::is_known);
        needs::meet(wishes.install, is_there, found.is_some())?;
        // Installing it may have started it.
        match found.or_else(Docker::find) {
            Some(docker) => Ok((docker, "answers".to_owned())),
            None => Docker::start().map(|docker| (docker, "started".into())).map_err(Trouble::Cannot),
        }
    })?;
    let programs = match &wishes.programs {
        Some(folder) => folder.clone(),
        None => step("programs", || Ok((crate::build_programs("dev")?, "built".into())))?,
    };
    let done = raise(name, &folder, &docker, &wishes, &programs);
    match done {
        Ok(state) => {
            eprintln!("up in {:.1} s", began.elapsed().as_secs_f64());
            say_what_next(&state, &folder, &docker);
            Ok(())
        }
        Err(trouble) => {
            eprintln!("taking away what was there");
            let state = State::load(&folder).unwrap_or_default();
            let cleared = state.as_ref().map_or(Ok(()), links::clear);
            let cleared = cleared.and_then(|()| super::take_away(name, &folder, Some(&docker), false));
            match (trouble, cleared) {
                (trouble, Ok(())) => Err(trouble),
                (Trouble::Cannot(why) | Trouble::Failed(why), Err(also)) => {
                    Err(Trouble::Failed(format!("{why}\nand it could not be taken away: {also}")))
                }
            }
        }
    }
}

fn raise(
    name: &str,
    folder: &Path,
    docker: &Docker,
    wishes: &Wishes,
    programs: &Path,
) -> Result<State, Trouble> {
    let made = std::fs::create_dir_all(folder);
    made.map_err(|cause| format!("could not make {}: {cause}", folder.display()))?;
    step("image", || match image::is_known(docker) {
        true => Ok(((), format!("{} is here", image::name()))),
        false => image::make(docker, wishes.mirror.as_deref()).map(|()| ((), image::name())),
    })?;
    let mut state = State {
        name: name.to_owned(),
        network: 0,
        hosts: wishes.hosts.clone(),
        docker_hosts: wishes.docker_hosts.clone(),
        labels: wishes.labels.clone(),
        links: BTreeMap::new(),
    };
    step("network", || {
        machines::make_network(docker, &mut state)?;
        state.save(folder)?;
        if super::docker::is_ours() {
            links::let_through(&state)?;
        }
        Ok(((), state.subnet()))
    })?;
    step("identities", || {
        founding::pack(programs, folder)?;
        founding::found(&state, folder, wishes.policy.as_deref())?;
        let people: Vec<&str> = founding::PEOPLE.iter().map(|(person, _)| *person).collect();
        Ok(((), format!("{} hosts; {}", state.hosts.len(), people.join(", "))))
    })?;
    step("machines", || {
        machines::each(state.machines(), |machine| machines::start(docker, &state, folder, machine))?;
        Ok(((), "systemd is up everywhere".into()))
    })?;
    step("install", || {
        machines::each(state.machines(), |machine| machines::install(docker, &state, machine))?;
        Ok(((), "services are started".into()))
    })?;
    step("hosts", || {
        machines::wait_for_hosts(docker, &state)?;
        Ok(((), "all are connected".into()))
    })?;
    Ok(state)
}

/// Says what is being done, then how it went and how long it took.
fn step<T>(what: &str, work: impl FnOnce() -> Result<(T, String), Trouble>) -> Result<T, Trouble> {
    let began = Instant::now();
    let (outcome, said) = work()?;
    eprintln!("{what:<12}{:>6.1} s   {said}", began.elapsed().as_secs_f64());
    Ok(outcome)
}

fn say_what_next(state: &State, folder: &Path, docker: &Docker) {
    let name = match state.name.as_str() {
        super::NAME => String::new(),
        name => format!(" --name {name}"),
    };
    let first = state.hosts.first().map_or(COORDINATOR, String::as_str);
    eprintln!("\nnext, for example:");
    eprintln!("  cargo xtask fleet exec{name} {COORDINATOR} -- sternway fleet list");
    eprintln!("  cargo xtask fleet exec{name} {first} -- journalctl -u sternway-agent");
    eprintln!("  cargo xtask fleet cut{name} {first}        then: heal");
    eprintln!("  cargo xtask fleet down{name}");
    eprintln!("people sign with --identity {}/NAME", founding::people(folder).display());
    if let Some(address) = docker.address() {
        eprintln!("docker by hand: DOCKER_HOST={address}");
    }
}

fn read(mut words: Words) -> Result<Wishes, String> {
    let hosts = hosts(words.value("--hosts")?.as_deref())?;
    let docker_hosts = match words.value("--docker")?.as_deref() {
        None => hosts.iter().take(1).cloned().collect(),
        Some("all") => hosts.clone(),
        Some("none") => Vec::new(),
        Some(named) => named.split(',').map(str::to_owned).collect(),
    };
    if let Some(odd) = docker_hosts.iter().find(|host| !hosts.contains(host)) {
        return Err(format!("--docker names `{odd}`, which is no host of this fleet"));
    }
    let mut labels: BTreeMap<String, String> = [("service".to_owned(), "shop".to_owned())].into();
    for label in words.values("--label")? {
        let (key, value) =
            label.split_once('=').ok_or_else(|| format!("--label `{label}`: write KEY=VALUE"))?;
        if !is_name(key) || !is_name(value) {
            return Err(format!("--label `{label}`: letters, digits and - only"));
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    let wishes = Wishes {
        hosts,
        docker_hosts,
        labels,
        policy: words.value("--policy")?.map(PathBuf::from),
        programs: words.value("--bin-dir")?.map(PathBuf::from),
        mirror: words.value("--mirror")?,
        install: words.flag("--install"),
    };
    words.none_left()?;
    Ok(wishes)
}

/// Their number, or their names.
fn hosts(text: Option<&str>) -> Result<Vec<String>, String> {
    let named = |count: usize| (1..=count).map(|number| format!("host-{number:02}")).collect::<Vec<_>>();
    let hosts = match text.map(|text| (text, text.parse::<usize>())) {
        None => named(HOSTS),
        // Bounded before they are made.
        Some((_, Ok(count))) => named(count.min(HOSTS_MAX + 1)),
        Some((text, Err(_))) => text.split(',').map(str::to_owned).collect(),
    };
    if hosts.is_empty() || hosts.len() > HOSTS_MAX {
        return Err(format!("--hosts: 1 to {HOSTS_MAX} hosts"));
    }
    for (at, host) in hosts.iter().enumerate() {
        if !is_name(host) || host == COORDINATOR || hosts[..at].contains(host) {
            return Err(format!(
                "--hosts: `{host}` is no name of its own (a-z, 0-9 and -, not `{COORDINATOR}`)"
            ));
        }
    }
    Ok(hosts)
}

fn is_name(text: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    !text.is_empty() && text.len() <= 40 && !text.starts_with('-') && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(text: &str) -> Result<Wishes, String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        read(Words::of(&words))
    }

    #[test]
    fn hosts_are_counted_or_named_and_the_first_has_docker() {
        let counted = wishes("--hosts 12").unwrap();
        assert_eq!((counted.hosts.len(), counted.hosts[11].as_str()), (12, "host-12"));
        assert_eq!(counted.docker_hosts, ["host-01"]);
        let named = wishes("--hosts web-01,db-01 --docker db-01 --label service=agora").unwrap();
        assert_eq!(named.hosts, ["web-01", "db-01"]);
        assert_eq!(named.docker_hosts, ["db-01"]);
        assert_eq!(named.labels["service"], "agora");
    }

    #[test]
    fn a_fleet_that_cannot_be_is_refused_before_anything_is_made() {
        for odd in [
            "--hosts 0",
            "--hosts 201",
            "--hosts a,a",
            "--hosts coordinator",
            "--hosts Web",
            "--docker web-01",
            "--label x",
            "--label x=\"",
            "--cold",
        ] {
            assert!(wishes(odd).is_err(), "{odd}");
        }
    }
}
