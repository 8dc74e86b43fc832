#!/bin/sh
# load.sh ARCHIVE: brings an image to the nodes. $LOAD knows how, else the name of kubectl's context tells.
set -eu
archive=$1
if [ -n "$LOAD" ]; then
    $LOAD "$archive"
    exit
fi
context=$($KUBECTL config current-context 2>/dev/null || :)
case $context in
kind-*)
    kind load image-archive "$archive" --name "${context#kind-}"
    ;;
*)
    if command -v minikube >/dev/null 2>&1 && minikube --profile "${context:-minikube}" status >/dev/null 2>&1; then
        minikube --profile "${context:-minikube}" image load "$archive"
    elif command -v docker >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
        docker load --input "$archive"
        # A name with a registry is to be found there.
        case ${TERASLICE_K8S_IMAGE%%/*} in
        "$TERASLICE_K8S_IMAGE" | localhost) ;;
        *.* | *:*) docker push "$TERASLICE_K8S_IMAGE" ;;
        esac
    else
        echo "error: the context '$context' is neither minikube nor kind, and there is no docker to load $archive into" >&2
        echo "hint: LOAD=\"COMMAND\" names what loads an image archive into your nodes or your registry" >&2
        exit 1
    fi
    ;;
esac
