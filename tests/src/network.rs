//! A network of namespaces: one per node, each on a link of its own that can be cut. Needs root and iproute2.

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// Namespaces of nodes around the bridge that the master listens on; removed at the end.
#[derive(Debug)]
pub struct Network {
    /// Tells the devices of this network from those of others.
    mark: String,
    /// The first three numbers of all addresses.
    subnet: String,
    nodes: usize,
}

impl Network {
    /// Makes a network of so many nodes.
    ///
    /// # Panics
    ///
    /// When the system does not let us.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial =
            std::process::id().wrapping_mul(7).wrapping_add(SERIAL.fetch_add(1, Ordering::Relaxed)) % 4_096;
        let subnet = format!("10.{}.{}", 200 + serial / 256, serial % 256);
        let network = Self { mark: format!("ts{serial:x}"), subnet, nodes };
        network.remove();
        let Self { mark, subnet, .. } = &network;
        run(&format!("link add {mark}b type bridge"));
        run(&format!("addr add {subnet}.1/24 dev {mark}b"));
        run(&format!("link set {mark}b up"));
        for node in 0..nodes {
            let (space, address) = (network.space(node), network.address(node));
            run(&format!("netns add {space}"));
            run(&format!("link add {mark}v{node} type veth peer name eth0 netns {space}"));
            run(&format!("link set {mark}v{node} master {mark}b up"));
            run(&format!("-n {space} addr add {address}/24 dev eth0"));
            run(&format!("-n {space} link set eth0 up"));
            run(&format!("-n {space} link set lo up"));
        }
        network
    }

    /// Returns the address of the master.
    #[must_use]
    pub fn master(&self) -> String {
        format!("{}.1", self.subnet)
    }

    /// Returns the address of a node.
    #[must_use]
    pub fn address(&self, node: usize) -> String {
        format!("{}.{}", self.subnet, node + 2)
    }

    /// Returns a command that runs a program on a node.
    #[must_use]
    pub fn command(&self, node: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(node)]).arg(program);
        command
    }

    /// Cuts the link of a node: nothing gets through, and nobody is told.
    pub fn cut(&self, node: usize) {
        run(&format!("link set {}v{node} down", self.mark));
    }

    /// Mends the link of a node.
    pub fn mend(&self, node: usize) {
        run(&format!("link set {}v{node} up", self.mark));
    }

    fn space(&self, node: usize) -> String {
        format!("{}n{node}", self.mark)
    }

    fn remove(&self) {
        let quietly = |arguments: &str| {
            let _may_not_be_there = Command::new("ip").args(arguments.split(' ')).output();
        };
        for node in 0..self.nodes {
            quietly(&format!("netns del {}", self.space(node)));
            quietly(&format!("link del {}v{node}", self.mark));
        }
        quietly(&format!("link del {}b", self.mark));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Tells whether networks can be made here; a case that needs one says so and ends when not.
#[must_use]
pub fn is_available() -> bool {
    let probe = format!("ts{:x}p", std::process::id() % 65_536);
    let made = Command::new("ip").args(["netns", "add", &probe]).output();
    let _removed = Command::new("ip").args(["netns", "del", &probe]).output();
    made.is_ok_and(|made| made.status.success())
}

fn run(arguments: &str) {
    let ran = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(ran.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&ran.stderr));
}
