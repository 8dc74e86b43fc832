//! Finds processes by where they are, without looking at all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{super::message::Place, Process, Stage};

/// Which processes wait, and which live ones have a place on which node.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    waiting: BTreeSet<Place>,
    on_nodes: BTreeMap<String, BTreeSet<Place>>,
}

impl Index {
    /// Takes in how a process stands now; `before` is where it stood.
    pub(super) fn note(&mut self, place: Place, before: Option<&Process>, now: Option<&Process>) {
        if let Some(node) = before.and_then(node_of)
            && let Some(places) = self.on_nodes.get_mut(node)
        {
            places.remove(&place);
            if places.is_empty() {
                self.on_nodes.remove(node);
            }
        }
        self.waiting.remove(&place);
        if let Some(node) = now.and_then(node_of) {
            self.on_nodes.entry(node.to_owned()).or_default().insert(place);
        }
        if now.is_some_and(|process| process.stage == Stage::Waiting) {
            self.waiting.insert(place);
        }
    }

    /// Lists the processes that wait for a place.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Place> {
        self.waiting.iter().copied()
    }

    /// Lists the live processes of a node.
    pub(super) fn on_node(&self, node: &str) -> impl Iterator<Item = Place> {
        self.on_nodes.get(node).into_iter().flatten().copied()
    }

    /// Counts the live processes of each node.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&str, usize)> {
        self.on_nodes.iter().map(|(node, places)| (node.as_str(), places.len()))
    }
}

/// Returns where a live process has a place.
fn node_of(process: &Process) -> Option<&str> {
    process.node.as_deref().filter(|_| process.is_live())
}
