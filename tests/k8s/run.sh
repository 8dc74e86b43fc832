#!/bin/sh
# Starts a Kubernetes cluster, loads the image into it, runs the cases that need it, and takes it down.
# $1: the folder of the scripts that make a cluster; $2: the built program.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kube=$(cd "$1" && pwd)
program=$2
folder=$(mktemp -d)
export TERASLICE_KUBE_STATE="$folder/kube"
trap '"$kube/down" >/dev/null 2>&1 || :; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
bin=$("$kube/build" | tail -n 1)
"$kube/up" --nodes 2
archive=$folder/image.tar
cargo xtask image teraslice:k8sdev --binary "$program" --output "$archive"
"$kube/load" "$archive"
"$kube/image" teraslice-instance:1 --busybox --file "$here/instance.sh:/instance.sh" --entrypoint /bin/sh /instance.sh
export KUBECONFIG="$TERASLICE_KUBE_STATE/kubeconfig" TERASLICE_KUBE="$kube" PATH="$bin:$PATH"
cases() {
    target=$1
    shift
    cargo test --release --workspace --test "$target" -- --ignored "$@"
}
cargo test --release --workspace --test conformance --test k8s --no-run
# They wait most of the time, so four at once; but not those that hit the cluster as a whole, or measure it.
cases conformance &
conformance=$!
cases k8s --skip alone:: --test-threads 3
wait "$conformance"
cases k8s alone:: --test-threads 1
