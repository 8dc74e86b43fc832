//! The laws of a cluster backend, in both modes.

use std::sync::Arc;

use teraslice_backend_native::{Mode, NativeBackend, NativeOptions, nodes::Nodes};
use teraslice_core::{
    backend::Instance,
    conformance::backend::{self, Cluster},
    context::Context,
};

use crate::{
    fleet::Fleet,
    support::{Idle, Place, ready},
};

/// Everything in tasks of this process.
struct Tasks(NativeBackend);

impl Cluster for Tasks {
    type Backend = NativeBackend;

    fn connect(&self) -> NativeBackend {
        self.0.handle()
    }

    async fn ready(&self, _: &[Instance]) {}
}

/// Everything in processes; every handle is a backend of its own, that knows of nothing but what the system shows.
struct Processes(Place);

impl Cluster for Processes {
    type Backend = NativeBackend;

    fn connect(&self) -> NativeBackend {
        let mode = || Mode::Process(self.0.template(None));
        let options = NativeOptions::new(self.0.cluster(), mode(), mode());
        NativeBackend::new(options, Context::system())
    }

    async fn ready(&self, instances: &[Instance]) {
        ready(&self.0.run_directory(), instances).await;
    }
}

/// Everything in processes of two nodes.
impl Cluster for Fleet {
    type Backend = Nodes;

    fn connect(&self) -> Nodes {
        self.nodes.handle()
    }

    async fn ready(&self, instances: &[Instance]) {
        Self::ready(self, instances).await;
    }
}

#[tokio::test]
async fn keeps_the_laws_with_nodes() {
    backend::run(async || Fleet::of(&[("one", 4), ("two", 4)]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_with_nodes_on_many_threads() {
    backend::run(async || Fleet::of(&[("one", 4), ("two", 4)]).await).await;
}

#[tokio::test]
async fn keeps_the_laws_with_tasks() {
    backend::run(async || {
        let mode = || Mode::Task(Arc::new(Idle));
        let options = NativeOptions::new("tasks", mode(), mode());
        Tasks(NativeBackend::new(options, Context::system()))
    })
    .await;
}

#[tokio::test]
async fn keeps_the_laws_with_processes() {
    backend::run(async || Processes(Place::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_with_processes_on_many_threads() {
    backend::run(async || Processes(Place::new())).await;
}
