//! Counts and products against their definitions, bit by bit, on every instruction set of the machine.

use super::count::{Code, count_on};
use super::{Gate, Rows, count_room, matmul, matmul_room, pack, pack_row, packed_bytes, unpack};
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

/// The words of rows, with ones behind the last bit of each: nobody may count them.
fn words(bytes: &[u8], bits: usize) -> Vec<u64> {
    let per_row = bits.div_ceil(64);
    let mut words = vec![u64::MAX; bytes.len() / bits * per_row];
    for (row, words) in bytes.chunks(bits).zip(words.chunks_mut(per_row)) {
        pack_row(row, words, 1);
        words[per_row - 1] |= if bits.is_multiple_of(64) { 0 } else { u64::MAX << (bits % 64) };
    }
    words
}

#[test]
fn what_is_packed_is_unpacked() {
    for (rows, width) in [(1, 1), (3, 64), (2, 70), (5, 128), (4, 9)] {
        let bytes = bits(rows * width, 4);
        let mut packed = vec![0xff; packed_bytes(rows as u64, width as u64) as usize];
        pack(&bytes, width, &mut packed);
        assert_eq!(unpack(&packed, width), bytes, "{rows} x {width}");
        let words: Vec<u64> = packed.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        let trues: u32 = words.iter().map(|word| word.count_ones()).sum();
        assert_eq!(trues as usize, bytes.iter().filter(|bit| **bit == 1).count(), "zeros behind the last bit");
    }
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
            let (x_words, w_words) = if inner == 0 { (vec![], vec![]) } else { (words(&x, inner), words(&w, inner)) };
            let layouts = [
                (Rows::Bytes(x.as_ptr()), Rows::Bytes(w.as_ptr())),
                (Rows::Words(x_words.as_ptr()), Rows::Bytes(w.as_ptr())),
                (Rows::Bytes(x.as_ptr()), Rows::Words(w_words.as_ptr())),
                (Rows::Words(x_words.as_ptr()), Rows::Words(w_words.as_ptr())),
            ];
            for (code, layout) in Code::available().into_iter().flat_map(|code| layouts.map(|layout| (code, layout))) {
                for threads in [1, 3] {
                    let mut found = vec![-1; rows * columns];
                    let room = count_room(rows as u64, inner as u64, matches!(layout.0, Rows::Words(_)));
                    let context = Context::new(threads, room.worker as usize);
                    let mut packed = vec![u64::MAX; room.call as usize / 8];
                    let shape = (rows, columns, inner);
                    // SAFETY: the sizes of the vectors, room as asked for; the machine has the code.
                    unsafe {
                        count_on(code, &context, gate, shape, layout, found.as_mut_ptr(), packed.as_mut_ptr());
                    }
                    assert_eq!(found, wanted, "{gate:?} by {code:?}, {rows} x {columns} x {inner}, {layout:?}");
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
                    matmul(&context, shape, (on, off), z.as_ptr(), Rows::Bytes(bits.as_ptr()), found.as_mut_ptr());
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
                matmul(&context, shape, numbers, double.as_ptr(), Rows::Bytes(bits.as_ptr()), found.as_mut_ptr());
            }
            assert!(found.iter().zip(&wanted).all(|(found, wanted)| *found == f64::from(*wanted)));
        }
    }
}

/// The blocks and the order of sums are the same, so every bit of the result is.
#[test]
fn products_with_packed_bits_are_those_with_bytes() {
    for (rows, columns, inner) in [(1, 1, 1), (5, 300, 70), (3, 784, 33), (4, 7, 2500)] {
        let bits = bits(inner * columns, 3);
        let words = words(&bits, columns);
        let z: Vec<f32> = (0..rows * inner).map(|place| uniform_f64([5, 6], 0, 0, place as u64) as f32 - 0.5).collect();
        let room = matmul_room(rows as u64, columns as u64, inner as u64, 4);
        let found = [Rows::Bytes(bits.as_ptr()), Rows::Words(words.as_ptr())].map(|layout| {
            let mut found = vec![f32::NAN; rows * columns];
            let context = Context::new(2, room.worker as usize);
            // SAFETY: the sizes of the vectors, room as asked for.
            unsafe {
                matmul(&context, (rows, columns, inner), (1.0, -1.0), z.as_ptr(), layout, found.as_mut_ptr());
            }
            found.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
        });
        assert_eq!(found[0], found[1], "{rows} x {columns} x {inner}");
    }
}
