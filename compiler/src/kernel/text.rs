//! The text form of programs, for people and for tests.
//!
//! Expects: a program whose ids exist.
//! Guarantees: everything that decides what the program computes is printed; equal programs print equally.
//! Leaves out: reading it back.

use super::ir::{
    AffineMap, BufferRole, Guard, Nest, Place, ProductOperand, Program, ReductionKind, Scalar, Stage, Step,
};
use std::fmt::{self, Display, Formatter, Write};

/// The names of loop axes.
const AXES: &[&str] = &["i", "j", "k", "l", "p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z"];

fn axis(index: usize) -> String {
    AXES.get(index).map_or_else(|| format!("i{index}"), |name| (*name).to_owned())
}

/// Prints a program.
pub fn print(program: &Program) -> String {
    let mut text = format!(
        "program \"{}\" state {} bytes, workspace {} bytes\n",
        program.name, program.state_bytes, program.workspace_bytes
    );
    for (id, buffer) in &program.buffers {
        let role = match buffer.role {
            BufferRole::Parameter => "parameter",
            BufferRole::State => "state",
            BufferRole::Data => "data",
            BufferRole::Output => "output",
            BufferRole::Temporary => "temporary",
        };
        let place = match buffer.place {
            Place::Unplanned => "nowhere".to_owned(),
            Place::State(at) => format!("state + {at}"),
            Place::Workspace(at) => format!("workspace + {at}"),
            Place::Scratch(at) => format!("scratch + {at}"),
            Place::Slice(whole) => format!("slice of {whole}"),
        };
        let name = if buffer.name.is_empty() { String::new() } else { format!(" \"{}\"", buffer.name) };
        let _ = writeln!(text, "{id} : {} {role}{name} at {place}", buffer.ty);
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
            Step::ScatterAdd { indices, updates, target } => {
                writeln!(text, "{indent}scatter_add {target}[{indices}] += {updates}")
            }
            Step::Repeat(repeat) => {
                let direction = if repeat.reverse { " reverse" } else { "" };
                let mut head = format!("{indent}repeat \"{}\" {}{direction}", repeat.name, repeat.length);
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
        };
    }
}

struct Operand<'a>(&'a ProductOperand);

impl Display for Operand<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let ProductOperand { buffer, offset, row_stride, column_stride, batch_strides } = self.0;
        write!(formatter, "{buffer}({offset}; {row_stride}, {column_stride}")?;
        if !batch_strides.is_empty() {
            write!(formatter, "; {batch_strides:?}")?;
        }
        formatter.write_str(")")
    }
}

fn loops(first: usize, sizes: &[u64]) -> String {
    let parts: Vec<String> =
        sizes.iter().enumerate().map(|(index, size)| format!("{} < {size}", axis(first + index))).collect();
    parts.join(", ")
}

fn nest(text: &mut String, nest: &Nest, indent: &str) {
    let _ = write!(text, "{indent}nest {} [{}]", nest.name, loops(0, &nest.outer));
    if nest.scratch_bytes > 0 {
        let _ = write!(text, " scratch {} bytes", nest.scratch_bytes);
    }
    let _ = writeln!(text, " {{");
    for stage in &nest.stages {
        self::stage(text, stage, nest.outer.len(), indent);
    }
    let _ = writeln!(text, "{indent}}}");
}

fn stage(text: &mut String, stage: &Stage, outer: usize, indent: &str) {
    let _ = write!(text, "{indent}  stage [{}]", loops(outer, &stage.inner));
    if !stage.reductions.is_empty() {
        let _ = write!(text, " reduced [{}]", loops(outer + stage.inner.len(), &stage.reduced));
    }
    if let Some(vector) = stage.vector_axis {
        let _ = write!(text, " vector {}", axis(vector as usize));
    }
    let _ = writeln!(text, " {{");
    for (id, scalar) in &stage.values {
        if id.as_u32() == stage.n_inside && !stage.reductions.is_empty() {
            let _ = writeln!(text, "{indent}   after");
        }
        let _ = writeln!(text, "{indent}    {id}: {} = {}", stage.dtype(id), Text(scalar, stage));
    }
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
            if stride.abs() != 1 {
                write!(formatter, "{} ", stride.abs())?;
            }
            formatter.write_str(&axis(index))?;
        }
        Ok(())
    }
}

struct Text<'a>(&'a Scalar, &'a Stage);

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
                if guards.is_empty() { Ok(()) } else { write!(formatter, " else {otherwise}") }
            }
            Scalar::Gather { buffer, index, rows, row_stride, map } => {
                write!(formatter, "{buffer}[{row_stride} {index} + {map}] if 0 <= {index} < {rows}")
            }
            Scalar::Random { normal, site, seed, step, map, .. } => {
                let kind = if *normal { "normal" } else { "uniform" };
                write!(formatter, "{kind} site {site:08x} seed {seed} step {step} at {map}")
            }
            Scalar::Unary(op, x) => write!(formatter, "{} {x}", op.name()),
            Scalar::Binary(op, x, y) => write!(formatter, "{} {x} {y}", op.name()),
            Scalar::Select(condition, x, y) => write!(formatter, "select {condition} {x} {y}"),
            Scalar::Cast(x, dtype) => write!(formatter, "cast {x} to {dtype}"),
            Scalar::Reduced(index) => {
                let Some(reduction) = self.1.reductions.get(*index as usize) else {
                    return write!(formatter, "reduced {index}");
                };
                let kind = match reduction.kind {
                    ReductionKind::Sum => "sum",
                    ReductionKind::Max => "max",
                    ReductionKind::Min => "min",
                    ReductionKind::Argmax => "argmax",
                };
                write!(formatter, "{kind} of {}", reduction.value)
            }
        }
    }
}
