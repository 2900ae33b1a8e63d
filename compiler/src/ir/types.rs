//! Types of the graph: dtypes, shapes with concrete sizes, and splat literals.
//!
//! Expects: nothing.
//! Guarantees: every type here orders, hashes and compares exactly (floats by their bits), so that e-graph and caches may key on them.
//! Leaves out: symbolic dims; they are solved before a graph exists.

use std::fmt;

pub use bpc_runtime::tensor::Dtype;

/// Sizes of the axes, outermost first; row-major in memory. An axis may be empty.
pub type Shape = Vec<u64>;

/// Dtype and shape of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorType {
    /// Of every element.
    pub dtype: Dtype,
    /// Of the axes; none for a scalar.
    pub shape: Shape,
}

/// The most bytes of a tensor: more than any machine has, and so few that sums over all tensors of a program fit in 63 bits.
const MOST_BYTES: u64 = 1 << 48;

impl TensorType {
    /// A tensor of these.
    pub fn new(dtype: Dtype, shape: impl Into<Shape>) -> Self {
        TensorType { dtype, shape: shape.into() }
    }

    /// A rank-0 tensor.
    pub fn scalar(dtype: Dtype) -> Self {
        TensorType { dtype, shape: Shape::new() }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements; 1 for a scalar.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Whether it has at most 2^48 bytes; empty axes count as 1, so that this holds for every part of the product.
    pub fn is_addressable(&self) -> bool {
        let bytes = self.shape.iter().try_fold(self.dtype.bytes(), |product, size| product.checked_mul((*size).max(1)));
        bytes.is_some_and(|bytes| bytes <= MOST_BYTES)
    }

    /// Whether `other` can be the type of a cotangent of this: the same, and for a bool any float of that shape.
    pub fn takes_cotangent(&self, other: &TensorType) -> bool {
        self.shape == other.shape && other.dtype.is_float() && (self.dtype == other.dtype || self.dtype == Dtype::Bool)
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> u64 {
        self.elements() * self.dtype.bytes()
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.shape.iter().map(u64::to_string).collect();
        write!(formatter, "{}[{}]", self.dtype, sizes.join(", "))
    }
}

/// The type of a node: a tensor, or what a scan or a call with several results returns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// One tensor.
    Tensor(TensorType),
    /// Several tensors, taken apart by `project`.
    Tuple(Vec<TensorType>),
}

impl Type {
    /// The tensor type, unless it is a tuple.
    pub fn tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(tensor) => Some(tensor),
            Type::Tuple(_) => None,
        }
    }

    /// The parts of a tuple; of a tensor, itself.
    pub fn parts(&self) -> &[TensorType] {
        match self {
            Type::Tensor(tensor) => std::slice::from_ref(tensor),
            Type::Tuple(parts) => parts,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Tensor(tensor) => tensor.fmt(formatter),
            Type::Tuple(tensors) => {
                let parts: Vec<String> = tensors.iter().map(TensorType::to_string).collect();
                write!(formatter, "({})", parts.join(", "))
            }
        }
    }
}

/// One number with its dtype, compared by bits: `0.0` and `-0.0` differ, a NaN equals itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Literal {
    /// Its dtype.
    pub dtype: Dtype,
    bits: u64,
}

impl Literal {
    /// The nearest value of `dtype`: floats round once, whole numbers saturate, bool is `value != 0`. There is one NaN.
    pub fn new(dtype: Dtype, value: f64) -> Literal {
        let value = if value.is_nan() { f64::NAN } else { value };
        let bits = match dtype {
            Dtype::F32 => f64::from(value as f32).to_bits(),
            Dtype::F64 => value.to_bits(),
            Dtype::I32 => i64::from(value as i32) as u64,
            Dtype::I64 => (value as i64) as u64,
            Dtype::U32 => u64::from(value as u32),
            Dtype::Bool => u64::from(value != 0.0),
        };
        Literal { dtype, bits }
    }

    /// The value of `dtype` nearest to a whole number: exact in `i64`, and rounded once where a float cannot hold it.
    pub fn integer(dtype: Dtype, value: i64) -> Literal {
        match dtype {
            Dtype::I64 => Literal { dtype, bits: value as u64 },
            Dtype::F32 => Literal::new(dtype, f64::from(value as f32)),
            _ => Literal::new(dtype, value as f64),
        }
    }

    /// As a double.
    pub fn as_f64(self) -> f64 {
        if self.dtype.is_float() { f64::from_bits(self.bits) } else { self.bits as i64 as f64 }
    }

    /// As a whole number; floats truncate.
    pub fn as_i64(self) -> i64 {
        if self.dtype.is_float() { f64::from_bits(self.bits) as i64 } else { self.bits as i64 }
    }
}

impl fmt::Display for Literal {
    /// The shortest text that reads back to the same bits.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dtype {
            Dtype::F32 => write!(formatter, "{:?}", self.as_f64() as f32),
            Dtype::F64 => write!(formatter, "{:?}", self.as_f64()),
            Dtype::Bool => write!(formatter, "{}", self.bits != 0),
            _ => write!(formatter, "{}", self.as_i64()),
        }
    }
}

impl fmt::Debug for Literal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.dtype, self)
    }
}
