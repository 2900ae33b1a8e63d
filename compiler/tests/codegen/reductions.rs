//! Reductions and scattered sums.
//!
//! Expects: nothing beyond the hand-built programs.
//! Guarantees: the bits of sums written in Rust in the order that the backend promises.
//! Leaves out: reductions of computed values (`random_stages`).

use crate::case::{Case, assert_bits, load, store, value};
use bpc::ir::op::Op;
use bpc::ir::types::Dtype;
use bpc::kernel::ir::*;

/// Sums rows and columns of a matrix, and finds the largest place of each row.
#[test]
fn reductions_in_their_order() {
    for n in [0u64, 1, 2, 5, 15, 16, 17, 31, 33, 64, 70, 530] {
        let x: Vec<f32> = (0..3 * n).map(|i| (i as f32 * 0.7).sin() * 10f32.powi(i as i32 % 7 - 3)).collect();
        let mut case = Case::new();
        let buffer = case.given(Dtype::F32, &[3, n], &x);
        let (interleaved, serial, columns) =
            (case.buffer(Dtype::F32, &[3]), case.buffer(Dtype::F32, &[3]), case.buffer(Dtype::F32, &[n]));
        let (largest, smallest) = (case.buffer(Dtype::F32, &[3]), case.buffer(Dtype::F32, &[3]));
        let places = [None, Some(0), Some(1)].map(|axis| (axis, case.buffer(Dtype::I32, &[3])));
        let rows = |case: &Case, out: BufferId, kind: ReductionKind, vector_axis: Option<u32>| {
            let mut stage = Stage { inner: vec![3], reduced: vec![n], vector_axis, n_inside: 1, ..Stage::default() };
            let x = load(&mut stage, case, buffer, &[n as i64, 1]);
            stage.reductions.push(Reduction { kind, value: x });
            let dtype = case.program.buffers[out].ty.dtype;
            let sum = value(&mut stage, dtype, Scalar::Reduced(0));
            store(&mut stage, out, &[1, 0], sum);
            stage
        };
        let mut column = Stage { inner: vec![n], reduced: vec![3], n_inside: 1, ..Stage::default() };
        column.vector_axis = Some(0);
        let value_of = load(&mut column, &case, buffer, &[1, n as i64]);
        column.reductions.push(Reduction { kind: ReductionKind::Sum, value: value_of });
        let sum = value(&mut column, Dtype::F32, Scalar::Reduced(0));
        store(&mut column, columns, &[1, 0], sum);
        let mut stages = vec![
            rows(&case, interleaved, ReductionKind::Sum, Some(1)),
            rows(&case, serial, ReductionKind::Sum, None),
            rows(&case, largest, ReductionKind::Max, Some(1)),
            rows(&case, smallest, ReductionKind::Min, Some(1)),
            column,
        ];
        stages.extend(places.map(|(axis, place)| rows(&case, place, ReductionKind::Argmax, axis)));
        for stage in stages {
            case.nest(&[], vec![stage]);
        }
        case.run(1);
        let n = n as usize;
        let row = |r: usize| &x[r * n..(r + 1) * n];
        let lanes = |r: usize| {
            let mut lanes = [0f32; 16];
            row(r).iter().enumerate().for_each(|(i, x)| lanes[i % 16] += x);
            for half in [8, 4, 2, 1] {
                (0..half).for_each(|lane| lanes[lane] += lanes[lane + half]);
            }
            lanes[0]
        };
        let every = |f: &dyn Fn(usize) -> f32| (0..3).map(f).collect::<Vec<f32>>();
        assert_bits("interleaved sum", &case.get(interleaved), &every(&lanes));
        assert_bits("serial sum", &case.get(serial), &every(&|r| row(r).iter().fold(0.0, |sum, x| sum + x)));
        assert_bits(
            "largest",
            &case.get(largest),
            &every(&|r| row(r).iter().copied().fold(f32::NEG_INFINITY, f32::max)),
        );
        assert_bits("smallest", &case.get(smallest), &every(&|r| row(r).iter().copied().fold(f32::INFINITY, f32::min)));
        let first_largest = |r: usize| (0..n).fold(0, |best, i| if row(r)[i] > row(r)[best] { i } else { best }) as i32;
        for (axis, place) in places {
            let expected = (0..3).map(first_largest).collect::<Vec<i32>>();
            assert_bits(&format!("argmax, vectors along {axis:?}"), &case.get(place), &expected);
        }
        let column = |c: usize| (0..3).fold(0f32, |sum, r| sum + x[r * n + c]);
        assert_bits("column sum", &case.get(columns), &(0..n).map(column).collect::<Vec<f32>>());
    }
}

/// The index of the first largest value: of equal ones, of infinities, of NaNs, in rows and in columns.
#[test]
fn arg_max_of_equals_and_nan() {
    let special = [0.0, -0.0, 1.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
    for n in [1u64, 3, 4, 8, 16, 18, 40] {
        let mut numbers = crate::case::Numbers(n);
        let x: Vec<f32> = (0..8 * n).map(|i| special[numbers.below(if i < 4 * n { 4 } else { 6 }) as usize]).collect();
        let mut case = Case::new();
        let buffer = case.given(Dtype::F32, &[8, n], &x);
        let places = [None, Some(0), Some(1)].map(|axis| (axis, case.buffer(Dtype::I32, &[8])));
        for (vector_axis, out) in places {
            let mut stage = Stage { inner: vec![8], reduced: vec![n], vector_axis, n_inside: 1, ..Stage::default() };
            let x = load(&mut stage, &case, buffer, &[n as i64, 1]);
            stage.reductions.push(Reduction { kind: ReductionKind::Argmax, value: x });
            let place = value(&mut stage, Dtype::I32, Scalar::Reduced(0));
            store(&mut stage, out, &[1, 0], place);
            case.nest(&[], vec![stage]);
        }
        case.run(1);
        let expected: Vec<i32> = x
            .chunks(n as usize)
            .map(|row| {
                let nan = row.iter().position(|x| x.is_nan());
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                nan.or_else(|| row.iter().position(|x| *x == largest)).unwrap() as i32
            })
            .collect();
        for (axis, place) in places {
            assert_bits(&format!("rows of {n}, vectors along {axis:?}"), &case.get(place), &expected);
        }
    }
}

#[test]
fn whole_numbers_are_scattered() {
    let mut case = Case::new();
    let indices = case.given(Dtype::I32, &[5], &[1i32, -1, 0, 1, 2]);
    let updates = case.given(Dtype::I32, &[5, 2], &[1i32, 2, 3, 4, i32::MAX, 6, 7, 8, 9, 10]);
    let narrow = case.given(Dtype::I32, &[2, 2], &[-1i32; 4]);
    let wide_updates = case.given(Dtype::I64, &[5], &[1i64 << 40, 5, -3, 1, 9]);
    let wide = case.given(Dtype::I64, &[3], &[-1i64; 3]);
    for (rows, updates, result) in [(2, updates, narrow), (3, wide_updates, wide)] {
        let operands = [indices, updates].map(|buffer| (buffer, case.program.buffers[buffer].ty.clone())).to_vec();
        case.program.steps.push(Step::Call(Call { op: Op::ScatterAdd { rows }, operands, result, memory: None }));
    }
    case.run(1);
    assert_bits("i32", &case.get(narrow), &[i32::MAX, 6, 8, 10]);
    assert_bits("i64", &case.get(wide), &[-3i64, (1 << 40) + 1, 9]);
}
