//! Sends batches, and says once that they are not taken.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry_otlp::SpanExporter as Otlp;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};

/// An exporter that says when its batches begin and cease to be taken, and not each time.
#[derive(Debug)]
pub(super) struct Shipment {
    exporter: Otlp,
    endpoint: String,
    is_refused: AtomicBool,
}

impl Shipment {
    pub(super) const fn new(exporter: Otlp, endpoint: String) -> Self {
        Self { exporter, endpoint, is_refused: AtomicBool::new(false) }
    }

    fn note(&self, sent: &OTelSdkResult) {
        let was_refused = self.is_refused.swap(sent.is_err(), Ordering::Relaxed);
        let endpoint = &self.endpoint;
        match sent {
            Err(error) if !was_refused => {
                tracing::warn!(endpoint, %error, "traces are not taken, they are lost until this is over");
            }
            Ok(()) if was_refused => tracing::info!(endpoint, "traces are taken again"),
            _ => {}
        }
    }
}

impl SpanExporter for Shipment {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        self.note(&sent);
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
