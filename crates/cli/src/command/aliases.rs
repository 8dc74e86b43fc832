//! `teraslice aliases`: names for clusters.

use std::path::PathBuf;

use serde_json::{Value, json};
use teraslice_node::exit_code;

use super::cluster::{
    Site, address,
    home::{self, Aliases},
};
use crate::{
    args::{
        Common,
        cluster::{Access, Alias, Aliases as Command},
    },
    failure::Failure,
};

/// Runs a command about aliases; returns the exit code.
pub(crate) fn execute(common: &Common, command: &Command) -> Result<u8, Failure> {
    let (Command::Add(Alias { folder, .. })
    | Command::Update(Alias { folder, .. })
    | Command::Remove { folder, .. }
    | Command::List { folder }) = command;
    let access = Access { config_dir: folder.config_dir.clone(), ..Access::default() };
    let site = Site::new(common, &access)?;
    let mut aliases = site.home.aliases()?;
    match command {
        Command::Add(alias) => set(&site, &mut aliases, alias, true)?,
        Command::Update(alias) => set(&site, &mut aliases, alias, false)?,
        Command::Remove { alias, .. } => {
            if !aliases.remove(alias) {
                return Err(unknown(alias));
            }
            site.home.write_aliases(&aliases)?;
            site.screen.say(&format!("forgot {alias}"));
        }
        Command::List { .. } => list(&site, &aliases)?,
    }
    Ok(exit_code::DONE)
}

fn set(site: &Site, aliases: &mut Aliases, arguments: &Alias, is_new: bool) -> Result<(), Failure> {
    let Alias { alias: name, url, token, ca, list: is_listed, .. } = arguments;
    let host = address(url)?;
    let known = aliases.get(name).cloned();
    if is_new && known.is_some() {
        return Err(Failure::text(exit_code::BAD_JOB, format!("there is a cluster {name:?} already"))
            .with_hint(format!("`teraslice aliases update {name} URL` changes its address")));
    }
    if !is_new && known.is_none() {
        return Err(unknown(name));
    }
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(is_plain) {
        let message = format!("{name:?} is no name for a cluster: write letters, digits, `-`, `_` and `.`");
        return Err(Failure::text(exit_code::BAD_JOB, message));
    }
    let known = known.unwrap_or_default();
    // A token was meant for the cluster at the old address.
    let kept = known.token.filter(|_| known.host == host);
    let ca = ca.as_ref().map(std::path::absolute).transpose()?.or(known.ca);
    let token = token.clone().filter(|token| !token.is_empty()).or(kept);
    aliases.set(name, home::Alias { host: host.clone(), token, ca });
    site.home.write_aliases(aliases)?;
    site.screen.say(&format!("{name} is {host}"));
    if *is_listed { list(site, aliases) } else { Ok(()) }
}

fn list(site: &Site, aliases: &Aliases) -> Result<(), Failure> {
    let rows: Vec<Value> = aliases.all().iter().map(|(name, alias)| row(name, alias)).collect();
    let columns = [("alias", "alias"), ("host", "host"), ("token", "token"), ("ca", "ca")];
    site.list(&Value::Array(rows), "alias", &columns)
}

/// Shows that there is a token, not which.
fn row(name: &str, alias: &home::Alias) -> Value {
    let ca = alias.ca.as_ref().map(|path: &PathBuf| path.display().to_string());
    let token = alias.token.as_ref().map(|_| "kept");
    json!({"alias": name, "host": alias.host, "token": token, "ca": ca})
}

fn unknown(name: &str) -> Failure {
    Failure::text(exit_code::BAD_JOB, format!("there is no cluster {name:?}"))
        .with_hint("`teraslice aliases list` shows all")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        args::cluster::Folder,
        command::cluster::testing::{Place, code, common},
    };

    fn alias(place: &Place, name: &str, url: &str, token: Option<&str>) -> Alias {
        let folder = Folder { config_dir: Some(place.path("home")) };
        let token = token.map(str::to_owned);
        Alias { alias: name.to_owned(), url: url.to_owned(), token, ca: None, list: true, folder }
    }

    #[test]
    fn adds_updates_and_removes() {
        let place = Place::new("http://h");
        let run = |command| code(execute(&common(), &command));
        let known = |name: &str| place.site().home.aliases().unwrap().get(name).cloned();
        assert_eq!(run(Command::Add(alias(&place, "a", "host", Some("t")))), 0);
        assert_eq!(
            known("a").map(|a| (a.host, a.token)),
            Some(("http://host:5678".to_owned(), Some("t".to_owned())))
        );
        assert_eq!(run(Command::Add(alias(&place, "a", "host", None))), exit_code::BAD_JOB);
        assert_eq!(run(Command::Update(alias(&place, "a", "host:5678", None))), 0);
        assert!(known("a").unwrap().token.is_some(), "the same place");
        assert_eq!(run(Command::Update(alias(&place, "a", "https://new", None))), 0);
        assert_eq!(
            known("a"),
            Some(home::Alias::new("https://new")),
            "the token was not meant for that place"
        );
        assert_eq!(run(Command::Update(alias(&place, "b", "h", None))), exit_code::BAD_JOB);
        let folder = || Folder { config_dir: Some(place.path("home")) };
        assert_eq!(run(Command::Remove { alias: "a".to_owned(), folder: folder() }), 0);
        assert_eq!(run(Command::Remove { alias: "a".to_owned(), folder: folder() }), exit_code::BAD_JOB);
        assert_eq!(known("a"), None);
    }

    #[test]
    fn refuses_names_and_addresses_that_are_none() {
        let place = Place::new("http://h");
        for (name, url) in [("a/b", "host"), ("", "host"), ("a", "ftp://host"), ("a", "")] {
            let command = Command::Add(alias(&place, name, url, None));
            assert_eq!(code(execute(&common(), &command)), exit_code::BAD_JOB, "{name} {url}");
        }
    }

    #[test]
    fn shows_no_token() {
        let alias = home::Alias { token: Some("s3cret".to_owned()), ..home::Alias::new("h") };
        assert!(!row("a", &alias).to_string().contains("s3cret"));
    }
}
