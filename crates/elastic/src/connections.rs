//! The connections of a process, by name.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};
use teraslice_model::problem::{Problem, escape_pointer};

use crate::{Client, Settings};

/// The connector types that are ours; of two connections of one name the one of the first type counts.
const TYPES: [&str; 2] = ["elasticsearch-next", "elasticsearch"];
/// The connection that operations use which name none.
const DEFAULT: &str = "default";

/// The connections of a process, by name. Cheap to clone; clones share the clients.
#[derive(Clone, Debug)]
pub struct Connections {
    clients: Arc<BTreeMap<String, Client>>,
}

impl Default for Connections {
    /// Returns one connection, `default`, to a server on this machine.
    fn default() -> Self {
        let local = Client::new(DEFAULT, Settings::default()).expect("the default settings make a client");
        Self { clients: Arc::new(BTreeMap::from([(DEFAULT.to_owned(), local)])) }
    }
}

impl PartialEq for Connections {
    fn eq(&self, other: &Self) -> bool {
        let said = |connections: &Self| -> Vec<_> {
            let clients = connections.clients.iter();
            clients.map(|(name, client)| (name.clone(), client.settings().clone())).collect()
        };
        said(self) == said(other)
    }
}

impl Connections {
    /// Reads `terafoundation.connectors`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong; pointers are relative to `connectors`, as in `/elasticsearch/default/host`.
    pub fn of(connectors: &Map<String, Value>) -> Result<Self, Vec<Problem>> {
        let mut clients = BTreeMap::new();
        let mut problems = Vec::new();
        for kind in TYPES {
            for (name, settings) in connectors.get(kind).and_then(Value::as_object).into_iter().flatten() {
                if clients.contains_key(name) {
                    continue;
                }
                let empty = Map::new();
                let settings = Settings::of(settings.as_object().unwrap_or(&empty));
                match settings
                    .and_then(|settings| Client::new(name, settings).map_err(|problem| vec![problem]))
                {
                    Ok(client) => drop(clients.insert(name.clone(), client)),
                    Err(wrong) => {
                        let at = format!("/{kind}/{}", escape_pointer(name));
                        problems.extend(wrong.into_iter().map(|problem| problem.below(&at)));
                    }
                }
            }
        }
        if problems.is_empty() { Ok(Self { clients: Arc::new(clients) }) } else { Err(problems) }
    }

    /// Returns a connection; absent: `default`.
    ///
    /// # Errors
    ///
    /// When there is none of that name; the pointer is `/_connection`.
    pub fn get(&self, name: Option<&str>) -> Result<Client, Problem> {
        let name = name.unwrap_or(DEFAULT);
        self.clients.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> = self.clients.keys().map(String::as_str).collect();
            Problem::unknown("/_connection", "elasticsearch connection", name, &known)
        })
    }

    /// Returns a connection if there is one of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Client> {
        self.clients.get(name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_connections_of_both_types() {
        let connectors = json!({
            "elasticsearch": {"default": {"host": "old"}, "other": {"host": "o"}},
            "elasticsearch-next": {"default": {"node": "http://new:9200"}},
            "s3": {"third": {}},
        });
        let connections = Connections::of(connectors.as_object().expect("an object")).expect("right");
        assert_eq!(connections.get(None).expect("there").settings().nodes[0].as_str(), "http://new:9200/");
        connections.get(Some("other")).expect("there");
        assert_eq!(
            connections.get(Some("thrid")).expect_err("not ours").to_string(),
            "/_connection: unknown elasticsearch connection \"thrid\" (known: default, other)"
        );
    }

    #[test]
    fn says_where_it_is_wrong() {
        let connectors = json!({"elasticsearch": {"a/b": {"host": 5}}});
        let problems = Connections::of(connectors.as_object().expect("an object")).expect_err("wrong");
        assert_eq!(problems[0].pointer, "/elasticsearch/a~1b/host");
    }

    #[test]
    fn is_local_when_nothing_is_said() {
        let connections = Connections::default();
        assert_eq!(connections.get(None).expect("there").settings(), &Settings::default());
    }
}
