//! Any bytes as a configuration: an answer and no panic, soon.
//!
//! What compiles has to be a plan that requests can be served from; what does not has to say where
//! it is wrong.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_config::{compile_text, diff, render};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    match compile_text("fuzz.yaml", &text) {
        Ok(plan) => {
            assert!(!plan.listeners.is_empty() && !plan.routes.is_empty());
            for route in &plan.routes {
                assert!(route.variants.iter().any(|variant| variant.weight > 0));
                assert!(route.variants.iter().all(|v| v.upstream < plan.upstreams.len()));
            }
            assert!(diff(&plan, &plan).is_empty());
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            let shown = render(&errors, false);
            assert!(shown.starts_with("error: "), "{shown}");
        }
    }
});
