//! What the coordinator had committed of a host when it came back, from its log.

use crate::ground::Ground;
use crate::host::Host;

/// `name=17` in a line of a log, colours or not.
fn number(line: &str, name: &str) -> Option<u64> {
    let mut plain = String::new();
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => letters.by_ref().take_while(|letter| *letter != 'm').for_each(drop),
            _ => plain.push(letter),
        }
    }
    let (_, rest) = plain.split_once(&format!(" {name}="))?;
    rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// How many records were acknowledged, and how many the journal had, at every
/// time when the host came to the coordinator.
pub fn acked_and_had(ground: &Ground, host: &Host) -> Vec<(u64, u64)> {
    let log = std::fs::read_to_string(ground.fleet.path("coordinator.log")).unwrap_or_default();
    let here = log.lines().filter(|line| line.contains("a host is here") && line.contains(&host.name));
    here.filter_map(|line| Some((number(line, "acked")?, number(line, "last")?))).collect()
}
