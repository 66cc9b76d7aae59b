//! Time of a route lookup and of a variant decision: `cargo bench -p tidegate-benches`.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate_benches::{DecisionKind, ROUTE_COUNTS, TableKind};

fn lookups(criterion: &mut Criterion) {
    for kind in TableKind::ALL {
        let mut group = criterion.benchmark_group(kind.name());
        for count in ROUTE_COUNTS {
            let (table, requests) = kind.build(count);
            let mut requests = requests.iter().cycle();
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                bencher
                    .iter(|| requests.next().map(|request| table.find(black_box(&request.view()))));
            });
        }
        group.finish();
    }
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    for kind in DecisionKind::ALL {
        let (policy, requests) = kind.build();
        let mut requests = requests.iter().cycle();
        let mut draw = 0_u64;
        group.bench_function(kind.name(), |bencher| {
            bencher.iter(|| {
                draw = draw.wrapping_add(0x9E37_79B9_7F4A_7C15);
                requests.next().map(|request| policy.decide(black_box(&request.view()), draw))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookups, decisions);
criterion_main!(benches);
