//! Short rows go through a nest many at a time, so that vectors and calls of heavy functions have something to do.
//!
//! Expects: a nest with its outer axes joined; what its stages hand to each other in scratch.
//! Guarantees: the same values; only sums along a row may be added in another order, that of the loops that are left.
//! Leaves out: nests whose last outer axis has no divisor of a fitting size.
//!
//! The last outer axis is cut in two, and the inner half becomes the first axis of every stage and its vector axis: lane
//! by lane another row. Each element of a row in scratch becomes a column of that many, so that what one stage hands to
//! the next lies side by side. Random numbers come in the order of their tensor: a stage of its own draws those of all
//! rows before the others.

use super::ir::{AffineMap, Buffer, BufferId, Nest, Place, Program, Scalar, Stage, Store};
use super::views::row_major;
use crate::ir::types::{Literal, TensorType};
use std::collections::BTreeSet;

/// The most places of a row that is short.
const MOST_PLACES: u64 = 32;
/// Fewer rows at a time are not worth it.
const FEWEST_ROWS: u64 = 16;
/// The most rows at a time.
const MOST_ROWS: u64 = 256;
/// The most places at a time: what the stages hand to each other shall stay in the first-level cache.
const MOST_TOGETHER: u64 = 2048;

/// Lets a nest do many rows at a time; says whether it did.
pub(super) fn gather(program: &mut Program, nest: &mut Nest) -> bool {
    let is_drawn = |stage: &Stage| stage.values.values().any(|scalar| matches!(scalar, Scalar::Random { .. }));
    let places = |stage: &Stage| stage.inner.iter().chain(&stage.reduced).product::<u64>();
    // The places of a stage alone are rows where it reduces.
    let (rows, longest) = match nest.stages.as_slice() {
        [stage] if nest.outer.is_empty() && !stage.reductions.is_empty() && is_drawn(stage) => {
            (stage.inner.last().copied(), stage.reduced.iter().product())
        }
        [_] => return false,
        stages => (nest.outer.last().copied(), stages.iter().map(places).max().unwrap_or(0)),
    };
    let (Some(rows), 1..=MOST_PLACES) = (rows, longest) else { return false };
    // Workers would share the bytes of rows that are packed.
    if nest.stages.iter().flat_map(|stage| &stage.stores).any(|store| program.buffers[store.buffer].packed.is_some()) {
        return false;
    }
    let most = MOST_ROWS.min(MOST_TOGETHER / longest);
    let Some(together) = (FEWEST_ROWS..=most).rev().find(|count| rows.is_multiple_of(*count)) else { return false };
    if let ([stage], []) = (nest.stages.as_mut_slice(), nest.outer.as_slice()) {
        nest.outer = std::mem::take(&mut stage.inner);
    }
    nest.outer.pop();
    nest.outer.push(rows / together);
    let outer = nest.outer.len();
    for stage in &mut nest.stages {
        stage.inner.insert(0, together);
        stage.change_maps(|map| {
            let stride = map.strides[outer - 1];
            map.strides[outer - 1] = stride * together as i64;
            map.strides.insert(outer, stride);
        });
    }
    widen_scratch(program, nest, together);
    let drawn: Vec<Stage> =
        nest.stages.iter_mut().flat_map(|stage| draw(program, stage, outer, &mut nest.scratch_bytes)).collect();
    nest.stages.splice(0..0, drawn);
    true
}

/// Gives every element of a row in scratch a column of so many.
fn widen_scratch(program: &mut Program, nest: &mut Nest, together: u64) {
    let outer = nest.outer.len();
    let stored: BTreeSet<BufferId> =
        nest.stages.iter().flat_map(|stage| stage.stores.iter().map(|store| store.buffer)).collect();
    nest.scratch_bytes = 0;
    for buffer in stored {
        let Buffer { place: Place::Scratch(place), ty, .. } = &mut program.buffers[buffer] else { continue };
        *ty = TensorType::new(ty.dtype, vec![ty.elements() * together]);
        *place = nest.scratch_bytes;
        nest.scratch_bytes += ty.bytes().next_multiple_of(64);
        let widen = |map: &mut AffineMap| {
            *map = map.scaled(together as i64);
            map.strides[outer] = 1;
        };
        nest.stages.iter_mut().for_each(|stage| stage.change_maps_of(buffer, widen));
    }
}

/// Lets a stage read the random numbers that it draws, where these are neighbours along its axes; gives the stages that
/// draw them.
fn draw(program: &mut Program, stage: &mut Stage, outer: usize, scratch_bytes: &mut u64) -> Vec<Stage> {
    let sizes = [&stage.inner[..], &stage.reduced].concat();
    let strides = row_major(&sizes);
    let mut drawing = Vec::new();
    for scalar in stage.values.values_mut() {
        let Scalar::Random { map, dtype, .. } = scalar else { continue };
        let dtype = *dtype;
        if map.strides[outer..] != strides {
            continue;
        }
        let mut place = AffineMap::constant(0, outer + sizes.len());
        place.strides[outer..].copy_from_slice(&strides);
        let ty = TensorType::new(dtype, vec![sizes.iter().product()]);
        let bytes = ty.bytes().next_multiple_of(64);
        let at = Place::Scratch(*scratch_bytes);
        *scratch_bytes += bytes;
        let buffer = program.buffers.push(Buffer { place: at, ..Buffer::temporary(ty) });
        let load = Scalar::Load { buffer, map: place.clone(), guards: vec![], otherwise: Literal::new(dtype, 0.0) };
        let mut own = Stage { inner: sizes.clone(), n_inside: 1, ..Stage::default() };
        let value = own.value(std::mem::replace(scalar, load), dtype);
        own.stores.push(Store { buffer, map: place, value });
        drawing.push(own);
    }
    drawing
}
