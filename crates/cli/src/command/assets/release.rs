//! Assets from releases on GitHub.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use teraslice_node::exit_code;
use ureq::Agent;

use crate::{command::cluster::home::failed, failure::Failure};

/// Where releases are asked for.
pub(super) const API: &str = "https://api.github.com";
/// The longest answer about a release.
const ABOUT_BYTES_MAX: u64 = 16 << 20;
/// The largest asset that is fetched.
const ASSET_BYTES_MAX: u64 = 1 << 30;
/// How long fetching may take.
const FETCH_MAX: Duration = Duration::from_mins(10);

/// Which of a release's files is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted<'a> {
    /// The processor.
    pub(super) arch: Option<&'a str>,
    /// The system.
    pub(super) platform: Option<&'a str>,
    /// The major version of Node.
    pub(super) node_version: Option<u32>,
}

/// Fetches the zip of a release, `user/repo` or `user/repo@version`, into a folder; one that is there is not fetched again.
pub(super) fn fetch(
    api: &str,
    release: &str,
    wanted: &Wanted<'_>,
    folder: &Path,
) -> Result<PathBuf, Failure> {
    let (repository, version) =
        release.split_once('@').map_or((release, None), |(name, tag)| (name, Some(tag)));
    let is_plain = |part: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && !part.starts_with('.') && part.chars().all(is_plain)
    };
    let parts: Vec<_> = repository.split('/').collect();
    if parts.len() != 2 || !parts.iter().copied().chain(version).all(is_plain) {
        let message = format!("{release:?} is no release: write USER/REPO or USER/REPO@VERSION");
        return Err(Failure::text(exit_code::BAD_JOB, message));
    }
    let agent = agent();
    let tags: Vec<_> = match version {
        None => vec!["latest".to_owned()],
        // Tags are written with and without the letter.
        Some(tag) => vec![format!("tags/{tag}"), format!("tags/v{}", tag.trim_start_matches('v'))],
    };
    let mut about = None;
    for tag in tags {
        let url = format!("{api}/repos/{repository}/releases/{tag}");
        if let Some(found) = ask(&agent, &url, release)? {
            about = Some(found);
            break;
        }
    }
    let about = about.ok_or_else(|| {
        Failure::text(exit_code::REFUSED, format!("there is no release {release:?} on GitHub"))
    })?;
    let (name, url) = choose(&about, wanted).map_err(|reason| Failure::text(exit_code::REFUSED, reason))?;
    let folder = folder.join(repository.replace('/', "-"));
    let path = folder.join(&name);
    if !path.exists() {
        fs::create_dir_all(&folder).map_err(|error| failed("make", &folder, error))?;
        download(&agent, &url, &path)?;
    }
    Ok(path)
}

fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(FETCH_MAX))
        .user_agent(concat!("teraslice/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// Asks about a release; none if there is none.
fn ask(agent: &Agent, url: &str, release: &str) -> Result<Option<Value>, Failure> {
    let unavailable = |error: anyhow::Error| {
        Failure::new(exit_code::UNAVAILABLE, error.context(format!("failed to ask GitHub about {release}")))
    };
    let mut response = agent.get(url).call().map_err(|error| unavailable(error.into()))?;
    match response.status().as_u16() {
        200 => {
            let body = response.body_mut().with_config().limit(ABOUT_BYTES_MAX);
            let bytes = body.read_to_vec().map_err(|error| unavailable(error.into()))?;
            serde_json::from_slice(&bytes).map(Some).map_err(|error| unavailable(error.into()))
        }
        404 => Ok(None),
        status => Err(unavailable(anyhow::Error::msg(format!("the answer was {status}")))),
    }
}

/// Chooses the one zip of a release that fits: its name and where it is.
fn choose(about: &Value, wanted: &Wanted<'_>) -> Result<(String, String), String> {
    let text = |asset: &Value, key: &str| asset.get(key).and_then(Value::as_str).map(str::to_owned);
    let files = about.get("assets").and_then(Value::as_array).into_iter().flatten();
    let zips: Vec<_> = files
        .filter_map(|file| Some((text(file, "name")?, text(file, "browser_download_url")?)))
        .filter(|(name, _)| name.ends_with(".zip") && !name.contains(['/', '\\']) && !name.starts_with('.'))
        .collect();
    let has = |name: &str, part: &str| name.trim_end_matches(".zip").split('-').any(|found| found == part);
    let node = wanted.node_version.map(|version| format!("node-{version}-"));
    let fits = |name: &str| {
        let is_bundle = name.ends_with("-bundle.zip");
        let on = |part: Option<&str>| part.is_none_or(|part| is_bundle || has(name, part));
        on(wanted.arch)
            && on(wanted.platform)
            && node.as_ref().is_none_or(|node| name.contains(node.as_str()))
    };
    let fitting: Vec<_> = zips.iter().filter(|(name, _)| fits(name)).collect();
    match fitting.as_slice() {
        [one] => Ok((*one).clone()),
        _ => {
            let names: Vec<_> = zips.iter().map(|(name, _)| name.as_str()).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let count = fitting.len();
            Err(format!(
                "{count} files of the release fit --arch, --platform and --node-version; its zips: {names}"
            ))
        }
    }
}

/// Fetches a file aside and puts it in place once it is whole.
fn download(agent: &Agent, url: &str, path: &Path) -> Result<(), Failure> {
    let unavailable = |error: anyhow::Error| {
        Failure::new(exit_code::UNAVAILABLE, error.context(format!("failed to fetch {url}")))
    };
    let response = agent.get(url).call().map_err(|error| unavailable(error.into()))?;
    if response.status() != 200 {
        return Err(unavailable(anyhow::Error::msg(format!(
            "the answer was {}",
            response.status().as_u16()
        ))));
    }
    let aside = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut body =
        response.into_body().into_with_config().limit(ASSET_BYTES_MAX + 1).reader().take(ASSET_BYTES_MAX + 1);
    let mut fetch = || {
        let mut file = File::create(&aside)?;
        if io::copy(&mut body, &mut file)? > ASSET_BYTES_MAX {
            return Err(io::Error::other("it is larger than 1 GiB"));
        }
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    fetch().map_err(|error| {
        // What was written aside is of no use.
        drop(fs::remove_file(&aside));
        unavailable(error.into())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use teraslice_api::client::stub::{Asked, Reply, Stub};

    use super::*;

    fn about(names: &[&str]) -> Value {
        let file = |name: &&str| json!({"name": name, "browser_download_url": format!("u/{name}")});
        json!({"assets": names.iter().map(file).collect::<Vec<_>>()})
    }

    fn chosen(names: &[&str], wanted: Wanted<'_>) -> Result<String, String> {
        choose(&about(names), &wanted).map(|(name, _)| name)
    }

    #[test]
    fn chooses_the_only_zip_that_fits() {
        let any = Wanted::default();
        assert_eq!(chosen(&["a-v1.zip", "notes.txt"], any).unwrap(), "a-v1.zip");
        let names = ["a-v1-node-18-linux-x64.zip", "a-v1-node-18-darwin-x64.zip", "a-v1-node-20-bundle.zip"];
        let linux = Wanted { platform: Some("linux"), node_version: Some(18), ..any };
        assert_eq!(chosen(&names, linux).unwrap(), names[0]);
        assert_eq!(chosen(&names, Wanted { node_version: Some(20), ..any }).unwrap(), names[2]);
        let refused = chosen(&names, any).unwrap_err();
        assert!(refused.starts_with("3 files") && refused.contains(names[1]), "{refused}");
        assert!(chosen(&["../a.zip"], any).is_err());
    }

    #[test]
    fn fetches_a_release_once() {
        let folder = tempfile::tempdir().unwrap();
        let stub = Stub::start(|asked: &Asked| match asked.line.as_str() {
            "GET /repos/u/r/releases/tags/v2" => {
                let host = asked.header("host").unwrap();
                let url = format!("http://{host}/file");
                Reply::Json(200, json!({"assets": [{"name": "r-v2.zip", "browser_download_url": url}]}))
            }
            "GET /file" => Reply::Raw(200, "", b"PK".to_vec()),
            _ => Reply::Json(404, json!({})),
        });
        for _ in 0..2 {
            let path = fetch(&stub.url(), "u/r@2", &Wanted::default(), folder.path()).unwrap();
            assert_eq!(path, folder.path().join("u-r/r-v2.zip"));
            assert_eq!(fs::read(path).unwrap(), b"PK");
        }
        assert_eq!(stub.lines().iter().filter(|line| *line == "GET /file").count(), 1);
        let missing = fetch(&stub.url(), "u/r", &Wanted::default(), folder.path()).unwrap_err();
        assert_eq!(missing.code, exit_code::REFUSED);
    }

    #[test]
    fn refuses_what_is_no_release() {
        for wrong in ["u", "u/r/x", "../r", "u/r@../x", "u/r@", "/r"] {
            let refused =
                fetch("http://127.0.0.1:1", wrong, &Wanted::default(), Path::new("/nowhere")).unwrap_err();
            assert_eq!(refused.code, exit_code::BAD_JOB, "{wrong}");
        }
    }
}
