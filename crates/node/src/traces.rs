//! Traces: spans on their way to a collector by OTLP, as the standard environment variables say. Without an endpoint nothing is made.

mod client;
mod settings;
mod shipment;

use std::{io, path::PathBuf, time::Duration};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
    WithTonicConfig as _,
    tonic_types::transport::{Certificate, ClientTlsConfig},
};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::runtime::Runtime;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use client::Client;
use settings::Settings;
use shipment::Shipment;

/// What is left at the end of the process is sent within this.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// What the service is called when the environment does not say.
const SERVICE: &str = "teraslice";

/// Takes spans and sends them, until it is dropped: then what is left is sent, within two seconds.
///
/// # Guarantees
///
/// Whoever makes spans never waits: what a full queue cannot hold is lost. A collector that takes nothing is one warning.
#[derive(Debug)]
#[must_use]
pub struct Traces {
    provider: SdkTracerProvider,
    /// Where gRPC runs; apart from the process's own, which ends before the last spans are sent.
    runtime: Option<Runtime>,
}

/// Who makes spans.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The role of the process (`teraslice.role`).
    pub role: &'static str,
    /// The name of the cluster (`teraslice.cluster`).
    pub cluster: &'a str,
}

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// A variable of the environment has a wrong value.
    #[error("the environment variable {name} must be {expected}, found {value:?}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What would be right.
        expected: &'static str,
        /// As given.
        value: String,
    },
    /// The authority that is to be believed cannot be read.
    #[error("failed to read {path}, which the environment variable {name} names")]
    Certificate {
        /// The variable.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The endpoint cannot be used.
    #[error("failed to prepare sending traces to {endpoint}")]
    Exporter {
        /// Where to.
        endpoint: String,
        /// Why.
        #[source]
        source: ExporterBuildError,
    },
    /// The system has no thread left.
    #[error("failed to start the thread that sends traces")]
    Thread(#[source] io::Error),
}

impl Traces {
    /// Begins to send spans, if the environment names an endpoint.
    ///
    /// # Errors
    ///
    /// See [`TracesError`]. That nobody listens at the endpoint is none.
    pub fn start(origin: Origin<'_>) -> Result<Option<Self>, TracesError> {
        let variable = |name: &str| std::env::var(name).ok();
        Settings::read(variable)?.map(|settings| Self::with(&settings, origin)).transpose()
    }

    fn with(settings: &Settings, origin: Origin<'_>) -> Result<Self, TracesError> {
        let refused = |source| TracesError::Exporter { endpoint: settings.endpoint.clone(), source };
        let (exporter, runtime) = match settings.protocol {
            Protocol::Grpc => {
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                builder.worker_threads(1).thread_name("traces").enable_all();
                let runtime = builder.build().map_err(TracesError::Thread)?;
                let exporter = {
                    let _inside = runtime.enter();
                    over_grpc(settings).map_err(refused)?
                };
                (exporter, Some(runtime))
            }
            _ => (over_http(settings).map_err(refused)?, None),
        };
        let exporter = Shipment::new(exporter, settings.endpoint.clone());
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(origin))
            .with_batch_exporter(exporter)
            .build();
        Ok(Self { provider, runtime })
    }

    /// Returns what takes the spans that are meant for traces, and no others.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let wanted = Targets::new().with_target(teraslice_core::trace::TARGET, LevelFilter::TRACE);
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(wanted)
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_MAX) {
            tracing::warn!(%error, "the last traces are lost");
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn over_http(settings: &Settings) -> Result<SpanExporter, ExporterBuildError> {
    SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&settings.endpoint)
        .with_timeout(settings.timeout)
        .with_http_client(Client::new(settings.timeout, settings.ca_pem.as_deref()))
        .build()
}

fn over_grpc(settings: &Settings) -> Result<SpanExporter, ExporterBuildError> {
    let builder = SpanExporter::builder()
        .with_tonic()
        .with_protocol(Protocol::Grpc)
        .with_endpoint(&settings.endpoint)
        .with_timeout(settings.timeout);
    if !settings.is_encrypted() {
        return builder.build();
    }
    let tls = match &settings.ca_pem {
        Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
        None => ClientTlsConfig::new().with_webpki_roots(),
    };
    builder.with_tls_config(tls).build()
}

/// Says who sends: what the environment says of it goes first.
fn resource(origin: Origin<'_>) -> Resource {
    let named = Resource::builder().build();
    let is_named = named
        .get(&opentelemetry::Key::new("service.name"))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let builder = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("process.pid", i64::from(std::process::id())),
        KeyValue::new("teraslice.role", origin.role),
        KeyValue::new("teraslice.cluster", origin.cluster.to_owned()),
    ]);
    if is_named { builder.build() } else { builder.with_service_name(SERVICE).build() }
}

#[cfg(test)]
mod tests;
