//! Trying every order of events, and telling a broken promise as a story.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display, Write};
use std::hash::Hash;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// What trying everything showed.
#[derive(Debug)]
pub struct Examined {
    /// Different states that were seen.
    pub states: usize,
    /// Promises that were broken, each with the shortest way there.
    pub broken: Vec<Story>,
    /// What should be able to happen and never did.
    pub never: Vec<&'static str>,
}

/// How it came to a broken promise.
#[derive(Debug)]
pub struct Story {
    pub promise: &'static str,
    pub events: Vec<String>,
    pub end: String,
}

impl Display for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "broken: {}", self.promise)?;
        for (number, event) in self.events.iter().enumerate() {
            writeln!(f, "{:>4}. {event}", number + 1)?;
        }
        write!(f, "then: {}", self.end)
    }
}

/// Tries everything, all promises to the end.
pub fn everything<M>(model: M) -> Examined
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Display + Debug + Clone + PartialEq + Send + Sync,
{
    examined(model, HasDiscoveries::All, 2)
}

/// Tries everything until this promise is broken; one thread, so that the way there is the shortest.
pub fn until_broken<M>(model: M, promise: &'static str) -> Examined
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Display + Debug + Clone + PartialEq + Send + Sync,
{
    examined(model, HasDiscoveries::AllOf(BTreeSet::from([promise])), 1)
}

fn examined<M>(model: M, until: HasDiscoveries, threads: usize) -> Examined
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Display + Debug + Clone + PartialEq + Send + Sync,
{
    let promises = model.properties();
    let checker = model.checker().threads(threads).finish_when(until).spawn_bfs().join();
    let found = checker.discoveries();
    let never = promises
        .iter()
        .filter(|promise| promise.expectation == Expectation::Sometimes && !found.contains_key(promise.name))
        .map(|promise| promise.name)
        .collect();
    let broken = promises
        .iter()
        .filter(|promise| promise.expectation != Expectation::Sometimes)
        .filter_map(|promise| {
            let path = found.get(promise.name)?.clone().into_vec();
            let mut end = String::new();
            if let Some((state, _)) = path.last() {
                write!(end, "{state:?}").expect("a string takes everything");
            }
            let events = path.iter().filter_map(|(_, event)| Some(event.as_ref()?.to_string())).collect();
            Some(Story { promise: promise.name, events, end })
        })
        .collect();
    Examined { states: checker.unique_state_count(), broken, never }
}
