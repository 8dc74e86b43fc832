//! Cases that have the cluster to themselves: they hit it as a whole, or measure it. `make test-k8s` runs them one by one.

mod faults;
mod scale;
