//! What is mounted into pods: configuration, identity, scratch space, assets, and the volumes of the job.

use k8s_openapi::{
    api::core::v1::{
        ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, PersistentVolumeClaimVolumeSource,
        ProjectedVolumeSource, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use teraslice_model::job::CheckedJob;

use crate::settings::KubernetesSettings;

/// The folder with the configuration.
pub(crate) const CONFIG_DIRECTORY: &str = "/app/config";
/// The folder with everything secret.
pub(crate) const SECRETS_DIRECTORY: &str = "/var/run/secrets";
/// Where a job that wants scratch space finds it.
pub(crate) const EPHEMERAL_DIRECTORY: &str = "/ephemeral0";
/// The folder that a process may always write to.
pub(crate) const TEMPORARY_DIRECTORY: &str = "/tmp";
/// The folder of the pod's token.
const IDENTITY_DIRECTORY: &str = "/var/run/secrets/teraslice";

/// The key of the config map, and the name of its file.
pub(crate) const CONFIG_FILE: &str = "teraslice.yaml";
/// How long a token is good; the node renews it in time.
const TOKEN_SECONDS: i64 = 3_600;
/// How much a process may write to `/tmp`.
const TEMPORARY_SIZE_MAX: &str = "1Gi";
/// How many bytes the assets of a job may take that are fetched from the master.
const ASSETS_SIZE_MAX: &str = "4Gi";

/// Returns the volumes of a pod, the same for both roles.
pub(super) fn volumes(job: &CheckedJob, settings: &KubernetesSettings) -> Vec<Volume> {
    let assets = match &settings.assets_volume {
        Some(name) => claim("assets".to_owned(), name),
        None => scratch("assets", Some(ASSETS_SIZE_MAX)),
    };
    let mut all =
        vec![config(settings), identity(settings), scratch("tmp", Some(TEMPORARY_SIZE_MAX)), assets];
    all.extend(claims(job).iter().enumerate().map(|(index, name)| claim(claim_volume(index), name)));
    if job.resources.ephemeral_storage {
        all.push(scratch("ephemeral-volume", None));
    }
    all
}

/// Returns where they are mounted.
pub(super) fn mounts(job: &CheckedJob, settings: &KubernetesSettings) -> Vec<VolumeMount> {
    let mount = |name: &str, path: &str, is_read_only: bool| VolumeMount {
        mount_path: path.to_owned(),
        name: name.to_owned(),
        read_only: is_read_only.then_some(true),
        ..VolumeMount::default()
    };
    let mut all = vec![
        mount("config", CONFIG_DIRECTORY, true),
        mount("identity", IDENTITY_DIRECTORY, true),
        mount("tmp", TEMPORARY_DIRECTORY, false),
        // The master alone writes to a shared volume.
        mount("assets", &settings.assets_path(), settings.assets_volume.is_some()),
    ];
    let claims = claims(job);
    all.extend(job.resources.volumes.iter().filter_map(|volume| {
        let index = claims.iter().position(|name| *name == volume.name)?;
        Some(mount(&claim_volume(index), &volume.path, false))
    }));
    if job.resources.ephemeral_storage {
        all.push(mount("ephemeral-volume", EPHEMERAL_DIRECTORY, false));
    }
    all
}

/// Returns an absolute path without empty steps, `.` and `..`.
pub(crate) fn normalized(path: &str) -> String {
    let mut steps = Vec::new();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => {
                steps.pop();
            }
            step => steps.push(step),
        }
    }
    format!("/{}", steps.join("/"))
}

/// Returns the claims of a job, each once: a pod that names one claim by two volumes may wait for it for ever.
fn claims(job: &CheckedJob) -> Vec<&str> {
    let mut all: Vec<&str> = Vec::new();
    for volume in &job.resources.volumes {
        if !all.contains(&volume.name.as_str()) {
            all.push(&volume.name);
        }
    }
    all
}

/// Names the volume of a claim; the name of the claim may hold a dot, which that of a volume may not.
fn claim_volume(index: usize) -> String {
    format!("vol-{index}")
}

fn config(settings: &KubernetesSettings) -> Volume {
    let file = KeyToPath { key: CONFIG_FILE.to_owned(), path: CONFIG_FILE.to_owned(), mode: None };
    Volume {
        name: "config".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: settings.config_map.clone(),
            items: Some(vec![file]),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Returns the token by which a pod shows who it is: for this cluster only, and of no use with Kubernetes itself.
fn identity(settings: &KubernetesSettings) -> Volume {
    let token = ServiceAccountTokenProjection {
        audience: Some(settings.audience()),
        expiration_seconds: Some(TOKEN_SECONDS),
        path: "token".to_owned(),
    };
    let token = VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() };
    Volume {
        name: "identity".to_owned(),
        projected: Some(ProjectedVolumeSource { sources: Some(vec![token]), default_mode: None }),
        ..Volume::default()
    }
}

fn claim(name: String, claim: &str) -> Volume {
    Volume {
        name,
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            read_only: None,
        }),
        ..Volume::default()
    }
}

fn scratch(name: &str, size_max: Option<&str>) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: None,
            size_limit: size_max.map(|size| Quantity(size.to_owned())),
        }),
        ..Volume::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::tests::job;

    #[test]
    fn relative_assets_lie_below_the_working_directory() {
        for (directory, found) in [
            ("assets", "/app/assets"),
            ("./assets/", "/app/assets"),
            ("/srv//assets", "/srv/assets"),
            ("../assets", "/assets"),
        ] {
            let mut settings = KubernetesSettings::new("c");
            settings.assets_directory = directory.to_owned();
            assert_eq!(settings.assets_path(), found, "{directory:?}");
        }
    }

    #[test]
    fn a_claim_that_is_mounted_twice_is_one_volume() {
        let settings = KubernetesSettings::new("c");
        let job = job(json!({"volumes": [
            {"name": "data.one", "path": "/a"}, {"name": "two", "path": "/b"}, {"name": "data.one", "path": "/c"},
        ]}));
        let claims: Vec<_> = volumes(&job, &settings)
            .into_iter()
            .filter_map(|volume| Some((volume.name, volume.persistent_volume_claim?.claim_name)))
            .collect();
        let mounts: Vec<_> = mounts(&job, &settings)
            .into_iter()
            .filter(|mount| mount.name.starts_with("vol-"))
            .map(|mount| (mount.name, mount.mount_path, mount.read_only))
            .collect();
        let text = str::to_owned;
        assert_eq!(claims, [(text("vol-0"), text("data.one")), (text("vol-1"), text("two"))]);
        assert_eq!(
            mounts,
            [
                (text("vol-0"), text("/a"), None),
                (text("vol-1"), text("/b"), None),
                (text("vol-0"), text("/c"), None)
            ]
        );
    }

    #[test]
    fn a_shared_assets_volume_is_mounted_for_reading() {
        let mut settings = KubernetesSettings::new("c");
        settings.assets_volume = Some("shared".to_owned());
        let job = job(json!({}));
        let assets = mounts(&job, &settings).into_iter().find(|mount| mount.name == "assets").unwrap();
        assert_eq!(assets.read_only, Some(true));
    }
}
