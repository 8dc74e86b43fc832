//! Names and label values that Kubernetes accepts, made of whatever people write.

use teraslice_core::backend::Role;
use teraslice_model::id::{ExId, Generation};

/// How long a label value and the name of a label may be.
const LABEL_LEN_MAX: usize = 63;
/// How long an object's name may be: a label less `-<index>-<5 characters>`, which its pods add, of an index below 10,000.
const OBJECT_LEN_MAX: usize = 52;
/// How much of the job's name goes into an object's name.
const JOB_LEN_MAX: usize = 28;
/// How much of the execution's id goes into an object's name: its first two groups.
const ID_LEN: usize = 13;

/// Returns the name of the object that holds the controller or the workers of an execution.
///
/// A DNS label of at most 52 characters; a long generation takes the place of the job's name.
pub(crate) fn object_name(role: Role, job_name: &str, ex_id: ExId, generation: Generation) -> String {
    let kind = match role {
        Role::Controller => "ts-exc",
        Role::Worker => "ts-wkr",
    };
    let mut id = ex_id.to_string();
    id.truncate(ID_LEN);
    let tail = format!("-{id}-g{generation}");
    let job = job_name_label(job_name).replace('.', "-");
    let room = JOB_LEN_MAX.min(OBJECT_LEN_MAX - kind.len() - 1 - tail.len());
    let job = job.get(..room).unwrap_or(&job).trim_end_matches('-');
    format!("{kind}-{job}{tail}")
}

/// Returns the label value for the name of a job: lower case, from a letter to a letter or digit.
pub(crate) fn job_name_label(name: &str) -> String {
    let lower = name.to_lowercase();
    let mut label: Vec<char> = lower
        .chars()
        .take(LABEL_LEN_MAX)
        .map(|found| match found {
            'a'..='z' | '0'..='9' | '-' | '.' => found,
            _ => '-',
        })
        .collect();
    match label.first_mut() {
        Some(first) if first.is_ascii_lowercase() => {}
        Some(first) => *first = 'a',
        None => label.push('a'),
    }
    if let Some(last) = label.last_mut()
        && !last.is_ascii_alphanumeric()
    {
        *last = '0';
    }
    label.into_iter().collect()
}

/// Returns the label value that tells this cluster's objects from those of others.
pub(crate) fn instance_label(cluster: &str) -> String {
    sanitized(cluster, '_')
}

/// Returns the nearest value that a label may have; it may be empty.
pub(crate) fn label_value(text: &str) -> String {
    sanitized(text, '-')
}

/// Returns the nearest name that a label may have below a prefix, if anything is left.
pub(crate) fn label_key(text: &str) -> Option<String> {
    Some(sanitized(text, '-')).filter(|key| !key.is_empty())
}

fn sanitized(text: &str, instead: char) -> String {
    let replaced: String = text
        .chars()
        .take(LABEL_LEN_MAX)
        .map(|found| if is_label_character(found) { found } else { instead })
        .collect();
    replaced.trim_matches(|end: char| !end.is_ascii_alphanumeric()).to_owned()
}

const fn is_label_character(found: char) -> bool {
    found.is_ascii_alphanumeric() || matches!(found, '-' | '_' | '.')
}

/// Tells whether a label may have this value.
pub(crate) fn is_label_value(text: &str) -> bool {
    label_value(text) == text
}

/// Tells whether this is the key of a label: a name, or a DNS name, a slash and a name.
pub(crate) fn is_label_key(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(is_dns_name) && !name.is_empty() && is_label_value(name)
}

/// Tells whether this is a name that Kubernetes lets objects have: DNS labels with dots between.
pub(crate) fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_edge =
            |end: Option<char>| end.is_some_and(|found| found.is_ascii_lowercase() || found.is_ascii_digit());
        is_edge(label.chars().next())
            && is_edge(label.chars().next_back())
            && label.chars().all(|found| found == '-' || is_edge(Some(found)))
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Tells whether a port may have this name: up to 15 lower-case letters, digits and single dashes, one letter at least.
pub(crate) fn is_port_name(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && !text.contains('.')
        && !text.contains("--")
        && is_dns_name(text)
        && text.chars().any(|found| found.is_ascii_lowercase())
}

/// Returns the name of the lease of a cluster.
pub(crate) fn lease(cluster: &str) -> String {
    format!("teraslice-{}", dns_piece(cluster))
}

/// Returns the name of the config map of a cluster's pods.
pub(crate) fn config_map(cluster: &str) -> String {
    format!("{}-worker", dns_piece(cluster))
}

/// Returns the nearest text that the name of an object may have in it.
fn dns_piece(text: &str) -> String {
    let lower = text.to_lowercase();
    let kept = lower.chars().take(LABEL_LEN_MAX).map(|found| match found {
        'a'..='z' | '0'..='9' => found,
        _ => '-',
    });
    kept.collect::<String>().trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> ExId {
        ExId::from_random([0xab; 16])
    }

    #[test]
    fn writes_job_names_as_the_original_does() {
        for (name, label) in [
            ("My Job", "my-job"),
            ("00", "a0"),
            ("-job-", "ajob0"),
            ("example-data.generator", "example-data.generator"),
            ("", "a"),
            ("?", "a"),
            ("Ünder_score", "ander-score"),
        ] {
            assert_eq!(job_name_label(name), label, "{name:?}");
        }
    }

    #[test]
    fn cuts_a_label_before_it_mends_the_end() {
        let label = job_name_label(&format!("{}-tail", "x".repeat(62)));
        assert_eq!(label, format!("{}0", "x".repeat(62)));
    }

    #[test]
    fn names_objects_by_job_execution_and_generation() {
        let name = object_name(Role::Controller, "My Job v1.2", id(), Generation(3));
        assert_eq!(name, "ts-exc-my-job-v1-2-abababab-abab-g3");
        let name = object_name(Role::Worker, &"x".repeat(99), id(), Generation(u64::MAX));
        assert_eq!(name, "ts-wkr-xxxxxxxxx-abababab-abab-g18446744073709551615");
    }

    #[test]
    fn replaces_what_a_cluster_label_cannot_hold() {
        assert_eq!(instance_label("my cluster/one"), "my_cluster_one");
        assert_eq!(instance_label("_teraslice-"), "teraslice");
    }

    #[test]
    fn tells_label_keys_from_other_text() {
        for (key, is_key) in [
            ("zone", true),
            ("topology.kubernetes.io/zone", true),
            ("Zone_1.a", true),
            ("", false),
            ("a/b/c", false),
            ("/zone", false),
            ("Upper.Case/zone", false),
            ("-zone", false),
            ("zone one", false),
        ] {
            assert_eq!(is_label_key(key), is_key, "{key:?}");
        }
    }

    #[test]
    fn tells_port_names_from_other_text() {
        for (name, is_name) in [
            ("http", true),
            ("h2-admin", true),
            ("8080", false),
            ("", false),
            ("-a", false),
            ("a--b", false),
            ("Http", false),
            ("a.b", false),
            ("sixteen-letters-", false),
            ("aaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(is_port_name(name), is_name, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn every_job_name_makes_a_dns_label(
            name in any::<String>(), bytes in any::<[u8; 16]>(), generation in any::<u64>()
        ) {
            for role in [Role::Controller, Role::Worker] {
                let object = object_name(role, &name, ExId::from_random(bytes), Generation(generation));
                prop_assert!(object.len() <= OBJECT_LEN_MAX, "{object}");
                prop_assert!(is_dns_name(&object) && !object.contains('.'), "{object}");
                prop_assert!(object.starts_with("ts-"));
            }
        }

        #[test]
        fn every_text_makes_a_label(text in any::<String>()) {
            let name = job_name_label(&text);
            prop_assert!(is_label_value(&name) && name.starts_with(|first: char| first.is_ascii_lowercase()));
            prop_assert!(is_label_value(&instance_label(&text)));
            let value = label_value(&text);
            prop_assert_eq!(label_value(&value), value);
            let is_right = label_key(&text).is_none_or(|key| is_label_key(&["example.org/", &key].concat()));
            prop_assert!(is_right);
        }
    }
}
