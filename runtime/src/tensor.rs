//! Tensors on the host: a dtype, a shape and the bytes, as they cross the boundary to generated code, files and users.
//!
//! Expects: row-major elements, little endian; a bool is one byte, 0 or 1.
//! Guarantees: bytes and shape agree; conversions either keep every value (floats round to the nearest) or are an error.
//! Leaves out: arithmetic, views and strides.

use std::fmt;
use std::sync::Arc;

use crate::error::DataError;

/// What one element is, in files, in memory and in programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dtype {
    /// IEEE single.
    F32,
    /// IEEE double.
    F64,
    /// Signed 32 bits.
    I32,
    /// Signed 64 bits.
    I64,
    /// Unsigned 32 bits.
    U32,
    /// 0 or 1 in one byte.
    Bool,
}

impl Dtype {
    /// All of them.
    pub const ALL: [Dtype; 6] = [Dtype::F32, Dtype::F64, Dtype::I32, Dtype::I64, Dtype::U32, Dtype::Bool];

    /// Its name in the language and in every text form.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F64 => "f64",
            Dtype::I32 => "i32",
            Dtype::I64 => "i64",
            Dtype::U32 => "u32",
            Dtype::Bool => "bool",
        }
    }

    /// The dtype of that name.
    pub fn from_name(name: &str) -> Option<Dtype> {
        Dtype::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bytes of one element in memory.
    pub fn bytes(self) -> u64 {
        match self {
            Dtype::F64 | Dtype::I64 => 8,
            Dtype::F32 | Dtype::I32 | Dtype::U32 => 4,
            Dtype::Bool => 1,
        }
    }

    /// Whether derivatives exist for it.
    pub fn is_float(self) -> bool {
        matches!(self, Dtype::F32 | Dtype::F64)
    }

    /// Whether a tensor of it can have a cotangent: a float, or a bool, whose cotangent is a float tensor that says by how
    /// much the loss is larger at true than at false, to first order.
    pub fn has_cotangent(self) -> bool {
        self.is_float() || self == Dtype::Bool
    }

    /// Whether it holds whole numbers (not bool).
    pub fn is_integer(self) -> bool {
        matches!(self, Dtype::I32 | Dtype::I64 | Dtype::U32)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What one element of a data file is: a [`Dtype`], or a small whole number that is only widened when it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Unsigned byte.
    U8,
    /// Signed byte.
    I8,
    /// Signed 16 bits.
    I16,
    /// As in memory.
    Element(Dtype),
}

impl Stored {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Stored::U8 | Stored::I8 => 1,
            Stored::I16 => 2,
            Stored::Element(dtype) => dtype.bytes() as usize,
        }
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stored::U8 => formatter.write_str("u8"),
            Stored::I8 => formatter.write_str("i8"),
            Stored::I16 => formatter.write_str("i16"),
            Stored::Element(dtype) => dtype.fmt(formatter),
        }
    }
}

/// A number type of Rust that is one [`Dtype`].
pub trait Number: Copy + Target {
    /// Which one.
    const DTYPE: Dtype;
    /// Reads one from exactly its bytes.
    fn read(bytes: &[u8]) -> Self;
}

/// A value that the conversion cannot keep: its position and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Index of the element, row-major.
    pub index: usize,
    /// The value.
    pub value: String,
}

/// A value read from bytes, seen as each kind of number.
trait Source: Copy + fmt::Display {
    const BYTES: usize;
    fn read(bytes: &[u8]) -> Self;
    fn single(self) -> f32;
    fn double(self) -> f64;
    /// The value as a whole number, if it is one.
    fn whole(self) -> Option<i64>;
}

macro_rules! sources {
    ($($type:ty, |$value:ident| $whole:expr;)*) => {$(
        impl Source for $type {
            const BYTES: usize = size_of::<$type>();
            fn read(bytes: &[u8]) -> Self {
                <$type>::from_le_bytes(bytes.try_into().expect("bug in bpc: element of another size"))
            }
            fn single(self) -> f32 {
                self as f32
            }
            fn double(self) -> f64 {
                self as f64
            }
            fn whole(self) -> Option<i64> {
                let $value = self;
                $whole
            }
        }
    )*};
}
sources! {
    u8, |value| Some(i64::from(value));
    i8, |value| Some(i64::from(value));
    i16, |value| Some(i64::from(value));
    i32, |value| Some(i64::from(value));
    i64, |value| Some(value);
    u32, |value| Some(i64::from(value));
    f32, |value| whole_of(f64::from(value));
    f64, |value| whole_of(value);
}

/// A float as a whole number, if it is one: 2^63 is the first that is too large.
fn whole_of(value: f64) -> Option<i64> {
    let limit = 9_223_372_036_854_775_808.0;
    (value.fract() == 0.0 && value >= -limit && value < limit).then_some(value as i64)
}

/// A type that values are converted to.
pub trait Target: Sized {
    /// The nearest value for a float, the same value for whole numbers; `None` if there is none.
    #[doc(hidden)]
    fn convert(single: f32, double: f64, whole: Option<i64>) -> Option<Self>;
    /// Appends its bytes.
    fn write(self, out: &mut Vec<u8>);
}

macro_rules! targets {
    ($($type:ty, $element:ident, |$single:ident, $double:ident, $whole:ident| $convert:expr;)*) => {$(
        impl Target for $type {
            fn convert($single: f32, $double: f64, $whole: Option<i64>) -> Option<Self> {
                $convert
            }
            fn write(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
        impl Number for $type {
            const DTYPE: Dtype = Dtype::$element;
            fn read(bytes: &[u8]) -> Self {
                <$type>::from_le_bytes(bytes.try_into().expect("bug in bpc: element of another size"))
            }
        }
    )*};
}
targets! {
    f32, F32, |single, double, _whole| (single.is_finite() || !double.is_finite()).then_some(single);
    f64, F64, |_single, double, _whole| Some(double);
    i32, I32, |_single, _double, whole| whole?.try_into().ok();
    i64, I64, |_single, _double, whole| whole;
    u32, U32, |_single, _double, whole| whole?.try_into().ok();
}

impl Target for bool {
    fn convert(_single: f32, _double: f64, whole: Option<i64>) -> Option<Self> {
        match whole? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
    fn write(self, out: &mut Vec<u8>) {
        out.push(u8::from(self));
    }
}

impl Number for bool {
    const DTYPE: Dtype = Dtype::Bool;
    fn read(bytes: &[u8]) -> Self {
        bytes[0] != 0
    }
}

/// Appends the elements of `bytes`, converted, to `out`. Floats round to the nearest; a finite value that would become
/// infinite, a fraction or NaN where a whole number is wanted, and a whole number out of range are a [`Misfit`].
pub fn convert_elements(from: Stored, bytes: &[u8], to: Dtype, out: &mut Vec<u8>) -> Result<(), Misfit> {
    if from == Stored::Element(to) {
        out.extend_from_slice(bytes);
        return Ok(());
    }
    match from {
        Stored::U8 | Stored::Element(Dtype::Bool) => convert_from::<u8>(bytes, to, out),
        Stored::I8 => convert_from::<i8>(bytes, to, out),
        Stored::I16 => convert_from::<i16>(bytes, to, out),
        Stored::Element(Dtype::I32) => convert_from::<i32>(bytes, to, out),
        Stored::Element(Dtype::I64) => convert_from::<i64>(bytes, to, out),
        Stored::Element(Dtype::U32) => convert_from::<u32>(bytes, to, out),
        Stored::Element(Dtype::F32) => convert_from::<f32>(bytes, to, out),
        Stored::Element(Dtype::F64) => convert_from::<f64>(bytes, to, out),
    }
}

fn convert_from<S: Source>(bytes: &[u8], to: Dtype, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match to {
        Dtype::F32 => convert_each::<S, f32>(bytes, out),
        Dtype::F64 => convert_each::<S, f64>(bytes, out),
        Dtype::I32 => convert_each::<S, i32>(bytes, out),
        Dtype::I64 => convert_each::<S, i64>(bytes, out),
        Dtype::U32 => convert_each::<S, u32>(bytes, out),
        Dtype::Bool => convert_each::<S, bool>(bytes, out),
    }
}

fn convert_each<S: Source, T: Target>(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Misfit> {
    out.reserve(bytes.len() / S::BYTES * size_of::<T>());
    for (index, chunk) in bytes.chunks_exact(S::BYTES).enumerate() {
        let value = S::read(chunk);
        match T::convert(value.single(), value.double(), value.whole()) {
            Some(converted) => converted.write(out),
            None => return Err(Misfit { index, value: value.to_string() }),
        }
    }
    Ok(())
}

/// Number of elements of a shape, unless it overflows.
pub fn element_count(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size))
}

/// `[2, 3]`.
pub fn shape_text(shape: &[u64]) -> String {
    let sizes: Vec<String> = shape.iter().map(u64::to_string).collect();
    format!("[{}]", sizes.join(", "))
}

/// The position of element `index` in `shape`, as `[row, column]`.
pub fn position_text(shape: &[u64], index: usize) -> String {
    let mut rest = index as u64;
    let mut position: Vec<u64> = shape
        .iter()
        .rev()
        .map(|&size| {
            let along = rest % size.max(1);
            rest /= size.max(1);
            along
        })
        .collect();
    position.reverse();
    shape_text(&position)
}

/// A tensor in host memory.
#[derive(Clone, PartialEq, Eq)]
pub struct HostTensor {
    dtype: Dtype,
    shape: Vec<u64>,
    /// Shared by clones until one of them is written.
    bytes: Arc<Vec<u8>>,
}

impl HostTensor {
    /// A tensor of these bytes. An error if their number does not follow from the shape, or a bool is neither 0 nor 1.
    pub fn new(dtype: Dtype, shape: impl Into<Vec<u64>>, bytes: Vec<u8>) -> Result<HostTensor, DataError> {
        let shape = shape.into();
        let wanted = element_count(&shape).and_then(|count| count.checked_mul(dtype.bytes()));
        if wanted != Some(bytes.len() as u64) {
            let have = bytes.len() / dtype.bytes() as usize;
            let problem = format!("{have} elements do not make a tensor {dtype}{}", shape_text(&shape));
            return Err(DataError::new("", problem, "give as many elements as the shape says"));
        }
        if dtype == Dtype::Bool
            && let Some(index) = bytes.iter().position(|&byte| byte > 1)
        {
            let problem = format!("bool element {} is {}", position_text(&shape, index), bytes[index]);
            return Err(DataError::new("", problem, "write bools as 0 and 1"));
        }
        Ok(HostTensor { dtype, shape, bytes: Arc::new(bytes) })
    }

    /// A tensor of these numbers, row-major.
    pub fn from_slice<T: Number>(shape: impl Into<Vec<u64>>, values: &[T]) -> Result<HostTensor, DataError> {
        let mut bytes = Vec::with_capacity(size_of_val(values));
        for &value in values {
            value.write(&mut bytes);
        }
        HostTensor::new(T::DTYPE, shape, bytes)
    }

    /// A rank-0 tensor.
    pub fn scalar<T: Number>(value: T) -> HostTensor {
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        HostTensor { dtype: T::DTYPE, shape: Vec::new(), bytes: Arc::new(bytes) }
    }

    /// All zero. An error only if it could not fit in memory.
    #[expect(clippy::slow_vector_initialization, reason = "`vec!` ends the program where memory is short")]
    pub fn zeros(dtype: Dtype, shape: impl Into<Vec<u64>>) -> Result<HostTensor, DataError> {
        let shape = shape.into();
        let length = element_count(&shape)
            .and_then(|count| count.checked_mul(dtype.bytes()))
            .and_then(|length| usize::try_from(length).ok());
        let mut bytes = Vec::new();
        match length {
            Some(length) if bytes.try_reserve_exact(length).is_ok() => {
                bytes.resize(length, 0);
                Ok(HostTensor { dtype, shape, bytes: Arc::new(bytes) })
            }
            _ => Err(DataError::new("", format!("a tensor {dtype}{} is too large", shape_text(&shape)), "")),
        }
    }

    /// A tensor whose bytes the caller has just made for this shape.
    pub(crate) fn from_parts(dtype: Dtype, shape: Vec<u64>, bytes: Vec<u8>) -> HostTensor {
        debug_assert_eq!(element_count(&shape), Some((bytes.len() / dtype.bytes() as usize) as u64));
        HostTensor { dtype, shape, bytes: Arc::new(bytes) }
    }

    /// What its elements are.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Sizes of the axes.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.bytes.len() / self.dtype.bytes() as usize
    }

    /// The elements, little endian.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The elements, to be overwritten in place. A bool must stay 0 or 1.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes: &mut Vec<u8> = Arc::make_mut(&mut self.bytes);
        bytes
    }

    /// Whether a clone of it lives, so that writing it costs a copy.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.bytes) > 1
    }

    /// Gives the bytes away.
    pub fn into_bytes(self) -> Vec<u8> {
        Arc::unwrap_or_clone(self.bytes)
    }

    /// `f32[2, 3]`.
    pub fn type_text(&self) -> String {
        format!("{}{}", self.dtype, shape_text(&self.shape))
    }

    /// The elements as numbers of their own type; an error if `T` is another.
    pub fn to_vec<T: Number>(&self) -> Result<Vec<T>, DataError> {
        if T::DTYPE != self.dtype {
            let problem = format!("a tensor {} does not hold {}", self.type_text(), T::DTYPE);
            return Err(DataError::new("", problem, format!("read {} or convert it first", self.dtype)));
        }
        Ok(self.bytes.chunks_exact(self.dtype.bytes() as usize).map(T::read).collect())
    }

    /// The elements as doubles, whatever they are; i64 beyond 2^53 rounds, a bool is 0 or 1.
    pub fn to_f64(&self) -> Vec<f64> {
        let mut bytes = Vec::new();
        convert_elements(Stored::Element(self.dtype), &self.bytes, Dtype::F64, &mut bytes)
            .expect("bug in bpc: a double can be as large as any element");
        bytes.chunks_exact(8).map(<f64 as Number>::read).collect()
    }

    /// The same values as another dtype, by the rules of [`convert_elements`].
    pub fn convert(&self, dtype: Dtype) -> Result<HostTensor, DataError> {
        let mut bytes = Vec::new();
        convert_elements(Stored::Element(self.dtype), &self.bytes, dtype, &mut bytes).map_err(|misfit| {
            let place = format!("element {}", position_text(&self.shape, misfit.index));
            DataError::new(place, format!("{} does not fit in {dtype}", misfit.value), misfit_remedy(dtype))
        })?;
        Ok(HostTensor { dtype, shape: self.shape.clone(), bytes: Arc::new(bytes) })
    }
}

/// What to do about a value that `dtype` cannot hold.
pub(crate) fn misfit_remedy(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 | Dtype::F64 => "scale the data, or use a wider float",
        Dtype::Bool => "use 0 and 1, or another dtype",
        Dtype::I32 | Dtype::I64 | Dtype::U32 => {
            "use whole numbers in the range of the dtype, or a float or wider dtype"
        }
    }
}

impl fmt::Debug for HostTensor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 16;
        write!(formatter, "{} ", self.type_text())?;
        let values = self.to_f64();
        formatter.debug_list().entries(values.iter().take(SHOWN)).finish()?;
        formatter.write_str(if values.len() > SHOWN { ".." } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_shape_agree() {
        assert!(HostTensor::new(Dtype::F32, [2, 2], vec![0; 16]).is_ok());
        let error = HostTensor::new(Dtype::F32, [2, 2], vec![0; 15]).unwrap_err().to_string();
        assert!(error.contains("3 elements do not make a tensor f32[2, 2]"), "{error}");
        assert!(HostTensor::new(Dtype::F32, [u64::MAX, 8], vec![]).is_err());
        assert!(HostTensor::zeros(Dtype::F64, [1 << 62]).is_err());
        let error = HostTensor::new(Dtype::Bool, [2, 2], vec![0, 1, 2, 0]).unwrap_err().to_string();
        assert!(error.contains("bool element [1, 0] is 2"), "{error}");
    }

    #[test]
    fn numbers_come_back() {
        let tensor = HostTensor::from_slice([3], &[1.5f32, f32::NAN, -0.0]).unwrap();
        let values = tensor.to_vec::<f32>().unwrap();
        assert!(values[0] == 1.5 && values[1].is_nan() && values[2].to_bits() == (-0.0f32).to_bits());
        assert_eq!(HostTensor::from_slice([2], &[i64::MIN, i64::MAX]).unwrap().to_vec::<i64>().unwrap()[1], i64::MAX);
        assert_eq!(HostTensor::scalar(true).to_f64(), [1.0]);
        let error = tensor.to_vec::<f64>().unwrap_err().to_string();
        assert!(error.contains("f32[3] does not hold f64"), "{error}");
    }

    #[test]
    fn values_that_fit_convert() {
        let whole = HostTensor::from_slice([3], &[-1.0f64, 0.0, 2_147_483_647.0]).unwrap();
        assert_eq!(whole.convert(Dtype::I32).unwrap().to_vec::<i32>().unwrap(), [-1, 0, i32::MAX]);
        let flags = HostTensor::from_slice([2], &[0u32, 1]).unwrap();
        assert_eq!(flags.convert(Dtype::Bool).unwrap().to_vec::<bool>().unwrap(), [false, true]);
        let large = HostTensor::from_slice([2], &[f64::INFINITY, 0.1]).unwrap();
        assert_eq!(large.convert(Dtype::F32).unwrap().to_vec::<f32>().unwrap(), [f32::INFINITY, 0.1]);
        let exact = HostTensor::scalar(i64::MAX);
        assert_eq!(exact.convert(Dtype::I64).unwrap(), exact);
    }

    #[test]
    fn values_that_do_not_fit_are_named() {
        let refused: [(HostTensor, Dtype, &str); 7] = [
            (HostTensor::scalar(1e300f64), Dtype::F32, "f32"),
            (HostTensor::scalar(0.5f64), Dtype::I32, "0.5 does not fit in i32"),
            (HostTensor::scalar(f32::NAN), Dtype::I64, "NaN does not fit in i64"),
            (HostTensor::scalar(-1i32), Dtype::U32, "-1 does not fit in u32"),
            (HostTensor::scalar(2_147_483_648i64), Dtype::I32, "2147483648 does not fit in i32"),
            (HostTensor::scalar(9_223_372_036_854_775_808.0f64), Dtype::I64, "does not fit in i64"),
            (HostTensor::from_slice([1, 2], &[1i32, 2]).unwrap(), Dtype::Bool, "element [0, 1]: 2 does not fit"),
        ];
        for (tensor, dtype, text) in refused {
            let error = tensor.convert(dtype).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
