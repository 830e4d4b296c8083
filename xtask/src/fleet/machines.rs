//! The machines of a fleet: containers with systemd as their first process, and
//! what is installed on them, as a user would.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::docker::Docker;
use super::founding::{PEOPLE, machine, package, people};
use super::state::{COORDINATOR, Link, State, cache};
use super::{image, process::Process};

const BOOT_WITHIN: Duration = Duration::from_secs(60);
const CONNECT_WITHIN: Duration = Duration::from_secs(90);
/// Real file systems, as hosts have: what came with an image cannot change places in one step on an overlay.
const DISKS: [&str; 5] = ["/etc", "/home", "/opt", "/srv", "/var"];
/// Machines that are set up at the same time.
const AT_ONCE: usize = 4;

pub(crate) fn label(fleet: &str) -> String {
    format!("sternway.fleet={fleet}")
}

/// Finds a network that nobody has, and makes it; nothing leaves it.
pub(crate) fn make_network(docker: &Docker, state: &mut State) -> Result<(), String> {
    for number in 0..=250 {
        state.network = number;
        let (subnet, name, label) = (state.subnet(), state.network_name(), label(&state.name));
        let made =
            docker.ask(&["network", "create", "--internal", "--subnet", &subnet, "--label", &label, &name]);
        match made {
            Err(why) if why.contains("overlap") => {}
            made => return made.map(drop),
        }
    }
    Err("no network below 10.213.0.0/16 is free".into())
}

/// Does the same for each machine, some at a time; the first failure is told.
pub(crate) fn each<'a>(
    machines: impl Iterator<Item = &'a str>,
    work: impl Fn(&str) -> Result<(), String> + Sync,
) -> Result<(), String> {
    let (machines, work): (Vec<&str>, _) = (machines.collect(), &work);
    for some in machines.chunks(AT_ONCE) {
        let done: Vec<Result<(), String>> = std::thread::scope(|scope| {
            let running: Vec<_> = some
                .iter()
                .map(|machine| scope.spawn(move || work(machine).map_err(|why| format!("{machine}: {why}"))))
                .collect();
            running
                .into_iter()
                .map(|one| one.join().unwrap_or_else(|_| Err("a thread panicked".into())))
                .collect()
        });
        done.into_iter().collect::<Result<(), String>>()?;
    }
    Ok(())
}

/// Starts the container of a machine and waits until its systemd is up.
pub(crate) fn start(docker: &Docker, state: &State, folder: &Path, name: &str) -> Result<(), String> {
    let compiled = cache()?.join("compiled");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    let made = std::fs::create_dir_all(&compiled).and_then(|()| std::fs::set_permissions(&compiled, private));
    made.map_err(|cause| format!("could not make {}: {cause}", compiled.display()))?;
    let mut words: Vec<String> = ["run", "--detach", "--stop-signal", "SIGRTMIN+3"].map(String::from).into();
    let mut say = |option: &str, value: String| words.extend([option.to_owned(), value]);
    say("--name", state.container(name));
    say("--hostname", name.into());
    say("--label", label(&state.name));
    say("--network", state.network_name());
    say("--ip", state.address(name)?.to_string());
    // Older ones make the same one out of the address, and newer clients do not let them be told.
    if docker.gives_random_ethernet_addresses() {
        say("--mac-address", state.ethernet(name)?);
    }
    for other in state.machines().filter(|other| *other != name) {
        say("--add-host", format!("{other}:{}", state.address(other)?));
    }
    for capability in ["SYS_ADMIN", "NET_ADMIN"] {
        say("--cap-add", capability.into());
    }
    for open in ["seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"] {
        say("--security-opt", open.into());
    }
    say("--cgroupns", "host".into());
    say("--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw".into());
    for memory in ["/run", "/run/lock", "/tmp:exec"] {
        say("--tmpfs", memory.into());
    }
    for disk in DISKS {
        say("--volume", disk.into());
    }
    say("--volume", format!("{}:/mnt/sternway:ro", package(folder).display()));
    say("--volume", format!("{}:/mnt/machine:ro", machine(folder, name).display()));
    if name == COORDINATOR {
        say("--volume", format!("{}:/mnt/people:ro", people(folder).display()));
    } else {
        // Hosts of one fleet need not compile the same plugins again each.
        say("--volume", format!("{}:/var/cache/sternway", compiled.display()));
    }
    words.push(image::name());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    docker.ask(&words)?;
    wait_for_boot(docker, &state.container(name))
}

/// Until systemd has come to rest, with or without failed units.
pub(crate) fn wait_for_boot(docker: &Docker, container: &str) -> Result<(), String> {
    let until = Instant::now() + BOOT_WITHIN;
    loop {
        let said = docker.inside(container, &["systemctl", "is-system-running"]);
        // It also answers `degraded` with an error, and that is up.
        let said = said.unwrap_or_else(|why| why);
        let last = said.lines().last().unwrap_or_default();
        if last.ends_with("running") && !last.contains(' ') || last == "degraded" {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("systemd does not come up: {said}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Installs what a machine is there for.
pub(crate) fn install(docker: &Docker, state: &State, name: &str) -> Result<(), String> {
    let container = state.container(name);
    let role = if name == COORDINATOR { "coordinator" } else { "agent" };
    let install = ["/mnt/sternway/install.sh", role, "--from", "/mnt/machine"];
    docker.inside(&container, &install)?;
    if name == COORDINATOR {
        let [(first, _), ..] = PEOPLE;
        let own = format!(
            "mkdir -p /root/.config && cp -r /mnt/people/{first} /root/.config/sternway && cp -r /mnt/people /root/people \
             && cp /mnt/machine/fleet.toml /root/fleet.toml && chmod -R go= /root/.config /root/people"
        );
        docker.inside(&container, &["sh", "-c", &own])?;
    }
    if state.docker_hosts.iter().any(|host| host == name) {
        docker.inside(&container, &["sh", "-c", &inner_docker(&state.subnet())])?;
    }
    Ok(())
}

/// A Docker inside of a machine. Its containers lie below the machine's own
/// control group, so that they are paused with it and gone with it.
fn inner_docker(subnet: &str) -> String {
    format!(
        "set -e
         group=$(sed -n -e 's,^[0-9]*:name=systemd:\\(.*\\)/init.scope$,\\1,p' -e 's,^0::\\(.*\\)/init.scope$,\\1,p' \
           /proc/1/cgroup | head -n 1)
         mkdir -p /etc/docker
         printf '{{ \"cgroup-parent\": \"%s/containers\", \"insecure-registries\": [\"{subnet}\"] }}\\n' \"$group\" \
           > /etc/docker/daemon.json
         systemctl --quiet enable --now docker"
    )
}

/// Until the coordinator sees every host.
pub(crate) fn wait_for_hosts(docker: &Docker, state: &State) -> Result<(), String> {
    let until = Instant::now() + CONNECT_WITHIN;
    loop {
        let connected = connected(docker, state);
        if connected.len() == state.hosts.len() {
            return Ok(());
        }
        if Instant::now() > until {
            let away = state.hosts.iter().find(|host| !connected.contains(host));
            let away = away.map_or(COORDINATOR, String::as_str);
            let words = ["journalctl", "--no-pager", "--lines", "15"];
            let said = docker.inside(&state.container(away), &words).unwrap_or_else(|why| why);
            return Err(format!("{away} does not connect; its journal:\n{said}"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Hosts that the coordinator sees; none when it cannot be asked.
fn connected(docker: &Docker, state: &State) -> Vec<String> {
    let asked = docker.inside(&state.container(COORDINATOR), &["sternway", "fleet", "--json"]);
    let answer: Value = asked.ok().and_then(|said| serde_json::from_str(&said).ok()).unwrap_or_default();
    let hosts = answer["hosts"].as_array().into_iter().flatten();
    hosts
        .filter(|host| host["connected"] == true)
        .filter_map(|host| host["host"].as_str())
        .map(str::to_owned)
        .collect()
}

/// How a fleet stands, as `fleet status --json` prints it.
pub(crate) fn status(docker: &Docker, state: &State, folder: &Path) -> Result<Value, String> {
    let connected = connected(docker, state);
    let mut machines = Vec::new();
    for name in state.machines() {
        let found = docker.inspect(&state.container(name)).unwrap_or_default();
        let link = state.links.get(name).cloned().unwrap_or_default();
        machines.push(json!({
            "name": name,
            "address": state.address(name)?.to_string(),
            "container": found["Id"].as_str().map(|id| &id[..id.len().min(12)]),
            "container_name": state.container(name),
            "state": found["State"]["Status"].as_str().unwrap_or("gone"),
            "connected": (name != COORDINATOR).then(|| connected.iter().any(|host| host == name)),
            "docker": state.docker_hosts.iter().any(|host| host == name),
            "link": link_record(&link),
        }));
    }
    let coordinator = machines.remove(0);
    Ok(json!({
        "format": "sternway.test-fleet/1.0",
        "name": state.name,
        "up": true,
        "subnet": state.subnet(),
        "docker_host": docker.address(),
        "folder": folder,
        "people": people(folder),
        "inventory": folder.join("fleet.toml"),
        "programs": package(folder).join("bin"),
        "coordinator": coordinator,
        "hosts": machines,
    }))
}

fn link_record(link: &Link) -> Value {
    json!({
        "cut": link.cut,
        "delay_ms": link.delay,
        "loss_percent": f64::from(link.lost) / 100.0,
        "delayed": link.delayer.is_some_and(Process::is_alive),
    })
}

/// Every container, volume and network of a fleet, whoever made them and however far that came.
pub(crate) fn remove_all(docker: &Docker, fleet: &str) -> Result<usize, String> {
    let containers = docker.containers(&label(fleet))?;
    each(containers.iter().map(String::as_str), |container| {
        docker.ask(&["rm", "--force", "--volumes", container]).map(drop)
    })?;
    let filter = format!("label={}", label(fleet));
    for network in docker.ask(&["network", "ls", "--quiet", "--filter", &filter])?.lines() {
        docker.ask(&["network", "rm", network])?;
    }
    Ok(containers.len())
}
