#!/usr/bin/env bash
# CPU time a request of the gateway, beside a bare pingora proxy of the same profile.
#
# usage: scripts/proxy-cost.sh [--rounds N] [--seconds N] [--json]...
set -euo pipefail

cd "$(dirname "$0")/.."
# Apart, so that neither binary gets dependency features that only the other asks for.
cargo build --locked --profile dist --package tidegate
cargo build --locked --profile dist --package tidegate-benches --bins
exec cargo run --quiet --locked --profile dist --package tidegate-benches --bin proxy_cost -- "$@"
