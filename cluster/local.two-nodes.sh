#!/usr/bin/env bash
# Two Ray nodes on this machine, with a token, and every job of metarec submitted to them, one after the other; the two
# workers of a training are on different nodes. Everything is written under METAREC_HOME (~/.metarec if unset) and the
# nodes are stopped at the end, whatever happened.
#   cluster/local.two-nodes.sh [KEY=VALUE …]     settings for every job, such as outer.epochs=2
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

GCS_PORT="${GCS_PORT:-6379}"
DASHBOARD_PORT="${DASHBOARD_PORT:-8265}"
AGENT_PORT="${AGENT_PORT:-52365}" # of the first node; the second takes the next one
folder="$(mktemp -d /tmp/ray-XXXXXX)" # short, since sockets live in it; one below it for each node, as on two machines
export METAREC_HOME="${METAREC_HOME:-$HOME/.metarec}"
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0

address="http://127.0.0.1:$DASHBOARD_PORT"
commit="$(git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || true)" # an upload has no repository
settings=(train.num_workers=2 train.cpus_per_worker=0.75 "$@") # two of them do not fit on a node of 1 CPU
nodes=()

stop_nodes() {
    kill "${nodes[@]}" 2>/dev/null || true
    wait "${nodes[@]}" 2>/dev/null || true
}
trap stop_nodes EXIT

start_node() { # in the foreground of a process of its own, so that it can be stopped without stopping others
    local number=${#nodes[@]}
    ray start --block --num-cpus=1 --disable-usage-stats --temp-dir="$folder/$number" \
        --dashboard-agent-listen-port="$((AGENT_PORT + number))" "$@" >"$folder/node-$number.log" 2>&1 &
    nodes+=($!)
}

count_nodes_of_workers() {
    ray list actors --address "$address" --filter class_name=RayTrainWorker --format json |
        python -c 'import json, sys; print(len({actor["node_id"] for actor in json.load(sys.stdin)}))'
}

wait_for_nodes() { # until the dashboard answers and two nodes are there
    for _ in $(seq 120); do
        if [[ "$(ray list nodes --address "$address" 2>/dev/null | grep -c ALIVE)" -ge 2 ]]; then return; fi
        kill -0 "${nodes[@]}" 2>/dev/null || break
        sleep 1
    done
    tail -n 20 "$folder"/node-*.log
    echo "error: the two nodes did not come up within two minutes; their logs are in $folder" >&2
    exit 1
}

submit() {
    local verb="$1"
    shift
    echo "── python -m jobs.$verb $*"
    ray job submit --address "$address" --working-dir . \
        --runtime-env-json "{\"env_vars\": {\"METAREC_COMMIT\": \"$commit\"}}" -- python -m "jobs.$verb" "$@"
}

ray get-auth-token --generate >/dev/null
start_node --head --port="$GCS_PORT" --dashboard-port="$DASHBOARD_PORT"
until ray health-check --address "127.0.0.1:$GCS_PORT" >/dev/null 2>&1; do
    kill -0 "${nodes[0]}" 2>/dev/null || { cat "$folder/node-0.log" >&2 && exit 1; }
    sleep 1
done
start_node --address="127.0.0.1:$GCS_PORT"
wait_for_nodes

submit prepare --set "${settings[@]}" --audit
submit train --set run.name=two-nodes "${settings[@]}"
echo "── the workers ran on $(count_nodes_of_workers) nodes"
submit tune --space rates --trials 2 --set run.name=two-nodes-rates "${settings[@]}" train.num_workers=0 # a trial, one node
submit evaluate --model models:/metarec-synthetic@candidate --set "${settings[@]}"
submit promote --set "${settings[@]}" --force # this is about the machines: promoted whatever the gate says
submit recommend --model models:/metarec-synthetic@champion --ratings "item-1:5,item-2:1" -k 3 --set "${settings[@]}"
echo "── all jobs done"
