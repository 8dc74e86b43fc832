//! gRPC between master, nodes, execution controllers and workers.
