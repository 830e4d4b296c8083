//! Links that are cut, slow or lose packets. What is lost is lost in the bridge of
//! the fleet's network, outside of the machines: nothing on a host can lift it, and
//! it holds over death and boot. Machines are told apart by their Ethernet address,
//! so that nothing of a cut host gets through, not even its ARP.
//!
//! What is late waits where a host's network begins, in its own namespace, since
//! a bridge can hand packets over to nobody; `boot` has to begin that again.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::docker::Docker;
use super::process::Process;
use super::state::{Link, State};

const PATIENCE: Duration = Duration::from_secs(2);
/// Of each host's own network; nobody else there uses it.
const QUEUE: u16 = 21_000;

/// Changes one machine's link.
pub(crate) fn change(
    docker: &Docker,
    state: &mut State,
    folder: &Path,
    machine: &str,
    change: impl FnOnce(&mut Link),
) -> Result<(), String> {
    let link = state.links.entry(machine.to_owned()).or_default();
    change(link);
    let mut link = link.clone();
    let network = namespace(docker, &state.container(machine))?;
    if let Some(delayer) = link.delayer.take() {
        delayer.end(PATIENCE);
    }
    if let Some(network) = &network {
        // Without anybody who takes packets from it, a queue lets nothing through.
        stop_queueing(network)?;
        if link.delay > 0 {
            link.delayer = Some(start_delayer(&state.name, network, link.delay, folder)?);
        }
    }
    match link == Link::default() {
        true => state.links.remove(machine),
        false => state.links.insert(machine.to_owned(), link),
    };
    state.save(folder)?;
    apply(&rules(state)?)
}

/// A Docker that was here before may have left a firewall behind that lets no
/// bridge forward anything; one that runs makes this exception by itself.
pub(crate) fn let_through(state: &State) -> Result<(), String> {
    crate::carry_out(&mut forwarding("--insert", state))
}

fn forwarding(how: &str, state: &State) -> Command {
    let (subnet, mut command) = (state.subnet(), Command::new("iptables"));
    command.args(["--wait", "5", how, "FORWARD", "--source", &subnet, "--destination", &subnet]);
    command.args(["--jump", "ACCEPT"]);
    command
}

/// Ends what delays links, and takes every rule of the fleet away.
pub(crate) fn clear(state: &State) -> Result<(), String> {
    let is_there = forwarding("--check", state).stderr(Stdio::null()).status();
    if is_there.is_ok_and(|status| status.success()) {
        crate::carry_out(&mut forwarding("--delete", state))?;
    }
    for delayer in state.links.values().filter_map(|link| link.delayer) {
        delayer.end(PATIENCE);
    }
    let table = table(&state.name);
    // A table that is made first can be deleted whether it was there or not.
    apply(&format!("add table bridge {table}\ndelete table bridge {table}\n"))
}

/// The option by which `nsenter` finds the network of a machine; none while it is dead.
fn namespace(docker: &Docker, container: &str) -> Result<Option<String>, String> {
    let process = docker.inspect(container)?["State"]["Pid"].as_u64().unwrap_or(0);
    Ok((process > 0).then(|| format!("--net=/proc/{process}/ns/net")))
}

fn queueing(network: &str, how: &str, chain: &str, side: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args([network, "iptables", "--wait", "5", "--table", "mangle", how, chain, side, "eth0"]);
    command.args(["--jump", "NFQUEUE", "--queue-num", &QUEUE.to_string()]);
    command
}

const QUEUED: [(&str, &str); 2] = [("PREROUTING", "--in-interface"), ("POSTROUTING", "--out-interface")];

fn stop_queueing(network: &str) -> Result<(), String> {
    for (chain, side) in QUEUED {
        let is_there = |how| {
            let status = queueing(network, how, chain, side).stderr(Stdio::null()).status();
            status.map(|status| status.success()).map_err(|cause| format!("could not start nsenter: {cause}"))
        };
        if is_there("--check")? && !is_there("--delete")? {
            return Err(format!("the rule that delays packets cannot be taken out of {chain}"));
        }
    }
    Ok(())
}

fn start_delayer(fleet: &str, network: &str, delay: u64, folder: &Path) -> Result<Process, String> {
    let this =
        std::env::current_exe().map_err(|cause| format!("this program cannot find itself: {cause}"))?;
    let mut command = Command::new("nsenter");
    command.arg(network).arg(this).args([
        "fleet",
        "delay-queue",
        fleet,
        &QUEUE.to_string(),
        &delay.to_string(),
    ]);
    let log = folder.join("delays.log");
    let process = Process::start(&mut command, &log)?;
    // It ends at once when the kernel gives it no queue.
    std::thread::sleep(Duration::from_millis(100));
    if !process.is_alive() {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        return Err(format!(
            "packets cannot be delayed here: {}",
            said.lines().last().unwrap_or("no reason given")
        ));
    }
    for (chain, side) in QUEUED {
        let begun = crate::carry_out(&mut queueing(network, "--append", chain, side));
        if let Err(why) = begun {
            process.end(PATIENCE);
            stop_queueing(network)?;
            return Err(format!("packets cannot be delayed here: {why}"));
        }
    }
    Ok(process)
}

fn table(fleet: &str) -> String {
    format!("sternway_{}", fleet.replace('-', "_"))
}

/// All rules at once, in place of all there were; nft takes them in one step.
fn rules(state: &State) -> Result<String, String> {
    let table = table(&state.name);
    let mut links = String::new();
    for (machine, link) in &state.links {
        let address = state.ethernet(machine)?;
        for side in ["saddr", "daddr"] {
            if link.cut {
                let _ = writeln!(links, "    ether {side} {address} drop");
            }
            if link.lost > 0 {
                let _ = writeln!(
                    links,
                    "    ether {side} {address} numgen random mod 10000 < {} drop",
                    link.lost
                );
            }
        }
    }
    let mut text = format!("add table bridge {table}\ndelete table bridge {table}\n");
    let _ = writeln!(text, "table bridge {table} {{\n  chain links {{\n{links}  }}");
    for hook in ["forward", "input", "output"] {
        let _ = writeln!(text, "  chain {hook} {{ type filter hook {hook} priority 0; jump links; }}");
    }
    Ok(text + "}\n")
}

fn apply(rules: &str) -> Result<(), String> {
    let failed = |cause: std::io::Error| format!("could not start nft: {cause}");
    let mut nft = Command::new("nft");
    nft.args(["--file", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = nft.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // When nft has ended already, its own words below say why.
        let _ = stdin.write_all(rules.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("nft refused the rules: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_host_is_cut_both_ways_and_nobody_else_is_touched() {
        let state = State {
            name: "a-b".into(),
            network: 0,
            hosts: vec!["web-01".into(), "web-02".into()],
            docker_hosts: Vec::new(),
            labels: Default::default(),
            links: [
                ("web-01".to_owned(), Link { cut: true, ..Link::default() }),
                ("web-02".to_owned(), Link { lost: 500, ..Link::default() }),
            ]
            .into(),
        };
        let text = rules(&state).unwrap();
        assert_eq!(text.matches("02:42:0a:d5:00:0b drop").count(), 2, "{text}");
        assert!(text.contains("ether saddr 02:42:0a:d5:00:0c numgen random mod 10000 < 500 drop"), "{text}");
        assert!(
            text.starts_with("add table bridge sternway_a_b\ndelete table bridge sternway_a_b\n"),
            "{text}"
        );
        let calm = State { links: Default::default(), ..state };
        assert!(!rules(&calm).unwrap().contains("ether"));
    }
}
