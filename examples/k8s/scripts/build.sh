#!/bin/sh
# Builds the image $TERASLICE_K8S_IMAGE into the archive $WORK/image.tar: by docker or buildah, or by cargo alone.
set -eu
root=$(cd ../.. && pwd)
has() { command -v "$1" >/dev/null 2>&1; }

if [ -z "$BUILDER" ]; then
    if has docker && docker info >/dev/null 2>&1; then
        BUILDER=docker
    elif has buildah && ! has cargo; then
        BUILDER=buildah
    else
        BUILDER=xtask
    fi
fi
echo "building $TERASLICE_K8S_IMAGE by $BUILDER"
mkdir -p "$WORK"
rm -f "$WORK/image.tar" "$WORK/teraslice"
case $BUILDER in
docker)
    docker build --file Dockerfile --tag "$TERASLICE_K8S_IMAGE" "$root"
    docker save --output "$WORK/image.tar" "$TERASLICE_K8S_IMAGE"
    # The command line, for `register` and `example`.
    docker build --file Dockerfile --target program --output "type=local,dest=$WORK" "$root"
    ;;
buildah)
    buildah build --file Dockerfile --tag "$TERASLICE_K8S_IMAGE" "$root"
    buildah push "$TERASLICE_K8S_IMAGE" "docker-archive:$WORK/image.tar:$TERASLICE_K8S_IMAGE"
    buildah build --file Dockerfile --target program --output "type=local,dest=$WORK" "$root"
    ;;
xtask)
    has cargo || { echo "error: there is no docker, no buildah and no cargo to build with" >&2; exit 1; }
    make -C "$root" build
    cd "$root"
    cargo xtask image "$TERASLICE_K8S_IMAGE" --output "$WORK/image.tar"
    ;;
*)
    echo "error: BUILDER is docker, buildah or xtask, found $BUILDER" >&2
    exit 1
    ;;
esac
