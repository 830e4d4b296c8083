//! Which hosts go in which wave, without taking a whole zone at once where that can be helped.

use std::collections::BTreeMap;

use super::GROUPS_MAX;
use crate::ids::HostName;
use crate::plan::InventoryHost;
use crate::plan::draft::Draft;
use crate::plan::problem::{Problem, count};
use crate::plan::select::fold_within;

pub(super) fn check(draft: &Draft, hosts: &[&InventoryHost], problems: &mut Vec<Problem>) {
    let Some(label) = &draft.pace.spread else { return };
    let without: Vec<&str> = hosts
        .iter()
        .filter(|host| !host.labels.contains_key(&label.value))
        .map(|host| host.name.as_str())
        .collect();
    if !without.is_empty() {
        let message =
            format!("{} without the label `{}`", count(without.len(), "selected host"), label.value);
        problems.push(
            Problem::error("P207", label.span.clone(), message)
                .label(format!("missing on {}", fold_within(without.iter().copied(), GROUPS_MAX)))
                .help("label these hosts, or leave `spread` out"),
        );
        return;
    }
    let sizes = sizes(&label.value, hosts);
    let values: BTreeMap<&HostName, &str> =
        hosts.iter().map(|host| (&host.name, value(&label.value, host))).collect();
    for (at, wave) in super::assign(draft, hosts).iter().enumerate() {
        let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
        for host in wave {
            *taken.entry(values.get(host).copied().unwrap_or_default()).or_default() += 1;
        }
        let whole: Vec<&str> = taken
            .iter()
            .filter(|(value, taken)| **taken > 1 && sizes.get(*value) == Some(taken))
            .map(|(value, _)| *value)
            .collect();
        if !whole.is_empty() {
            let message = format!("wave {} takes a whole `{}` at once", at + 1, label.value);
            let written = draft.waves[at]
                .hosts
                .as_ref()
                .map_or(draft.waves[at].span.clone(), |hosts| hosts.span.clone());
            problems.push(
                Problem::warning("P208", written, message)
                    .label(format!("every host of {}", whole.join(", ")))
                    .see(label.span.clone(), "to be spread over this label")
                    .help("more and smaller waves before this one leave room to spread"),
            );
        }
    }
}

fn sizes<'a>(label: &str, hosts: &[&'a InventoryHost]) -> BTreeMap<&'a str, usize> {
    let mut sizes = BTreeMap::new();
    for host in hosts {
        *sizes.entry(value(label, host)).or_default() += 1;
    }
    sizes
}

fn value<'a>(label: &str, host: &'a InventoryHost) -> &'a str {
    host.labels.get(label).map_or("", String::as_str)
}

/// One value of the label, while its hosts are handed out.
struct Part<'a> {
    hosts: std::vec::IntoIter<&'a HostName>,
    size: usize,
    in_wave: usize,
}

impl Part<'_> {
    fn taken(&self) -> usize {
        self.size - self.hosts.len()
    }

    /// Lower is better: first those that would not be whole in this wave, then
    /// single hosts, which are always whole, then the rest.
    fn rank(&self) -> u8 {
        match (self.size, self.in_wave + 1 == self.size) {
            (1, _) => 1,
            (_, true) => 2,
            (_, false) => 0,
        }
    }
}

/// Hosts (sorted by name) cut into waves that end at `ends`, each sorted.
///
/// By name; with a label, each place goes to the value of which the smallest
/// share is released, so that every value is begun before the last wave if the
/// earlier waves have a place for it.
pub(super) fn assign(label: Option<&str>, hosts: &[&InventoryHost], ends: &[usize]) -> Vec<Vec<HostName>> {
    let mut by_value: BTreeMap<&str, Vec<&HostName>> = BTreeMap::new();
    for host in hosts {
        by_value.entry(label.map_or("", |label| value(label, host))).or_default().push(&host.name);
    }
    let mut parts: Vec<Part<'_>> = by_value
        .into_values()
        .map(|hosts| Part { size: hosts.len(), hosts: hosts.into_iter(), in_wave: 0 })
        .collect();
    let mut released = 0;
    let mut waves = Vec::with_capacity(ends.len());
    for end in ends {
        parts.iter_mut().for_each(|part| part.in_wave = 0);
        let mut wave = Vec::new();
        while released < (*end).min(hosts.len()) {
            let next = parts.iter_mut().filter(|part| part.hosts.len() > 0).min_by(|a, b| {
                // Shares compared without fractions; ties go to the first value.
                a.rank().cmp(&b.rank()).then((a.taken() * b.size).cmp(&(b.taken() * a.size)))
            });
            let Some(host) = next.and_then(|part| {
                part.in_wave += 1;
                part.hosts.next()
            }) else {
                break;
            };
            wave.push(host.clone());
            released += 1;
        }
        wave.sort();
        waves.push(wave);
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fleet(zones: &[&str]) -> Vec<InventoryHost> {
        let host = |(at, zone): (usize, &&str)| InventoryHost {
            name: format!("h-{at:03}").parse().unwrap(),
            labels: [("zone".to_owned(), (*zone).to_owned())].into(),
        };
        zones.iter().enumerate().map(host).collect()
    }

    fn waves(label: Option<&str>, fleet: &[InventoryHost], ends: &[usize]) -> Vec<String> {
        let hosts: Vec<&InventoryHost> = fleet.iter().collect();
        assign(label, &hosts, ends)
            .iter()
            .map(|wave| crate::plan::select::fold(wave.iter().map(HostName::as_str)))
            .collect()
    }

    #[test]
    fn without_a_label_waves_go_by_name() {
        assert_eq!(waves(None, &fleet(&["a"; 6]), &[1, 3, 6]), ["h-000", "h-[001-002]", "h-[003-005]"]);
    }

    #[test]
    fn with_a_label_no_zone_is_alone_in_a_wave_and_whole() {
        let fleet = fleet(&["a", "a", "a", "b", "b", "b"]);
        assert_eq!(waves(Some("zone"), &fleet, &[1, 3, 6]), ["h-000", "h-[001,003]", "h-[002,004-005]"]);
    }

    proptest! {
        #[test]
        fn every_host_is_in_one_wave_and_zones_are_begun_before_the_last(
            zones in proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c"), Just("d")], 2..60),
            cuts in proptest::collection::btree_set(1usize..60, 1..5),
        ) {
            let fleet = fleet(&zones);
            let mut ends: Vec<usize> = cuts.into_iter().filter(|cut| *cut < zones.len()).collect();
            ends.push(zones.len());
            let hosts: Vec<&InventoryHost> = fleet.iter().collect();
            let waves = assign(Some("zone"), &hosts, &ends);
            prop_assert_eq!(waves.iter().map(Vec::len).scan(0, |sum, n| { *sum += n; Some(*sum) }).collect::<Vec<_>>(), ends.clone());
            let mut all: Vec<_> = waves.iter().flatten().collect();
            all.sort();
            all.dedup();
            prop_assert_eq!(all.len(), zones.len());
            if ends.len() > 1 {
                let places_before = ends[ends.len() - 2];
                let last = &waves[waves.len() - 1];
                let size = |zone: &str| zones.iter().filter(|z| **z == zone).count();
                let several: Vec<&str> = ["a", "b", "c", "d"].into_iter().filter(|zone| size(zone) > 1).collect();
                let whole = several.iter().filter(|zone| {
                    fleet.iter().filter(|host| host.labels["zone"] == **zone).all(|host| last.contains(&host.name))
                }).count();
                prop_assert_eq!(whole, several.len().saturating_sub(places_before));
            }
        }
    }
}
