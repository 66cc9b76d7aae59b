#!/usr/bin/env bash
# Proves the dependency rule: {policies, compare, judge} <- {config, controller} <- gateway.
#
# policies, compare and judge have no IO, clock, randomness or runtime, neither by their dependencies
# nor by their use of std, and policies has no serialisation; config and controller know nothing of
# each other, of pingora or of the gateway. cargo-deny (deny.toml) says who may use pingora directly, this looks at
# whole trees.
set -euo pipefail

cd "$(dirname "$0")/.."
broken=0

# forbid PACKAGE PATTERN: no crate of the package's normal dependency tree matches PATTERN.
forbid() {
    local found
    found=$(cargo tree --locked --package "$1" --edges normal --prefix none --format '{p}' |
        cut -d' ' -f1 | sort -u | grep -Ex "$2" || true)
    if [ -n "$found" ]; then
        broken=1
        echo "$1 must not depend on: ${found//$'\n'/, }; see 'cargo tree --package $1 --invert CRATE'" >&2
    fi
}

runtime='tokio.*|async-.*|futures.*|mio|socket2|polling|hyper.*|axum.*|notify.*|arc-swap'
serialisation='serde.*|saphyr.*'
clock_and_randomness='rand|rand_.*|getrandom|fastrand|time|chrono|jiff|quanta'
forbid tidegate-policies "pingora.*|tidegate|tidegate-[^p].*|$runtime|$serialisation|$clock_and_randomness"
forbid tidegate-compare "pingora.*|tidegate|tidegate-([^c]|c[^o]|co[^m]).*|$runtime|$clock_and_randomness"
forbid tidegate-judge "pingora.*|tidegate|tidegate-([^j]|j[^u]).*|$runtime|$clock_and_randomness"
forbid tidegate-config 'pingora.*|tidegate|tidegate-controller'
forbid tidegate-controller 'pingora.*|tidegate|tidegate-config'

# std::io itself is fine: its traits also write to memory. So is a Duration: it is no clock.
if grep -rnE 'std::(fs|env|process|thread)\b|\b(Instant|SystemTime)\b|std::net::.*(Tcp|Udp|ToSocketAddrs)|\bstd(in|out|err)\(' \
    policies/src compare/src judge/src; then
    broken=1
    echo 'policies, compare and judge must not do IO or read a clock; the lines are above' >&2
fi

for package in policies compare judge config controller; do
    if ! grep -q '^#!\[forbid(unsafe_code)\]' $package/src/lib.rs; then
        broken=1
        echo "$package/src/lib.rs lacks #![forbid(unsafe_code)]" >&2
    fi
done

[ $broken = 0 ] && echo 'dependency rule holds: {policies, compare, judge} <- {config, controller} <- gateway'
