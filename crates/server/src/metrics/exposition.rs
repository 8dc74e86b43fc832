//! Metrics as Prometheus reads them: its text format.

use std::{collections::BTreeMap, fmt::Write as _};

/// Metrics, in the order in which they are to be written.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    families: Vec<Family>,
    places: BTreeMap<&'static str, usize>,
    /// Labels that every series has.
    common: Vec<(&'static str, String)>,
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    samples: String,
}

impl Exposition {
    /// Begins with labels that every series has.
    pub(super) fn new(common: Vec<(&'static str, String)>) -> Self {
        Self { common, ..Self::default() }
    }

    /// Adds a gauge.
    pub(super) fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        let place = *self.places.entry(name).or_insert_with(|| {
            self.families.push(Family { name, help, samples: String::new() });
            self.families.len() - 1
        });
        let samples = &mut self.families[place].samples;
        samples.push_str(name);
        let common = self.common.iter().map(|(key, value)| (*key, value.as_str()));
        for (index, (key, value)) in labels.iter().copied().chain(common).enumerate() {
            samples.push(if index == 0 { '{' } else { ',' });
            samples.push_str(key);
            samples.push_str("=\"");
            escape(samples, value);
            samples.push('"');
        }
        if !labels.is_empty() || !self.common.is_empty() {
            samples.push('}');
        }
        writeln!(samples, " {value}").expect("text grows as needed");
    }

    /// Returns the text.
    pub(super) fn text(self) -> String {
        let mut text = String::new();
        for Family { name, help, samples } in self.families {
            write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{samples}")
                .expect("text grows as needed");
        }
        text
    }
}

fn escape(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_each_family_in_one_piece() {
        let mut exposition = Exposition::new(vec![("name", "c\"1".to_owned())]);
        exposition.gauge("b", "B.", &[("x", "1")], 1.0);
        exposition.gauge("a", "A.", &[], 2.5);
        exposition.gauge("b", "B.", &[("x", "a\\\nb")], 0.0);
        let expected = "# HELP b B.\n# TYPE b gauge\nb{x=\"1\",name=\"c\\\"1\"} 1\n\
                        b{x=\"a\\\\\\nb\",name=\"c\\\"1\"} 0\n# HELP a A.\n# TYPE a gauge\na{name=\"c\\\"1\"} 2.5\n";
        assert_eq!(exposition.text(), expected);
    }
}
