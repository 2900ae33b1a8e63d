//! Whether two engines computed the same: the outputs and the parameters after one step.
//!
//! Expects: what each wrote into the folder after its first step, `ENGINE.npz`.
//! Guarantees: a result beyond the tolerance is an error that names it; engines without a common name disagree.
//! Leaves out: which of them is right.

use super::super::Failure;
use super::suite::Workload;
use bpc_runtime::tensor_file::read_tensors;
use std::path::Path;

/// Compares a peer with `bpc`.
pub fn check(folder: &Path, peer: &str, workload: &Workload) -> Result<(), Failure> {
    let ours = read_tensors(&folder.join("bpc.npz"))?;
    let theirs = read_tensors(&folder.join(format!("{peer}.npz")))?;
    let mut compared = 0;
    let wrong = |what: String| {
        Err(Failure::Error(bpc::Error::Call(format!("{}: {peer} and bpc disagree: {what}", workload.name))))
    };
    for (name, tensor) in &ours {
        let Some((_, other)) = theirs.iter().find(|(known, _)| known == name) else { continue };
        if tensor.shape() != other.shape() {
            return wrong(format!("`{name}` is {} and {}", other.type_text(), tensor.type_text()));
        }
        let (ours, theirs) = (tensor.to_f64(), other.to_f64());
        let scale = ours.iter().fold(1e-6, |largest: f64, value| largest.max(value.abs()));
        let pairs = ours.iter().zip(&theirs);
        let difference = pairs.fold(0.0, |largest: f64, (a, b)| largest.max((a - b).abs())) / scale;
        // `max` passes over a NaN.
        if difference > workload.tolerance || ours.iter().chain(&theirs).any(|value| value.is_nan()) {
            return wrong(format!("`{name}` differs by {difference:.1e} of its largest element"));
        }
        compared += 1;
    }
    if compared == 0 { wrong("they have no result in common".to_string()) } else { Ok(()) }
}
