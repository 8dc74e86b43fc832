//! What the commands that speak with a cluster start from: who is asked, with which token, what is printed.

pub(crate) mod home;
pub(crate) mod outcome;
pub(crate) mod select;
pub(crate) mod show;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod verbs;
pub(crate) mod wait;

use std::{
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::Path,
};

use serde_json::Value;
use teraslice_api::client::{Client, ClientError, Options, normalize};
use teraslice_node::exit_code;

use self::home::{Alias, Home};
use crate::{
    args::{Common, Output, cluster::Access},
    failure::Failure,
    output,
    screen::Screen,
};

/// What a command that speaks with clusters starts from.
#[derive(Debug)]
pub(crate) struct Site {
    access: Access,
    /// How results are printed.
    pub(crate) output: Output,
    /// Standard error.
    pub(crate) screen: Screen,
    /// Aliases and saved jobs.
    pub(crate) home: Home,
}

impl Site {
    /// Finds the folder of aliases; nothing is read yet.
    pub(crate) fn new(common: &Common, access: &Access) -> Result<Self, Failure> {
        let home = Home::find(access.config_dir.as_deref())?;
        Ok(Self { access: access.clone(), output: common.output, screen: Screen::new(), home })
    }

    /// Makes a client for the cluster that the user has named on the command line.
    pub(crate) fn client(&self, cluster: &str) -> Result<Client, Failure> {
        let aliases = self.home.aliases()?;
        if let Some(alias) = aliases.get(cluster) {
            return self.connect(alias);
        }
        if cluster.contains("://") {
            let known = aliases.of_address(cluster);
            return self.connect(&known.unwrap_or_else(|| Alias::new(cluster)));
        }
        Err(unknown_alias(cluster, &aliases.names()))
    }

    /// Makes a client for the cluster that a job file names: an alias, or the address.
    ///
    /// A token goes only to clusters that have an alias: a file must not choose who gets it.
    pub(crate) fn client_of_file(&self, cluster: &str) -> Result<Client, Failure> {
        let aliases = self.home.aliases()?;
        if let Some(alias) = aliases.get(cluster).cloned().or_else(|| aliases.of_address(cluster)) {
            return self.connect(&alias);
        }
        if !cluster.contains("://") {
            return Err(unknown_alias(cluster, &aliases.names()));
        }
        let access = Access { token: None, ..self.access.clone() };
        connect(&Alias::new(cluster), &access)
    }

    fn connect(&self, alias: &Alias) -> Result<Client, Failure> {
        connect(alias, &self.access)
    }

    /// Prints one document; `text` is what people see.
    pub(crate) fn print(
        &self,
        document: &Value,
        id: &str,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.output {
            Output::Name => output::print(Output::Table, &(), || format!("{}\n", show::cell(document, id))),
            other => output::print(other, document, text),
        }
    }

    /// Prints a list as a table of these columns: a head and the field below it; `id` is the field that names an entry.
    pub(crate) fn list(
        &self,
        rows: &Value,
        id: &str,
        columns: &[(&'static str, &str)],
    ) -> Result<(), Failure> {
        let entries = rows.as_array().map(Vec::as_slice).unwrap_or_default();
        match self.output {
            Output::Name => {
                let names = || entries.iter().map(|row| format!("{}\n", show::cell(row, id))).collect();
                output::print(Output::Table, &(), names)
            }
            other => output::print(other, rows, || show::table(entries, columns)),
        }
    }

    /// Asks before something is changed that is hard to undo; without a terminal it must have been said with `--yes`.
    pub(crate) fn confirm(&self, question: &str, is_yes: bool) -> Result<(), Failure> {
        if is_yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() || !self.screen.is_terminal() {
            return Err(Failure::text(exit_code::BAD_JOB, format!("nobody can be asked: {question}"))
                .with_hint("say --yes"));
        }
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush())?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Failure::text(exit_code::BAD_JOB, "nothing was done")),
        }
    }
}

fn connect(alias: &Alias, access: &Access) -> Result<Client, Failure> {
    let ca = access.ca.as_deref().or(alias.ca.as_deref());
    let options = Options {
        token: access.token.clone().filter(|token| !token.is_empty()).or_else(|| alias.token.clone()),
        ca: ca.map(read_ca).transpose()?,
        ..Options::default()
    };
    Client::new(&alias.host, options).map_err(of_client)
}

fn read_ca(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        let context = format!("failed to read the certificates {}", path.display());
        Failure::new(exit_code::BAD_JOB, anyhow::Error::new(error).context(context))
    })
}

fn unknown_alias(alias: &str, known: &[&str]) -> Failure {
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Failure::text(exit_code::BAD_JOB, format!("there is no cluster {alias:?}; known: {known}"))
        .with_hint(format!("`teraslice aliases add {alias} URL` makes it known"))
}

/// Checks an address, as for an alias.
pub(crate) fn address(url: &str) -> Result<String, Failure> {
    normalize(url).map_err(of_client)
}

/// Says why a cluster did not do as asked.
pub(crate) fn of_client(error: ClientError) -> Failure {
    let (code, hint) = match &error {
        ClientError::BadAddress { .. } => {
            (exit_code::BAD_JOB, Some("write a URL, or a host with or without a port"))
        }
        ClientError::BadToken | ClientError::Certificates { .. } | ClientError::File { .. } => {
            (exit_code::BAD_JOB, None)
        }
        ClientError::Unreachable { .. } => (
            exit_code::UNAVAILABLE,
            Some("is the master running there? `teraslice aliases update NAME URL` changes an address"),
        ),
        ClientError::Lost { .. } => {
            (exit_code::UNAVAILABLE, Some("look before you repeat it: it may have been done"))
        }
        ClientError::Strange { .. } => {
            (exit_code::UNAVAILABLE, Some("`teraslice aliases list` shows the addresses"))
        }
        ClientError::Refused(answer) => match answer.status {
            401 => (
                exit_code::DENIED,
                Some("set TERASLICE_TOKEN, or keep it: `teraslice aliases update NAME URL --token TOKEN`"),
            ),
            403 => (exit_code::DENIED, Some("the token's role does not allow this")),
            429 | 500.. => (exit_code::UNAVAILABLE, None),
            _ => (exit_code::REFUSED, None),
        },
    };
    let failure = Failure::new(code, error);
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use teraslice_api::client::stub::Stub;

    use super::{testing::Place, *};

    #[test]
    fn takes_an_alias_or_a_url_and_names_what_is_known() {
        let place = Place::new("http://h:1");
        assert_eq!(place.site().client("here").unwrap().address(), "http://h:1");
        assert_eq!(place.site().client("http://other").unwrap().address(), "http://other");
        let failure = place.site().client("nowhere").unwrap_err();
        let text = failure.render();
        assert!(text.contains("there is no cluster \"nowhere\"; known: localhost, here"), "{text}");
        assert!(text.contains("`teraslice aliases add nowhere URL`"), "{text}");
    }

    #[test]
    fn sends_the_token_only_where_an_alias_says_who_is_there() {
        let stub = Stub::knowing(&[("GET /v1/x", 200, json!(1))]);
        let place = Place::new("http://h:1");
        let mut site = place.site();
        site.access.token = Some("s3cret".to_owned());
        let sent = |site: &Site| {
            site.client_of_file(&stub.url()).unwrap().get(&["x"], &[]).unwrap();
            stub.asked().last().unwrap().header("authorization").map(str::to_owned)
        };
        assert_eq!(sent(&site), None);
        place.alias("stub", &stub.url());
        assert_eq!(sent(&site).as_deref(), Some("Bearer s3cret"));
    }

    #[test]
    fn says_what_to_do_when_nobody_is_there() {
        let url = Stub::knowing(&[]).url();
        let failure = of_client(Client::new(&url, Options::default()).unwrap().delete(&["x"]).unwrap_err());
        assert_eq!(failure.code, exit_code::UNAVAILABLE);
        let text = failure.render();
        assert!(text.starts_with(&format!("error: failed to reach the cluster at {url}\n")), "{text}");
        assert!(text.contains("hint: is the master running there?"), "{text}");
    }

    #[test]
    fn has_a_code_for_each_kind_of_refusal() {
        for (status, code) in [
            (401, exit_code::DENIED),
            (403, exit_code::DENIED),
            (404, exit_code::REFUSED),
            (409, exit_code::REFUSED),
            (500, exit_code::UNAVAILABLE),
        ] {
            let stub = Stub::knowing(&[("DELETE /v1/x", status, json!({"error": status, "message": "no"}))]);
            let client = Client::new(&stub.url(), Options::default()).unwrap();
            assert_eq!(of_client(client.delete(&["x"]).unwrap_err()).code, code, "{status}");
        }
    }
}
