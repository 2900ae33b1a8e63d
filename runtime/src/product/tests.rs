//! Every layout and size against plain sums; thread counts against each other.

use super::*;

/// Enough for every product here, which [`product`] makes sure of.
const SCRATCH: usize = 1 << 23;

/// A product of contiguous matrices, each row-major or column-major.
fn shape(m: u64, n: u64, k: u64, layout: u32, batch: u64) -> ProductShape {
    let strides = |rows: u64, columns: u64, bit: u32| {
        if layout >> bit & 1 == 0 { (columns as i64, 1) } else { (1, rows as i64) }
    };
    let ((a_row, a_column), (b_row, b_column)) = (strides(m, k, 0), strides(k, n, 1));
    let (c_row, c_column) = strides(m, n, 2);
    let (a_batch, b_batch, c_batch) = ((m * k) as i64, (k * n) as i64, (m * n) as i64);
    ProductShape { m, n, k, a_row, a_column, b_row, b_column, c_row, c_column, batch, a_batch, b_batch, c_batch }
}

fn numbers(n: u64, salt: u64) -> Vec<f64> {
    (0..n).map(|i| ((i + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / 2f64.powi(23) - 1.0).collect()
}

/// Compares with sums in f64, by the error bound of any order of adding.
fn check(context: &Context, shape: &ProductShape) -> (Vec<f32>, Vec<f64>) {
    let ProductShape { m, n, k, batch, .. } = *shape;
    let round = |x: &f64| f64::from(*x as f32);
    let a: Vec<f64> = numbers(m * k * batch, 1).iter().map(round).collect();
    let b: Vec<f64> = numbers(k * n * batch, 77).iter().map(round).collect();
    let mut c = vec![f64::NAN; (m * n * batch) as usize];
    let narrow = |x: &[f64]| x.iter().map(|x| *x as f32).collect::<Vec<f32>>();
    let (a32, b32, mut c32) = (narrow(&a), narrow(&b), narrow(&c));
    // SAFETY: sizes as the shape says.
    unsafe {
        product(context, shape, a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        product(context, shape, a32.as_ptr(), b32.as_ptr(), c32.as_mut_ptr());
    }
    for t in 0..batch as i64 {
        for i in 0..m as i64 {
            for j in 0..n as i64 {
                let (mut sum, mut size) = (0.0, 0.0);
                for l in 0..k as i64 {
                    let term = a[(t * shape.a_batch + i * shape.a_row + l * shape.a_column) as usize]
                        * b[(t * shape.b_batch + l * shape.b_row + j * shape.b_column) as usize];
                    (sum, size) = (sum + term, size + term.abs());
                }
                let at = (t * shape.c_batch + i * shape.c_row + j * shape.c_column) as usize;
                let bound = (k as f64 + 2.0) * size;
                assert!((c[at] - sum).abs() <= bound * 2.0 * 2f64.powi(-53), "{shape:?} {i} {j}: {} {sum}", c[at]);
                let difference = (f64::from(c32[at]) - sum).abs();
                assert!(difference <= bound * 2f64.powi(-24), "{shape:?} {i} {j}: {} {sum}", c32[at]);
            }
        }
    }
    (c32, c)
}

#[test]
fn all_layouts_and_odd_sizes() {
    let context = Context::new(1, SCRATCH);
    let sizes = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 40, 64, 70];
    for (at, m) in sizes.into_iter().enumerate() {
        for (step, n) in sizes.into_iter().enumerate() {
            let k = sizes[(at * 5 + step * 3) % sizes.len()];
            for layout in 0..8 {
                check(&context, &shape(m, n, k, layout, 1));
            }
        }
    }
    for k in 0..70 {
        for layout in 0..8 {
            check(&context, &shape(11, 13, k, layout, 2));
        }
    }
    for layout in 0..8 {
        check(&context, &shape(130, 90, 260, layout, 1));
        // Sums in several parts; panels that are read where they are.
        check(&context, &shape(20, 150, 1100, layout, 1));
    }
    // More columns than are packed at a time.
    check(&context, &shape(14, 1100, 40, 0, 1));
}

/// The first rows and columns of a product, and its transpose, have the bits that they have in the whole product; so have all
/// instruction sets.
#[test]
fn parts_and_engines_give_the_same_bits() {
    let (m, n, k) = (45, 150, 700);
    let (a, b): (Vec<f32>, Vec<f32>) =
        (numbers(m * k, 1).iter().map(|x| *x as f32).collect(), numbers(k * n, 2).iter().map(|x| *x as f32).collect());
    let run = |engine: Engine, rows: u64, columns: u64, transposed: bool, add: bool| {
        let mut c = vec![0.25f32; (m * n) as usize];
        let sizes = [rows, columns, k].map(|size| size as usize);
        let (a, b) = ((a.as_ptr(), (k as i64, 1)), (b.as_ptr(), (n as i64, 1)));
        let part = Matrices::new(sizes, a, b, (c.as_mut_ptr(), (n as i64, 1)));
        let part = if transposed { part.transposed() } else { part };
        let mut scratch = vec![0f32; large::scratch_bytes(&part, 4) as usize / 4];
        // SAFETY: a part of matrices of these sizes; the scratch that it asks for; an engine that the machine has.
        unsafe { large::multiply_f32(engine, &part, add, scratch.as_mut_ptr()) };
        let places = (0..rows * n).filter(move |place| place % n < columns);
        places.map(|place| c[place as usize].to_bits()).collect::<Vec<u32>>()
    };
    for (rows, columns) in [(m, n), (31, 128), (6, 1), (1, 149)] {
        let whole = run(Engine::Portable, m, n, false, false);
        let whole: Vec<u32> = (0..rows * columns).map(|i| whole[(i / columns * n + i % columns) as usize]).collect();
        let added: Vec<u32> = run(Engine::Portable, rows, columns, false, true);
        for engine in Engine::available() {
            for transposed in [false, true] {
                assert!(whole == run(engine, rows, columns, transposed, false), "{engine:?} {rows} {columns}");
                assert!(added == run(engine, rows, columns, transposed, true), "{engine:?} {rows} {columns}");
            }
        }
    }
}

#[test]
fn repeated_and_strided_matrices() {
    let context = Context::new(2, SCRATCH);
    for layout in 0..8 {
        let mut repeated = shape(20, 30, 40, layout, 5);
        repeated.b_batch = 0;
        check(&context, &repeated);
        repeated.a_batch = 0;
        check(&context, &repeated);
    }
    // Every second row and column of larger matrices, backwards.
    let (m, n, k) = (9u64, 11u64, 13u64);
    let strided = ProductShape {
        a_row: -2 * 26,
        a_column: 2,
        b_row: 2 * 22,
        b_column: -2,
        c_row: 22 * 2,
        c_column: 2,
        ..shape(m, n, k, 0, 1)
    };
    let (a, b) = (numbers(4 * m * k, 3), numbers(4 * k * n, 5));
    let mut c = vec![-9.0; (4 * m * n) as usize];
    let (a_first, b_first) = (2 * 26 * (m as usize - 1), 2 * (n as usize - 1));
    // SAFETY: all places lie inside, by the offsets.
    unsafe { product(&context, &strided, a.as_ptr().add(a_first), b.as_ptr().add(b_first), c.as_mut_ptr()) };
    for (at, value) in c.iter().enumerate() {
        let (i, j) = (at / 22, at % 22);
        let sum = |i: usize, j: usize| {
            (0..k as usize).map(|l| a[a_first - 52 * i + 2 * l] * b[44 * l + b_first - 2 * j]).sum::<f64>()
        };
        let truth = if i % 2 == 0 && j % 2 == 0 { sum(i / 2, j / 2) } else { -9.0 };
        assert!((value - truth).abs() < 1e-13, "{i} {j}: {value} {truth}");
    }
}

#[test]
fn no_columns_of_a_give_zeros() {
    let context = Context::new(1, SCRATCH);
    for (m, n) in [(1, 1), (3, 5), (64, 70), (200, 1)] {
        let (c, wide) = check(&context, &shape(m, n, 0, 0, 2));
        assert!(c.iter().all(|x| *x == 0.0) && wide.iter().all(|x| *x == 0.0));
    }
}

#[test]
fn threads_give_the_same_bits() {
    for (m, n, k, batch) in [
        (300, 200, 150, 1),
        (1000, 64, 70, 1),
        (5, 3000, 400, 1),
        (40, 50, 60, 40),
        (130, 140, 150, 3),
        (1, 3000, 1000, 1),
    ] {
        for layout in [0, 1, 2, 3, 6] {
            let shape = shape(m, n, k, layout, batch);
            let (a, b) = (numbers(m * k * batch, 1), numbers(k * n * batch, 2));
            let (a32, b32): (Vec<f32>, Vec<f32>) =
                (a.iter().map(|x| *x as f32).collect(), b.iter().map(|x| *x as f32).collect());
            let results = [1, 2, 4].map(|threads| {
                let context = Context::new(threads, SCRATCH);
                let (mut c, mut c32) = (vec![0.0f64; (m * n * batch) as usize], vec![0.0f32; (m * n * batch) as usize]);
                // SAFETY: sizes as the shape says.
                unsafe {
                    product(&context, &shape, a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
                    product(&context, &shape, a32.as_ptr(), b32.as_ptr(), c32.as_mut_ptr());
                }
                (
                    c.into_iter().map(f64::to_bits).collect::<Vec<_>>(),
                    c32.into_iter().map(f32::to_bits).collect::<Vec<_>>(),
                )
            });
            assert!(results[0] == results[1] && results[0] == results[2], "{shape:?}");
        }
    }
}
