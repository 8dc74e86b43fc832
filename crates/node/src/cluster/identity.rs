//! The words and certificates by which the parts of a cluster know each other.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use teraslice_model::id::ExId;
use teraslice_rpc::{
    secret::{ClusterKey, InvalidKey, Secret},
    tls::{Authority, Identity, TlsError},
};

use crate::{
    config::{Config, TlsConfig},
    state::NoStateDirectory,
};

/// The file of the cluster's key in the master's state directory.
const KEY: &str = "cluster.key";
/// The certificate of the authority that the master makes.
const CA: &str = "ca.pem";
/// Its key.
const CA_KEY: &str = "ca.key";

/// Why a part of a cluster has no word or certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("failed to use {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The cluster's key is none.
    #[error("cluster_secret, or {KEY} in the state directory, is wrong")]
    Key(#[from] InvalidKey),
    /// There is no place for the key.
    #[error(transparent)]
    NoPlace(#[from] NoStateDirectory),
    /// This node knows no secret.
    #[error("this node knows no secret: {path} is not there", path = path.display())]
    NoSecret {
        /// Where the key would be on the master's machine.
        path: PathBuf,
    },
    /// The master has issued no certificate, or has none to issue them with.
    #[error(
        "the environment variable {IDENTITY} is not set: tls.cert is to be set for all members of a cluster or for none"
    )]
    NotIssued,
    /// A certificate cannot be made or used.
    #[error("failed to prepare TLS")]
    Tls(#[from] TlsError),
}

/// Returns the key of the cluster: as configured, else the one in the state directory, which is made at the first start.
///
/// # Errors
///
/// See [`IdentityError`].
pub fn cluster_key(config: &Config, state_directory: &Path) -> Result<ClusterKey, IdentityError> {
    if let Some(text) = &config.cluster.secret {
        return Ok(ClusterKey::from_text(text)?);
    }
    let path = state_directory.join(KEY);
    let text = read_or_make(&path, || ClusterKey::draw().map(|key| key.to_text()))?;
    Ok(ClusterKey::from_text(&text)?)
}

/// Returns the word of a node: as configured, else derived from the cluster's key, which lies in the master's state directory.
///
/// # Errors
///
/// See [`IdentityError`].
pub fn node_secret(config: &Config, node_id: &str) -> Result<Secret, IdentityError> {
    if let Some(word) = &config.cluster.node_secret {
        return Ok(Secret::from_text(word.clone()));
    }
    if let Some(text) = &config.cluster.secret {
        return Ok(ClusterKey::from_text(text)?.node(node_id));
    }
    let path = place(config)?.join(KEY);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(ClusterKey::from_text(&text)?.node(node_id)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Err(IdentityError::NoSecret { path }),
        Err(source) => Err(IdentityError::File { path, source }),
    }
}

/// Returns where the master keeps its state, if that is this machine.
fn place(config: &Config) -> Result<&Path, NoStateDirectory> {
    config.state_directory.as_deref().ok_or(NoStateDirectory)
}

/// Returns the certificates of those whom this process believes, PEM; none when links are not encrypted.
///
/// # Errors
///
/// See [`IdentityError`].
pub fn trusted(config: &Config) -> Result<Option<String>, IdentityError> {
    let Some(tls) = &config.cluster.tls else { return Ok(None) };
    let path = match &tls.ca {
        Some(path) => path.clone(),
        None => place(config)?.join(CA),
    };
    read(&path).map(Some)
}

/// The variable that holds the certificate and the key of a controller, PEM.
pub(super) const IDENTITY: &str = "TERASLICE_IDENTITY";

/// Returns the certificate that a controller shows to its workers: that of its machine, else the one that was `issued` to it.
///
/// # Errors
///
/// See [`IdentityError`].
pub(super) fn of_controller(
    config: &Config,
    issued: Option<String>,
) -> Result<Option<Identity>, IdentityError> {
    let Some(tls) = &config.cluster.tls else { return Ok(None) };
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        return Ok(Some(Identity { cert_pem: read(cert)?, key_pem: read(key)? }));
    }
    // One text holds both: each reader passes over what is not its own.
    let pem = issued.ok_or(IdentityError::NotIssued)?;
    Ok(Some(Identity { cert_pem: pem.clone(), key_pem: pem }))
}

/// Returns the name by which workers know their controller's certificate; none where it is its host's.
pub(super) fn name_of_controller(config: &Config, ex_id: ExId) -> Option<String> {
    let tls = config.cluster.tls.as_ref()?;
    tls.cert.is_none().then(|| controller_name(ex_id))
}

/// Returns the name that the certificate of a controller is made out to, wherever it runs.
pub(super) fn controller_name(ex_id: ExId) -> String {
    format!("{ex_id}.controller.teraslice")
}

/// Returns the certificate that the master shows.
///
/// # Errors
///
/// See [`IdentityError`].
pub(super) fn of_master(
    config: &Config,
    tls: &TlsConfig,
    state_directory: &Path,
) -> Result<Identity, IdentityError> {
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        return Ok(Identity { cert_pem: read(cert)?, key_pem: read(key)? });
    }
    let mut names =
        vec!["localhost".to_owned(), "127.0.0.1".to_owned(), config.cluster.master_hostname.clone()];
    names.extend(config.cluster.hostname.clone());
    names.dedup();
    Ok(authority(state_directory)?.issue(&names)?)
}

/// Returns the authority of the state directory; it is made at the first start.
///
/// # Errors
///
/// See [`IdentityError`].
pub(super) fn authority(state_directory: &Path) -> Result<Authority, IdentityError> {
    let (cert, key) = (state_directory.join(CA), state_directory.join(CA_KEY));
    if !cert.exists() {
        let made = Authority::make()?;
        let _key = read_or_make(&key, || Ok(made.key_pem()))?;
        let _cert = read_or_make(&cert, || Ok(made.cert_pem().to_owned()))?;
    }
    Ok(Authority::from_pem(&read(&cert)?, &read(&key)?)?)
}

fn read(path: &Path) -> Result<String, IdentityError> {
    fs::read_to_string(path).map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

/// Reads a file that only this user can read, or makes it: complete under its name, or not there.
fn read_or_make(path: &Path, make: impl Fn() -> io::Result<String>) -> Result<String, IdentityError> {
    let failed = |source| IdentityError::File { path: path.to_owned(), source };
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read.map_err(failed),
    }
    let write = || {
        let text = make()?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let part = path.with_extension("part");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        Ok(text)
    };
    write().map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn makes_a_key_once_and_for_its_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { state_directory: Some(folder.path().to_owned()), ..Config::default() };
        let made = cluster_key(&config, folder.path()).unwrap();
        assert_eq!(cluster_key(&config, folder.path()).unwrap().to_text(), made.to_text());
        let mode = fs::metadata(folder.path().join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn derives_the_word_of_a_node_from_what_is_configured() {
        let mut config = Config::default();
        config.cluster.secret = Some("0f".repeat(32));
        let derived = node_secret(&config, "a").unwrap();
        assert!(cluster_key(&config, Path::new("/nowhere")).unwrap().node("a").matches(derived.expose()));
        config.cluster.node_secret = Some("word".to_owned());
        assert_eq!(node_secret(&config, "a").unwrap().expose(), "word");
    }

    #[test]
    fn names_the_file_that_a_node_misses() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { state_directory: Some(folder.path().to_owned()), ..Config::default() };
        let error = node_secret(&config, "a").unwrap_err();
        assert!(error.to_string().ends_with("cluster.key is not there"), "{error}");
    }

    #[test]
    fn makes_an_authority_that_signs_the_master() {
        let folder = tempfile::tempdir().unwrap();
        let identity = of_master(&Config::default(), &TlsConfig::default(), folder.path()).unwrap();
        assert!(identity.server_config(&[b"h2"]).is_ok());
        assert!(authority(folder.path()).is_ok(), "it is read back");
    }
}
