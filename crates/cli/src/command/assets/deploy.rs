//! `teraslice assets deploy`: brings an asset into a cluster: a release, a file, or what a project is built into.

use std::path::{Path, PathBuf};

use serde_json::Value;
use teraslice_api::client::{Client, ClientError};
use teraslice_node::exit_code;

use super::{bad, read, release};
use crate::{
    args::{Common, executions::DeployAsset},
    command::cluster::{
        Site, of_client,
        outcome::{Outcome, each},
        show,
    },
    failure::Failure,
};

/// Brings an asset into a cluster; returns the exit code.
pub(super) fn execute(common: &Common, arguments: &DeployAsset) -> Result<u8, Failure> {
    let site = Site::new(common, &arguments.access)?;
    // A name that is not known is told before anything is built.
    let client = site.client(&arguments.alias)?;
    let zips = zips(&site, arguments)?;
    each(&site, "asset_id", &zips, |zip| {
        let path = zip.display().to_string();
        if arguments.skip_upload {
            return Ok(Outcome::new("not uploaded").with("path", path));
        }
        if !arguments.quiet {
            site.screen.say(&format!("uploading {path}"));
        }
        let answer = upload(&client, zip, arguments)?;
        let outcome = Outcome::new("uploaded").with("path", path);
        Ok(outcome.with_fields(&answer, &["asset_id"]))
    })
}

/// Fetches, finds or builds the asset.
fn zips(site: &Site, arguments: &DeployAsset) -> Result<Vec<PathBuf>, Failure> {
    if let Some(release) = &arguments.release {
        let wanted = release::Wanted {
            arch: arguments.arch.as_deref(),
            platform: arguments.platform.as_deref(),
            node_version: arguments.node_version,
        };
        return Ok(vec![release::fetch(release::API, release, &wanted, &site.home.assets())?]);
    }
    if let Some(file) = &arguments.file {
        return Ok(vec![file.clone()]);
    }
    let project = arguments.src_dir.as_deref().unwrap_or_else(|| Path::new("."));
    if !arguments.quiet {
        site.screen.say(&format!("building {}", project.display()));
    }
    teraslice_author::build(project).map_err(bad)
}

fn upload(client: &Client, zip: &Path, arguments: &DeployAsset) -> Result<Value, Failure> {
    match client.upload_asset(zip, arguments.blocking) {
        Err(ClientError::Refused(answer)) if answer.status == 409 && arguments.replace => {
            remove(client, zip)?;
            client.upload_asset(zip, arguments.blocking).map_err(of_client)
        }
        Err(ClientError::Refused(answer)) if answer.status == 409 => {
            Err(Failure::new(exit_code::REFUSED, ClientError::Refused(answer))
                .with_hint("--replace deletes the asset that is in the way"))
        }
        other => other.map_err(of_client),
    }
}

/// Deletes the assets of the zip's name and version.
fn remove(client: &Client, zip: &Path) -> Result<(), Failure> {
    let bundle = read(zip)?;
    let path = ["assets", bundle.name.as_str(), bundle.version.as_str()];
    let found = client.get(&path, &[]).map_err(of_client)?;
    for asset in found.as_array().into_iter().flatten() {
        client.delete(&["assets", &show::cell(asset, "id")]).map_err(of_client)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use teraslice_api::client::stub::Stub;

    use super::*;
    use crate::command::cluster::testing::{Place, code, common};

    fn arguments(place: &Place, file: PathBuf) -> DeployAsset {
        DeployAsset {
            alias: "here".to_owned(),
            release: None,
            file: Some(file),
            build: false,
            src_dir: None,
            replace: false,
            skip_upload: false,
            blocking: true,
            arch: None,
            platform: None,
            node_version: None,
            quiet: true,
            access: place.access(),
        }
    }

    #[test]
    fn uploads_a_file() {
        let stub = Stub::knowing(&[("POST /v1/assets?blocking=true", 201, json!({"asset_id": "a"}))]);
        let place = Place::new(&stub.url());
        std::fs::write(place.path("a.zip"), b"PK").unwrap();
        assert_eq!(code(execute(&common(), &arguments(&place, place.path("a.zip")))), 0);
        assert_eq!(stub.asked()[0].body, b"PK");
        let skipped = DeployAsset { skip_upload: true, ..arguments(&place, place.path("a.zip")) };
        assert_eq!(code(execute(&common(), &skipped)), 0);
        assert_eq!(stub.lines().len(), 1);
    }

    #[test]
    fn says_how_to_replace_what_is_in_the_way() {
        let refused = json!({"error": 409, "message": "there is one"});
        let stub = Stub::knowing(&[("POST /v1/assets?blocking=true", 409, refused)]);
        let place = Place::new(&stub.url());
        std::fs::write(place.path("a.zip"), b"PK").unwrap();
        let failure = execute(&common(), &arguments(&place, place.path("a.zip"))).unwrap_err();
        assert_eq!(failure.code, exit_code::REFUSED);
        assert!(failure.render().contains("hint: --replace"), "{}", failure.render());
    }
}
