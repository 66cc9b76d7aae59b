//! End-to-end tests of the `tidegate` binary, by what they are about.
mod access_log;
mod admin;
mod cli;
mod curl;
mod demo;
mod examples;
mod failures;
mod harness;
mod headers;
mod hostile_clients;
mod matching;
mod metrics;
mod pins;
mod reload;
mod shutdown;
mod split;
mod upstreams;
