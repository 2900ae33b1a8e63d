//! Named tensors in and out of a compiled model.
//!
//! Expects: row-major data, or `ndarray` views of any layout.
//! Guarantees: names keep their order; an array that comes out has the dtype asked for or the call fails.
//! Leaves out: what names a model has (`step`).

use super::error::Error;
use bpc_runtime::tensor::{HostTensor, Number};
use ndarray::{ArrayD, ArrayView, Dimension, IxDyn};
use std::collections::BTreeMap;

/// Tensors by name.
///
/// ```
/// use ndarray::array;
/// let inputs = bpc::Tensors::new().with("x", array![[1.0f32, 2.0]].view()).with_scalar("scale", 2.0f32);
/// assert_eq!(inputs.get("x").unwrap().shape(), [1, 2]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensors(BTreeMap<String, HostTensor>);

impl Tensors {
    /// None.
    pub fn new() -> Tensors {
        Tensors::default()
    }

    /// Adds an array (copied).
    pub fn with<T: Number, D: Dimension>(self, name: impl Into<String>, array: ArrayView<'_, T, D>) -> Tensors {
        let shape: Vec<u64> = array.shape().iter().map(|size| *size as u64).collect();
        let values: Vec<T> = array.iter().copied().collect();
        let tensor =
            HostTensor::from_slice(shape, &values).expect("bug in bpc: an array has the elements of its shape");
        self.with_tensor(name, tensor)
    }

    /// Adds row-major numbers of this shape.
    ///
    /// # Errors
    /// Where the shape does not have as many elements.
    pub fn with_slice<T: Number>(self, name: impl Into<String>, shape: &[u64], values: &[T]) -> Result<Tensors, Error> {
        Ok(self.with_tensor(name, HostTensor::from_slice(shape, values)?))
    }

    /// Adds one number.
    pub fn with_scalar<T: Number>(self, name: impl Into<String>, value: T) -> Tensors {
        self.with_tensor(name, HostTensor::scalar(value))
    }

    /// Adds a tensor.
    pub fn with_tensor(mut self, name: impl Into<String>, tensor: HostTensor) -> Tensors {
        self.0.insert(name.into(), tensor);
        self
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&HostTensor> {
        self.0.get(name)
    }

    /// The one number of that name, as a double.
    ///
    /// # Errors
    /// Where there is no such tensor or it has more than one element.
    pub fn scalar(&self, name: &str) -> Result<f64, Error> {
        let tensor = self.wanted(name)?;
        match tensor.to_f64().as_slice() {
            [value] => Ok(*value),
            _ => Err(Error::Call(format!("`{name}` is {} and no single number", tensor.type_text()))),
        }
    }

    /// The tensor of that name as an array.
    ///
    /// # Errors
    /// Where there is no such tensor or it has another dtype.
    pub fn array<T: Number>(&self, name: &str) -> Result<ArrayD<T>, Error> {
        let tensor = self.wanted(name)?;
        let shape: Vec<usize> = tensor.shape().iter().map(|size| *size as usize).collect();
        let values = tensor.to_vec::<T>()?;
        Ok(ArrayD::from_shape_vec(IxDyn(&shape), values).expect("bug in bpc: a tensor has the elements of its shape"))
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HostTensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn wanted(&self, name: &str) -> Result<&HostTensor, Error> {
        self.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.iter().map(|(name, _)| name).collect();
            Error::Call(format!("there is no `{name}`; there are: {}", known.join(", ")))
        })
    }
}

impl FromIterator<(String, HostTensor)> for Tensors {
    fn from_iter<I: IntoIterator<Item = (String, HostTensor)>>(tensors: I) -> Tensors {
        Tensors(tensors.into_iter().collect())
    }
}
