//! Any answers under any rules, through to the report: no panic, all memory given back, and what
//! is said stays within its bounds.
//!
//! By lines: a pattern to ignore, one to redact, an array's pattern and its key, the heads of the
//! three answers, and their bodies. A head is a status, a `content-type` and a `content-encoding`;
//! the last body is all the rest.
#![no_main]

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tidegate_compare::{Answer, Budget, Charge, Comparison, Exchange, Ledger, Rules, compare};

const MAX_BODY: usize = 1 << 16;
const MEMORY: usize = 16 << 20;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(7, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let rules = rules(line(), line(), line());
    let heads = String::from_utf8_lossy(line()).into_owned();
    let mut heads = heads.split(';');
    let mut answer = |body| answer(heads.next().unwrap_or_default(), body);
    let (primary, candidate) = (answer(line()), answer(line()));
    let noise = lines.next().map(answer);

    let budget = Budget::new(MEMORY);
    let mut charge = Charge::new(&budget);
    let same = compare(&rules, &primary, &primary.clone(), Some(&primary), &mut charge);
    assert_eq!(same, Ok(Comparison { candidate: vec![], noise: Some(vec![]) }));

    let compared = compare(&rules, &primary, &candidate, noise.as_ref(), &mut charge);
    let back = compare(&rules, &candidate, &primary, None, &mut charge);
    assert_eq!((charge.bytes(), budget.used()), (0, 0));
    let Ok(comparison) = compared else { return };
    if let Ok(back) = back {
        assert_eq!(back.candidate.len(), comparison.candidate.len());
    }
    check(&rules, &comparison);
});

/// Records `comparison` twice, and checks what is said about it.
fn check(rules: &Rules, comparison: &Comparison) {
    let all = comparison.candidate.iter().chain(comparison.noise.iter().flatten());
    for difference in all {
        let texts = [&difference.at, &difference.expected, &difference.actual];
        assert!(texts.iter().all(|text| text.chars().count() <= 120), "{difference:?}");
        assert!(difference.field.to_string().len() <= 512, "{difference:?}");
    }
    assert!(comparison.candidate.len() <= 100);

    let mut ledger = Ledger::new();
    let exchange = Exchange { time: 1.0, request_id: "id", method: "GET", path: "/" };
    let first = ledger.record(comparison, &exchange);
    assert_eq!(first.label() == "match", comparison.candidate.is_empty());
    ledger.record(comparison, &exchange);
    // Nothing that is ignored was compared.
    let report = ledger.report(rules);
    let differing = report.fields.iter().filter(|field| field.differs > 0).count();
    assert_eq!(differing > 0, !comparison.candidate.is_empty());
    assert!(report.fields.len() <= 200 && report.fields_dropped == 0);
    assert!(report.fields.iter().all(|field| field.differs <= 2 && field.noise_differs <= 2));
    assert!(report.fields.iter().all(|field| field.examples.len() <= 3));
    serde_json::to_string(&report).expect("a report is JSON");
}

fn rules(ignore: &[u8], redact: &[u8], array: &[u8]) -> Rules {
    let pattern = |text: &[u8]| String::from_utf8_lossy(text).parse();
    let mut array = array.rsplitn(2, |byte| *byte == b' ');
    let key = String::from_utf8_lossy(array.next().unwrap_or_default()).into_owned();
    let array_keys = array.next().and_then(|text| pattern(text).ok()).map(|array| (array, key));
    Rules {
        headers: vec![CONTENT_TYPE],
        ignore: pattern(ignore).into_iter().collect(),
        redact: pattern(redact).into_iter().collect(),
        array_keys: array_keys.into_iter().collect(),
        max_body: MAX_BODY,
    }
}

fn answer(head: &str, body: &[u8]) -> Answer {
    let mut words = head.split(' ');
    let status = words.next().and_then(|status| status.parse().ok()).unwrap_or(200);
    let mut headers = HeaderMap::new();
    for (name, value) in [CONTENT_TYPE, CONTENT_ENCODING].into_iter().zip(words) {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    Answer { status, headers, body: Bytes::copy_from_slice(body) }
}
