#!/bin/sh
# render.sh FOLDER|FILE...: prints manifests with our namespace, image and volumes: $NAMESPACE, $TERASLICE_K8S_IMAGE,
# $STORAGE_CLASS, $ASSETS_ACCESS_MODE.
set -eu
mode=$ASSETS_ACCESS_MODE
if [ -z "$mode" ]; then
    case $($KUBECTL config current-context 2>/dev/null || :) in
    kind-*) mode=ReadWriteOnce ;;
    *) mode=ReadWriteMany ;;
    esac
fi
for source; do
    echo ---
    if [ -d "$source" ]; then $KUBECTL kustomize "$source"; else cat "$source"; fi
done | awk -v namespace="$NAMESPACE" -v image="$TERASLICE_K8S_IMAGE" -v class="$STORAGE_CLASS" -v mode="$mode" '
    /^kind:/ { kind = $2 }
    /- ReadWriteMany$/ { sub(/ReadWriteMany/, mode) }
    { gsub(/ts-dev1/, namespace); gsub(/teraslice:k8sdev/, image); print }
    /^spec:/ && kind == "PersistentVolumeClaim" && class != "" {
        print "  storageClassName: " (class == "none" ? "\"\"" : class)
    }'
