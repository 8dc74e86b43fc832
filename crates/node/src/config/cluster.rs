//! What only clusters use: names, ports, addresses, slots, time-outs, access.

use std::{
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use serde_json::{Map, Value};
use teraslice_model::problem::Problem;

use super::{
    keys::{self, Report, check_section},
    values::{Set, duration, flag, text, whole},
};

/// What has to be written under `api_unprotected` to open the API to everybody.
pub const UNPROTECTED: &str = "anyone may run jobs here";
/// Slots of a node that does not say: enough for a few jobs on a small machine.
const SLOTS_MIN: u32 = 8;
/// Slots of a node with the master that executions do not get: the master itself and its assets service have them.
const MASTER_SLOTS: u32 = 2;

/// How this process takes part in a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterConfig {
    /// The cluster's name (`name`, default `teracluster`).
    pub name: String,
    /// Whether this node runs the master (`master`, default false).
    pub is_master: bool,
    /// Where nodes, controllers and workers find the master (`master_hostname`, default `localhost`).
    pub master_hostname: String,
    /// The port of the API and of the cluster's own links (`port`, default 5678).
    pub port: u16,
    /// The address the master listens on (`bind`); absent: loopback while the API is unprotected, else all addresses.
    pub bind: Option<IpAddr>,
    /// Where other nodes reach the processes of this one (`hostname`); absent: the address that reaches the master.
    pub hostname: Option<String>,
    /// Names this node, for ever (`node_id`); absent: the name of the machine.
    pub node_id: Option<String>,
    /// Processes of executions that this node runs at the most; with `master` two of those configured are the master's (`workers`, default 4 for each processor and at least 8).
    pub slots: u32,
    /// The ports that controllers listen on (`slicer_port_range`, default 45679:46678; the first is never taken).
    pub ports: RangeInclusive<u16>,
    /// What a command to a controller may take (`action_timeout`, default 2 minutes).
    pub action_timeout: Duration,
    /// What a request may take (`api_response_timeout`, default 5 minutes).
    pub api_response_timeout: Duration,
    /// What a body of a request may have in bytes, uploads apart (`api_body_limit`, default 64 MiB).
    pub body_limit: usize,
    /// How long the processes of a node that is out of reach are waited for (`node_disconnect_timeout`, default 5 minutes).
    pub node_disconnect_timeout: Duration,
    /// How often a node tells everything about itself (`node_state_interval`, default 5 seconds).
    pub node_state_interval: Duration,
    /// Who may use the API (`api_auth`: `none` or `tokens`, default `none`).
    pub has_tokens: bool,
    /// Whether the configuration opens an API without tokens to other machines (`api_unprotected`).
    pub is_unprotected: bool,
    /// The word that all nodes and the master share (`cluster_secret`); absent: the master makes one in its state directory.
    pub secret: Option<String>,
    /// The word of this node alone (`node_secret`).
    pub node_secret: Option<String>,
    /// Encryption of every link (`tls`).
    pub tls: Option<TlsConfig>,
    /// Where metrics are served beside the API; absent: not (`terafoundation.prom_metrics_enabled`, `prom_metrics_port`).
    pub metrics_port: Option<u16>,
    /// The label `url` of metrics (`terafoundation.prom_metrics_display_url`).
    pub metrics_url: String,
}

/// Encryption of every link (`teraslice.tls`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificates of those who are believed, PEM (`ca`); absent: the authority that the master makes in its state directory.
    pub ca: Option<PathBuf>,
    /// The certificate of this machine, PEM (`cert`).
    pub cert: Option<PathBuf>,
    /// Its key, PEM (`key`).
    pub key: Option<PathBuf>,
}

impl ClusterConfig {
    pub(super) fn of(ours: &Set<'_>, foundation: &Set<'_>, report: &mut Report) -> Self {
        let defaults = Self::default();
        let is_master = flag(ours, "master");
        let short = |key: &str| duration(ours, key);
        let port_of = |set: &Set<'_>, key: &str| whole(set, key).and_then(|port| u16::try_from(port).ok());
        let slots = whole(ours, "workers").and_then(|slots| u32::try_from(slots).ok());
        let config = Self {
            name: text(ours, "name").unwrap_or(defaults.name),
            is_master,
            master_hostname: text(ours, "master_hostname").unwrap_or(defaults.master_hostname),
            port: port_of(ours, "port").unwrap_or(defaults.port),
            bind: text(ours, "bind").and_then(|address| bind(&address, report)),
            hostname: text(ours, "hostname"),
            node_id: text(ours, "node_id"),
            slots: match slots {
                Some(slots) if is_master => slots.saturating_sub(MASTER_SLOTS),
                Some(slots) => slots,
                None => defaults.slots,
            },
            ports: text(ours, "slicer_port_range")
                .and_then(|range| ports(&range, report))
                .unwrap_or(defaults.ports),
            action_timeout: short("action_timeout").unwrap_or(defaults.action_timeout),
            api_response_timeout: short("api_response_timeout").unwrap_or(defaults.api_response_timeout),
            body_limit: whole(ours, "api_body_limit")
                .and_then(|limit| usize::try_from(limit).ok())
                .unwrap_or(defaults.body_limit),
            node_disconnect_timeout: short("node_disconnect_timeout")
                .unwrap_or(defaults.node_disconnect_timeout),
            node_state_interval: short("node_state_interval").unwrap_or(defaults.node_state_interval),
            has_tokens: text(ours, "api_auth").is_some_and(|auth| has_tokens(&auth, report)),
            is_unprotected: text(ours, "api_unprotected").is_some_and(|words| is_unprotected(&words, report)),
            secret: text(ours, "cluster_secret"),
            node_secret: text(ours, "node_secret"),
            tls: ours.get("tls").and_then(|tls| tls.as_object()).and_then(|tls| TlsConfig::of(tls, report)),
            metrics_port: flag(foundation, "prom_metrics_enabled")
                .then(|| port_of(foundation, "prom_metrics_port").unwrap_or(3333)),
            metrics_url: text(foundation, "prom_metrics_display_url").unwrap_or_default(),
        };
        if !config.listen_address().is_loopback() && !config.is_open() {
            let message = "bind lets other machines use the API, and it asks nobody who they are";
            let hint = format!("set api_auth to tokens, or api_unprotected to {UNPROTECTED:?}");
            report.problems.push(Problem::new("/teraslice/bind", message).with_hint(hint));
        }
        config
    }

    /// Tells whether other machines may use the API.
    const fn is_open(&self) -> bool {
        self.has_tokens || self.is_unprotected
    }

    /// Returns the address that the master listens on: loopback while anybody could use the API.
    #[must_use]
    pub fn listen_address(&self) -> IpAddr {
        let default = if self.is_open() { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        self.bind.unwrap_or(default.into())
    }

    /// Returns the URL of the master.
    #[must_use]
    pub fn master_url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.master_hostname, self.port)
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            name: "teracluster".to_owned(),
            is_master: false,
            master_hostname: "localhost".to_owned(),
            port: 5678,
            bind: None,
            hostname: None,
            node_id: None,
            slots: slots_default(),
            ports: 45_679..=46_678,
            action_timeout: Duration::from_mins(2),
            api_response_timeout: Duration::from_mins(5),
            body_limit: 64 << 20,
            node_disconnect_timeout: Duration::from_mins(5),
            node_state_interval: Duration::from_secs(5),
            has_tokens: false,
            is_unprotected: false,
            secret: None,
            node_secret: None,
            tls: None,
            metrics_port: None,
            metrics_url: String::new(),
        }
    }
}

impl TlsConfig {
    fn of(section: &Map<String, Value>, report: &mut Report) -> Option<Self> {
        let set = check_section(section, "/teraslice/tls", keys::TLS, report);
        let path = |key| text(&set, key).map(PathBuf::from);
        let tls = Self { ca: path("ca"), cert: path("cert"), key: path("key") };
        if tls.cert.is_some() != tls.key.is_some() {
            let message = "tls.cert and tls.key belong together: set both or none";
            report.problems.push(Problem::new("/teraslice/tls", message));
        }
        let is_enabled = set.get("enabled").is_none_or(|_| flag(&set, "enabled"));
        is_enabled.then_some(tls)
    }
}

fn slots_default() -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cpus).unwrap_or(SLOTS_MIN).saturating_mul(4).max(SLOTS_MIN)
}

fn bind(address: &str, report: &mut Report) -> Option<IpAddr> {
    let parsed = address.parse();
    if parsed.is_err() {
        let message = format!("bind must be an IP address such as 0.0.0.0, found {address:?}");
        report.problems.push(Problem::new("/teraslice/bind", message));
    }
    parsed.ok()
}

/// Reads `first:last`.
fn ports(range: &str, report: &mut Report) -> Option<RangeInclusive<u16>> {
    let read = range.split_once(':').and_then(|(first, last)| {
        let (first, last) = (first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?);
        (first > 0 && first < last).then_some(first..=last)
    });
    if read.is_none() {
        let message = format!("slicer_port_range must be like 45679:46678, found {range:?}");
        report.problems.push(Problem::new("/teraslice/slicer_port_range", message));
    }
    read
}

fn has_tokens(auth: &str, report: &mut Report) -> bool {
    if !matches!(auth, "none" | "tokens") {
        let message = format!("api_auth must be none or tokens, found {auth:?}");
        report.problems.push(Problem::new("/teraslice/api_auth", message));
    }
    auth == "tokens"
}

fn is_unprotected(words: &str, report: &mut Report) -> bool {
    if words != UNPROTECTED {
        let message =
            format!("api_unprotected must be the words {UNPROTECTED:?} or not be there, found {words:?}");
        report.problems.push(Problem::new("/teraslice/api_unprotected", message));
    }
    words == UNPROTECTED
}
