//! Links that are cut, slow or lose packets. The rules stand in the bridge of the
//! fleet's network, outside of the machines: nothing on a host can lift them, and
//! they hold over its death and boot. Machines are told apart by their Ethernet
//! address, so that nothing of a cut host gets through, not even its ARP.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process::Process;
use super::state::{Link, State};

const PATIENCE: Duration = Duration::from_secs(2);
/// Delayed packets of a machine wait in the queue of this number plus its address.
const FIRST_QUEUE: u16 = 20_000;

/// Changes one machine's link; what is not slow any more is not delayed any more.
pub(crate) fn change(
    state: &mut State,
    folder: &Path,
    machine: &str,
    change: impl FnOnce(&mut Link),
) -> Result<(), String> {
    let last = state.last_part(machine).ok_or_else(|| state.no_such(machine))?;
    let queue = queue(state.network, last);
    let link = state.links.entry(machine.to_owned()).or_default();
    let before = link.clone();
    change(link);
    if link.delay != before.delay || !link.delayer.is_some_and(Process::is_alive) {
        if let Some(delayer) = link.delayer.take() {
            delayer.end(PATIENCE);
        }
        if link.delay > 0 {
            link.delayer = Some(delayer(queue, link.delay, folder)?);
        }
    }
    if *link == Link::default() {
        state.links.remove(machine);
    }
    state.save(folder)?;
    apply(&rules(state)?)
}

/// Ends what delays links, and takes every rule of the fleet away.
pub(crate) fn clear(state: &State) -> Result<(), String> {
    for delayer in state.links.values().filter_map(|link| link.delayer) {
        delayer.end(PATIENCE);
    }
    let table = table(&state.name);
    // A table that is made first can be deleted whether it was there or not.
    apply(&format!("add table bridge {table}\ndelete table bridge {table}\n"))
}

fn queue(network: u8, last: u8) -> u16 {
    FIRST_QUEUE + u16::from(network) * 256 + u16::from(last)
}

fn delayer(queue: u16, delay: u64, folder: &Path) -> Result<Process, String> {
    let this =
        std::env::current_exe().map_err(|cause| format!("this program cannot find itself: {cause}"))?;
    let mut command = Command::new(this);
    command.args(["fleet", "delay-queue", &queue.to_string(), &delay.to_string()]);
    let log = folder.join("delays.log");
    let process = Process::start(&mut command, &log)?;
    // It ends at once when the kernel gives it no queue.
    std::thread::sleep(Duration::from_millis(100));
    match process.is_alive() {
        true => Ok(process),
        false => {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            Err(format!(
                "packets cannot be delayed here: {}",
                said.lines().last().unwrap_or("no reason was given")
            ))
        }
    }
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
        let last = state.last_part(machine).ok_or_else(|| state.no_such(machine))?;
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
        for side in ["saddr", "daddr"].into_iter().filter(|_| link.delay > 0) {
            let number = queue(state.network, last);
            let _ = writeln!(links, "    ether {side} {address} queue num {number}");
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
                ("web-02".to_owned(), Link { delay: 200, lost: 500, ..Link::default() }),
            ]
            .into(),
        };
        let text = rules(&state).unwrap();
        assert_eq!(text.matches("02:42:0a:d5:00:0b drop").count(), 2, "{text}");
        assert!(text.contains("ether daddr 02:42:0a:d5:00:0c queue num 20012"), "{text}");
        assert!(text.contains("ether saddr 02:42:0a:d5:00:0c numgen random mod 10000 < 500 drop"), "{text}");
        assert!(
            text.starts_with("add table bridge sternway_a_b\ndelete table bridge sternway_a_b\n"),
            "{text}"
        );
        let calm = State { links: Default::default(), ..state };
        assert!(!rules(&calm).unwrap().contains("ether"));
    }
}
