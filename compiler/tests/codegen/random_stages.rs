//! Random stages, by vectors and element by element.
//!
//! Expects: nothing beyond the hand-built programs.
//! Guarantees: both paths give the same bits and change nothing but the outputs.
//! Leaves out: whether the bits are right (`scalars`, `reductions`, `graphs`).

use crate::case::{Bits, Case, Numbers, store, value};
use bpc::codegen::Host;
use bpc::codegen::backend::Backend;
use bpc::ir::op::Op;
use bpc::ir::types::{Dtype, Literal};
use bpc::kernel::ir::*;

/// A stage with every kind of scalar over loops of the given sizes; `apart` adds a value of another width, which makes
/// the backend go element by element.
fn random_case(seed: u64, apart: bool) -> (Case, Vec<BufferId>) {
    let mut numbers = Numbers(seed);
    let mut case = Case::new();
    let double = numbers.below(3) == 0;
    let (float, whole) =
        if double { (Dtype::F64, Dtype::I64) } else { (Dtype::F32, numbers.pick(&[Dtype::I32, Dtype::U32])) };
    let long = numbers.pick(&[0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 48, 64, 65, 70, 512, 513, 700, 1100]);
    let short = numbers.pick(&[1, 2, 3]);
    let outer = if numbers.below(2) == 0 { vec![] } else { vec![2] };
    let shape = numbers.below(5);
    let (inner, reduced) = match shape {
        0 => (vec![long], vec![]),
        1 => (vec![short, long], vec![]),
        2 => (vec![short], vec![2, long]),
        4 => (vec![short], vec![long]),
        _ => (vec![short, long], vec![3]),
    };
    let axis = match shape {
        0 => outer.len(),
        1 | 3 | 4 => outer.len() + 1,
        _ => outer.len() + 2,
    };
    let sizes: Vec<u64> = outer.iter().chain(&inner).chain(&reduced).copied().collect();
    let mut stage = Stage { inner, reduced, vector_axis: Some(axis as u32), ..Stage::default() };
    let table_rows = 5;
    let elements = sizes.iter().product::<u64>().max(1) * 3 + 64;
    let values = numbers.floats(elements);
    let data = if double {
        case.given(float, &[elements], &values)
    } else {
        case.given(float, &[elements], &values.iter().map(|x| *x as f32).collect::<Vec<f32>>())
    };
    let wholes: Vec<i64> =
        (0..elements).map(|_| numbers.below(20) as i64 - if whole == Dtype::U32 { 0 } else { 5 }).collect();
    let counts = if double {
        case.given(whole, &[elements], &wholes)
    } else {
        case.given(whole, &[elements], &wholes.iter().map(|x| *x as i32).collect::<Vec<i32>>())
    };
    let flags =
        case.given(Dtype::Bool, &[elements], &(0..elements).map(|_| numbers.below(2) as u8).collect::<Vec<u8>>());
    let rows: Vec<i32> = (0..elements).map(|_| numbers.below(table_rows + 2) as i32 - 1).collect();
    let rows = case.given(Dtype::I32, &[elements], &rows);
    let seed_buffer = case.given(Dtype::U32, &[2], &[7u32, 9]);
    let step = case.given(Dtype::I32, &[], &[3i32]);

    // Row-major, column-major, every second, backwards, or the same along the vector axis.
    let dense: Vec<i64> = (0..sizes.len()).map(|axis| sizes[axis + 1..].iter().product::<u64>() as i64).collect();
    let affine = |numbers: &mut Numbers| {
        let mut map = AffineMap { offset: 0, strides: dense.clone() };
        match numbers.below(6) {
            0 => map.strides[axis] = 0,
            1 => map.strides.iter_mut().for_each(|stride| *stride *= 2),
            2 => {
                map.offset = map.strides.iter().zip(&sizes).map(|(s, n)| s * (n.max(&1) - 1) as i64).sum();
                map.strides.iter_mut().for_each(|stride| *stride = -*stride);
            }
            3 => map.offset = 5,
            _ => {}
        }
        map
    };
    let mut floats = Vec::new();
    let mut integers = Vec::new();
    let mut bools = Vec::new();
    for _ in 0..3 {
        let map = affine(&mut numbers);
        let mut guards = Vec::new();
        if numbers.below(3) == 0 {
            let along = numbers.below(sizes.len() as u64) as usize;
            let mut guard = AffineMap { offset: -1, strides: vec![0; sizes.len()] };
            guard.strides[along] = 1;
            guards.push(Guard { map: guard, low: 1, high: (sizes[along] as i64 - 2).max(1) });
        }
        let load = |buffer, dtype, guards: &Vec<Guard>| Scalar::Load {
            buffer,
            map: map.clone(),
            guards: guards.clone(),
            otherwise: Literal::new(dtype, 1.0),
        };
        floats.push(value(&mut stage, float, load(data, float, &guards)));
        integers.push(value(&mut stage, whole, load(counts, whole, &guards)));
        bools.push(value(&mut stage, Dtype::Bool, load(flags, Dtype::Bool, &guards)));
    }
    floats.push(value(&mut stage, float, Scalar::Literal(Literal::new(float, 0.75))));
    let map = affine(&mut numbers);
    integers.push(value(&mut stage, whole, Scalar::Index { map: map.clone(), dtype: whole }));
    floats.push(value(&mut stage, float, Scalar::Index { map, dtype: float }));
    if numbers.below(2) == 0 {
        let normal = numbers.below(2) == 0;
        let map = AffineMap { offset: 3, strides: dense.clone() };
        let random = Scalar::Random { normal, site: 11, seed: seed_buffer, step, map, dtype: float };
        floats.push(value(&mut stage, float, random));
    }
    if numbers.below(2) == 0 {
        let mut map = affine(&mut numbers);
        if double {
            map.strides[axis] = 0;
        }
        let otherwise = Literal::new(Dtype::I32, 0.0);
        let index = value(&mut stage, Dtype::I32, Scalar::Load { buffer: rows, map, guards: vec![], otherwise });
        let mut map = AffineMap { offset: 1, strides: vec![0; sizes.len()] };
        map.strides[axis] = numbers.pick(&[0, 1]);
        let gather = Scalar::Gather { buffer: data, index, rows: table_rows, row_stride: 10, map };
        floats.push(value(&mut stage, float, gather));
    }
    for _ in 0..numbers.below(25) {
        let (x, y) = (numbers.pick(&floats), numbers.pick(&floats));
        let (i, j) = (numbers.pick(&integers), numbers.pick(&integers));
        let (p, q) = (numbers.pick(&bools), numbers.pick(&bools));
        let unary = [Op::Neg {}, Op::Abs {}, Op::Sign {}, Op::Floor {}, Op::Round {}, Op::Sqrt {}];
        let heavy =
            [Op::Exp {}, Op::Expm1 {}, Op::Log {}, Op::Log1p {}, Op::Sin {}, Op::Cos {}, Op::Tanh {}, Op::Erf {}];
        let binary = [Op::Add {}, Op::Sub {}, Op::Mul {}, Op::Div {}, Op::Maximum {}, Op::Minimum {}];
        let compare = [Op::Equal {}, Op::Less {}, Op::LessEqual {}];
        let logic = [Op::And {}, Op::Or {}, Op::Xor {}];
        let any = |numbers: &mut Numbers, ops: &[Op]| ops[numbers.below(ops.len() as u64) as usize].clone();
        match numbers.below(14) {
            0 | 1 => floats.push(value(&mut stage, float, Scalar::Unary(any(&mut numbers, &unary), x))),
            2 | 3 => floats.push(value(&mut stage, float, Scalar::Unary(any(&mut numbers, &heavy), x))),
            4 | 5 => floats.push(value(&mut stage, float, Scalar::Binary(any(&mut numbers, &binary), x, y))),
            6 => floats.push(value(&mut stage, float, Scalar::Binary(Op::Pow {}, x, y))),
            7 => integers.push(value(&mut stage, whole, Scalar::Binary(any(&mut numbers, &binary), i, j))),
            8 => bools.push(value(&mut stage, Dtype::Bool, Scalar::Binary(any(&mut numbers, &compare), x, y))),
            9 => bools.push(value(&mut stage, Dtype::Bool, Scalar::Binary(any(&mut numbers, &compare), i, j))),
            10 => bools.push(value(&mut stage, Dtype::Bool, Scalar::Binary(any(&mut numbers, &logic), p, q))),
            11 => floats.push(value(&mut stage, float, Scalar::Select(p, x, y))),
            12 => floats.push(value(&mut stage, float, Scalar::Cast(numbers.pick(&[i, p]), float))),
            _ => integers.push(value(&mut stage, whole, Scalar::Cast(numbers.pick(&[x, p]), whole))),
        }
    }
    let mut results = vec![
        (*floats.last().unwrap(), float),
        (numbers.pick(&floats), float),
        (*integers.last().unwrap(), whole),
        (*bools.last().unwrap(), Dtype::Bool),
    ];
    let other = if double { Dtype::F32 } else { Dtype::F64 };
    let apart = apart.then(|| (value(&mut stage, other, Scalar::Literal(Literal::new(other, 1.0))), other));
    stage.n_inside = stage.values.len() as u32;
    if !stage.reduced.is_empty() {
        let kinds = [ReductionKind::Sum, ReductionKind::Max, ReductionKind::Min];
        let mut after = Vec::new();
        for (result, dtype) in results.iter().take(2) {
            let index = stage.reductions.len() as u32;
            stage.reductions.push(Reduction { kind: numbers.pick(&kinds), value: *result });
            after.push((value(&mut stage, *dtype, Scalar::Reduced(index)), *dtype));
        }
        let (mut kind, (result, mut dtype)) = (numbers.pick(&kinds), results[2]);
        let mut result = result;
        if stage.reduced.len() == 1 && numbers.below(2) == 0 {
            (kind, dtype) = (ReductionKind::Argmax, Dtype::I32);
            result = numbers.pick(&[result, results[0].0, results[1].0]);
        }
        let index = stage.reductions.len() as u32;
        stage.reductions.push(Reduction { kind, value: result });
        after.push((value(&mut stage, dtype, Scalar::Reduced(index)), dtype));
        let tanh = value(&mut stage, float, Scalar::Unary(Op::Tanh {}, after[0].0));
        after.push((value(&mut stage, float, Scalar::Binary(Op::Mul {}, tanh, after[1].0)), float));
        results = after;
    }
    if let Some((constant, other)) = apart {
        if stage.reductions.is_empty() {
            results.push((constant, other));
        } else {
            let index = stage.reductions.len() as u32;
            stage.reductions.push(Reduction { kind: ReductionKind::Sum, value: constant });
            results.push((value(&mut stage, other, Scalar::Reduced(index)), other));
        }
    }
    let n_kept = outer.len() + stage.inner.len();
    let mut outputs = Vec::new();
    let by_row = numbers.below(4) > 0;
    for (result, dtype) in results {
        let mut strides: Vec<i64> =
            (0..n_kept).map(|axis| sizes[axis + 1..n_kept].iter().product::<u64>() as i64).collect();
        if !by_row {
            // Transposed: the first axis is the fastest.
            strides = (0..n_kept).map(|axis| sizes[..axis].iter().product::<u64>() as i64).collect();
        }
        strides.resize(sizes.len(), 0);
        let buffer = case.buffer(dtype, &sizes[..n_kept]);
        store(&mut stage, buffer, &strides, result);
        outputs.push(buffer);
    }
    case.nest(&outer, vec![stage]);
    (case, outputs)
}

/// The bits of the first outputs; those of a NaN are one.
fn outputs(case: &Case, outputs: &[BufferId]) -> Vec<Vec<u64>> {
    let bits = |buffer: &BufferId| match case.program.buffers[*buffer].ty.dtype {
        Dtype::F32 => case.get::<f32>(*buffer).into_iter().map(Bits::bits).collect(),
        Dtype::F64 => case.get::<f64>(*buffer).into_iter().map(Bits::bits).collect(),
        Dtype::I32 => case.get::<i32>(*buffer).into_iter().map(Bits::bits).collect(),
        Dtype::I64 => case.get::<i64>(*buffer).into_iter().map(Bits::bits).collect(),
        Dtype::U32 => case.get::<u32>(*buffer).into_iter().map(Bits::bits).collect(),
        Dtype::Bool => case.get::<u8>(*buffer).into_iter().map(Bits::bits).collect(),
    };
    outputs.iter().take(4).map(bits).collect()
}

#[test]
fn vectors_give_the_bits_of_single_elements() {
    let mut by_vectors = 0;
    for seed in 0..200 {
        let (mut vectors, found) = random_case(seed, false);
        vectors.run(1);
        let (mut single, expected) = random_case(seed, true);
        single.run(1);
        let (found, expected) = (outputs(&vectors, &found), outputs(&single, &expected));
        for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let place = found.iter().zip(expected).position(|(x, y)| x != y);
            assert_eq!(place, None, "case {seed}, output {number}: {:#?}", vectors.program.steps);
        }
        let is_vector = |case: &Case| Host.intermediate(&case.program).is_ok_and(|text| text.contains("splat"));
        by_vectors += usize::from(is_vector(&vectors));
        assert!(!is_vector(&single), "case {seed} was meant to go element by element");
        // Nothing but the outputs changed.
        let (untouched, _) = random_case(seed, false);
        let end =
            untouched.program.buffers.values().take(6).map(|b| b.ty.bytes().next_multiple_of(64)).sum::<u64>() as usize;
        assert!(untouched.workspace.elements::<u8>(0, end) == vectors.workspace.elements::<u8>(0, end), "case {seed}");
    }
    assert!(by_vectors > 150, "{by_vectors} of 200 cases used vectors");
}
