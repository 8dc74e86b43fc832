#!/bin/sh
# Deletes the namespace and what the extras made beside it, and waits until it is gone.
set -eu
found=$($KUBECTL get namespace "$NAMESPACE" --ignore-not-found \
    -o 'jsonpath={.metadata.name} {.metadata.labels.app\.kubernetes\.io/part-of}')
case $found in
"")
    echo "there is no namespace $NAMESPACE"
    ;;
"$NAMESPACE teraslice-example")
    $KUBECTL delete namespace "$NAMESPACE" --wait --timeout "$TIMEOUT"
    ;;
*)
    echo "error: the namespace $NAMESPACE is not of this example, and stays" >&2
    exit 1
    ;;
esac
# Volumes that were made beforehand wait for the same claims of the next round, with what is in them.
if [ "$STORAGE_CLASS" = none ]; then
    ours="{range .items[?(@.spec.claimRef.namespace==\"$NAMESPACE\")]}{.metadata.name} {end}"
    for volume in $($KUBECTL get persistentvolumes -o "jsonpath=$ours"); do
        $KUBECTL patch persistentvolume "$volume" --type merge \
            --patch '{"spec": {"claimRef": {"uid": null, "resourceVersion": null}}}'
    done
fi
rm -f "$WORK/job-id" "$WORK/job.json"
# They are of the whole cluster; who may not see them has not made them.
$KUBECTL delete validatingadmissionpolicybinding,validatingadmissionpolicy "teraslice-$NAMESPACE" \
    --ignore-not-found 2>/dev/null || :
