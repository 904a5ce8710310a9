//! Parsing and writing of image references: done for every image of every `images`, `ps` and `run`.

use criterion::{Criterion, criterion_group, criterion_main};
use dhow_model::Reference;
use std::hint::black_box;

fn reference(c: &mut Criterion) {
    for text in [
        "debian",
        "registry.example:5000/team/app:1.2.3",
        "ghcr.io/a/b/c@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ] {
        c.bench_function(&format!("parse {text}"), |b| b.iter(|| Reference::parse(black_box(text))));
    }
}

criterion_group!(benches, reference);
criterion_main!(benches);
