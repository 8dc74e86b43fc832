//! The name of an image.

use anyhow::{Result, bail};

/// A name with a tag, as `teraslice:k8sdev` or `registry.example.com:5000/data/teraslice:1.2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    name: String,
    tag: String,
}

impl Reference {
    /// Reads a name as users write it; without a tag it is `latest`.
    ///
    /// # Errors
    ///
    /// It is no name of an image.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let path_start = text.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match text[path_start..].split_once(':') {
            Some((last, tag)) => (&text[..path_start + last.len()], tag),
            None => (text, "latest"),
        };
        let is_name = name.split('/').enumerate().all(|(place, part)| is_part(part, place));
        if !is_name || !is_tag(tag) {
            bail!(
                "{text:?} is no name of an image: such as teraslice:k8sdev, or registry.example.com/teraslice:1"
            );
        }
        Ok(Self { name: name.to_owned(), tag: tag.to_owned() })
    }

    /// Returns the name as users write it.
    pub(super) fn familiar(&self) -> String {
        format!("{}:{}", self.name, self.tag)
    }

    /// Returns the name with its registry, under which the runtimes of nodes look for it.
    pub(super) fn qualified(&self) -> String {
        let registry = match self.name.split_once('/') {
            Some((first, _)) if is_registry(first) => "",
            Some(_) => "docker.io/",
            None => "docker.io/library/",
        };
        format!("{registry}{}:{}", self.name, self.tag)
    }

    /// Returns what is behind the colon.
    pub(super) fn tag(&self) -> &str {
        &self.tag
    }
}

fn is_registry(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':'])
}

fn is_part(part: &str, place: usize) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_in = |c: char| is_word(c) || "._-".contains(c) || (place == 0 && c == ':');
    part.starts_with(is_word) && part.ends_with(is_word) && part.chars().all(is_in)
}

fn is_tag(tag: &str) -> bool {
    let is_in = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=128).contains(&tag.len()) && tag.chars().all(is_in) && !tag.starts_with(['.', '-'])
}
