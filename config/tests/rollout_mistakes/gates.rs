//! Mistakes in gates.

use super::{ALL, check, errors};
use tidegate_config::compile_text;

#[test]
fn with_a_metric() {
    let errors = "metric: error_rate, max: 1% }";
    let slow = "metric: latency, over: 300ms, max: 1.5%, worse_than_baseline: 20% }";
    let diffs = "{ name: diffs, metric: mismatch_rate, max: 0.1%, on_source_broken: pause }";
    let number = "write 0% or more and less than 100%";
    check(&[
        ("name: slow", "name: errors", "errors", "there are two gates called `errors`", ""),
        (
            "metric: latency",
            "metric: latencies",
            "latencies",
            "unknown metric `latencies`",
            "did you mean `latency`?",
        ),
        (
            "metric: latency",
            "metric: p99",
            "p99",
            "unknown metric `p99`",
            "choose `error_rate`, `latency` or `mismatch_rate`",
        ),
        (
            "{ name: diffs, metric: mismatch_rate, max: 0.1%, on_source_broken: pause }",
            "{ name: diffs, max: 1% }",
            "{ name: diffs, max: 1% }",
            "expected one of `metric` or `prometheus`, found none",
            "",
        ),
        (
            diffs,
            "{ name: x, metric: error_rate, max: 1%, prometheus: { url: 'http://a', query: b } }",
            "{ name: x, metric: error_rate, max: 1%, prometheus: { url: 'http://a', query: b } }",
            "expected one of `metric` or `prometheus`, found `metric` and `prometheus`",
            "",
        ),
        (
            errors,
            "metric: error_rate }",
            "error-ceiling",
            "the gate `error-ceiling` has no line",
            "add `max`, `worse_than_baseline` or both",
        ),
        (errors, "metric: error_rate, max: 100% }", "100%", "a share is never above 100%", number),
        (
            errors,
            "metric: error_rate, max: 0.01 }",
            "0.01",
            "the share `0.01` has no unit",
            "did you mean `1%` or `0.01%`?",
        ),
        (
            errors,
            "metric: error_rate, max: 2 }",
            "2",
            "the share `2` has no unit",
            "did you mean `2%`?",
        ),
        (
            errors,
            "metric: error_rate, max: lots }",
            "lots",
            "`lots` is not a share or a number",
            "write a share such as `1%`",
        ),
        (
            errors,
            "metric: error_rate, max: 1%, over: 1s }",
            "1s",
            "`over` belongs to `metric: latency`",
            "remove `over`",
        ),
        (
            errors,
            "metric: error_rate, max: 1%, min: 1% }",
            "1%",
            "`min` belongs to a gate with `prometheus`",
            "remove `min`",
        ),
        (
            errors,
            "metric: error_rate, max: 1%, every: 15s }",
            "15s",
            "`every` belongs to a gate with `prometheus`",
            "remove `every`",
        ),
        (
            errors,
            "metric: error_rate, max: 1%, failures: 2 }",
            "2",
            "`failures` belongs to a gate with `prometheus`",
            "remove `failures`",
        ),
        (
            slow,
            "metric: latency, max: 1% }",
            "slow",
            "the gate `slow` has no `over`",
            "say which requests are slow",
        ),
        (
            slow,
            "metric: latency, over: 300ms }",
            "slow",
            "the gate `slow` has no line",
            "add `max`",
        ),
        (slow, "metric: latency, over: 0s, max: 1% }", "0s", "`0s` has to be more than zero", ""),
        (
            "worse_than_baseline: 20%",
            "worse_than_baseline: 20",
            "20",
            "the share `20` has no unit",
            "did you mean `20%`?",
        ),
        (
            "worse_than_baseline: 20%",
            "worse_than_baseline: 10001%",
            "10001%",
            "`10001%` is not a share",
            "write 0% to 10000%",
        ),
        (
            diffs,
            "{ name: diffs, metric: mismatch_rate }",
            "diffs",
            "the gate `diffs` has no `max`",
            "say how many answers may differ",
        ),
        (
            diffs,
            "{ name: diffs, metric: mismatch_rate, max: 1%, worse_than_baseline: 1% }",
            "1%",
            "a mismatch rate has no baseline to be compared with",
            "use `max`",
        ),
        (
            "mirror: dark",
            "mirror: copies",
            "diffs",
            "the mirror `copies` compares nothing",
            "add `compare: {}` to it",
        ),
        (
            "on_source_broken: pause",
            "on_source_broken: rolback",
            "rolback",
            "unknown reaction `rolback`",
            "did you mean `rollback`?",
        ),
        (
            "      - name: pool",
            "      - { name: d, metric: mismatch_rate, max: 1% }\n      - name: pool",
            "d",
            "the route `cart` has no mirror to `shop-v2`",
            "mismatches are counted of a mirror with `upstream: shop-v2` and `compare`",
        ),
    ]);
}

#[test]
fn with_a_query() {
    let bounds = "        min: 5%\n        max: 1e3\n";
    check(&[
        (bounds, "", "pool", "the gate `pool` has no line", "add `max`, `min` or both"),
        (
            bounds,
            "        min: 5%\n        max: 0.04\n",
            "0.04",
            "`max` (0.04) is below `min` (5%)",
            "",
        ),
        ("max: 1e3", "max: .inf", ".inf", "`.inf` is not a share or a number", "write a share"),
        ("failures: 3", "failures: 0", "0", "expected a number from 1 to 100, found `0`", ""),
        (
            "every: 30s",
            "every: 500ms",
            "500ms",
            "Prometheus is asked at most once a second",
            "write `1s` or more",
        ),
        (
            "every: 30s",
            "worse_than_baseline: 1%",
            "1%",
            "`worse_than_baseline` belongs to a gate with `metric`",
            "remove",
        ),
        ("every: 30s", "over: 1s", "1s", "`over` belongs to a gate with `metric`", "remove `over`"),
        ("query: up", "query: ''", "''", "this may not be empty", ""),
        (
            ", query: up",
            "",
            "{ url: \"http://user:s3cret@127.0.0.1:9090/\" }",
            "missing key `query`",
            "",
        ),
        (
            "\"http://127.0.0.1:9090\"",
            "\"ftp://a\"",
            "\"ftp://a\"",
            "unknown scheme `ftp`",
            "choose `http` or `https`",
        ),
        (
            "\"http://127.0.0.1:9090\"",
            "\"http://a/?x\"",
            "\"http://a/?x\"",
            "the base URL of a Prometheus server has no query",
            "write the PromQL in `query`",
        ),
    ]);
}

#[test]
fn that_have_to_certify() {
    let certified = "candidate: new\n    advance_when: certified";
    check(&[(
        "candidate: new",
        certified,
        "certified",
        "there is no gate that can certify the candidate",
        "add a gate with a `metric`",
    )]);
    let all = ALL.replacen("advance_when: held", "advance_when: certified", 1);
    assert!(compile_text("t.yaml", &all).is_ok());
    let zero = all.replacen("worse_than_baseline: 10%", "worse_than_baseline: 0%", 1).replacen(
        "error_rate, max: 1%",
        "error_rate, max: 0%",
        1,
    );
    let said: Vec<_> = errors(&zero).iter().map(|error| error.message.clone()).collect();
    assert_eq!(
        said,
        ["a margin of 0% can never be certified", "a ceiling of 0% can never be certified"]
    );
    // Held, both are strict and make sense.
    let held = zero.replacen("advance_when: certified", "advance_when: held", 1);
    assert!(compile_text("t.yaml", &held).is_ok());
}
