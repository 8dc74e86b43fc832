#!/bin/sh
# Stands for a controller or a worker: runs until it is asked to leave, or, if its job is a stubborn one, until it is killed.
if [ -n "$CONFORMANCE_STUBBORN" ]; then
    trap '' TERM
else
    trap 'exit 75' TERM
fi
while :; do
    sleep 1 &
    wait $!
done
