//! `tidegate check`.

use super::output;
use serde_json::{Value, json};
use std::{path::PathBuf, process::ExitCode};
use tidegate_config::Diagnostic;

pub(super) fn check(files: &[PathBuf], as_json: bool) -> ExitCode {
    let mut reports: Vec<Value> = Vec::new();
    let mut bad = false;
    for file in files {
        let (errors, warnings) = match tidegate_config::load(file, None) {
            Ok(loaded) => {
                if !as_json {
                    output::warn(&loaded);
                    let plan = &loaded.plan;
                    let parts = [
                        count(plan.routes.len(), "route"),
                        count(plan.upstreams.len(), "upstream"),
                        count(loaded.warnings.len(), "warning"),
                    ];
                    output::print(&format!("{}: ok ({})\n", file.display(), parts.join(", ")));
                }
                (Vec::new(), loaded.warnings)
            }
            Err(failure) => {
                bad = true;
                if !as_json {
                    output::fail_config(&failure);
                }
                (failure.diagnostics, Vec::new())
            }
        };
        let list = |list: &[Diagnostic]| list.iter().map(Diagnostic::json).collect::<Vec<_>>();
        let (errors, warnings) = (list(&errors), list(&warnings));
        reports.push(json!({ "file": file, "errors": errors, "warnings": warnings }));
    }
    if as_json {
        output::print_json(&reports);
    }
    if bad { ExitCode::from(super::EX_CONFIG) } else { ExitCode::SUCCESS }
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
