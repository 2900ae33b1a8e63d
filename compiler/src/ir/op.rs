//! The op table: every primitive of the graph, declared once.
//!
//! Expects: nothing.
//! Guarantees: the enum [`Op`], its names, operand names, attributes, type rules, reference semantics of elementwise
//! operations and docs all come from the one table below; printer, parser, verifier, interpreter, e-graph and kernels
//! dispatch on it.
//! Leaves out: derivatives; they are a table in the language (`lang/std/derivatives.bp`).
//!
//! Conventions: operands of elementwise operations have equal shapes (lowering inserts `broadcast`); reductions keep
//! the reduced axes with size 1, so that `broadcast` and `reduce_sum` are each other's adjoint; views move no data.

use super::attribute::{Attribute, AttributeField};
use super::graph::{InputRole, RegionId};
use super::infer;
use super::types::{Dtype, Literal, TensorType, Type};
use bpc_runtime::bits::Gate;

/// What an operation is to the passes.
#[derive(Clone, Copy, Debug)]
pub enum OpClass {
    /// No tensor operands: inputs, constants.
    Source,
    /// One operand, elementwise, with its meaning on doubles; whole-number results are truncated.
    Unary(fn(f64) -> f64),
    /// Two operands of one shape, elementwise, with its meaning on doubles.
    Binary(fn(f64, f64) -> f64),
    /// Elementwise with a meaning of its own (`select`, `cast`).
    Elementwise,
    /// An index map: no arithmetic.
    View,
    /// Over axes, which stay with size 1.
    Reduction,
    /// A runtime routine computes it, from whole row-major tensors to one: the row of `kernel::library` names it.
    Library,
    /// Everything else that computes.
    Other,
    /// Speaks about gradients; gone once differentiation and expansion are done.
    Marker,
}

/// How many operands an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly these, by name.
    Fixed(&'static [&'static str]),
    /// Any number.
    Variadic,
}

macro_rules! op_table {
    (@arity ..) => { Arity::Variadic };
    (@arity $($operand:ident)*) => { Arity::Fixed(&[$(stringify!($operand)),*]) };
    ($(
        $(#[doc = $docs:literal])*
        $variant:ident $name:literal ($($operands:tt)*) { $($attribute:ident: $field:ty),* } $class:expr, $infer:path;
    )*) => {
        /// A primitive operation with its attributes.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "attributes are described at their operation")]
        pub enum Op { $( $(#[doc = $docs])* $variant { $($attribute: $field),* }, )* }

        impl Op {
            /// The names of all operations, in the order of the table.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// Its name in the text form.
            pub fn name(&self) -> &'static str {
                match self { $( Op::$variant { .. } => $name, )* }
            }

            /// What it is to the passes.
            pub fn class(&self) -> OpClass {
                match self { $( Op::$variant { .. } => $class, )* }
            }

            /// How many operands it takes.
            pub fn arity(&self) -> Arity {
                match self { $( Op::$variant { .. } => op_table!(@arity $($operands)*), )* }
            }

            /// Its attributes by name, in the order of the table.
            pub fn attributes(&self) -> Vec<(&'static str, Attribute)> {
                match self { $(
                    Op::$variant { $($attribute),* } => {
                        vec![$((stringify!($attribute), $attribute.to_attribute())),*]
                    }
                )* }
            }

            /// Builds an operation from its name and attributes.
            ///
            /// # Errors
            /// A sentence, when the name is unknown or an attribute is missing, superfluous or of another kind.
            pub fn from_parts(name: &str, attributes: &[(String, Attribute)]) -> Result<Op, String> {
                match name {
                    $( $name => {
                        let known: &[&str] = &[$(stringify!($attribute)),*];
                        if let Some((extra, _)) = attributes.iter().find(|(name, _)| !known.contains(&name.as_str())) {
                            return Err(format!("{} has no attribute {extra}", $name));
                        }
                        Ok(Op::$variant { $($attribute: field(name, attributes, stringify!($attribute))?),* })
                    } )*
                    _ => Err(format!("there is no operation {name}")),
                }
            }

            /// The type of its result.
            ///
            /// # Errors
            /// A sentence that says which operand does not fit.
            pub fn infer(&self, operands: &[&Type]) -> Result<Type, String> {
                if let Arity::Fixed(names) = self.arity() && names.len() != operands.len() {
                    return Err(format!("{} takes {} operands and has {}", self.name(), names.len(), operands.len()));
                }
                match self { $( Op::$variant { .. } => $infer(self, operands), )* }
            }

            /// The sentences that document the operation of this name.
            pub fn docs(name: &str) -> Option<&'static str> {
                match name { $( $name => Some(concat!($($docs, "\n"),*)), )* _ => None }
            }
        }
    };
}

impl Op {
    /// The region that it names.
    pub fn body(&self) -> Option<RegionId> {
        match self {
            Op::Scan { body, .. }
            | Op::Ruled { body, .. }
            | Op::Vjp { body, .. }
            | Op::Vjps { body, .. }
            | Op::Pullback { body, .. }
            | Op::Pushforward { body, .. } => Some(*body),
            _ => None,
        }
    }

    /// The same, to let it name another one.
    pub fn body_mut(&mut self) -> Option<&mut RegionId> {
        match self {
            Op::Scan { body, .. }
            | Op::Ruled { body, .. }
            | Op::Vjp { body, .. }
            | Op::Vjps { body, .. }
            | Op::Pullback { body, .. }
            | Op::Pushforward { body, .. } => Some(body),
            _ => None,
        }
    }
}

fn field<F: AttributeField>(op: &str, attributes: &[(String, Attribute)], name: &str) -> Result<F, String> {
    let (_, attribute) =
        attributes.iter().find(|(known, _)| known == name).ok_or_else(|| format!("{op} needs the attribute {name}"))?;
    F::from_attribute(attribute).ok_or_else(|| format!("the attribute {name} of {op} has the wrong kind"))
}

fn from_bool(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn sign(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x
    }
}

fn maximum(x: f64, y: f64) -> f64 {
    if x.is_nan() || x >= y { x } else { y }
}

fn minimum(x: f64, y: f64) -> f64 {
    if x.is_nan() || x <= y { x } else { y }
}

use OpClass::{Binary, Elementwise, Library, Marker, Other, Reduction, Source, Unary, View};

op_table! {
    /// A tensor given from outside: data, parameters, optimiser state, or an argument of a region.
    Input "input" () { role: InputRole, name: String, ty: TensorType } Source, infer::declared;
    /// One number in every place.
    Constant "constant" () { value: Literal, shape: Vec<u64> } Source, infer::constant;
    /// The index along `axis`, in every place.
    Iota "iota" () { axis: u32, ty: TensorType } Source, infer::declared;
    /// Random numbers, a pure function of seed (u32[2]), step (i32[]), the hash of `site`, and the place:
    /// Philox4x32-10 with key = seed and counter = (block, block >> 32, site, step); see `bpc_runtime::philox`.
    /// `uniform` in [0, 1) or standard `normal`.
    Random "random" (seed step) { normal: bool, site: String, ty: TensorType } Other, infer::random;

    /// -x
    Neg "neg" (x) {} Unary(|x| -x), infer::numeric_unary;
    /// |x|
    Abs "abs" (x) {} Unary(f64::abs), infer::numeric_unary;
    /// -1, 0 (of either sign) or 1; NaN stays.
    Sign "sign" (x) {} Unary(sign), infer::numeric_unary;
    /// Largest whole number not above.
    Floor "floor" (x) {} Unary(f64::floor), infer::float_unary;
    /// Nearest whole number, ties to even.
    Round "round" (x) {} Unary(f64::round_ties_even), infer::float_unary;
    /// e to the x.
    Exp "exp" (x) {} Unary(f64::exp), infer::float_unary;
    /// exp(x) - 1, accurate near 0.
    Expm1 "expm1" (x) {} Unary(f64::exp_m1), infer::float_unary;
    /// Natural logarithm; NaN below 0, -inf at 0.
    Log "log" (x) {} Unary(f64::ln), infer::float_unary;
    /// log(1 + x), accurate near 0.
    Log1p "log1p" (x) {} Unary(f64::ln_1p), infer::float_unary;
    /// Square root; NaN below 0.
    Sqrt "sqrt" (x) {} Unary(f64::sqrt), infer::float_unary;
    /// Sine of radians.
    Sin "sin" (x) {} Unary(f64::sin), infer::float_unary;
    /// Cosine of radians.
    Cos "cos" (x) {} Unary(f64::cos), infer::float_unary;
    /// Hyperbolic tangent.
    Tanh "tanh" (x) {} Unary(f64::tanh), infer::float_unary;
    /// Error function.
    Erf "erf" (x) {} Unary(bpc_runtime::math::erf), infer::float_unary;
    /// not x
    Not "not" (x) {} Unary(|x| from_bool(x == 0.0)), infer::bool_unary;

    /// x + y; whole numbers wrap.
    Add "add" (x y) {} Binary(|x, y| x + y), infer::numeric_binary;
    /// x - y; whole numbers wrap.
    Sub "sub" (x y) {} Binary(|x, y| x - y), infer::numeric_binary;
    /// x * y; whole numbers wrap.
    Mul "mul" (x y) {} Binary(|x, y| x * y), infer::numeric_binary;
    /// x / y; whole numbers truncate toward zero, and give 0 for y = 0.
    Div "div" (x y) {} Binary(|x, y| x / y), infer::numeric_binary;
    /// x to the y, as C's pow.
    Pow "pow" (x y) {} Binary(f64::powf), infer::float_binary;
    /// The larger; x at a tie; a NaN in either gives NaN.
    Maximum "maximum" (x y) {} Binary(maximum), infer::numeric_binary;
    /// The smaller; x at a tie; a NaN in either gives NaN.
    Minimum "minimum" (x y) {} Binary(minimum), infer::numeric_binary;
    /// x == y
    Equal "equal" (x y) {} Binary(|x, y| from_bool(x == y)), infer::comparison;
    /// x < y
    Less "less" (x y) {} Binary(|x, y| from_bool(x < y)), infer::comparison;
    /// x <= y
    LessEqual "less_equal" (x y) {} Binary(|x, y| from_bool(x <= y)), infer::comparison;
    /// x and y
    And "and" (x y) {} Binary(|x, y| from_bool(x != 0.0 && y != 0.0)), infer::bool_binary;
    /// x or y
    Or "or" (x y) {} Binary(|x, y| from_bool(x != 0.0 || y != 0.0)), infer::bool_binary;
    /// x xor y
    Xor "xor" (x y) {} Binary(|x, y| from_bool((x != 0.0) != (y != 0.0))), infer::bool_binary;
    /// x where the condition holds, else y.
    Select "select" (condition x y) {} Elementwise, infer::select;
    /// To another dtype: toward zero and saturating from float to whole numbers (NaN gives 0), `x != 0` to bool,
    /// wrapping between whole numbers.
    Cast "cast" (x) { dtype: Dtype } Elementwise, infer::cast;

    /// The same elements in row-major order under a new shape.
    Reshape "reshape" (x) { shape: Vec<u64> } View, infer::reshape;
    /// Result axis i is operand axis `axes[i]`.
    Permute "permute" (x) { axes: Vec<u32> } View, infer::permute;
    /// Repeats axes of size 1 to the sizes of `shape`; the rank is unchanged.
    Broadcast "broadcast" (x) { shape: Vec<u64> } View, infer::broadcast;
    /// The box from `starts` (inclusive) to `stops` (exclusive).
    Slice "slice" (x) { starts: Vec<u64>, stops: Vec<u64> } View, infer::slice;
    /// `low` places before and `high` after each axis, filled with `value`.
    Pad "pad" (x) { low: Vec<u64>, high: Vec<u64>, value: Literal } View, infer::pad;
    /// x, then y, along `axis`.
    Concat "concat" (x y) { axis: u32 } View, infer::concat;
    /// Turns `axis` around.
    Reverse "reverse" (x) { axis: u32 } View, infer::reverse;
    /// Replaces `axis` of length n by two: windows (n - size) / stride + 1, and places in the window, `size`.
    Windows "windows" (x) { axis: u32, size: u64, stride: u64 } View, infer::windows;

    /// Adjoint of `windows`: adds the windows (axes `axis` and `axis + 1`) back into an axis of `length`.
    Unwindows "unwindows" (x) { axis: u32, length: u64, stride: u64 } Other, infer::unwindows;
    /// Sum over `axes`; empty gives 0.
    ReduceSum "reduce_sum" (x) { axes: Vec<u32> } Reduction, infer::reduce;
    /// Largest over `axes`, which may not be empty; a NaN gives NaN.
    ReduceMax "reduce_max" (x) { axes: Vec<u32> } Reduction, infer::reduce_nonempty;
    /// Smallest over `axes`, which may not be empty; a NaN gives NaN.
    ReduceMin "reduce_min" (x) { axes: Vec<u32> } Reduction, infer::reduce_nonempty;
    /// i32 index of the first largest element along `axis`, which stays with size 1; NaN counts as largest.
    Argmax "argmax" (x) { axis: u32 } Reduction, infer::argmax;
    /// Matrix product over the last two axes: [.., M, K] by [.., K, N], equal leading axes.
    Matmul "matmul" (x y) {} Other, infer::matmul;
    /// Rows of a table: [V, ..] by i32[I..] gives [I.., ..]. An index outside [0, V) gives rows of NaN (0 for whole
    /// numbers), so that a wrong index is seen and memory is safe.
    Take "take" (table indices) {} Other, infer::take;
    /// Adjoint of `take`: adds updates [I.., ..] into zeros of `rows` rows, in the order of the indices; an index
    /// outside is left out.
    ScatterAdd "scatter_add" (indices updates) { rows: u64 } Library, infer::scatter_add;
    /// How many of the keys are 0, 1, .. `bins` - 1.
    Histogram "histogram" (keys) { bins: u64 } Library, infer::histogram;
    /// The places of the keys in the order of the keys, and of the places where keys are equal (a permutation); keys outside
    /// [0, bins) come last.
    CountingSort "counting_sort" (keys) { bins: u64 } Library, infer::counting_sort;
    /// Rows [S, M] in runs: the first `counts[0]` times the transpose of the first matrix of [E, N, M], the next `counts[1]`
    /// times that of the second, ..; with `transposed`, times the matrices of [E, M, N] as they are. Rows beyond the last run
    /// give zeros; a negative count is 0, and no run goes beyond the last row.
    SegmentMatmul "segment_matmul" (rows matrices counts) { transposed: bool } Library, infer::segment_matmul;
    /// For each run of rows (see `segment_matmul`) the sum of the outer products of x [S, N] and y [S, M]: [E, N, M].
    SegmentOuter "segment_outer" (x y counts) {} Library, infer::segment_outer;
    /// How often a `gate` (`xnor`, `xor`, `and`, `or`) is true along two rows: bool[.., I] by bool[O, I] gives i32[.., O].
    BitCount "bit_count" (x w) { gate: Gate } Library, infer::bit_count;
    /// Product of numbers [.., K] with bits [K, N], of which true stands for `on` and false for `off`.
    BitMatmul "bit_matmul" (z bits) { on: i64, off: i64 } Library, infer::bit_matmul;

    /// Walsh-Hadamard transform of each block of grids [.., H, W, C], with the channels C along. An axis is padded to
    /// whole blocks of `block` places at both ends, the odd place before it, by its mirror image without the edge or by
    /// zeros. Of each block stay the coefficients of the orthonormal functions that change their sign `rows[i]` times
    /// down and `columns[i]` times across: [.., P, Q, M, C].
    BlockWht "block_wht" (x) { block: Vec<u64>, rows: Vec<u64>, columns: Vec<u64>, mirror: bool }
        Library, infer::block_wht;
    /// Adjoint of `block_wht`: [.., P, Q, M, C] to [.., H, W, C] for a `grid` of H x W. What lies in padding is added
    /// to the place that it mirrors, or left out.
    BlockWhtT "block_wht_t" (x) { grid: Vec<u64>, block: Vec<u64>, rows: Vec<u64>, columns: Vec<u64>, mirror: bool }
        Library, infer::block_wht_t;

    /// A loop. Operands: `carries` first values, then `sequences` tensors [length, ..], then values the body sees
    /// unchanged. The region's inputs are the same with the leading axis of the sequences gone; its results are the
    /// next carries, then what is stacked. The result is the last carries, then the stacks [length, ..].
    /// `reverse` walks from the last step to the first; stacks stay in place. `stacks` holds the types of the stacks
    /// with their leading axis.
    Scan "scan" (..) {
        carries: u32, sequences: u32, length: u64, reverse: bool, stacks: Vec<TensorType>, body: RegionId
    } Other, infer::scan;
    /// One part of a tuple.
    Project "project" (tuple) { index: u32 } Other, infer::project;

    /// Several tensors as one: the value of a call with several results.
    Tuple "tuple" (..) {} Marker, infer::tuple;
    /// x, through which no gradient flows.
    Stop "stop" (x) {} Marker, infer::same;
    /// x, the value of the function `of`, whose derivative only a rule around that function gives. A second operand says
    /// how x was drawn: of the shape of x, for each row of a float x (along its last axis) the probabilities of the places
    /// of its 1, for each element of a bool x that of true.
    Opaque "opaque" (..) { of: String } Marker, infer::opaque;
    /// A call under a gradient rule. Operands: the value of the call (a `tuple` if it has several results), its
    /// `arguments` arguments (float or not), then what the rule keeps. The result is the value; no gradient flows through
    /// the first operand: the derivative by the arguments is the rule's. `body` is the rule: its inputs are the
    /// arguments, what is kept, the parts of the value, and the cotangent of each part; its results are cotangents, of
    /// argument `gives[i]` the i-th. `of` names the function that is called, `rule` the rule with its arguments, `site`
    /// the place of the call.
    Ruled "ruled" (..) {
        of: String, rule: String, site: String, arguments: u32, gives: Vec<u32>, estimator: bool, body: RegionId
    } Marker, infer::ruled;
    /// Result `index` of the rule `body`, which the operands match input by input (see `ruled`; for a primitive they are
    /// its operands, its result and the cotangent of its result): a cotangent that stays opaque until expansion. `of`
    /// and `rule` name the differentiated operation and the rule, so that the vjps of two rules are different
    /// operations and never equal. The vjp of an `estimator` has no derivative itself. `ty` is the type of that result.
    Vjp "vjp" (..) {
        of: String, rule: String, index: u32, estimator: bool, ty: TensorType, body: RegionId
    } Marker, infer::vjp;
    /// All results of the rule `body` at once (see `vjp`), as a tuple: what a loop sends to its operands. `types` are
    /// the types of these results.
    Vjps "vjps" (..) {
        of: String, rule: String, estimator: bool, types: Vec<TensorType>, body: RegionId
    } Marker, infer::vjps;
    /// One value, computed in several exact ways: all operands are equal. Expansion makes them one class, of which the
    /// cheapest stays.
    Forms "forms" (..) {} Marker, infer::forms;
    /// The tuple of a loop, whose derivative is a chosen rule: `choice` is its place among the choices of the program, `rule`
    /// the same for people, with its arguments; `site` is the place of the loop.
    Via "via" (tuple) { choice: u32, rule: String, site: String, estimator: bool } Marker, infer::via;
    /// The cotangents of inputs `by` of the region `body`, given those of its results `from`, before differentiation.
    /// Operands: the inputs of the region, then these cotangents. `discrete` are inputs whose dependence on a trained
    /// value lies outside.
    Pullback "pullback" (..) { by: Vec<u32>, from: Vec<u32>, discrete: Vec<u32>, body: RegionId } Marker, infer::pullback;
    /// The tangents of results `of` of the region `body`, given those of its inputs `by`, before differentiation.
    /// Operands: the inputs of the region, then these tangents. `types` are the types of the results, `discrete` as above.
    Pushforward "pushforward" (..) {
        by: Vec<u32>, of: Vec<u32>, types: Vec<TensorType>, discrete: Vec<u32>, body: RegionId
    } Marker, infer::pushforward;
    /// The derivative of a float scalar by `wrt`, before differentiation: lowering of `grad(loss, x)`.
    Grad "grad" (loss wrt) {} Marker, infer::grad;
}
