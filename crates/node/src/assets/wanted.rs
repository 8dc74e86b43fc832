//! What an entry of a job's `assets` asks for: a name, and versions of it.

use semver::{Version, VersionReq};

/// A name and the versions that will do.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    versions: Versions,
}

#[derive(Debug)]
enum Versions {
    /// Any, pre-releases included.
    Any,
    Exactly(Version),
    /// Any of these.
    Ranges(Vec<VersionReq>),
    /// A version whose text is like this, where `*` stands for anything.
    Like(String),
}

impl<'a> Wanted<'a> {
    /// Reads `name`, `name:latest`, `name:*`, `name:1.2.3` or a range such as `name:^1.2`.
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        let (name, version) = text.split_once(':').unwrap_or((text, "latest"));
        let version = version.trim();
        let versions = match version {
            "" | "latest" | "*" => Versions::Any,
            version => match Version::parse(version.trim_start_matches('v')) {
                Ok(version) => Versions::Exactly(version),
                Err(_) if is_pattern(version) => Versions::Like(version.to_owned()),
                Err(_) => Versions::Ranges(ranges(version).map_err(|error| {
                    format!("{version:?} in {text:?} is neither a version nor a range: {error}")
                })?),
            },
        };
        Ok(Self { name, versions })
    }

    /// Tells whether a version will do.
    pub(super) fn accepts(&self, version: &Version) -> bool {
        match &self.versions {
            Versions::Any => true,
            Versions::Exactly(wanted) => wanted == version,
            Versions::Ranges(ranges) => ranges.iter().any(|range| range.matches(version)),
            Versions::Like(pattern) => is_like(&version.to_string(), pattern),
        }
    }
}

/// Tells whether a digit is directly followed by `*`, as in `1.2*`: that asks for a text, not for a range.
fn is_pattern(text: &str) -> bool {
    text.as_bytes().windows(2).any(|pair| pair[0].is_ascii_digit() && pair[1] == b'*')
}

fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

/// Reads ranges as npm writes them: `||` between them, and `1.2 - 1.4` for from one to the other.
fn ranges(text: &str) -> Result<Vec<VersionReq>, semver::Error> {
    let each = text.split("||").map(str::trim).map(|text| match text.split_once(" - ") {
        Some((from, to)) => range(&format!(">={} <={}", from.trim(), to.trim())),
        None => range(text),
    });
    each.collect()
}

/// Reads a range; bare numbers are the prefix of a version, comparators may be apart by blanks alone.
fn range(text: &str) -> Result<VersionReq, semver::Error> {
    let is_prefix = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_prefix {
        let is_whole = text.matches('.').count() == 2;
        return VersionReq::parse(&if is_whole { format!("={text}") } else { format!("{text}.*") });
    }
    let text = text.replace(".x", ".*");
    // ">= 1.2 <2" as npm writes it: a comma before each comparator but the first.
    let mut written = String::new();
    for word in text.split_whitespace() {
        let begins = word.starts_with(['<', '>', '=', '^', '~']);
        if begins && !written.is_empty() && !written.ends_with(',') {
            written.push(',');
        }
        written.push_str(word);
    }
    VersionReq::parse(&written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(wanted: &str) -> Vec<&'static str> {
        let wanted = Wanted::parse(wanted).unwrap();
        let all = ["1.1.9", "1.2.0", "1.2.7", "1.3.0", "2.0.0", "2.1.0-beta.1"];
        all.into_iter().filter(|version| wanted.accepts(&Version::parse(version).unwrap())).collect()
    }

    #[test]
    fn understands_every_form_of_a_version() {
        let all = vec!["1.1.9", "1.2.0", "1.2.7", "1.3.0", "2.0.0", "2.1.0-beta.1"];
        let cases = [
            ("a", all.clone()),
            ("a:latest", all.clone()),
            ("a:*", all),
            ("a:1.2.7", vec!["1.2.7"]),
            ("a:v1.2.7", vec!["1.2.7"]),
            ("a:2.1.0-beta.1", vec!["2.1.0-beta.1"]),
            ("a:1.2", vec!["1.2.0", "1.2.7"]),
            ("a:1", vec!["1.1.9", "1.2.0", "1.2.7", "1.3.0"]),
            ("a:^1.2", vec!["1.2.0", "1.2.7", "1.3.0"]),
            ("a:~1.2", vec!["1.2.0", "1.2.7"]),
            ("a:1.*", vec!["1.1.9", "1.2.0", "1.2.7", "1.3.0"]),
            ("a:1.2.x", vec!["1.2.0", "1.2.7"]),
            ("a:>=1.3", vec!["1.3.0", "2.0.0"]),
            ("a:>= 1.2.1 <2", vec!["1.2.7", "1.3.0"]),
            ("a:1.1 || 1.3.0", vec!["1.1.9", "1.3.0"]),
            ("a:1.1 - 1.2.5", vec!["1.1.9", "1.2.0"]),
            ("a:1.2*", vec!["1.2.0", "1.2.7"]),
            ("a:2*beta*", vec!["2.1.0-beta.1"]),
            ("a:1*7", vec!["1.2.7"]),
        ];
        for (wanted, versions) in cases {
            assert_eq!(accepted(wanted), versions, "{wanted}");
        }
    }

    #[test]
    fn refuses_what_is_no_version() {
        let error = Wanted::parse("a:newest").unwrap_err();
        assert!(
            error.starts_with("\"newest\" in \"a:newest\" is neither a version nor a range: "),
            "{error}"
        );
    }
}
