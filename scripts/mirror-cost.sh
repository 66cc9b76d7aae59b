#!/usr/bin/env bash
# What mirroring costs: the gateway beside Envoy and nginx, with a dark upstream that answers and
# with one that hangs.
#
# usage: scripts/mirror-cost.sh [--rounds N] [--seconds N] [--rate N] [--compare] [--json]...
set -euo pipefail

cd "$(dirname "$0")/.."
PATH=$PWD/target/tools/bin:$PATH:/usr/sbin
# Each proxy keeps up to a thousand connections to the hung upstream, which keeps them all.
ulimit -S -n 8192
# Apart, so that neither binary gets dependency features that only the other asks for.
cargo build --locked --profile dist --package tidegate
exec cargo run --quiet --locked --profile dist --package tidegate-benches --bin mirror_cost -- "$@"
