#!/bin/sh
# setup.sh base|wide|elasticsearch: applies the manifests and waits for the master.
# setup.sh server: the same with the search server, which the variant elasticsearch needs.
set -eu
variant=$1
found=$($KUBECTL get namespace "$NAMESPACE" --ignore-not-found \
    -o 'jsonpath={.metadata.name} {.metadata.labels.app\.kubernetes\.io/part-of}')
case $found in
"" | "$NAMESPACE teraslice-example") ;;
*)
    echo "error: there is a namespace $NAMESPACE already, and it is not of this example: choose another NAMESPACE" >&2
    exit 1
    ;;
esac

await() {
    $KUBECTL --namespace "$NAMESPACE" rollout status "deployment/$1" --timeout "$TIMEOUT" || {
        $KUBECTL --namespace "$NAMESPACE" get pods,persistentvolumeclaims >&2 || :
        $KUBECTL --namespace "$NAMESPACE" get events --sort-by .lastTimestamp >&2 || :
        echo "error: $1 is not ready after $TIMEOUT" >&2
        exit 1
    }
}

if [ "$variant" = server ]; then
    scripts/render.sh base/namespace.yaml extras/elasticsearch.yaml | $KUBECTL apply -f -
    await elasticsearch
else
    scripts/render.sh "$variant" | $KUBECTL apply -f -
    await teraslice-master
fi
