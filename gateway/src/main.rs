//! Tidegate: a traffic-shifting edge gateway. See `README.md` for the way of a request.
#![forbid(unsafe_code)]

mod access_log;
mod admin;
mod cli;
mod client;
mod demo;
mod edge;
mod explain;
mod handover;
mod life;
mod metrics;
mod mirror;
mod proxy;
mod rates;
mod reload;
mod retries;
mod rollout;
mod screen;
mod server;
mod service;
mod serving;
mod upstream;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
