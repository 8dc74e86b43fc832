//! Walks through ids by their first characters, longer beginnings where there are too many.
//!
//! ```text
//! ""  -> a -> a1 slice      at each beginning: its characters in order, then the rest: ids that end
//!          -> a2 -> ...     there, or go on with a character that the alphabet does not have
//!          -> rest
//!     -> b slice
//! ```

use serde::{Deserialize, Serialize};
use teraslice_model::{slice::Request, timestamp::Timestamp};

use crate::elasticsearch_reader::settings::IndexReaderConfig;

/// What ids are made of, and how they are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alphabet {
    characters: Vec<char>,
    /// What ids to read begin with.
    first: Vec<char>,
    /// Whether ids that begin otherwise are not wanted.
    is_range: bool,
    /// Beginnings have at least so many characters.
    depth: usize,
    /// Whether neighbours share a slice.
    groups: bool,
}

/// Where a walk stands: the beginning at hand, and which of its characters comes next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    path: String,
    next: usize,
}

/// Ids that make a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Their beginnings; empty: any.
    pub(crate) keys: Vec<String>,
    /// Beginnings that they do not have.
    pub(crate) except: Vec<String>,
    pub(crate) count: u64,
}

/// What has to be counted: ids behind a beginning, by the character that follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) prefix: String,
    pub(crate) next: Vec<char>,
}

/// Walks through some of the ids.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    alphabet: Alphabet,
    size: u64,
    /// Whose walk it is: slicers take turns in the first characters.
    slicer: usize,
    slicers: usize,
    /// From the empty beginning to the one at hand; empty at the end.
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
struct Node {
    prefix: String,
    characters: Vec<char>,
    /// By character, and the rest.
    counts: Option<Vec<u64>>,
    /// The character that comes next; behind the last one it is the rest.
    next: usize,
    has_rest: bool,
}

/// What a request looks like.
#[derive(Serialize)]
struct Shape<'a> {
    keys: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Timestamp>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    except: &'a [String],
    count: u64,
}

impl Alphabet {
    pub(crate) fn of(config: &IndexReaderConfig) -> Self {
        let characters: Vec<char> = config.key_type.alphabet().chars().collect();
        let range: Vec<char> = config.key_range.iter().flatten().flat_map(|key| key.chars()).collect();
        Self {
            is_range: !range.is_empty(),
            first: if range.is_empty() { characters.clone() } else { range },
            characters,
            depth: config.starting_key_depth.unwrap_or_default() as usize,
            groups: config.recurse_optimization,
        }
    }
}

impl Found {
    /// Makes the slice's request; `dates` are its start and end, and the end of all.
    pub(crate) fn request(&self, dates: Option<(i64, i64, i64)>) -> Request {
        let time = |of: fn((i64, i64, i64)) -> i64| dates.map(of).map(Timestamp::from_millis);
        let shape = Shape {
            keys: &self.keys,
            start: time(|(start, _, _)| start),
            end: time(|(_, end, _)| end),
            limit: time(|(_, _, limit)| limit),
            except: &self.except,
            count: self.count,
        };
        Request::new(&shape).expect("texts and numbers can be written as JSON")
    }
}

impl Walk {
    /// Makes the walk of one of `slicers` slicers.
    pub(crate) fn new(alphabet: Alphabet, size: u64, place: &Place, slicer: usize, slicers: usize) -> Self {
        let root = Node {
            prefix: String::new(),
            characters: alphabet.first.clone(),
            counts: None,
            next: place.next,
            has_rest: slicer == 0 && !alphabet.is_range,
        };
        let mut walk = Self { alphabet, size, slicer, slicers: slicers.max(1), nodes: vec![root] };
        for character in place.path.chars() {
            let parent = walk.nodes.last_mut().expect("there is a root");
            let at = parent.characters.iter().position(|other| *other == character);
            parent.next = at.map_or(0, |at| at + 1);
            walk.descend(character);
        }
        walk.nodes.last_mut().expect("there is a root").next = place.next;
        walk
    }

    /// Returns where the walk stands.
    pub(crate) fn place(&self) -> Place {
        match self.nodes.last() {
            Some(node) => Place { path: node.prefix.clone(), next: node.next },
            None => Place { path: String::new(), next: usize::MAX },
        }
    }

    /// Makes the next slice; none at the end. Or says what has to be counted first.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, Ask> {
        while let Some(node) = self.nodes.last_mut() {
            if node.next > node.characters.len() {
                let _done = self.nodes.pop();
                continue;
            }
            let Some(counts) = &node.counts else {
                return Err(Ask { prefix: node.prefix.clone(), next: node.characters.clone() });
            };
            let at = node.next;
            node.next += 1;
            let count = counts.get(at).copied().unwrap_or_default();
            if at == node.characters.len() {
                if count > 0 && node.has_rest {
                    return Ok(Some(node.rest(count)));
                }
                continue;
            }
            let is_root = node.prefix.is_empty();
            if count == 0 || (is_root && at % self.slicers != self.slicer) {
                continue;
            }
            if count > self.size || node.depth() + 1 < self.alphabet.depth {
                let character = node.characters[at];
                self.descend(character);
                continue;
            }
            return Ok(Some(if self.alphabet.groups && !is_root {
                node.group(at, self.size)
            } else {
                node.one(at)
            }));
        }
        Ok(None)
    }

    /// Takes the counts that were asked for.
    pub(crate) fn supply(&mut self, counts: Vec<u64>) {
        if let Some(node) = self.nodes.last_mut() {
            node.counts = Some(counts);
        }
    }

    fn descend(&mut self, character: char) {
        let parent = self.nodes.last().map(|node| node.prefix.as_str()).unwrap_or_default();
        let prefix = format!("{parent}{character}");
        let characters = self.alphabet.characters.clone();
        self.nodes.push(Node { prefix, characters, counts: None, next: 0, has_rest: true });
    }
}

impl Node {
    fn depth(&self) -> usize {
        self.prefix.chars().count()
    }

    fn count(&self, at: usize) -> u64 {
        self.counts.as_ref().and_then(|counts| counts.get(at)).copied().unwrap_or_default()
    }

    fn one(&self, at: usize) -> Found {
        let key = format!("{}{}", self.prefix, self.characters[at]);
        Found { keys: vec![key], except: Vec::new(), count: self.count(at) }
    }

    /// Makes a slice of as many neighbours as have `size` records together.
    fn group(&mut self, first: usize, size: u64) -> Found {
        let mut count = self.count(first);
        while self.next < self.characters.len() && count + self.count(self.next) <= size {
            count += self.count(self.next);
            self.next += 1;
        }
        let characters = &self.characters[first..self.next];
        if characters.len() == 1 {
            return self.one(first);
        }
        Found { keys: vec![format!("{}{}", self.prefix, class(characters))], except: Vec::new(), count }
    }

    fn rest(&self, count: u64) -> Found {
        let keys = if self.prefix.is_empty() { Vec::new() } else { vec![self.prefix.clone()] };
        Found { keys, except: vec![format!("{}{}", self.prefix, class(&self.characters))], count }
    }
}

/// Writes a class of characters, runs of them as `a-d`.
fn class(characters: &[char]) -> String {
    let mut written = String::from("[");
    let mut rest = characters;
    while let [first, ..] = rest {
        let follows =
            |pair: &[char]| u32::from(pair[1]) == u32::from(pair[0]) + 1 && pair[1].is_alphanumeric();
        let run = 1 + rest.windows(2).take_while(|pair| follows(pair)).count();
        let escaped =
            |character: char| if character == '-' { "\\-".to_owned() } else { character.to_string() };
        written.push_str(&escaped(*first));
        if run > 2 {
            written.push('-');
        }
        if run > 1 {
            written.push_str(&escaped(rest[run - 1]));
        }
        rest = &rest[run..];
    }
    written.push(']');
    written
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn alphabet(settings: Value) -> Alphabet {
        let mut all = json!({"index": "i", "key_type": "hexadecimal"});
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        Alphabet::of(&serde_json::from_value(all).unwrap())
    }

    /// Counts ids as the server does.
    fn counted(ids: &[&str], ask: &Ask) -> Vec<u64> {
        let inside: Vec<_> = ids.iter().filter_map(|id| id.strip_prefix(ask.prefix.as_str())).collect();
        let by = |character: &char| inside.iter().filter(|id| id.starts_with(*character)).count() as u64;
        let counts: Vec<_> = ask.next.iter().map(by).collect();
        let rest = inside.len() as u64 - counts.iter().sum::<u64>();
        counts.into_iter().chain([rest]).collect()
    }

    fn walked(ids: &[&str], mut walk: Walk) -> Vec<(Found, Place)> {
        let mut all = Vec::new();
        loop {
            match walk.next() {
                Ok(None) => return all,
                Ok(Some(found)) => all.push((found, walk.place())),
                Err(ask) => walk.supply(counted(ids, &ask)),
            }
        }
    }

    fn told(ids: &[&str], alphabet: &Alphabet, size: u64) -> String {
        let walk = Walk::new(alphabet.clone(), size, &Place::default(), 0, 1);
        let tell = |(found, _): (Found, Place)| {
            let but = if found.except.is_empty() { String::new() } else { format!("!{}", found.except[0]) };
            format!("{}{but}:{}", found.keys.join(","), found.count)
        };
        walked(ids, walk).into_iter().map(tell).collect::<Vec<_>>().join(" ")
    }

    const IDS: [&str; 9] = ["a1", "a2", "a3", "b1", "bb", "f0", "f1", "f2", "f3"];

    #[test]
    fn cuts_as_the_original_does() {
        assert_eq!(told(&IDS, &alphabet(json!({})), 2), "a1:1 a2:1 a3:1 b:2 f0:1 f1:1 f2:1 f3:1");
    }

    #[test]
    fn puts_neighbours_together_on_request() {
        let grouped = alphabet(json!({"recurse_optimization": true}));
        assert_eq!(told(&IDS, &grouped, 2), "a[12]:2 a[3-9a-f]:1 b:2 f[01]:2 f[2-9a-f]:2");
    }

    #[test]
    fn loses_no_id() {
        let ids = ["a", "a", "ab", "abc", "abd", "ax", "", "zz", "b"];
        assert_eq!(
            told(&ids, &alphabet(json!({})), 2),
            "abc:1 abd:1 ab!ab[0-9a-f]:1 a!a[0-9a-f]:3 b:1 ![0-9a-f]:2"
        );
        let deep = alphabet(json!({"starting_key_depth": 2}));
        assert_eq!(told(&ids, &deep, 10), "ab:3 a!a[0-9a-f]:3 b!b[0-9a-f]:1 ![0-9a-f]:2");
    }

    #[test]
    fn reads_a_range_of_keys_only() {
        let some = alphabet(json!({"key_range": ["b", "f"]}));
        assert_eq!(told(&IDS, &some, 4), "b:2 f:4");
    }

    #[test]
    fn goes_on_from_every_place() {
        let ids = ["a", "a1", "a2", "a11", "a12", "b3", "b4", "b5", "b", "x", "c1", "c2"];
        for groups in [false, true] {
            for size in [1, 2, 3] {
                let alphabet = alphabet(json!({"recurse_optimization": groups}));
                for slicer in 0..2 {
                    let all = walked(&ids, Walk::new(alphabet.clone(), size, &Place::default(), slicer, 2));
                    for at in 0..all.len() {
                        let rest = walked(&ids, Walk::new(alphabet.clone(), size, &all[at].1, slicer, 2));
                        assert_eq!(rest, all[at + 1..], "after {:?}", all[at]);
                    }
                }
            }
        }
    }

    #[test]
    fn divides_first_characters_among_slicers() {
        let ids = ["a1", "b1", "c1", "x"];
        let of = |slicer| {
            let walk = Walk::new(alphabet(json!({})), 5, &Place::default(), slicer, 2);
            walked(&ids, walk).into_iter().map(|(found, _)| found.keys.join(",")).collect::<Vec<_>>()
        };
        assert_eq!(
            (of(0), of(1)),
            (vec!["a".to_owned(), "c".to_owned(), String::new()], vec!["b".to_owned()])
        );
    }

    #[test]
    fn writes_requests_as_the_original_does() {
        let found = Found { keys: vec!["a1".to_owned()], except: Vec::new(), count: 3 };
        assert_eq!(found.request(None).json(), "{\"keys\":[\"a1\"],\"count\":3}");
        assert_eq!(
            found.request(Some((0, 1_000, 2_000))).json(),
            "{\"keys\":[\"a1\"],\"start\":\"1970-01-01T00:00:00.000Z\",\"end\":\"1970-01-01T00:00:01.000Z\",\
             \"limit\":\"1970-01-01T00:00:02.000Z\",\"count\":3}"
        );
    }

    #[test]
    fn writes_classes() {
        let class = |text: &str| class(&text.chars().collect::<Vec<_>>());
        assert_eq!(class("0123"), "[0-3]");
        assert_eq!(class("ab89-_+/"), "[ab89\\-_+/]");
    }
}
