//! The C header of an object file: what a C program needs to call a compiled step.
//!
//! Expects: the compilation whose kernels the object file was made of.
//! Guarantees: every tensor that a caller has to do with is named, with its place, number of elements, dtype and shape; two
//! tensors never share a name; the same compilation gives the same text.
//! Leaves out: first values that are not zero, which the caller gives.

use crate::codegen::backend::step_symbol;
use crate::initial;
use crate::ir::graph::InputRole;
use crate::kernel::ir::{Buffer, BufferRole, Place};
use crate::pipeline::Compilation;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The header; `scratch_bytes` is what each worker needs (`Backend::scratch_bytes`).
pub fn header(compilation: &Compilation, scratch_bytes: u64) -> String {
    let program = &compilation.kernels;
    let symbol = step_symbol(program);
    let name = symbol.trim_start_matches("bpc_step_");
    let mut identifiers = Identifiers::default();
    let mut text = format!(
        "\
/* `{}`, compiled by bpc {}. In C:
 *
 *   struct bpc_context *workers = bpc_context_new(1, BPC_{name}_SCRATCH_BYTES);
 *   {symbol}(workers, state, workspace, arguments);
 *   bpc_context_free(workers);
 *
 * Types of elements: f32 float, f64 double, i32 int32_t, i64 int64_t, u32 uint32_t, bool one byte, 0 or 1.
 * Tensors are row-major. Where rows of bits are packed, each begins with a new uint64_t; its element i is bit i % 64,
 * from the lowest, of its word i / 64. */
#ifndef BPC_{name}_H
#define BPC_{name}_H

#include <stddef.h>

#ifdef __cplusplus
extern \"C\" {{
#endif

/* Workers, the caller included, with their scratch; NULL where memory is lacking. One step at a time may use them;
 * results do not depend on their number. */
struct bpc_context;
struct bpc_context *bpc_context_new(size_t threads, size_t scratch_bytes);
void bpc_context_free(struct bpc_context *context);

/* One step. `state` lives from step to step; `workspace` may hold anything. Both begin at a multiple of 64, such as
 * aligned_alloc(64, ..) gives; their sizes are multiples of 64 too. `arguments` has the address of each argument. */
void {symbol}(const struct bpc_context *context, void *state, void *workspace, void *const *arguments);
#define BPC_{name}_STATE_BYTES {}
#define BPC_{name}_WORKSPACE_BYTES {}
#define BPC_{name}_SCRATCH_BYTES {scratch_bytes}
",
        program.name,
        env!("CARGO_PKG_VERSION"),
        program.state_bytes,
        program.workspace_bytes,
    );
    let arguments = program.arguments();
    text.push_str("\n/* Arguments: indices into `arguments`. Inputs are read, outputs are written. */\n");
    let _ = writeln!(text, "#define BPC_{name}_ARGUMENTS {}", arguments.len());
    for (index, id) in arguments.into_iter().enumerate() {
        let buffer = &program.buffers[id];
        let role = if buffer.role == BufferRole::Output { "output" } else { "input" };
        let identifier = identifiers.fresh(&buffer.name);
        define(&mut text, name, "ARGUMENT", &identifier, index as u64, buffer, role);
    }
    text.push_str("\n/* State: bytes from its beginning. */\n");
    for buffer in program.buffers.values() {
        if let (Place::State(offset), BufferRole::Parameter | BufferRole::State) = (buffer.place, buffer.role) {
            let identifier = identifiers.fresh(&buffer.name);
            define(&mut text, name, "OFFSET", &identifier, offset, buffer, &role_in_state(compilation, buffer));
        }
    }
    text.push_str("\n/* Warnings: a byte of the workspace, so far from its beginning, is 1 where the warning holds after a step. */\n");
    for (number, warning) in compilation.lowered.warnings.iter().enumerate() {
        let mut buffers = program.buffers.values();
        let is_its = |buffer: &&Buffer| buffer.role == BufferRole::Warning && buffer.name == warning.name;
        if let Some(Place::Workspace(offset)) = buffers.find(is_its).map(|buffer| buffer.place) {
            let message = format!("{:?}", warning.message).replace("*/", "* /").replace("/*", "/ *");
            let _ = writeln!(text, "#define BPC_{name}_WARNING_{number} {offset} /* {message} */");
        }
    }
    text.push_str("\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
    text
}

/// The lines of one tensor.
fn define(text: &mut String, model: &str, kind: &str, identifier: &str, place: u64, buffer: &Buffer, role: &str) {
    let Buffer { name, ty, packed, .. } = buffer;
    let rows = packed.map_or(String::new(), |row| format!(", packed in rows of {row}"));
    let (unit, count) = if packed.is_some() { ("WORDS", buffer.bytes() / 8) } else { ("ELEMENTS", ty.elements()) };
    let _ = writeln!(text, "#define BPC_{model}_{kind}_{identifier} {place} /* `{name}`: {ty}{rows}; {role} */");
    let _ = writeln!(text, "#define BPC_{model}_{unit}_{identifier} {count}");
}

/// What a tensor of the state is, and what it holds before the first step.
fn role_in_state(compilation: &Compilation, buffer: &Buffer) -> String {
    let (lowered, main) = (&compilation.lowered, compilation.optimized.main());
    if let Some(parameter) = lowered.parameters.iter().find(|parameter| parameter.name == buffer.name) {
        return match &parameter.constraint {
            None => "parameter".into(),
            Some(set) => format!("parameter, stored as what `{set}` makes its value of"),
        };
    }
    if main.input_of(InputRole::Seed) == Some(&buffer.name) {
        return "seed of all random numbers, its low word first".into();
    }
    if main.input_of(InputRole::Step) == Some(&buffer.name) {
        return "number of the step, 0 at first; training counts it".into();
    }
    let init = initial::first_values(lowered).find(|(state, _)| **state == buffer.name);
    let zero = init.is_some_and(|(_, init)| initial::is_zero(init));
    format!("state of an optimiser, at first {}", if zero { "0" } else { "what its `state` line says" })
}

/// Names of tensors as ends of C identifiers, each once.
#[derive(Default)]
struct Identifiers(BTreeSet<String>);

impl Identifiers {
    fn fresh(&mut self, name: &str) -> String {
        let plain: String =
            name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
        let mut identifier = plain.clone();
        let mut number = 2;
        while !self.0.insert(identifier.clone()) {
            identifier = format!("{plain}_{number}");
            number += 1;
        }
        identifier
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_dots_never_meet() {
        let mut identifiers = Identifiers::default();
        let names = ["a.b", "a_b", "a_b_2", "a.b.2", "0.w"].map(|name| identifiers.fresh(name));
        assert_eq!(names, ["a_b", "a_b_2", "a_b_2_2", "a_b_2_3", "0_w"]);
    }
}
