//! Mistakes in steps.

use super::{ALL, check};

#[test]
fn each_has_its_message() {
    let all = &ALL[ALL.find("      - { mirror: 100%").expect("steps")
        ..ALL.find("    gates:").expect("gates")];
    let many = "      - { weight: 1%, hold: 1m }\n".repeat(101);
    let first = "- { mirror: 100%, hold: 10m }";
    let nothing = "this step does nothing: no user gets the candidate, no mirror is set";
    check(&[
        (all, "      []\n", "[]", "the rollout `shop-v2` has no steps", "add at least one"),
        (all, &many, "-", "a rollout has at most 100 steps", ""),
        (
            first,
            "- { hold: 10m }",
            "{ hold: 10m }",
            "this step has none of `weight`, `mirror` and `pause`",
            "say what it sets",
        ),
        (
            first,
            "- {}",
            "{}",
            "this step has none of `weight`, `mirror` and `pause`",
            "say what it sets",
        ),
        (
            first,
            "- { weight: 0%, hold: 10m }",
            "0%",
            nothing,
            "give it a `weight` above 0% or a `mirror`",
        ),
        (
            first,
            "- { mirror: 0, hold: 10m }",
            "0",
            nothing,
            "give it a `weight` above 0% or a `mirror`",
        ),
        (
            first,
            "- { weight: 0.5, hold: 1m }",
            "0.5",
            "the share `0.5` has no unit",
            "did you mean `0.5%`?",
        ),
        (
            first,
            "- { weight: 101, hold: 1m }",
            "101",
            "`101` is not a share",
            "write 0 to 100, or 0% to 100%",
        ),
        (
            first,
            "- { weigth: 1, hold: 1m }",
            "weigth",
            "unknown key `weigth`",
            "did you mean `weight`?",
        ),
        (
            "weight: 50%, hold",
            "weight: 5%, hold",
            "5%",
            "the weight falls from 10% to 5%",
            "steps only go up",
        ),
        (
            "- { pause: true }",
            "- { pause: false }",
            "false",
            "`pause` can only be `true`",
            "leave it out",
        ),
        (
            "- { pause: true }",
            "- { pause: true, hold: 1m }",
            "1m",
            "`hold` means nothing in a step that pauses",
            "it waits until a person promotes it",
        ),
        (
            "- { pause: true }",
            "- { pause: true, weight: 10, min_requests: 1 }",
            "1",
            "`min_requests` means nothing in a step that pauses",
            "it waits",
        ),
        (
            "min_requests: 1000",
            "min_requests: -1",
            "-1",
            "expected a whole number from 0 to 18446744073709551615, found `-1`",
            "",
        ),
        // The cart has no mirror.
        (
            "- { weight: 5, hold: 1h }",
            "- { weight: 5, mirror: 1, hold: 1h }",
            "1",
            "the route `cart` has no mirror to `shop-v2`",
            "add a mirror with `upstream: shop-v2`, the candidate's, to the route, name another of \
             its mirrors with `mirror` in the rollout, or remove this",
        ),
    ]);
}
