//! Where a job file and its job in the cluster differ.

use serde_json::{Value, json};

/// One place where they differ.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Difference {
    /// The place, such as `operations.0.size`.
    pub(crate) place: String,
    /// What the file has; none: it has nothing there.
    pub(crate) file: Option<Value>,
    /// What the cluster has.
    pub(crate) cluster: Option<Value>,
}

impl Difference {
    /// Returns it as JSON.
    pub(crate) fn json(&self) -> Value {
        json!({"place": self.place, "file": self.file, "cluster": self.cluster})
    }
}

/// Finds where two documents differ; lists of another length differ as a whole.
pub(crate) fn differences(file: &Value, cluster: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(file), Some(cluster), &mut found);
    found
}

fn compare(place: &str, file: Option<&Value>, cluster: Option<&Value>, found: &mut Vec<Difference>) {
    let below = |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
    match (file, cluster) {
        (Some(a), Some(b)) if a == b => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let only_there = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(only_there) {
                compare(&below(key), a.get(key), b.get(key), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&below(&index.to_string()), Some(a), Some(b), found);
            }
        }
        (file, cluster) => {
            let (file, cluster) = (file.cloned(), cluster.cloned());
            found.push(Difference { place: place.to_owned(), file, cluster });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_each_place() {
        let file = json!({"name": "a", "workers": 2, "operations": [{"_op": "x", "size": 1}], "assets": []});
        let there =
            json!({"name": "a", "workers": 3, "operations": [{"_op": "x"}], "assets": ["y"], "slicers": 1});
        let found: Vec<_> = differences(&file, &there).iter().map(Difference::json).collect();
        assert_eq!(
            found,
            [
                json!({"place": "workers", "file": 2, "cluster": 3}),
                json!({"place": "operations.0.size", "file": 1, "cluster": null}),
                json!({"place": "assets", "file": [], "cluster": ["y"]}),
                json!({"place": "slicers", "file": null, "cluster": 1}),
            ]
        );
        assert_eq!(differences(&file, &file), []);
    }
}
