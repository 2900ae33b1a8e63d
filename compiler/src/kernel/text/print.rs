//! Programs to text. See the parent module.

use super::{REDUCTIONS, ROLES, axis};
use crate::ir::text::{attributes_text, name_in, quote};
use crate::ir::types::{Dtype, Literal};
use crate::kernel::ir::{AffineMap, Guard, March, Nest, Place, ProductOperand, Program, Scalar, Stage, Step};
use std::fmt::{self, Display, Formatter, Write};

/// Prints a program.
pub fn print(program: &Program) -> String {
    let mut text = format!(
        "program {} state {} bytes, workspace {} bytes\n",
        quote(&program.name),
        program.state_bytes,
        program.workspace_bytes
    );
    for (id, buffer) in &program.buffers {
        let role = name_in(&ROLES, buffer.role);
        let place = match buffer.place {
            Place::Unplanned => "nowhere".to_owned(),
            Place::State(at) => format!("state + {at}"),
            Place::Argument(number) => format!("argument {number}"),
            Place::Workspace(at) => format!("workspace + {at}"),
            Place::Scratch(at) => format!("scratch + {at}"),
            Place::Slice(whole) => format!("slice of {whole}"),
        };
        let name = if buffer.name.is_empty() { String::new() } else { format!(" {}", quote(&buffer.name)) };
        let packed = buffer.packed.map_or_else(String::new, |row| format!(" packed {row}"));
        let _ = writeln!(text, "{id} : {} {role}{name}{packed} at {place}", buffer.ty);
    }
    steps(&mut text, &program.steps, 0);
    text
}

fn steps(text: &mut String, steps: &[Step], depth: usize) {
    let indent = "  ".repeat(depth);
    for step in steps {
        let _ = match step {
            Step::Nest(nest) => {
                self::nest(text, nest, &indent);
                Ok(())
            }
            Step::Product(product) => writeln!(
                text,
                "{indent}product m {} n {} k {} batch {:?}: {} = {} @ {}",
                product.m,
                product.n,
                product.k,
                product.batch,
                Operand(&product.c),
                Operand(&product.a),
                Operand(&product.b)
            ),
            Step::Call(call) => {
                let operands: Vec<String> =
                    call.operands.iter().map(|(buffer, ty)| format!("{buffer}: {ty}")).collect();
                let (name, attributes) = (call.op.name(), attributes_text(&call.op));
                let memory = call.memory.map_or_else(String::new, |memory| format!(" in {memory}"));
                writeln!(text, "{indent}call {name}({}){attributes} -> {}{memory}", operands.join(", "), call.result)
            }
            Step::Repeat(repeat) => {
                let direction = if repeat.reverse { " reverse" } else { "" };
                let mut head = format!("{indent}repeat {} {}{direction}", quote(&repeat.name), repeat.length);
                let lists = [
                    ("sequences", &repeat.sequences),
                    ("initial", &repeat.initial),
                    ("stacks", &repeat.stacks),
                    ("advance", &repeat.advance),
                ];
                for (name, pairs) in lists.into_iter().filter(|(_, pairs)| !pairs.is_empty()) {
                    let pairs: Vec<String> = pairs.iter().map(|(from, to)| format!("{from} -> {to}")).collect();
                    let _ = write!(head, " {name} [{}]", pairs.join(", "));
                }
                let _ = writeln!(text, "{head} {{");
                self::steps(text, &repeat.steps, depth + 1);
                writeln!(text, "{indent}}}")
            }
            Step::March(march) => {
                self::march(text, march, &indent);
                Ok(())
            }
        };
    }
}

struct Operand<'a>(&'a ProductOperand);

impl Display for Operand<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let ProductOperand { buffer, offset, row_stride, column_stride, batch_strides } = self.0;
        let strides = [batch_strides.as_slice(), &[*row_stride, *column_stride]].concat();
        write!(formatter, "{buffer}({offset}, {strides:?})")
    }
}

fn loops(first: usize, sizes: &[u64]) -> String {
    let parts: Vec<String> =
        sizes.iter().enumerate().map(|(index, size)| format!("{} < {size}", axis(first + index))).collect();
    parts.join(", ")
}

fn nest(text: &mut String, nest: &Nest, indent: &str) {
    let _ = write!(text, "{indent}nest {} [{}]", quote(&nest.name), loops(0, &nest.outer));
    if nest.scratch_bytes > 0 {
        let _ = write!(text, " scratch {} bytes", nest.scratch_bytes);
    }
    let _ = writeln!(text, " {{");
    for stage in &nest.stages {
        self::stage(text, stage, nest.outer.len(), indent);
    }
    let _ = writeln!(text, "{indent}}}");
}

fn march(text: &mut String, march: &March, indent: &str) {
    let direction = if march.reverse { " reverse" } else { "" };
    let _ = writeln!(text, "{indent}march {}{direction} {{", quote(&march.name));
    for (index, carry) in march.carries.iter().enumerate() {
        let (buffer, map) = &carry.first;
        let _ = writeln!(text, "{indent}  c{index}: {} = {buffer}[{map}]", carry.dtype);
    }
    stage(text, &march.stage, 0, indent);
    for (index, carry) in march.carries.iter().enumerate() {
        let _ = write!(text, "{indent}  c{index} = {}", carry.next);
        if let Some((buffer, map)) = &carry.last {
            let _ = write!(text, " last {buffer}[{map}]");
        }
        text.push('\n');
    }
    let _ = writeln!(text, "{indent}}}");
}

fn stage(text: &mut String, stage: &Stage, outer: usize, indent: &str) {
    let _ = write!(text, "{indent}  stage [{}]", loops(outer, &stage.inner));
    if !stage.reduced.is_empty() {
        let _ = write!(text, " reduced [{}]", loops(outer + stage.inner.len(), &stage.reduced));
    }
    if let Some(vector) = stage.vector_axis {
        let _ = write!(text, " vector {}", axis(vector as usize));
    }
    let _ = writeln!(text, " {{");
    let scalars = |text: &mut String, range: std::ops::Range<usize>| {
        for (id, scalar) in stage.values.iter().skip(range.start).take(range.len()) {
            let _ = writeln!(text, "{indent}    {id}: {} = {}", stage.dtype(id), Text(scalar, stage.dtype(id)));
        }
    };
    scalars(text, 0..stage.n_inside as usize);
    for (index, reduction) in stage.reductions.iter().enumerate() {
        let _ =
            writeln!(text, "{indent}    r{index} = {} of {}", name_in(&REDUCTIONS, reduction.kind), reduction.value);
    }
    scalars(text, stage.n_inside as usize..stage.values.len());
    for store in &stage.stores {
        let _ = writeln!(text, "{indent}    {}[{}] = {}", store.buffer, store.map, store.value);
    }
    let _ = writeln!(text, "{indent}  }}");
}

impl Display for AffineMap {
    /// `3 + 10 i - j`.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let mut first = true;
        if self.offset != 0 || self.strides.iter().all(|stride| *stride == 0) {
            write!(formatter, "{}", self.offset)?;
            first = false;
        }
        for (index, stride) in self.strides.iter().enumerate().filter(|(_, stride)| **stride != 0) {
            match (first, *stride < 0) {
                (true, true) => formatter.write_str("-")?,
                (true, false) => {}
                (false, true) => formatter.write_str(" - ")?,
                (false, false) => formatter.write_str(" + ")?,
            }
            first = false;
            if stride.unsigned_abs() != 1 {
                write!(formatter, "{} ", stride.unsigned_abs())?;
            }
            formatter.write_str(&axis(index))?;
        }
        Ok(())
    }
}

struct Text<'a>(&'a Scalar, Dtype);

impl Display for Text<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Scalar::Literal(literal) => write!(formatter, "{literal}"),
            Scalar::Index { map, .. } => write!(formatter, "index {map}"),
            Scalar::Load { buffer, map, guards, otherwise } => {
                write!(formatter, "{buffer}[{map}]")?;
                for (index, Guard { map, low, high }) in guards.iter().enumerate() {
                    let word = if index == 0 { "if" } else { "and" };
                    write!(formatter, " {word} {low} <= {map} < {high}")?;
                }
                if guards.is_empty() && *otherwise == Literal::new(self.1, 0.0) {
                    return Ok(());
                }
                write!(formatter, " else {otherwise}")
            }
            Scalar::Gather { buffer, index, rows, row_stride, map } => {
                write!(formatter, "gather {buffer} row {index} of {rows} stride {row_stride} at {map}")
            }
            Scalar::Random { normal, site, seed, step, map, .. } => {
                let kind = if *normal { "normal" } else { "uniform" };
                write!(formatter, "{kind} site {site:08x} seed {seed} step {step} at {map}")
            }
            Scalar::Unary(op, x) => write!(formatter, "{} {x}", op.name()),
            Scalar::Binary(op, x, y) => write!(formatter, "{} {x} {y}", op.name()),
            Scalar::Select(condition, x, y) => write!(formatter, "select {condition} {x} {y}"),
            Scalar::Cast(x, dtype) => write!(formatter, "cast {x} to {dtype}"),
            Scalar::Reduced(index) => write!(formatter, "r{index}"),
            Scalar::Carried(index) => write!(formatter, "c{index}"),
        }
    }
}
