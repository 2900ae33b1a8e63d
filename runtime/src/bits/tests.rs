//! Counts and products against their definitions, bit by bit, on every instruction set of the machine.

use super::count::{Code, count_on};
use super::{Gate, count_room, matmul, matmul_room, pack_row};
use crate::philox::uniform_f64;
use crate::pool::Context;

fn bits(count: usize, stream: i32) -> Vec<u8> {
    (0..count as u64).map(|place| u8::from(uniform_f64([1, 2], stream, 0, place) < 0.5)).collect()
}

#[test]
fn rows_are_packed_from_the_lowest_bit_on() {
    let mut row = vec![0u8; 70];
    row[1] = 1;
    row[63] = 1;
    row[69] = 1;
    let mut words = [u64::MAX; 4];
    pack_row(&row, &mut words, 2);
    assert_eq!(words, [1 << 63 | 2, u64::MAX, 1 << 5, u64::MAX]);
}

#[test]
fn counts_are_those_of_the_gates() {
    for (rows, columns, inner) in
        [(1, 1, 1), (5, 33, 70), (4, 64, 64), (7, 31, 63), (9, 40, 784), (3, 2, 0), (1030, 3, 65)]
    {
        let (x, w) = (bits(rows * inner, 1), bits(columns * inner, 2));
        for gate in Gate::ALL {
            let mut wanted = Vec::new();
            for row in 0..rows {
                for column in 0..columns {
                    let pairs = x[row * inner..][..inner].iter().zip(&w[column * inner..][..inner]);
                    let hits = pairs.filter(|(x, w)| match gate {
                        Gate::Xnor => x == w,
                        Gate::Xor => x != w,
                        Gate::And => **x == 1 && **w == 1,
                        Gate::Or => **x == 1 || **w == 1,
                    });
                    wanted.push(hits.count() as i32);
                }
            }
            for code in Code::available() {
                for threads in [1, 3] {
                    let mut found = vec![-1; rows * columns];
                    let room = count_room(rows as u64, inner as u64);
                    let context = Context::new(threads, room.worker as usize);
                    let mut packed = vec![u64::MAX; room.call as usize / 8];
                    let (shape, factors) = ((rows, columns, inner), (x.as_ptr(), w.as_ptr()));
                    // SAFETY: the sizes of the vectors, room as asked for; the machine has the code.
                    unsafe {
                        count_on(code, &context, gate, shape, factors, found.as_mut_ptr(), packed.as_mut_ptr());
                    }
                    assert_eq!(found, wanted, "{gate:?} by {code:?}, {rows} x {columns} x {inner}");
                }
            }
        }
    }
}

#[test]
fn products_with_bits_are_those_of_their_numbers() {
    for (rows, columns, inner) in [(1, 1, 1), (5, 300, 70), (3, 2, 0), (4, 7, 2500)] {
        let bits = bits(inner * columns, 3);
        // Whole numbers: every order of the sums gives the same.
        let z: Vec<f32> = (0..rows * inner).map(|place| (place % 7) as f32 - 3.0).collect();
        for (on, off) in [(1.0f32, -1.0), (-1.0, 1.0), (1.0, 0.0), (0.0, 1.0)] {
            let mut wanted = vec![0.0f32; rows * columns];
            for row in 0..rows {
                for column in 0..columns {
                    for i in 0..inner {
                        let number = if bits[i * columns + column] == 1 { on } else { off };
                        wanted[row * columns + column] += z[row * inner + i] * number;
                    }
                }
            }
            let mut threads_found = Vec::new();
            for threads in [1, 3] {
                let mut found = vec![f32::NAN; rows * columns];
                let room = matmul_room(rows as u64, columns as u64, inner as u64, 8);
                let context = Context::new(threads, room.worker as usize);
                // SAFETY: the sizes of the vectors, room as asked for.
                unsafe {
                    let shape = (rows, columns, inner);
                    matmul(&context, shape, (on, off), z.as_ptr(), bits.as_ptr(), found.as_mut_ptr());
                }
                assert_eq!(found, wanted, "{on} {off}, {rows} x {columns} x {inner}");
                threads_found.push(found);
            }
            let double: Vec<f64> = z.iter().map(|z| f64::from(*z)).collect();
            let mut found = vec![f64::NAN; rows * columns];
            let room = matmul_room(rows as u64, columns as u64, inner as u64, 8);
            let context = Context::new(1, room.worker as usize);
            // SAFETY: the sizes of the vectors, room as asked for.
            unsafe {
                let (shape, numbers) = ((rows, columns, inner), (f64::from(on), f64::from(off)));
                matmul(&context, shape, numbers, double.as_ptr(), bits.as_ptr(), found.as_mut_ptr());
            }
            assert!(found.iter().zip(&wanted).all(|(found, wanted)| *found == f64::from(*wanted)));
        }
    }
}
