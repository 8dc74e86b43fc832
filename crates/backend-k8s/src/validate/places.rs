//! Checks where a job wants its volumes: in folders of their own, away from those of the product.

use teraslice_model::{job::CheckedJob, problem::Problem};

use super::Findings;
use crate::{
    names,
    render::volumes::{
        CONFIG_DIRECTORY, EPHEMERAL_DIRECTORY, SECRETS_DIRECTORY, TEMPORARY_DIRECTORY, normalized,
    },
    settings::KubernetesSettings,
};

/// Checks the volumes of a job, name and place.
pub(super) fn check(job: &CheckedJob, settings: &KubernetesSettings, findings: &mut Findings) {
    let assets = settings.assets_path();
    let reserved = [CONFIG_DIRECTORY, &assets, EPHEMERAL_DIRECTORY, TEMPORARY_DIRECTORY, SECRETS_DIRECTORY];
    let mut taken: Vec<String> = Vec::new();
    for (index, volume) in job.resources.volumes.iter().enumerate() {
        if !names::is_dns_name(&volume.name) {
            let message = format!("{:?} cannot be the name of a volume claim", volume.name);
            findings.problem(format!("/volumes/{index}/name"), message);
        }
        let path = &volume.path;
        let pointer = format!("/volumes/{index}/path");
        if !is_plain(path) {
            let message = format!("{path:?} cannot be mounted to");
            let hint = "an absolute path without \"..\" and \":\"";
            findings.problems.push(Problem::new(pointer, message).with_hint(hint));
            continue;
        }
        let place = normalized(path);
        if let Some(other) = reserved.iter().find(|other| overlaps(&place, other)) {
            findings.problem(pointer, format!("{path:?} overlaps {other:?}, which is reserved"));
        } else if let Some(other) = taken.iter().find(|other| overlaps(&place, other)) {
            findings.problem(pointer, format!("{path:?} overlaps {other:?}, where another volume is"));
        }
        taken.push(place);
    }
}

fn is_plain(path: &str) -> bool {
    path.starts_with('/') && !path.contains(':') && path.split('/').all(|step| step != "..")
}

/// Tells whether one of two folders is the other or lies in it.
fn overlaps(one: &str, other: &str) -> bool {
    let holds = |outer: &str, inner: &str| {
        inner
            .strip_prefix(outer.trim_end_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    holds(one, other) || holds(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_overlap_when_one_holds_the_other() {
        for (one, other, do_overlap) in [
            ("/a", "/a", true),
            ("/a", "/a/b", true),
            ("/a/b", "/a", true),
            ("/", "/a", true),
            ("/a", "/ab", false),
            ("/a/b", "/a/c", false),
        ] {
            assert_eq!(overlaps(one, other), do_overlap, "{one} {other}");
        }
    }
}
