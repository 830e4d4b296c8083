//! Real processes on loopback with a bad stretch of network between them: a proxy
//! of our own, since the kernel's is not everywhere.

mod stretch;

use std::time::Duration;

use sternway_tests::fleet::{Fleet, config_plan, text};
use stretch::{Manners, Stretch};

const BACK: &str = "{\n  \"version\": \"1.1\",\n  \"back\": true\n}\n";

/// A fleet whose agents reach the coordinator over this stretch only.
fn fleet_over(hosts: usize, manners: Manners) -> (Fleet, Stretch) {
    let mut fleet = Fleet::founded(hosts);
    let config = std::fs::read_to_string(fleet.path("coordinator.toml")).unwrap();
    let address = config.split('"').nth(1).expect("`listen` comes first").to_owned();
    let stretch = Stretch::to(address.parse().unwrap(), manners);
    for host in fleet.hosts().to_vec() {
        let path = fleet.path("hosts").join(host).join("agent.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        fleet.write(&path, &config.replace(&address, &stretch.address().to_string()));
    }
    fleet.start_coordinator();
    (0..hosts).for_each(|host| fleet.start_agent(host));
    (fleet, stretch)
}

fn all_are_back(fleet: &Fleet) {
    for host in 0..fleet.hosts().len() {
        assert_eq!(fleet.read(host, "etc/app.json"), BACK, "host {host}\n{}", fleet.logs());
    }
}

/// The numbers of a host's records are all there, once each.
fn began_once(fleet: &Fleet, hosts: usize) {
    let log = fleet.sternway("ada", &["log", "r-1", "--json"]);
    let began = text(&log.stdout)
        .lines()
        .filter(|line| line.contains("\"phase\":\"apply\"") && line.contains("\"state\":\"began\""))
        .count();
    assert_eq!(began, 2 * hosts, "each of two steps began once on each host\n{}", text(&log.stdout));
}

#[test]
fn doubled_reordered_and_garbled_datagrams_change_nothing() {
    let (fleet, stretch) =
        fleet_over(2, Manners { doubled: 200, reordered: 200, garbled: 50, ..Manners::default() });
    let sealed = fleet.seal(&config_plan(2, &[1, 2], "100ms"));
    let (code, said) = fleet.launch(&sealed);
    assert_eq!(code, 0, "{said}\n{}", fleet.logs());
    all_are_back(&fleet);
    began_once(&fleet, 2);
    assert!(stretch.touched() > 20, "the stretch did nothing: {}", stretch.touched());
}

#[test]
fn datagrams_beyond_1200_bytes_may_vanish() {
    let (fleet, stretch) = fleet_over(1, Manners { bytes_max: 1200, ..Manners::default() });
    let sealed = fleet.seal(&config_plan(1, &[1], "100ms"));
    let (code, said) = fleet.launch(&sealed);
    assert_eq!(code, 0, "{said}\n{}", fleet.logs());
    all_are_back(&fleet);
    assert!(stretch.touched() > 0, "nobody tried a larger datagram");
}

#[test]
fn a_new_address_in_mid_transfer_loses_no_record() {
    let (fleet, stretch) = fleet_over(2, Manners::default());
    let sealed = fleet.seal(&config_plan(2, &[2], "600ms"));
    let launched = fleet.sternway_beside("ada", &["launch", &sealed, "--confirm", "2", "--timeout", "50s"]);
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(120));
        stretch.rebind();
    }
    let output = launched.wait_with_output().unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", fleet.logs());
    all_are_back(&fleet);
    began_once(&fleet, 2);
}
