//! Routines of the runtime on one thread, with data in memory: `cargo bench -p bpc-runtime -- GROUP`, where the groups are
//! `product` (beside the gemm library), `walsh`, `bits`, `large` (counts of bits beside products of floats), `random` and `math`.
//! Elements a second are operations of a product, and numbers elsewhere.

use bpc_runtime::bits::{self, Code, Gate, Rows};
use bpc_runtime::pool::Context;
use bpc_runtime::product::{ProductShape, product, room};
use bpc_runtime::walsh::{Shape, block_wht, block_wht_t};
use bpc_runtime::{abi, philox};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;

/// Shapes (m, k, n) of the steps of benches/peers, with the layout of the factors: `t` is one that lies transposed in memory.
const PRODUCTS: [((u64, u64, u64), &str); 13] = [
    // The MLP 784-512-512-10 on 128 rows: forward, the gradient of the inputs, that of the weights.
    ((128, 784, 512), "nt"),
    ((128, 512, 512), "nn"),
    ((512, 128, 784), "tn"),
    ((128, 512, 10), "nt"),
    ((10, 128, 512), "tn"),
    // The small MLP.
    ((32, 64, 128), "nt"),
    ((32, 128, 10), "nt"),
    // The transformer of width 192 on 32 times 65 tokens.
    ((2080, 192, 576), "nt"),
    ((2080, 192, 768), "nt"),
    ((2080, 768, 192), "nt"),
    ((768, 2080, 192), "tn"),
    // One head of its attention: scores, and their use.
    ((65, 64, 65), "nt"),
    ((65, 65, 64), "nn"),
];

/// Numbers from -1 to 1.
fn numbers(count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    philox::fill_uniform_f32([0, 0], 0, 0, 0, &mut values);
    values.iter().map(|value| 2.0 * value - 1.0).collect()
}

fn coins(count: usize) -> Vec<u8> {
    numbers(count).iter().map(|value| u8::from(*value > 0.0)).collect()
}

/// The same product by the library that took most of them before.
///
/// # Safety
/// As for `product`.
unsafe fn by_library(shape: &ProductShape, a: *const f32, b: *const f32, c: *mut f32) {
    let [m, n, k] = [shape.m, shape.n, shape.k].map(|size| size as usize);
    let [a_row, a_column, b_row, b_column, c_row, c_column] =
        [shape.a_row, shape.a_column, shape.b_row, shape.b_column, shape.c_row, shape.c_column]
            .map(|stride| stride as isize);
    let none = gemm::Parallelism::None;
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(
            m, n, k, c, c_column, c_row, false, a, a_column, a_row, b, b_column, b_row, 0.0, 1.0, false, false, false,
            none,
        );
    }
}

fn products(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("product");
    for ((m, k, n), layout) in PRODUCTS {
        let (a, b, mut c) = (numbers((m * k) as usize), numbers((k * n) as usize), numbers((m * n) as usize));
        let strides = |rows: u64, columns: u64, transposed: bool| {
            if transposed { (1, rows as i64) } else { (columns as i64, 1) }
        };
        let (a_row, a_column) = strides(m, k, layout.starts_with('t'));
        let (b_row, b_column) = strides(k, n, layout.ends_with('t'));
        let (c_row, c_column) = strides(m, n, false);
        let (batch, a_batch, b_batch, c_batch) = (1, 0, 0, 0);
        let shape = ProductShape {
            m,
            n,
            k,
            a_row,
            a_column,
            b_row,
            b_column,
            c_row,
            c_column,
            batch,
            a_batch,
            b_batch,
            c_batch,
        };
        let context = Context::new(1, room(&shape, size_of::<f32>() as u64).worker as usize);
        group.throughput(Throughput::Elements(2 * m * k * n));
        group.bench_function(format!("{m}x{k}x{n} {layout}"), |bencher| {
            // SAFETY: vectors of these sizes, room as asked for.
            bencher.iter(|| unsafe { product(&context, &shape, a.as_ptr(), b.as_ptr(), c.as_mut_ptr()) });
        });
        group.bench_function(format!("{m}x{k}x{n} {layout}, the gemm library"), |bencher| {
            // SAFETY: vectors of these sizes.
            bencher.iter(|| unsafe { by_library(&shape, a.as_ptr(), b.as_ptr(), c.as_mut_ptr()) });
        });
    }
}

/// Blocks of 8 x 8 of 16 grids of 14 x 14 tokens of 384 numbers, and the slowest 3 or 10 of their 64 functions.
fn walsh(criterion: &mut Criterion) {
    let context = Context::new(1, 0);
    let shape = Shape { batch: 16, grid: [14, 14], channels: 384, block: [8, 8], mirror: true };
    let tokens = shape.batch * 14 * 14 * shape.channels;
    let mut group = criterion.benchmark_group("walsh");
    for order in [2, 4] {
        let kept = (0..8).flat_map(|row| (0..8).map(move |column| (row, column)));
        let (rows, columns): (Vec<u64>, Vec<u64>) = kept.filter(|(row, column)| row + column < order).unzip();
        let mut x = numbers(tokens);
        let mut coefficients = numbers(shape.batch * 4 * rows.len() * shape.channels);
        group.throughput(Throughput::Elements(tokens as u64));
        group.bench_function(format!("forward, {} of 64", rows.len()), |bencher| {
            bencher.iter(|| {
                // SAFETY: vectors of these sizes: 2 x 2 blocks cover a grid.
                unsafe { block_wht(&context, shape, &rows, &columns, x.as_ptr(), coefficients.as_mut_ptr()) }
            });
        });
        group.bench_function(format!("adjoint, {} of 64", rows.len()), |bencher| {
            bencher.iter(|| {
                // SAFETY: the same.
                unsafe { block_wht_t(&context, shape, &rows, &columns, coefficients.as_ptr(), x.as_mut_ptr()) }
            });
        });
    }
}

/// A layer of 512 to 512 bits on 128 rows: the count of XNOR, and the product that carries its variation back.
fn bit_products(criterion: &mut Criterion) {
    let sizes @ (rows, columns, inner) = (128, 512, 512);
    let count_room = bits::count_room(rows as u64, inner as u64, false);
    let matmul_room = bits::matmul_room(rows as u64, inner as u64, columns as u64, size_of::<f32>() as u64);
    let context = Context::new(1, count_room.max(matmul_room).worker as usize);
    let mut packed = vec![0; count_room.call as usize / size_of::<u64>()];
    let (x, w, mut counts) = (coins(rows * inner), coins(columns * inner), vec![0; rows * columns]);
    let (z, mut back) = (numbers(rows * columns), numbers(rows * inner));
    let mut group = criterion.benchmark_group("bits");
    group.throughput(Throughput::Elements(2 * (rows * columns * inner) as u64));
    group.bench_function("xnor 128x512x512", |bencher| {
        // SAFETY: vectors of these sizes, room as asked for.
        bencher.iter(|| unsafe {
            let factors = (Rows::Bytes(x.as_ptr()), Rows::Bytes(w.as_ptr()));
            bits::count(&context, Gate::Xnor, sizes, factors, counts.as_mut_ptr(), packed.as_mut_ptr());
        });
    });
    group.bench_function("numbers by bits 128x512x512", |bencher| {
        // SAFETY: vectors of these sizes, room as asked for.
        bencher.iter(|| unsafe {
            bits::matmul(
                &context,
                (rows, inner, columns),
                (1.0, -1.0),
                z.as_ptr(),
                Rows::Bytes(w.as_ptr()),
                back.as_mut_ptr(),
            );
        });
    });
}

/// The counts of large layers of bits with every code of the machine, beside the product of floats of the same shape. Both operands are packed, as weights
/// and activations are.
fn large_bit_products(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("large");
    for sizes @ (rows, columns, inner) in [(256, 1024, 1024), (256, 4096, 4096)] {
        let words = |rows: usize| {
            let bytes = coins(rows * inner);
            let mut words = vec![0u64; rows * inner / 64];
            bytes.chunks(inner).zip(words.chunks_mut(inner / 64)).for_each(|(row, to)| bits::pack_row(row, to, 1));
            words
        };
        let (x, w, mut counts) = (words(rows), words(columns), vec![0; rows * columns]);
        let context = Context::new(1, bits::count_room(rows as u64, inner as u64, true).worker as usize);
        group.throughput(Throughput::Elements(2 * (rows * columns * inner) as u64));
        for code in Code::available() {
            group.bench_function(format!("xnor {rows}x{inner}x{columns} {code:?}"), |bencher| {
                // SAFETY: vectors of these sizes, room as asked for, none for packed rows; the machine has the code.
                bencher.iter(|| unsafe {
                    let factors = (Rows::Words(x.as_ptr()), Rows::Words(w.as_ptr()));
                    let result = counts.as_mut_ptr();
                    bits::count_on(code, &context, Gate::Xnor, sizes, factors, result, std::ptr::null_mut());
                });
            });
        }
        let (a, b, mut c) = (numbers(rows * inner), numbers(columns * inner), numbers(rows * columns));
        let [m, n, k] = [rows, columns, inner].map(|size| size as u64);
        let shape = ProductShape {
            m,
            n,
            k,
            a_row: k as i64,
            a_column: 1,
            b_row: 1,
            b_column: k as i64,
            c_row: n as i64,
            c_column: 1,
            batch: 1,
            a_batch: 0,
            b_batch: 0,
            c_batch: 0,
        };
        let context = Context::new(1, room(&shape, size_of::<f32>() as u64).worker as usize);
        group.bench_function(format!("f32 {rows}x{inner}x{columns} nt"), |bencher| {
            // SAFETY: vectors of these sizes, room as asked for.
            bencher.iter(|| unsafe { product(&context, &shape, a.as_ptr(), b.as_ptr(), c.as_mut_ptr()) });
        });
    }
}

/// How many numbers fit the first cache.
const TILE: usize = 4096;

fn random(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("random");
    group.throughput(Throughput::Elements(TILE as u64));
    let (mut single, mut double) = (vec![0f32; TILE], vec![0f64; TILE]);
    group.bench_function("uniform f32", |b| b.iter(|| philox::fill_uniform_f32([1, 2], 3, 4, 0, &mut single)));
    group.bench_function("normal f32", |b| b.iter(|| philox::fill_normal_f32([1, 2], 3, 4, 0, &mut single)));
    group.bench_function("uniform f64", |b| b.iter(|| philox::fill_uniform_f64([1, 2], 3, 4, 0, &mut double)));
    group.bench_function("normal f64", |b| b.iter(|| philox::fill_normal_f64([1, 2], 3, 4, 0, &mut double)));
}

fn math(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("math");
    group.throughput(Throughput::Elements(TILE as u64));
    // Logarithms want positive numbers.
    let single: Vec<f32> = numbers(TILE).iter().map(|value| value + 1.5).collect();
    let double: Vec<f64> = single.iter().map(|value| f64::from(*value)).collect();
    macro_rules! unary {
        ($($symbol:ident $x:ident $name:literal;)*) => {$(
            let mut out = $x.clone();
            group.bench_function($name, |bencher| {
                // SAFETY: as many elements at both pointers.
                bencher.iter(|| unsafe { abi::$symbol(out.as_mut_ptr(), $x.as_ptr(), TILE as u64) });
            });
        )*};
    }
    unary! {
        bpc_exp_f32 single "exp f32";
        bpc_log_f32 single "log f32";
        bpc_sin_f32 single "sin f32";
        bpc_tanh_f32 single "tanh f32";
        bpc_erf_f32 single "erf f32";
        bpc_exp_f64 double "exp f64";
        bpc_log_f64 double "log f64";
        bpc_sin_f64 double "sin f64";
        bpc_tanh_f64 double "tanh f64";
        bpc_erf_f64 double "erf f64";
    }
}

criterion_group! {
    name = routines;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = products, walsh, bit_products, large_bit_products, random, math
}
criterion_main!(routines);
