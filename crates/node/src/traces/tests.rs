//! Spans reach a collector by gRPC, with what the log leaves out.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use teraslice_core::trace::TARGET;
use tokio::sync::mpsc;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};
use tracing_subscriber::layer::SubscriberExt;

use super::*;

/// Hands on what it takes.
struct Collector(Arc<mpsc::UnboundedSender<ExportTraceServiceRequest>>);

#[async_trait::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let _test_is_over = self.0.send(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sends_spans_for_traces_by_grpc_and_no_others() {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let (taken, mut arrived) = mpsc::unbounded_channel();
    let server = Server::builder().add_service(TraceServiceServer::new(Collector(Arc::new(taken))));
    let context = teraslice_core::context::Context::system();
    drop(context.spawn(server.serve_with_incoming(incoming)));
    let variable = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(format!("http://{address}")),
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some("grpc".to_owned()),
        _ => None,
    };
    let settings = Settings::read(variable).unwrap().unwrap();
    let traces = Traces::with(&settings, Origin { role: "worker", cluster: "c" }).unwrap();
    let subscriber = tracing_subscriber::registry().with(vec![traces.layer().boxed()]);
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::trace_span!(target: TARGET, "slice", teraslice.attempt = 3);
        drop(span);
        drop(tracing::info_span!("of the log"));
    });
    // The end sends what is left; it waits, and so has a thread of its own.
    context.compute(move || drop(traces)).await;
    let request = tokio::time::timeout(Duration::from_secs(10), arrived.recv()).await.unwrap().unwrap();
    let resource = request.resource_spans[0].resource.clone().unwrap();
    let attribute = |name: &str| {
        let found = resource.attributes.iter().find(|attribute| attribute.key == name);
        format!("{:?}", found.map(|found| &found.value))
    };
    assert!(attribute("teraslice.role").contains("worker"), "{resource:?}");
    assert!(attribute("service.name").contains(SERVICE), "{resource:?}");
    let spans = &request.resource_spans[0].scope_spans[0].spans;
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["slice"]);
    assert_eq!(spans[0].attributes[0].key, "teraslice.attempt");
}
