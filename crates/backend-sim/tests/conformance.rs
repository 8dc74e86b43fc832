//! The simulated cluster keeps the laws of a cluster backend.

use std::sync::Arc;

use futures::FutureExt;
use teraslice_backend_native::nodes::{Nodes, NodesOptions};
use teraslice_backend_sim::{
    backend::SimBackend,
    faults::Faults,
    node::{Launch, SimNode, Size},
    scenario::Sabotage,
    switchboard::Switchboard,
    trace::{Keep, Trace},
    weather::Weather,
};
use teraslice_core::{
    backend::{ClusterBackend, ExitReason, Instance, Phase, Scope},
    conformance::backend::{self, Cluster, STUBBORN},
    context::Context,
};
use tokio::time::{Duration, sleep};

/// Three nodes whose processes do nothing but leave when they are asked to.
struct Fleet {
    nodes: Nodes,
    weather: Weather,
}

impl Fleet {
    fn new() -> Self {
        let context = Context::simulated(1);
        let weather = Weather::new(context.clone(), Faults::none());
        let trace = Trace::new(context.clone(), Keep::Hash);
        let switchboard = Switchboard::new(context.clone(), weather.clone());
        let nodes = Nodes::new(NodesOptions::default(), context.clone());
        switchboard.plug(nodes.handle());
        let launch: Launch = Arc::new(|start, stop| {
            async move {
                if start.spec.env.contains_key(STUBBORN) {
                    std::future::pending::<()>().await;
                }
                stop.cancelled().await;
                ExitReason::Completed
            }
            .boxed()
        });
        for number in 1..=3 {
            let size = Size { number, slots: 8 };
            let node =
                SimNode::new(size, context.clone(), Arc::clone(&launch), weather.clone(), trace.clone());
            drop(context.spawn(node.run(switchboard.clone())));
        }
        Self { nodes, weather }
    }
}

impl Cluster for Fleet {
    type Backend = SimBackend;

    fn connect(&self) -> SimBackend {
        SimBackend::new(self.nodes.handle(), self.weather.clone(), Sabotage::None)
    }

    async fn ready(&self, instances: &[Instance]) {
        loop {
            let seen = self.nodes.observe(Scope::Cluster).await.expect("a list").instances;
            let is_ready = |instance: &Instance| {
                seen.iter().any(|it| {
                    it.id == instance.id && !matches!(it.phase, Phase::Waiting(_) | Phase::Starting)
                })
            };
            if instances.iter().all(is_ready) {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keeps_the_laws_of_a_cluster_backend() {
    backend::run(async || {
        let fleet = Fleet::new();
        while fleet.nodes.state().len() < 3 {
            sleep(Duration::from_millis(1)).await;
        }
        fleet
    })
    .await;
}
