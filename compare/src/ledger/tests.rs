//! Counting, judging, forgetting.

use super::*;

fn difference(field: Field, kind: Kind) -> Difference {
    let (at, expected, actual) = (field.to_string(), "1".to_owned(), "2".to_owned());
    Difference { field, kind, at, expected, actual }
}

fn json(path: &str) -> Difference {
    difference(Field::Json(path.to_owned()), Kind::Changed)
}

fn fields(paths: &[&str]) -> Vec<Difference> {
    paths.iter().map(|path| json(path)).collect()
}

/// Records one comparison at `time`; `noise` is `None` without a second copy.
fn record(ledger: &mut Ledger, time: f64, candidate: &[&str], noise: Option<&[&str]>) -> Verdict {
    let comparison = Comparison { candidate: fields(candidate), noise: noise.map(fields) };
    let request_id = format!("r{time}");
    let exchange = Exchange { time, request_id: &request_id, method: "GET", path: "/" };
    ledger.record(&comparison, &exchange)
}

fn report(ledger: &Ledger) -> Report {
    ledger.report(&Rules::default())
}

fn field<'r>(report: &'r Report, name: &str) -> &'r FieldReport {
    report.fields.iter().find(|field| field.field == name).expect(name)
}

#[test]
fn noise_is_learned_and_differences_stand_out() {
    let mut ledger = Ledger::new();
    let mut verdicts = Vec::new();
    for i in 0..40 {
        let time = f64::from(i);
        // The time differs always, in both; the price in the candidate only.
        let candidate: &[&str] = if i % 2 == 0 { &["$.time", "$.price"] } else { &["$.time"] };
        verdicts.push(record(&mut ledger, time, candidate, Some(&["$.time"])));
    }
    verdicts.push(record(&mut ledger, 40.0, &[], Some(&["$.time"])));
    assert_eq!(verdicts[..2], [Verdict::Mismatch, Verdict::Noise]);
    assert_eq!(verdicts[38..], [Verdict::Mismatch, Verdict::Noise, Verdict::Match]);
    let report = report(&ledger);
    let counts = (report.compared, report.identical, report.noise, report.mismatch, report.paired);
    assert_eq!(counts, (41, 1, 20, 20, 41));
    let order: Vec<_> = report.fields.iter().map(|f| (f.field.as_str(), f.verdict)).collect();
    assert_eq!(order, [("$.price", FieldVerdict::Different), ("$.time", FieldVerdict::Noise)]);
    let price = field(&report, "$.price");
    assert_eq!((price.differs, price.noise_differs, price.candidate_only), (20, 0, 20));
    assert_eq!((price.first_seen, price.last_seen), (0.0, 38.0));
    assert!(price.log10_evidence.expect("it was paired") > 4.0);
    assert!((price.rate - 20.0 / 41.0).abs() < 1e-12);
    let time = field(&report, "$.time");
    assert_eq!((time.differs, time.noise_differs), (40, 41));
    assert_eq!((time.candidate_only, time.noise_only, time.last_seen), (0, 1, 40.0));
}

#[test]
fn a_noisy_field_that_got_worse_is_different() {
    let mut ledger = Ledger::new();
    for i in 0..200 {
        let noise: &[&str] = if i % 10 == 0 { &["$.a"] } else { &[] };
        record(&mut ledger, f64::from(i), &["$.a"], Some(noise));
    }
    assert_eq!(field(&report(&ledger), "$.a").verdict, FieldVerdict::Different);
    assert_eq!(record(&mut ledger, 200.0, &["$.a"], None), Verdict::Mismatch);
}

#[test]
fn without_a_second_copy_nothing_is_judged() {
    let mut ledger = Ledger::new();
    for i in 0..100 {
        assert_eq!(record(&mut ledger, f64::from(i), &["$.a"], None), Verdict::Mismatch);
    }
    let alone = report(&ledger);
    let a = field(&alone, "$.a");
    assert_eq!((a.verdict, a.log10_evidence), (FieldVerdict::Unjudged, None));
    record(&mut ledger, 100.0, &["$.a"], Some(&[]));
    let paired = report(&ledger);
    let a = field(&paired, "$.a");
    assert_eq!((a.verdict, a.candidate_only, a.differs), (FieldVerdict::Undecided, 1, 101));
}

#[test]
fn a_field_counts_once_for_each_comparison_and_kind() {
    let mut ledger = Ledger::new();
    let paths = ["$.items[*]"; 5];
    record(&mut ledger, 1.0, &paths, Some(&paths[..2]));
    let removed = difference(Field::Json("$.items[*]".to_owned()), Kind::Removed);
    let comparison = Comparison { candidate: vec![removed], noise: Some(vec![]) };
    let exchange = Exchange { time: 2.0, request_id: "r", method: "GET", path: "/" };
    assert_eq!(ledger.record(&comparison, &exchange), Verdict::Mismatch);
    let report = report(&ledger);
    let counts: Vec<_> =
        report.fields.iter().map(|f| (f.kind, f.differs, f.noise_differs)).collect();
    assert_eq!(counts, [("removed", 1, 0), ("changed", 1, 1)]);
}

#[test]
fn a_report_is_ordered_by_what_to_look_at() {
    let mut ledger = Ledger::new();
    for i in 0..30 {
        let mut candidate = vec!["$.worse", "$.noisy", "$.much"];
        candidate.extend((i < 25).then_some("$.bad"));
        candidate.extend((i < 2).then_some("$.twice"));
        candidate.extend((i < 1).then_some("$.once"));
        record(&mut ledger, f64::from(i), &candidate, Some(&["$.noisy", "$.much"]));
    }
    record(&mut ledger, 31.0, &["$.alone", "$.much"], None);
    let order: Vec<_> = report(&ledger).fields.into_iter().map(|f| f.field).collect();
    let expected = ["$.worse", "$.bad", "$.twice", "$.once", "$.alone", "$.much", "$.noisy"];
    assert_eq!(order, expected);
}

#[test]
fn ignored_fields_are_left_out() {
    let mut ledger = Ledger::new();
    record(&mut ledger, 1.0, &["$.a.b[*].c", "$.ab", "$"], None);
    let ignore = vec!["$.a".parse().expect("a pattern")];
    let report = ledger.report(&Rules { ignore, ..Rules::default() });
    assert!(report.fields.iter().map(|f| f.field.as_str()).eq(["$", "$.ab"]));
    assert_eq!(report.compared, 1);
}

#[test]
fn the_first_examples_and_the_newest_are_kept_in_bounds() {
    let mut ledger = Ledger::new();
    for i in 0..9 {
        record(&mut ledger, f64::from(i), &["$.a"], Some(&["$.b"]));
    }
    let times = |report: &Report, name: &str| -> Vec<f64> {
        field(report, name).examples.iter().map(|example| example.time).collect()
    };
    let report = report(&ledger);
    assert_eq!(times(&report, "$.a"), [0.0, 1.0, 8.0]);
    assert!(times(&report, "$.b").is_empty());
    let long = "ö".repeat(10_000);
    let mut huge = json("$.a");
    (huge.at, huge.expected, huge.actual) = (long.clone(), long.clone(), long.clone());
    let comparison = Comparison { candidate: vec![huge], noise: None };
    let exchange = Exchange { time: 9.0, request_id: &long, method: &long, path: &long };
    ledger.record(&comparison, &exchange);
    let report = ledger.report(&Rules::default());
    let example = &field(&report, "$.a").examples[2];
    let lengths = [&example.request_id, &example.method, &example.path, &example.at]
        .map(|text| text.chars().count());
    assert_eq!(lengths, [128, 32, 200, 120]);
}

#[test]
fn fields_are_bounded_and_those_seen_least_make_room() {
    let mut ledger = Ledger::new();
    for _ in 0..3 {
        record(&mut ledger, 0.0, &["$.kept"], None);
    }
    for i in 0..1_000 {
        record(&mut ledger, f64::from(i), &[&format!("$.id{i:04}")], Some(&[]));
    }
    let report = report(&ledger);
    assert_eq!((report.fields.len(), report.fields_dropped), (FIELDS_MAX, 1_001 - 256));
    assert_eq!(field(&report, "$.kept").differs, 3);
    assert!(report.fields.iter().any(|f| f.field == "$.id0999"));
    assert!(!report.fields.iter().any(|f| f.field == "$.id0000"));
    // A field that is seen more often is not evicted; then the new one goes.
    let mut full = Ledger::new();
    let paths: Vec<String> = (0..FIELDS_MAX).map(|i| format!("$.f{i}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    for i in 0..3 {
        record(&mut full, f64::from(i), &paths, None);
    }
    assert_eq!(record(&mut full, 3.0, &["$.new"], Some(&["$.new"])), Verdict::Mismatch);
    let report = full.report(&Rules::default());
    assert_eq!((report.fields.len(), report.fields_dropped), (FIELDS_MAX, 1));
    assert!(!report.fields.iter().any(|f| f.field == "$.new"));
    full.clear();
    assert_eq!(full.report(&Rules::default()), Ledger::new().report(&Rules::default()));
}

#[test]
fn fields_that_were_dropped_still_raise_the_bar() {
    let judged = |others: usize| {
        let mut ledger = Ledger::new();
        for i in 0..others {
            record(&mut ledger, 0.0, &[&format!("$.id{i}")], Some(&[]));
        }
        for i in 0..12 {
            record(&mut ledger, f64::from(i), &["$.a"], Some(&[]));
        }
        field(&report(&ledger), "$.a").verdict
    };
    assert_eq!(judged(0), FieldVerdict::Different);
    assert_eq!(judged(5_000), FieldVerdict::Undecided);
}

#[test]
fn the_memory_is_what_the_documentation_says() {
    let wide = char::MAX.len_utf8();
    let memory = |width: usize| {
        let shown = 3 * crate::render::SHOWN_MAX;
        let texts = REQUEST_ID_MAX + METHOD_MAX + PATH_MAX + shown;
        let example = size_of::<Example>() + texts * width;
        FIELDS_MAX * (size_of::<Entry>() + crate::place::FIELD_MAX + EXAMPLES_MAX * example)
    };
    assert!(memory(wide) <= 2_600_000, "{}", memory(wide));
    assert!(memory(1) <= 900_000, "{}", memory(1));
}
