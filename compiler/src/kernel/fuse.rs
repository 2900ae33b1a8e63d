//! Fewer passes over memory: stages over the same places become one, and stages that hand rows to each other run row by
//! row in one nest.
//!
//! Expects: nests of one stage without outer axes; every buffer is written before it is read, once (or part by part).
//! Guarantees: the same values in the same order of summation.
//! Leaves out: stores that nobody reads any more (`prune`), rows that only one nest uses (`scratch`), vector axes and the
//! joining of axes (`schedule`).
//!
//! A nest moves up to an earlier one when everything it reads is there by then. It joins a stage over the same places
//! (a map into a map, a reduction into a reduction, a map behind a reduction), where a load of what the stage stores at
//! that place becomes the stored value. Or it becomes a further stage: then the two share leading axes so that all it
//! reads of the other was written in the same outer iteration.

use super::ir::{AffineMap, BufferId, Nest, Program, Scalar, Stage, Step, ValueId};
use cranelift_entity::SecondaryMap;
use std::collections::BTreeMap;

/// A way to make one nest of two.
type Attempt = fn(&Program, &Nest, &Nest) -> Option<Nest>;

/// How far back a nest looks for another one to join.
const WINDOW: usize = 48;
/// The most stages of a nest: fusion takes time in proportion to them for each nest that looks back.
const MOST_STAGES: usize = 32;
/// The most scalars in a stage.
const MOST_VALUES: usize = 96;
/// The most bytes of a row that one stage hands to another: it shall stay in the first-level cache.
const MOST_ROW_BYTES: i64 = 32 << 10;

/// Fuses the nests of a list of steps and of the loops in it.
pub fn fuse(program: &Program, steps: Vec<Step>) -> Vec<Step> {
    let mut done: Vec<Step> = Vec::new();
    let mut writes: Vec<Vec<BufferId>> = Vec::new();
    for mut step in steps {
        if let Step::Repeat(repeat) = &mut step {
            repeat.steps = fuse(program, std::mem::take(&mut repeat.steps));
        }
        let (reads, written) = step.accesses(program);
        if let Step::Nest(nest) = &step {
            // Everything before this index may be read.
            let first = writes.iter().rposition(|list| list.iter().any(|buffer| reads.contains(buffer))).unwrap_or(0);
            let first = first.max(done.len().saturating_sub(WINDOW));
            let attempts: [Attempt; 2] = [join_stage, add_stage];
            let joined = attempts.iter().find_map(|attempt| {
                (first..done.len()).rev().find_map(|index| {
                    let Step::Nest(earlier) = &done[index] else { return None };
                    Some((index, attempt(program, earlier, nest)?))
                })
            });
            if let Some((index, nest)) = joined {
                done[index] = Step::Nest(nest);
                writes[index].extend(written);
                continue;
            }
        }
        done.push(step);
        writes.push(written);
    }
    done
}

/// Puts a nest into a stage of an earlier one.
fn join_stage(program: &Program, earlier: &Nest, nest: &Nest) -> Option<Nest> {
    (0..earlier.stages.len()).rev().find_map(|index| {
        let (stage, new) = (&earlier.stages[index], &nest.stages[0]);
        let stage_kept = [&earlier.outer[..], &stage.inner].concat();
        let kept = common(&stage_kept, &new.inner, true)?;
        let behind = new.reductions.is_empty() && !stage.reductions.is_empty();
        let reduced = if behind { stage.reduced.clone() } else { common(&stage.reduced, &new.reduced, true)? };
        if new.reductions.is_empty() != stage.reductions.is_empty() && !behind {
            return None;
        }
        if !earlier.outer.is_empty() && kept != stage_kept {
            return None;
        }
        let outer = earlier.outer.len();
        let single = earlier.stages.len() == 1;
        let count = kept.len();
        let (mut stage, mut new) = (stage.clone(), new.clone());
        if earlier.outer.is_empty() {
            cut_inner(&mut stage, &kept);
        }
        cut_inner(&mut new, &kept);
        if behind {
            let reduced_axes = reduced.len();
            new.change_maps(|map| map.strides.extend(vec![0; reduced_axes]));
        } else if single || reduced == stage.reduced {
            cut_reduced(&mut stage, count, &reduced);
            cut_reduced(&mut new, count, &reduced);
        } else {
            return None;
        }
        let mut shares = false;
        let mut forwarded = BTreeMap::new();
        for (id, scalar) in &new.values {
            for buffer in scalar.buffers() {
                let Some((at, map)) = only_store(earlier, buffer)? else {
                    let varies = scalar.maps().iter().any(|map| map.strides.iter().any(|stride| *stride != 0));
                    shares |= varies && stage.values.values().any(|known| known == scalar);
                    continue;
                };
                let Scalar::Load { map: load, guards, .. } = scalar else { return None };
                if at > index {
                    return None;
                }
                if at == index {
                    // A reduction ends before what it gives can be read.
                    let is_readable = stage.reductions.is_empty() || behind;
                    let store = stage.stores.iter().find(|store| store.buffer == buffer)?;
                    if !is_readable || *load != store.map || !guards.is_empty() {
                        return None;
                    }
                    forwarded.insert(id, store.value);
                } else {
                    let store_sizes = earlier.stages[at].sizes(&earlier.outer);
                    let sizes = stage.sizes(&earlier.outer);
                    is_local(program, buffer, (map, &store_sizes), (load, &sizes), outer).then_some(())?;
                }
                shares = true;
            }
        }
        let joined = join(&stage, &new, behind, &forwarded);
        if !shares || joined.values.len() > MOST_VALUES {
            return None;
        }
        let mut fused = earlier.clone();
        fused.stages[index] = joined;
        fused.name = joined_name(&earlier.name, &nest.name);
        Some(fused)
    })
}

/// Puts a nest behind the stages of an earlier one, over common outer axes.
fn add_stage(program: &Program, earlier: &Nest, nest: &Nest) -> Option<Nest> {
    let is_single = earlier.outer.is_empty();
    if is_single && earlier.stages.len() > 1 || earlier.stages.len() >= MOST_STAGES {
        return None;
    }
    let lead = if is_single { &earlier.stages[0].inner } else { &earlier.outer };
    let all = common(lead, &nest.stages[0].inner, false)?;
    if !is_single && all.iter().product::<u64>() < earlier.outer.iter().product() {
        return None;
    }
    let fewest = if is_single { 1 } else { all.len() };
    (fewest..=all.len()).rev().find_map(|count| {
        let outer = &all[..count];
        if outer.iter().product::<u64>() < 2 {
            return None;
        }
        let (mut earlier, mut nest) = (earlier.clone(), nest.clone());
        if is_single {
            cut_inner(&mut earlier.stages[0], outer);
            earlier.outer = earlier.stages[0].inner.drain(..count).collect();
        } else {
            let mut sizes = earlier.outer.clone();
            for stage in &mut earlier.stages {
                sizes.clone_from(&earlier.outer);
                cut(&mut sizes, 0, outer, stage);
            }
            (sizes == outer).then_some(())?;
            earlier.outer = sizes;
        }
        let stage = &mut nest.stages[0];
        cut_inner(stage, outer);
        stage.inner.drain(..count);
        let sizes = stage.sizes(outer);
        let mut flows = false;
        for scalar in stage.values.values() {
            for buffer in scalar.buffers() {
                let Some((at, map)) = only_store(&earlier, buffer)? else { continue };
                let Scalar::Load { map: load, .. } = scalar else { return None };
                let store_sizes = earlier.stages[at].sizes(outer);
                is_local(program, buffer, (map, &store_sizes), (load, &sizes), count).then_some(())?;
                flows = true;
            }
        }
        flows.then_some(())?;
        earlier.stages.append(&mut nest.stages);
        earlier.name = joined_name(&earlier.name, &nest.name);
        Some(earlier)
    })
}

/// The one store of a buffer in a nest, with its stage: `Some(None)` for a buffer the nest does not write, `None` for
/// one that it writes more than once.
#[allow(clippy::option_option, reason = "the outer one says that fusion is off")]
pub fn only_store(nest: &Nest, buffer: BufferId) -> Option<Option<(usize, &AffineMap)>> {
    let mut stores = nest.stages.iter().enumerate().flat_map(|(index, stage)| {
        stage.stores.iter().filter(|store| store.buffer == buffer).map(move |store| (index, &store.map))
    });
    let first = stores.next();
    if stores.next().is_some() { None } else { Some(first) }
}

/// Whether all that a load reads in an outer iteration was stored in the same one, in a row that is small enough.
fn is_local(
    program: &Program,
    buffer: BufferId,
    store: (&AffineMap, &[u64]),
    load: (&AffineMap, &[u64]),
    outer: usize,
) -> bool {
    let (stored, read) = (row(store.0, store.1, outer), row(load.0, load.1, outer));
    let mut span = stored.1 - stored.0 + 1;
    if span * program.buffers[buffer].ty.dtype.bytes() as i64 > MOST_ROW_BYTES {
        return false;
    }
    // Rows of different outer iterations share no element.
    for axis in (0..outer).rev() {
        if store.0.strides[axis] < span {
            return false;
        }
        span = store.0.strides[axis] * store.1[axis] as i64;
    }
    store.0.strides[..outer] == load.0.strides[..outer] && stored.0 <= read.0 && read.1 <= stored.1
}

/// The first and last element that a map reaches while the outer axes are 0.
pub fn row(map: &AffineMap, sizes: &[u64], outer: usize) -> (i64, i64) {
    let mut inner = map.clone();
    inner.strides[..outer].fill(0);
    inner.range(sizes)
}

/// The axes that two lists of sizes begin with when axes may be split; all of both where `whole` is asked for.
fn common(a: &[u64], b: &[u64], whole: bool) -> Option<Vec<u64>> {
    let mut result = Vec::new();
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    a.reverse();
    b.reverse();
    while let (Some(x), Some(y)) = (a.last_mut(), b.last_mut()) {
        let axis = *x.min(y);
        if axis == 0 || *x % axis != 0 || *y % axis != 0 {
            break;
        }
        result.push(axis);
        for rest in [&mut a, &mut b] {
            if let Some(size) = rest.pop()
                && size > axis
            {
                rest.push(size / axis);
            }
        }
    }
    (a.is_empty() && b.is_empty() || !whole).then_some(result)
}

/// Splits the first inner axes of a stage without outer axes so that they are these.
fn cut_inner(stage: &mut Stage, wanted: &[u64]) {
    let mut sizes = std::mem::take(&mut stage.inner);
    cut(&mut sizes, 0, wanted, stage);
    stage.inner = sizes;
}

/// Splits the reduced axes of a stage, of which there are `first` axes before.
fn cut_reduced(stage: &mut Stage, first: usize, wanted: &[u64]) {
    let mut sizes = std::mem::take(&mut stage.reduced);
    cut(&mut sizes, first, wanted, stage);
    stage.reduced = sizes;
}

fn cut(sizes: &mut Vec<u64>, first: usize, wanted: &[u64], stage: &mut Stage) {
    for (index, size) in wanted.iter().enumerate() {
        if sizes[index] != *size {
            let inner = sizes[index] / size;
            sizes[index] = *size;
            sizes.insert(index + 1, inner);
            stage.change_maps(|map| {
                let stride = map.strides[first + index];
                map.strides[first + index] = stride * inner as i64;
                map.strides.insert(first + index + 1, stride);
            });
        }
    }
}

/// One stage that does what two over the same axes do; with `behind`, the second comes after the reduced loops.
fn join(stage: &Stage, new: &Stage, behind: bool, forwarded: &BTreeMap<ValueId, ValueId>) -> Stage {
    let mut joined = Stage {
        inner: stage.inner.clone(),
        reduced: stage.reduced.clone(),
        reductions: stage.reductions.clone(),
        ..Stage::default()
    };
    let mut old_names = SecondaryMap::<ValueId, Option<ValueId>>::new();
    let mut new_names = SecondaryMap::<ValueId, Option<ValueId>>::new();
    let base = stage.reductions.len() as u32;
    let inside = |of: &Stage| 0..of.n_inside as usize;
    let after = |of: &Stage| of.n_inside as usize..of.values.len();
    copy_values(&mut joined, 0, stage, inside(stage), &mut old_names, 0);
    if !behind {
        forward(forwarded, &old_names, &mut new_names);
        copy_values(&mut joined, 0, new, inside(new), &mut new_names, base);
    }
    joined.n_inside = joined.values.len() as u32;
    let first = joined.values.len();
    copy_values(&mut joined, first, stage, after(stage), &mut old_names, 0);
    if behind {
        forward(forwarded, &old_names, &mut new_names);
        copy_values(&mut joined, first, new, inside(new), &mut new_names, base);
    }
    copy_values(&mut joined, first, new, after(new), &mut new_names, base);
    let name = |names: &SecondaryMap<ValueId, Option<ValueId>>, id: ValueId| {
        names[id].expect("bug in bpc: a scalar got lost in fusion")
    };
    for reduction in &mut joined.reductions {
        reduction.value = name(&old_names, reduction.value);
    }
    joined.reductions.extend(new.reductions.iter().map(|reduction| {
        let mut reduction = *reduction;
        reduction.value = name(&new_names, reduction.value);
        reduction
    }));
    for (stores, names) in [(&stage.stores, &old_names), (&new.stores, &new_names)] {
        joined.stores.extend(stores.iter().map(|store| {
            let mut store = store.clone();
            store.value = name(names, store.value);
            store
        }));
    }
    joined
}

/// Lets loads of what the other stage stores be the stored scalars.
fn forward(
    forwarded: &BTreeMap<ValueId, ValueId>,
    old_names: &SecondaryMap<ValueId, Option<ValueId>>,
    new_names: &mut SecondaryMap<ValueId, Option<ValueId>>,
) {
    for (load, stored) in forwarded {
        new_names[*load] = old_names[*stored];
    }
}

fn copy_values(
    joined: &mut Stage,
    first: usize,
    source: &Stage,
    range: std::ops::Range<usize>,
    names: &mut SecondaryMap<ValueId, Option<ValueId>>,
    base: u32,
) {
    for (id, scalar) in source.values.iter().take(range.end).skip(range.start) {
        if names[id].is_some() {
            continue;
        }
        let mut scalar = scalar.clone();
        scalar.rename(|operand| names[operand].expect("bug in bpc: a scalar got lost in fusion"));
        if let Scalar::Reduced(index) = &mut scalar {
            *index += base;
        }
        names[id] = Some(joined.value_from(first, scalar, source.dtype(id)));
    }
}

fn joined_name(first: &str, second: &str) -> String {
    if first.split('.').any(|part| part == second) { first.to_owned() } else { format!("{first}.{second}") }
}

#[cfg(test)]
mod tests {
    use crate::ir::graph::Graph;
    use crate::ir::text::parse;
    use crate::kernel::build;
    use crate::kernel::ir::Step;
    use std::fmt::Write;

    /// `x = sin(x) + x`, many times over.
    fn chain(length: u32) -> Graph {
        let mut text =
            "region r0 \"main\" {\n  n0 = input {role = data, name = \"x\", ty = f32[64]} : f32[64]\n".to_string();
        for turn in 0..length {
            let (x, sine, sum) = (2 * turn, 2 * turn + 1, 2 * turn + 2);
            writeln!(text, "  n{sine} = sin(n{x}) : f32[64]\n  n{sum} = add(n{sine}, n{x}) : f32[64]").unwrap();
        }
        writeln!(text, "  result value \"y\" = n{}\n}}", 2 * length).unwrap();
        parse(&text).unwrap()
    }

    #[test]
    fn no_nest_grows_without_bound() {
        let program = build(&chain(2000)).unwrap();
        let stages = program.steps.iter().map(|step| match step {
            Step::Nest(nest) => nest.stages.len(),
            other => panic!("{other:?}"),
        });
        let stages: Vec<usize> = stages.collect();
        assert!(stages.len() < 20 && stages.iter().all(|count| *count <= super::MOST_STAGES), "{stages:?}");
    }
}
