//! Where the state of executions lives on this machine.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::config::Config;

/// The variable that names the state directory.
const VARIABLE: &str = "TERASLICE_STATE_DIRECTORY";

/// There is no place for the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no state directory is named and HOME is not set: use --state-dir or {VARIABLE}")]
pub struct NoStateDirectory;

/// Returns the state directory: `named`, else `TERASLICE_STATE_DIRECTORY`, else the configuration's
/// `teraslice.state_directory`, else `teraslice` under `XDG_STATE_HOME` or `~/.local/state`.
///
/// # Errors
///
/// When none of these is set.
pub fn directory(named: Option<&Path>, config: &Config) -> Result<PathBuf, NoStateDirectory> {
    find(named, config, |name| env::var_os(name))
}

/// Returns the folder for what can be made again: `teraslice` under `XDG_CACHE_HOME` or `~/.cache`; none without a home.
#[must_use]
pub fn cache_directory() -> Option<PathBuf> {
    base("XDG_CACHE_HOME", ".cache", &|name| env::var_os(name))
}

fn find(
    named: Option<&Path>,
    config: &Config,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, NoStateDirectory> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named
        .map(Path::to_owned)
        .or_else(|| set(VARIABLE))
        .or_else(|| config.state_directory.clone())
        .or_else(|| base("XDG_STATE_HOME", ".local/state", &variable))
        .ok_or(NoStateDirectory)
}

fn base(xdg: &str, below_home: &str, variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The rules of XDG: what is not absolute does not count.
    let base = set(xdg).filter(|path| path.is_absolute());
    let base = base.or_else(|| set("HOME").map(|home| home.join(below_home)));
    base.map(|base| base.join("teraslice"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_first_place_that_is_named() {
        let configured = Config { state_directory: Some(PathBuf::from("/config")), ..Config::default() };
        let all = |name: &str| match name {
            VARIABLE => Some(OsString::from("/variable")),
            "XDG_STATE_HOME" => Some(OsString::from("/xdg")),
            _ => Some(OsString::from("/home/me")),
        };
        let home = |name: &str| (name == "HOME").then(|| OsString::from("/home/me"));
        let none = |_: &str| None;
        let found = |named, config: &Config, variables: &dyn Fn(&str) -> Option<OsString>| {
            find(named, config, variables).map(|path| path.display().to_string())
        };
        let defaults = Config::default();
        assert_eq!(found(Some(Path::new("/named")), &configured, &all).as_deref(), Ok("/named"));
        assert_eq!(found(None, &configured, &all).as_deref(), Ok("/variable"));
        assert_eq!(found(None, &configured, &home).as_deref(), Ok("/config"));
        assert_eq!(found(None, &defaults, &home).as_deref(), Ok("/home/me/.local/state/teraslice"));
        assert_eq!(found(None, &defaults, &none), Err(NoStateDirectory));
    }
}
