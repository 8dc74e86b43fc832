//! What the environment says of traces, checked.

use std::{fs, path::PathBuf, time::Duration};

use opentelemetry_otlp::Protocol;
use ureq::http::Uri;

use super::TracesError;

/// A collector has to take a batch within this, if the environment does not say otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A variable for traces, and the one for everything, which counts less.
type Names = [&'static str; 2];

const ENDPOINT: Names = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOL: Names = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const TIMEOUT_MS: Names = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
const HEADERS: Names = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
const COMPRESSION: Names = ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"];
const CERTIFICATE: Names = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";

/// Where spans go, and how. Headers, the sampler, the queue and what the service is called are read by the exporter itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// The URL, with its path for HTTP.
    pub(super) endpoint: String,
    pub(super) protocol: Protocol,
    pub(super) timeout: Duration,
    /// The authority to believe; none: those that everybody knows.
    pub(super) ca_pem: Option<Vec<u8>>,
}

impl Settings {
    /// Reads the variables; none without an endpoint, or when traces are switched off.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, TracesError> {
        let variable = |name: &'static str| {
            let value = variable(name)?.trim().to_owned();
            (!value.is_empty()).then_some((name, value))
        };
        let either = |names: Names| variable(names[0]).or_else(|| variable(names[1]));
        let is_off = match variable("OTEL_TRACES_EXPORTER") {
            None => false,
            Some((_, exporter)) if exporter == "otlp" => false,
            Some((_, exporter)) if exporter == "none" => true,
            Some((name, value)) => return Err(wrong(name, "otlp or none", value)),
        };
        let is_disabled =
            variable("OTEL_SDK_DISABLED").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
        let Some((name, endpoint)) = either(ENDPOINT).filter(|_| !is_off && !is_disabled) else {
            return Ok(None);
        };
        let protocol = match either(PROTOCOL) {
            None => Protocol::HttpBinary,
            Some((_, protocol)) if protocol == "http/protobuf" => Protocol::HttpBinary,
            Some((_, protocol)) if protocol == "grpc" => Protocol::Grpc,
            Some((name, value)) => return Err(wrong(name, "http/protobuf or grpc", value)),
        };
        let endpoint = url(name, endpoint, protocol)?;
        check_sampler(variable(SAMPLER), variable(SAMPLER_ARG))?;
        if let Some((name, value)) = either(COMPRESSION).filter(|(_, value)| value != "none") {
            return Err(wrong(name, "none: traces are sent as they are", value));
        }
        if let Some((name, value)) = either(HEADERS)
            && !value
                .split(',')
                .all(|header| header.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty()))
        {
            return Err(wrong(name, "headers such as api-key=secret,tenant=a", value));
        }
        let timeout = match either(TIMEOUT_MS) {
            None => TIMEOUT,
            Some((name, value)) => match value.parse().ok().filter(|millis| *millis > 0) {
                Some(millis) => Duration::from_millis(millis),
                None => return Err(wrong(name, "milliseconds, at least 1", value)),
            },
        };
        let ca_pem = either(CERTIFICATE).map(|(name, path)| read(name, path.into())).transpose()?;
        Ok(Some(Self { endpoint, protocol, timeout, ca_pem }))
    }

    /// Tells whether the endpoint wants TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        self.endpoint.starts_with("https://")
    }
}

/// Checks the endpoint. The one for everything is completed by the path for traces, where there are paths.
fn url(name: &'static str, endpoint: String, protocol: Protocol) -> Result<String, TracesError> {
    let is_url = endpoint.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if !is_url {
        return Err(wrong(name, "a URL such as http://localhost:4318", endpoint));
    }
    let is_whole = name == ENDPOINT[0] || protocol == Protocol::Grpc;
    Ok(if is_whole { endpoint } else { format!("{}/v1/traces", endpoint.trim_end_matches('/')) })
}

fn check_sampler(
    sampler: Option<(&'static str, String)>,
    argument: Option<(&'static str, String)>,
) -> Result<(), TracesError> {
    let Some((name, sampler)) = sampler else { return Ok(()) };
    match sampler.as_str() {
        "always_on" | "always_off" | "parentbased_always_on" | "parentbased_always_off" => Ok(()),
        "traceidratio" | "parentbased_traceidratio" => {
            let (name, value) = argument.unwrap_or((SAMPLER_ARG, String::new()));
            let is_ratio = value.parse::<f64>().is_ok_and(|ratio| (0.0..=1.0).contains(&ratio));
            if is_ratio { Ok(()) } else { Err(wrong(name, "a number from 0 to 1", value)) }
        }
        _ => Err(wrong(
            name,
            "always_on, always_off, traceidratio, or one of these after parentbased_",
            sampler,
        )),
    }
}

fn read(name: &'static str, path: PathBuf) -> Result<Vec<u8>, TracesError> {
    let pem =
        fs::read(&path).map_err(|source| TracesError::Certificate { name, path: path.clone(), source })?;
    if String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        Ok(pem)
    } else {
        Err(wrong(name, "a file with certificates in PEM", path.display().to_string()))
    }
}

const fn wrong(name: &'static str, expected: &'static str, value: String) -> TracesError {
    TracesError::Variable { name, expected, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Settings::read(variable).map_err(|error| error.to_string())
    }

    fn endpoint(variables: &[(&str, &str)]) -> (String, Protocol) {
        let settings = of(variables).unwrap().unwrap();
        (settings.endpoint, settings.protocol)
    }

    #[test]
    fn is_off_without_an_endpoint_and_when_switched_off() {
        let at = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(None));
        assert_eq!(of(&[at, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(None));
        assert_eq!(of(&[at, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
        assert!(
            of(&[at, ("OTEL_SDK_DISABLED", "false"), ("OTEL_TRACES_EXPORTER", "otlp")]).unwrap().is_some()
        );
    }

    #[test]
    fn completes_the_endpoint_for_everything_by_the_path() {
        let for_all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        let for_traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://other/traces");
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        assert_eq!(
            endpoint(&[for_all]),
            ("http://collector:4318/v1/traces".to_owned(), Protocol::HttpBinary)
        );
        assert_eq!(endpoint(&[for_all, for_traces]).0, "https://other/traces");
        assert_eq!(endpoint(&[for_all, grpc]), ("http://collector:4318/".to_owned(), Protocol::Grpc));
        let back = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf");
        assert_eq!(endpoint(&[for_all, grpc, back]).1, Protocol::HttpBinary);
    }

    #[test]
    fn names_the_variable_the_value_and_what_would_be_right() {
        for (name, value, expected) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "a URL such as http://localhost:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://x", "a URL such as http://localhost:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "http/protobuf or grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "milliseconds, at least 1"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0", "milliseconds, at least 1"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "headers such as api-key=secret,tenant=a"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "none: traces are sent as they are"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "otlp or none"),
            (
                "OTEL_TRACES_SAMPLER",
                "some",
                "always_on, always_off, traceidratio, or one of these after parentbased_",
            ),
        ] {
            // The stronger variable of a pair hides the other.
            let mut variables = vec![(name, value)];
            if !name.ends_with("_ENDPOINT") {
                variables.push(("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"));
            }
            let message = format!("the environment variable {name} must be {expected}, found {value:?}");
            assert_eq!(of(&variables), Err(message));
        }
        let ratio = |argument| {
            of(&[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector"),
                ("OTEL_TRACES_SAMPLER", "traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", argument),
            ])
        };
        assert!(ratio("0.25").is_ok());
        for wrong in ["", "2", "-0.1", "half"] {
            let message = format!(
                "the environment variable OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1, found {wrong:?}"
            );
            assert_eq!(ratio(wrong), Err(message));
        }
    }

    #[test]
    fn reads_the_authority() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let read = || {
            of(&[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector"),
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", path.to_str().unwrap()),
            ])
        };
        assert!(read().unwrap_err().starts_with("failed to read"));
        fs::write(&path, "no certificate").unwrap();
        assert!(read().unwrap_err().contains("must be a file with certificates in PEM"));
        fs::write(&path, "-----BEGIN CERTIFICATE-----\n").unwrap();
        assert!(read().unwrap().unwrap().ca_pem.is_some());
    }
}
