//! Writes the ids of assets into a job, in the place of their names.

use serde_json::{Map, Value};
use teraslice_model::problem::Problem;

use super::STANDARD;

/// What a job lists in `assets`, and the ids that it stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pins<'a> {
    pub(super) listed: &'a [String],
    /// As many, in the same order.
    pub(super) ids: &'a [String],
}

impl Pins<'_> {
    /// Writes ids into `assets` and behind every `@` of the job.
    ///
    /// # Errors
    ///
    /// Every `@` behind which something stands that is not listed.
    pub(super) fn write(&self, document: &mut Map<String, Value>) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !self.listed.is_empty() {
            document.insert("assets".to_owned(), self.ids.into());
        }
        for (index, operation) in objects(document, "operations") {
            let op = operation.get("_op").and_then(Value::as_str).and_then(|op| op.split_once('@'));
            match op.map(|(op, asset)| (op, asset, self.id(asset))) {
                Some((op, _, Some(id))) => {
                    let pinned = format!("{op}@{id}");
                    operation.insert("_op".to_owned(), pinned.into());
                }
                // What comes with every job need not be listed.
                Some((_, asset, None)) if asset.split(':').next() == Some(STANDARD) => {}
                Some((op, asset, None)) => {
                    problems.push(self.unlisted(format!("/operations/{index}/_op"), op, asset));
                }
                None => {}
            }
            // What is wrong with these is said where the API is.
            for key in ["_api_name", "_dead_letter_action"] {
                let pinned = operation.get(key).and_then(Value::as_str).and_then(|name| self.api(name));
                pinned.map(|pinned| operation.insert(key.to_owned(), pinned.into()));
            }
        }
        for (index, api) in objects(document, "apis") {
            let Some(name) = api.get("_name").and_then(Value::as_str) else { continue };
            match (self.api(name), name.split_once('@')) {
                (Some(pinned), _) => drop(api.insert("_name".to_owned(), pinned.into())),
                (None, Some((_, asset))) if asset.split(':').next() == Some(STANDARD) => {}
                (None, Some((api, asset))) => {
                    problems.push(self.unlisted(format!("/apis/{index}/_name"), api, asset));
                }
                (None, None) => {}
            }
        }
        problems
    }

    /// Says the same as `problem`, in the words of the job.
    pub(super) fn in_words(&self, problem: Problem, labels: &[String]) -> Problem {
        let spoken = |text: String| {
            let each = self.listed.iter().zip(self.ids).zip(labels);
            each.fold(text, |text, ((listed, id), label)| {
                text.replace(id, listed).replace(&format!("@{label} "), &format!("@{listed} "))
            })
        };
        // A blank behind the last word, so that no label is taken for the beginning of a longer one.
        let hint = problem.hint.map(|hint| spoken(format!("{hint} ")).trim_end().to_owned());
        Problem { message: spoken(problem.message), hint, ..problem }
    }

    /// Returns the id of what is written exactly as in `assets`, or is an id already.
    fn id(&self, written: &str) -> Option<&str> {
        let place = self.listed.iter().position(|listed| listed == written);
        let place = place.or_else(|| self.ids.iter().position(|id| id == written));
        place.map(|place| self.ids[place].as_str())
    }

    /// Returns the pinned name of an API, as in `name@words:1.0.0:tag`; none if it names no asset that is listed.
    fn api(&self, name: &str) -> Option<String> {
        let (api, written) = name.split_once('@')?;
        if let Some(id) = self.id(written) {
            return Some(format!("{api}@{id}"));
        }
        // The longest that fits: of `words` and `words:1.0.0`, the second.
        let all = self.listed.iter().chain(self.ids);
        let tagged = all.filter(|asset| {
            written.strip_prefix(asset.as_str()).is_some_and(|rest| rest.len() > 1 && rest.starts_with(':'))
        });
        let asset = tagged.max_by_key(|asset| asset.len())?;
        Some(format!("{api}@{}{}", self.id(asset)?, &written[asset.len()..]))
    }

    fn unlisted(&self, pointer: String, name: &str, asset: &str) -> Problem {
        let message = format!("asset {asset:?} of {name:?} is not in the job's assets");
        let hint = match self.listed {
            [] => format!("add {asset:?} to assets"),
            listed => format!("behind the @ it has to be written as there: {}", listed.join(", ")),
        };
        Problem::new(pointer, message).with_hint(hint)
    }
}

fn objects<'a>(
    document: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = (usize, &'a mut Map<String, Value>)> {
    let list = document.get_mut(key).and_then(Value::as_array_mut);
    let all = list.into_iter().flatten().enumerate();
    all.filter_map(|(index, value)| Some((index, value.as_object_mut()?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OLD: &str = "0000000000000000000000000000000000000001";
    const NEW: &str = "0000000000000000000000000000000000000002";

    fn pinned(document: &Value) -> (Value, Vec<String>) {
        let listed = ["ex1:0.0.1", "ex1"].map(str::to_owned);
        let ids = [OLD, NEW].map(str::to_owned);
        let mut document = document.as_object().unwrap().clone();
        let problems = Pins { listed: &listed, ids: &ids }.write(&mut document);
        (document.into(), problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn writes_ids_in_the_order_listed_and_behind_every_at() {
        let job = json!({
            "assets": ["ex1:0.0.1", "ex1"],
            "apis": [{"_name": "a@ex1"}, {"_name": "a@ex1:tag"}, {"_name": "a@ex1:0.0.1:tag"}, {"_name": "b:tag"}],
            "operations": [
                {"_op": "noop"},
                {"_op": "drop@ex1", "_api_name": "a@ex1:0.0.1:tag"},
                {"_op": "drop@ex1:0.0.1", "_api_name": "b:tag", "_dead_letter_action": "a@ex1"},
                {"_op": "filter@standard"},
            ],
        });
        let (document, problems) = pinned(&job);
        assert_eq!(problems, [""; 0]);
        let expected = json!({
            "assets": [OLD, NEW],
            "apis": [
                {"_name": format!("a@{NEW}")}, {"_name": format!("a@{NEW}:tag")},
                {"_name": format!("a@{OLD}:tag")}, {"_name": "b:tag"},
            ],
            "operations": [
                {"_op": "noop"},
                {"_op": format!("drop@{NEW}"), "_api_name": format!("a@{OLD}:tag")},
                {"_op": format!("drop@{OLD}"), "_api_name": "b:tag", "_dead_letter_action": format!("a@{NEW}")},
                {"_op": "filter@standard"},
            ],
        });
        assert_eq!(document, expected);
        assert_eq!(pinned(&document), (expected, Vec::new()), "once more changes nothing");
    }

    #[test]
    fn refuses_what_is_written_otherwise_than_in_assets() {
        let job = json!({
            "apis": [{"_name": "a@ex2:tag"}],
            "operations": [{"_op": "noop"}, {"_op": "drop@ex1:0.1.1"}, {"_op": 3}, null],
        });
        let (_, problems) = pinned(&job);
        assert_eq!(
            problems,
            [
                "/operations/1/_op: asset \"ex1:0.1.1\" of \"drop\" is not in the job's assets (behind the @ it has to be written as there: ex1:0.0.1, ex1)",
                "/apis/0/_name: asset \"ex2:tag\" of \"a\" is not in the job's assets (behind the @ it has to be written as there: ex1:0.0.1, ex1)",
            ]
        );
        let mut alone = json!({"operations": [{"_op": "drop@ex1"}]}).as_object().unwrap().clone();
        let problems = Pins { listed: &[], ids: &[] }.write(&mut alone);
        assert_eq!(problems[0].hint.as_deref(), Some("add \"ex1\" to assets"));
    }
}
