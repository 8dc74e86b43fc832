//! The settings of a connection, in the forms of 2018 (`elasticsearch`) and of today (`elasticsearch-next`).

use std::time::Duration;

use serde_json::{Map, Value};
use teraslice_model::problem::Problem;

/// The default of `requestTimeout`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// The port of a host that names none.
const PORT: u16 = 9200;

/// The settings of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where servers are, such as `http://127.0.0.1:9200`; at least one.
    pub nodes: Vec<reqwest::Url>,
    /// Who we are.
    pub credentials: Option<Credentials>,
    /// The authority that signed the servers' certificates, in PEM; absent: any that browsers know.
    pub ca_certificate: Option<String>,
    /// How long one try may take (default 120 s).
    pub request_timeout: Duration,
    /// Whether answers come compressed.
    pub is_compressed: bool,
    /// Whether the cluster is asked for its nodes before the first request.
    pub sniff_on_start: bool,
    /// Whether it is asked after a connection failed.
    pub sniff_on_fault: bool,
    /// How often it is asked beside that.
    pub sniff_interval: Option<Duration>,
}

/// Who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// User and password.
    Basic(String, String),
    /// An API key in its encoded form.
    ApiKey(String),
    /// A token.
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Basic(user, _) => write!(f, "Basic({user:?})"),
            Self::ApiKey(_) => f.write_str("ApiKey"),
            Self::Bearer(_) => f.write_str("Bearer"),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: vec![reqwest::Url::parse("http://127.0.0.1:9200").expect("the literal is a URL")],
            credentials: None,
            ca_certificate: None,
            request_timeout: REQUEST_TIMEOUT,
            is_compressed: false,
            sniff_on_start: false,
            sniff_on_fault: false,
            sniff_interval: None,
        }
    }
}

impl Settings {
    /// Reads the settings of a connection: `node` (`elasticsearch-next`) or `host` (`elasticsearch`), each a text or a list.
    ///
    /// # Errors
    ///
    /// Everything that is wrong; pointers are relative to the connection, as in `/node/0`.
    pub fn of(settings: &Map<String, Value>) -> Result<Self, Vec<Problem>> {
        let mut reading = Reading { settings, problems: Vec::new() };
        let defaults = Self::default();
        let (nodes, in_url) = reading.nodes();
        let credentials = reading.credentials().or(in_url);
        let read = Self {
            nodes: if nodes.is_empty() { defaults.nodes } else { nodes },
            credentials,
            ca_certificate: reading.text("caCertificate"),
            request_timeout: reading.millis("requestTimeout").unwrap_or(REQUEST_TIMEOUT),
            is_compressed: reading.flag("suggestCompression"),
            sniff_on_start: reading.flag("sniffOnStart"),
            sniff_on_fault: reading.flag("sniffOnConnectionFault"),
            sniff_interval: reading.millis("sniffInterval"),
        };
        if reading.problems.is_empty() { Ok(read) } else { Err(reading.problems) }
    }
}

struct Reading<'a> {
    settings: &'a Map<String, Value>,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.settings.get(key).filter(|value| !value.is_null())
    }

    fn wrong(&mut self, pointer: impl Into<String>, what: &str, found: &Value) {
        let pointer = pointer.into();
        let key =
            pointer.rsplit('/').find(|step| step.parse::<u32>().is_err()).unwrap_or_default().to_owned();
        self.problems.push(Problem::new(pointer, format!("{key} must be {what}, found {found}")));
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let value = self.get(key)?.clone();
        let text = value.as_str().map(str::to_owned);
        if text.is_none() {
            self.wrong(format!("/{key}"), "text", &value);
        }
        text.filter(|text| !text.is_empty())
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.get(key).cloned() {
            None => false,
            Some(Value::Bool(flag)) => flag,
            Some(other) => {
                self.wrong(format!("/{key}"), "true or false", &other);
                false
            }
        }
    }

    /// Reads milliseconds; `false` is absent, as in the clients of old.
    fn millis(&mut self, key: &str) -> Option<Duration> {
        let value = self.get(key).filter(|value| **value != Value::Bool(false))?.clone();
        let millis = value.as_u64().filter(|millis| *millis > 0);
        if millis.is_none() {
            self.wrong(format!("/{key}"), "a number of milliseconds, at least 1", &value);
        }
        millis.map(Duration::from_millis)
    }

    /// Returns the servers, and who we are if their addresses say so.
    fn nodes(&mut self) -> (Vec<reqwest::Url>, Option<Credentials>) {
        let Some((key, value)) = ["node", "nodes", "host", "hosts"]
            .into_iter()
            .find_map(|key| self.get(key).map(|value| (key, value.clone())))
        else {
            return (Vec::new(), None);
        };
        let list = match &value {
            Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        };
        if list.is_empty() {
            self.wrong(
                format!("/{key}"),
                "an address such as http://127.0.0.1:9200, or a list of them",
                &value,
            );
        }
        let mut nodes = Vec::new();
        let mut credentials = None;
        for (at, entry) in list.iter().enumerate() {
            let Some(mut url) = entry.as_str().and_then(address) else {
                let pointer = if value.is_array() { format!("/{key}/{at}") } else { format!("/{key}") };
                self.wrong(pointer, "an address such as http://127.0.0.1:9200", entry);
                continue;
            };
            if !url.username().is_empty() {
                let decode =
                    |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
                let password = url.password().map(decode).unwrap_or_default();
                credentials = Some(Credentials::Basic(decode(url.username()), password));
                let _with_host = url.set_username("").and_then(|()| url.set_password(None));
            }
            nodes.push(url);
        }
        (nodes, credentials)
    }

    fn credentials(&mut self) -> Option<Credentials> {
        let plain = (self.text("username"), self.text("password"));
        let auth = match self.get("auth").cloned() {
            None => Map::new(),
            Some(Value::Object(auth)) => auth,
            Some(other) => {
                self.wrong("/auth", "an object with username and password, apiKey, or bearer", &other);
                return None;
            }
        };
        let mut within = Reading { settings: &auth, problems: Vec::new() };
        let nested = (within.text("username"), within.text("password"));
        let (key, bearer) = (within.text("apiKey"), within.text("bearer"));
        self.problems.extend(within.problems.into_iter().map(|problem| problem.below("/auth")));
        if plain != (None, None) && !auth.is_empty() {
            let message = "username and password are given beside auth";
            self.problems.push(Problem::new("/auth", message).with_hint("remove one of them"));
        }
        match if plain == (None, None) { nested } else { plain } {
            (Some(user), Some(password)) => Some(Credentials::Basic(user, password)),
            (None, None) => key.map(Credentials::ApiKey).or(bearer.map(Credentials::Bearer)),
            (user, _) => {
                let (there, missing) =
                    if user.is_some() { ("username", "password") } else { ("password", "username") };
                let message = format!("{there} is given without {missing}");
                self.problems
                    .push(Problem::new(format!("/{there}"), message).with_hint("give both, or none"));
                None
            }
        }
    }
}

/// Reads an address; without a scheme it is `http`, without scheme and port the port is 9200.
fn address(text: &str) -> Option<reqwest::Url> {
    let has_scheme = text.contains("://");
    let mut url =
        reqwest::Url::parse(&if has_scheme { text.to_owned() } else { format!("http://{text}") }).ok()?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return None;
    }
    if !has_scheme && url.port().is_none() {
        url.set_port(Some(PORT)).ok()?;
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(settings: Value) -> Result<Settings, Vec<String>> {
        let settings = settings.as_object().expect("an object").clone();
        Settings::of(&settings).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    fn nodes(settings: Value) -> Vec<String> {
        of(settings).expect("right").nodes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn reads_both_forms() {
        assert_eq!(nodes(json!({})), ["http://127.0.0.1:9200/"]);
        assert_eq!(nodes(json!({"host": "es"})), ["http://es:9200/"]);
        assert_eq!(nodes(json!({"host": ["a:9201", "https://b"]})), ["http://a:9201/", "https://b/"]);
        assert_eq!(nodes(json!({"node": ["http://c:1", "d:2"]})), ["http://c:1/", "http://d:2/"]);
    }

    #[test]
    fn knows_who_we_are() {
        let basic = Some(Credentials::Basic("u".to_owned(), "p w".to_owned()));
        assert_eq!(of(json!({"host": "http://u:p%20w@es:9200"})).expect("right").credentials, basic);
        assert_eq!(of(json!({"username": "u", "password": "p w"})).expect("right").credentials, basic);
        assert_eq!(
            of(json!({"auth": {"username": "u", "password": "p w"}})).expect("right").credentials,
            basic
        );
        let key = of(json!({"auth": {"apiKey": "abc"}})).expect("right").credentials;
        assert_eq!(key, Some(Credentials::ApiKey("abc".to_owned())));
        assert!(!format!("{basic:?} {key:?}").contains("abc"), "secrets stay out of logs");
    }

    #[test]
    fn says_what_is_wrong() {
        let wrong = of(json!({
            "node": ["ftp://x", 5], "requestTimeout": "soon", "sniffOnStart": 1, "username": "u", "auth": {"password": "x"},
        }));
        assert_eq!(
            wrong.expect_err("wrong"),
            [
                "/node/0: node must be an address such as http://127.0.0.1:9200, found \"ftp://x\"",
                "/node/1: node must be an address such as http://127.0.0.1:9200, found 5",
                "/auth: username and password are given beside auth (remove one of them)",
                "/username: username is given without password (give both, or none)",
                "/requestTimeout: requestTimeout must be a number of milliseconds, at least 1, found \"soon\"",
                "/sniffOnStart: sniffOnStart must be true or false, found 1",
            ]
        );
    }
}
