//! The answer of `POST /dhow/check`.

use crate::system::check::{Finding, Report};
use serde_json::{Value, json};

/// Counts, and what was found.
pub(in crate::api) fn show(report: &Report) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "Kind": finding.kind,
            "Subject": finding.subject,
            "What": finding.what,
            "Broken": finding.broken,
            "Repaired": finding.repaired,
        })
    };
    json!({
        "Blobs": report.blobs,
        "Layers": report.layers,
        "Bytes": report.bytes,
        "Images": report.images,
        "Containers": report.containers,
        "Volumes": report.volumes,
        "Findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}
