//! The primitives of the language: one table of names, parameters and meaning.
//!
//! Expects: nothing.
//! Guarantees: [`find`] knows exactly the rows of [`BUILTINS`]; a row's `parameters` are the keyword names that
//! callers may use, in positional order.
//! Leaves out: shape rules and the translation to graph operations (the compiler's lowering). Everything that can be written in the language itself is in `std/`, not here.

/// A primitive.
#[derive(Debug)]
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// What it does to types.
    pub kind: BuiltinKind,
    /// Parameter names in order; those from `required` on may be left out.
    pub parameters: &'static [&'static str],
    /// How many arguments must be given.
    pub required: usize,
    /// One sentence.
    pub docs: &'static str,
}

/// Families of primitives that share a typing rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltinKind {
    /// float tensor to float tensor, elementwise; on a compile-time number it gives one.
    FloatUnary,
    /// any numeric tensor to the same, elementwise.
    NumericUnary,
    /// two broadcast numeric tensors to one.
    NumericBinary,
    /// a cast to the dtype of the same name.
    Cast,
    /// everything with a rule of its own.
    Special,
}

const fn row(
    name: &'static str,
    kind: BuiltinKind,
    parameters: &'static [&'static str],
    required: usize,
    docs: &'static str,
) -> Builtin {
    Builtin { name, kind, parameters, required, docs }
}

use BuiltinKind::{Cast, FloatUnary, NumericBinary, NumericUnary, Special};

/// All primitives.
pub static BUILTINS: &[Builtin] = &[
    row("abs", NumericUnary, &["x"], 1, "Absolute value."),
    row("sign", NumericUnary, &["x"], 1, "-1, 0 or 1."),
    row("floor", NumericUnary, &["x"], 1, "Largest whole number not above; not differentiable."),
    row("round", NumericUnary, &["x"], 1, "Nearest whole number, ties to even; not differentiable."),
    row("exp", FloatUnary, &["x"], 1, "e to the x."),
    row("expm1", FloatUnary, &["x"], 1, "exp(x) - 1, accurate near 0."),
    row("log", FloatUnary, &["x"], 1, "Natural logarithm."),
    row("log1p", FloatUnary, &["x"], 1, "log(1 + x), accurate near 0."),
    row("sqrt", FloatUnary, &["x"], 1, "Square root."),
    row("sin", FloatUnary, &["x"], 1, "Sine."),
    row("cos", FloatUnary, &["x"], 1, "Cosine."),
    row("tanh", FloatUnary, &["x"], 1, "Hyperbolic tangent."),
    row("erf", FloatUnary, &["x"], 1, "Error function."),
    row("maximum", NumericBinary, &["x", "y"], 2, "The larger, elementwise; x at a tie."),
    row("minimum", NumericBinary, &["x", "y"], 2, "The smaller, elementwise; x at a tie."),
    row("pow", NumericBinary, &["x", "y"], 2, "x to the y; also `^`."),
    row("where", Special, &["condition", "x", "y"], 3, "x where the condition holds, else y."),
    row("f32", Cast, &["x"], 1, "Cast to f32; a bool gives 0 or 1."),
    row("f64", Cast, &["x"], 1, "Cast to f64."),
    row("i32", Cast, &["x"], 1, "Cast to i32, toward zero."),
    row("i64", Cast, &["x"], 1, "Cast to i64, toward zero."),
    row("u32", Cast, &["x"], 1, "Cast to u32, toward zero."),
    row("bool", Cast, &["x"], 1, "True where x is not 0."),
    row("cast", Special, &["x", "dtype"], 2, "Cast to a dtype given as a value (`x.dtype`)."),
    row("sum", Special, &["x", "axis", "keep"], 1, "Sum over an axis, a list of axes, or all."),
    row("max", Special, &["x", "axis", "keep"], 1, "Largest over an axis, a list of axes, or all."),
    row("min", Special, &["x", "axis", "keep"], 1, "Smallest over an axis, a list of axes, or all."),
    row("argmax", Special, &["x", "axis"], 1, "i32 index of the first largest along an axis (-1)."),
    row("sum_to", Special, &["x", "shape"], 2, "Adjoint of expand: sums the axes that shape has as 1."),
    row("matmul", Special, &["x", "y"], 2, "Matrix product over the last two axes; also `@`."),
    row("reshape", Special, &["x", "shape"], 2, "The same elements in row-major order under a new shape."),
    row("transpose", Special, &["x"], 1, "Swaps the last two axes."),
    row("permute", Special, &["x", "axes"], 2, "Reorders the axes: result axis i is x axis axes[i]."),
    row("expand", Special, &["x", "shape"], 2, "Repeats axes of size 1 (and missing leading ones) to the shape."),
    row("slice", Special, &["x", "starts", "stops"], 3, "A box of x, one start and stop for each axis."),
    row("narrow", Special, &["x", "axis", "start", "stop"], 4, "A range of one axis."),
    row("pad", Special, &["x", "low", "high", "value"], 3, "Adds value (0) before and after, for each axis."),
    row("concat", Special, &["parts", "axis"], 1, "Joins a list of tensors along an axis (-1)."),
    row("reverse", Special, &["x", "axis"], 2, "Turns an axis around."),
    row("windows", Special, &["x", "axis", "size", "stride"], 3, "Replaces an axis by (window, place in window)."),
    row("unwindows", Special, &["x", "axis", "length", "stride"], 3, "Adjoint of windows: adds them back."),
    row("take", Special, &["table", "indices"], 2, "Rows of a table: [V, ..] by i32[I..] gives [I.., ..]."),
    row("scatter_add", Special, &["indices", "updates", "rows"], 3, "Adjoint of take: adds rows into zeros."),
    row("histogram", Special, &["keys", "bins"], 2, "i32[bins]: how many of the i32 keys are 0, 1, ..."),
    row(
        "counting_sort",
        Special,
        &["keys", "bins"],
        2,
        "The permutation that sorts i32 keys; equal ones keep their order.",
    ),
    row(
        "segment_matmul",
        Special,
        &["rows", "matrices", "counts", "transposed"],
        3,
        "Runs of rows times their matrices.",
    ),
    row("segment_outer", Special, &["x", "y", "counts"], 3, "For each run of rows the sum of outer products."),
    row("bit_count", Special, &["x", "w", "gate"], 2, "How often a gate (xnor) is true along rows: i32[.., O]."),
    row("bit_matmul", Special, &["z", "bits", "on", "off"], 4, "Numbers times bits that stand for two numbers."),
    row(
        "block_wht",
        Special,
        &["x", "block", "rows", "columns", "mirror"],
        4,
        "Walsh-Hadamard coefficients of blocks.",
    ),
    row("block_wht_t", Special, &["x", "grid", "block", "rows", "columns", "mirror"], 5, "Adjoint of block_wht."),
    row("range", Special, &["count"], 1, "i32[count]: 0, 1, ..; in a scan, its steps."),
    row("zeros", Special, &["shape", "dtype"], 1, "0 in every place; f32 unless a dtype is given."),
    row("ones", Special, &["shape", "dtype"], 1, "1 in every place; f32 unless a dtype is given."),
    row("full", Special, &["shape", "value", "dtype"], 2, "One number in every place; f32 unless a dtype is given."),
    row("random_uniform", Special, &["shape", "dtype"], 1, "Uniform in [0, 1), f32 by default; new at every step."),
    row("random_normal", Special, &["shape", "dtype"], 1, "Standard normal, f32 by default; new at every step."),
    row("step", Special, &[], 0, "i32 number of the training step, from 0."),
    row("stop", Special, &["x"], 1, "x, through which no gradient flows."),
    row(
        "opaque",
        Special,
        &["x", "probabilities"],
        1,
        "x, perhaps drawn by probabilities: only a rule differentiates it.",
    ),
    row("grad", Special, &["loss", "x"], 2, "Derivative of a scalar by a tensor; nests."),
    row(
        "pullback",
        Special,
        &["step", "carries", "sequences", "constants", "last", "stacks"],
        6,
        "In a rule for loops: what one turn sends back, from cotangents of its results.",
    ),
    row(
        "pushforward",
        Special,
        &["step", "carries", "sequences", "constants", "carried", "held"],
        6,
        "In a rule for loops: tangents of the results of one turn, from those of carries and constants.",
    ),
    row(
        "lanes",
        Special,
        &["step"],
        1,
        "In a rule for loops: how many leading axes of the carries are lanes, each computed alone (0 or 1).",
    ),
    row(
        "trained",
        Special,
        &["step"],
        1,
        "In a rule for loops: how many first values and how many sequences are trained.",
    ),
    row("len", Special, &["x"], 1, "Number of entries of a list or a shape."),
    row("prod", Special, &["dims"], 1, "Product of a list of whole numbers."),
    row("plus", Special, &["x", "y"], 2, "Entry by entry sum of two lists of whole numbers."),
    row("minus", Special, &["x", "y"], 2, "Entry by entry difference of two lists of whole numbers."),
    row("invert", Special, &["axes"], 1, "The list of axes that undoes a permutation."),
    row(
        "warn",
        Special,
        &["condition", "message", "at"],
        2,
        "Training says this message when the scalar condition holds, and the whole numbers `at`.",
    ),
    row("assert", Special, &["condition", "message"], 2, "A compile error with this message unless true."),
    row("made_by", Special, &["x", "function"], 2, "Whether a function of this name with a rule gave x."),
];

/// Operations of the graph that are written by a sign, or that a primitive becomes: the derivatives in
/// `std.derivatives` are given for them, and they cannot be called.
pub static OPERATIONS: &[&str] = &[
    "neg",
    "add",
    "sub",
    "mul",
    "div",
    "floor_div",
    "remainder",
    "not",
    "and",
    "or",
    "xor",
    "select",
    "broadcast",
    "reduce_sum",
    "reduce_max",
    "reduce_min",
    "scan",
];

/// What a `train` block may state.
pub static TRAIN_ENTRIES: &[&str] = &["data", "epochs", "steps", "batch", "seed", "shuffle"];

/// Where the data of a `train` block may come from.
pub static DATA_SOURCES: &[&str] = &["csv", "idx", "npz", "text"];

/// The name of a primitive or of an operation of the graph, if it is one.
pub fn primitive(name: &str) -> Option<&'static str> {
    find(name).map(|builtin| builtin.name).or_else(|| OPERATIONS.iter().copied().find(|known| *known == name))
}

/// The row of that name.
pub fn find(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|builtin| builtin.name == name)
}

/// All names.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILTINS.iter().map(|builtin| builtin.name)
}
