//! What lives from step to step: parameters, optimiser state, the seed and the number of the step.
//!
//! Expects: compiled programs that agree about the type of what they share by name.
//! Guarantees: parameters are initialised once, from the seed alone; a loaded tensor has the type of its place; what a
//! program does not know keeps its value, so that training and evaluation may have different parameters.
//! Leaves out: files (`bpc_runtime::checkpoint`).

use super::error::Error;
use super::values::Tensors;
use crate::codegen::jit::AlignedBytes;
use crate::ir::graph::Graph;
use crate::ir::interpret::{self, Tensor};
use crate::ir::types::{Dtype, TensorType};
use crate::kernel::ir::{BufferRole, Place, Program};
use crate::kernel::plan::ALIGNMENT;
use crate::lower::Parameter;
use crate::pipeline::Compilation;
use bpc_runtime::tensor::{Element, HostTensor};
use std::collections::BTreeMap;

/// Parameters and optimiser state of a model.
#[derive(Clone)]
pub struct State {
    seed: u64,
    places: BTreeMap<String, StatePlace>,
    pending: BTreeMap<String, HostTensor>,
    pub(super) block: AlignedBytes,
}

#[derive(Clone, Debug, PartialEq)]
struct StatePlace {
    offset: usize,
    ty: TensorType,
    parameter: bool,
}

impl State {
    /// The state before the first step; parameters get their values from the seed when their shapes are known.
    pub fn new(seed: u64) -> State {
        State { seed, places: BTreeMap::new(), pending: BTreeMap::new(), block: AlignedBytes::zeros(0) }
    }

    /// Gives parameters their values; those not named keep theirs.
    ///
    /// # Errors
    /// Once the model has run: a name that it does not have, or another shape. Before, the first step checks them.
    pub fn load(&mut self, tensors: &Tensors) -> Result<(), Error> {
        for (name, tensor) in tensors.iter() {
            if self.places.is_empty() {
                self.pending.insert(name.to_string(), tensor.clone());
            } else {
                self.write(name, tensor)?;
            }
        }
        Ok(())
    }

    /// The parameters; empty before the first step.
    pub fn parameters(&self) -> Tensors {
        self.places
            .iter()
            .filter(|(_, place)| place.parameter)
            .map(|(name, place)| (name.clone(), read(&self.block, place.offset, &place.ty)))
            .collect()
    }

    /// Everything that lives from step to step, by name: parameters and the state of optimisers. Empty before the first step.
    pub fn all(&self) -> Vec<(&str, HostTensor)> {
        self.places.iter().map(|(name, place)| (name.as_str(), read(&self.block, place.offset, &place.ty))).collect()
    }

    /// Whether everything that a program keeps lies where it looks for it.
    pub(super) fn fits(&self, compilation: &Compilation) -> bool {
        self.pending.is_empty()
            && places(&compilation.kernels)
                .all(|(name, place)| self.places.get(name).is_some_and(|known| *known == place))
    }

    /// Lays the state out as a program wants it, and initialises what is new.
    pub(super) fn prepare(&mut self, compilation: &Compilation) -> Result<(), Error> {
        let program = &compilation.kernels;
        let lowered = &compilation.lowered;
        for (name, place) in places(program) {
            if let Some(known) = self.places.get(name)
                && known.ty != place.ty
            {
                return Err(Error::Call(format!(
                    "`{name}` is {} here and was {} before; sizes of parameters may not depend on the shapes of the inputs",
                    place.ty, known.ty
                )));
            }
        }
        let fresh: Vec<String> =
            places(program).map(|(name, _)| name).filter(|name| !self.places.contains_key(*name)).cloned().collect();
        self.lay_out(
            places(program).map(|(name, place)| (name.clone(), place)).collect(),
            program.state_bytes as usize,
        );
        for name in fresh {
            let place = self.places[&name].clone();
            if let Some(tensor) = self.pending.remove(&name) {
                self.write(&name, &tensor)?;
                continue;
            }
            let parameters = lowered.parameters.iter().map(|parameter| (&parameter.name, &parameter.init));
            let mut initial = parameters.chain(lowered.states.iter().map(|state| (&state.name, &state.init)));
            if name == "seed" {
                let words = self.block.elements_mut::<u32>(place.offset, 2);
                words.copy_from_slice(&[self.seed as u32, (self.seed >> 32) as u32]);
            } else if let Some((_, graph)) = initial.find(|(known, _)| **known == name) {
                let value = initial_value(graph, self.seed).map_err(|error| {
                    Error::Call(format!("the initial value of `{name}` cannot be computed: {error}"))
                })?;
                let constraint = lowered.parameters.iter().find(|parameter| parameter.name == name);
                if let Some(constraint) = constraint.and_then(|parameter| parameter.constraint.as_ref())
                    && value.data.iter().any(|number| !number.is_finite())
                {
                    return Err(Error::Call(format!(
                        "the first value of `{name}` does not lie in `{constraint}`; choose one inside, after `~`"
                    )));
                }
                write(&mut self.block, place.offset, &place.ty, &host_tensor(&value));
            }
        }
        Ok(())
    }

    /// Moves everything to new places; what has none there lies behind `bytes`, where a program that does not know it
    /// leaves it alone.
    fn lay_out(&mut self, mut places: BTreeMap<String, StatePlace>, bytes: usize) {
        let mut end = bytes;
        for (name, old) in &self.places {
            if !places.contains_key(name) {
                places.insert(name.clone(), StatePlace { offset: end, ..old.clone() });
                end += (old.ty.bytes() as usize).next_multiple_of(ALIGNMENT as usize);
            }
        }
        let mut block = AlignedBytes::zeros(end);
        for (name, old) in &self.places {
            let bytes = old.ty.bytes() as usize;
            let value: &[u8] = self.block.elements(old.offset, bytes);
            block.elements_mut(places[name].offset, bytes).copy_from_slice(value);
        }
        (self.places, self.block) = (places, block);
    }

    /// Whether something was loaded that has no place yet.
    pub(super) fn has_unplaced(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Keeps what was loaded for those of these parameters that have no place.
    pub(super) fn keep(&mut self, parameters: &[Parameter]) -> Result<(), Error> {
        for parameter in parameters {
            let Some(tensor) = self.pending.remove(&parameter.name) else { continue };
            let place = StatePlace { offset: self.block.len(), ty: parameter.ty.clone(), parameter: true };
            let end = place.offset + (place.ty.bytes() as usize).next_multiple_of(ALIGNMENT as usize);
            let mut places = self.places.clone();
            places.insert(parameter.name.clone(), place);
            self.lay_out(places, end);
            self.write(&parameter.name, &tensor)?;
        }
        Ok(())
    }

    /// Nothing may be left that has no place.
    pub(super) fn refuse_unplaced(&self) -> Result<(), Error> {
        self.pending.keys().next().map_or(Ok(()), |name| Err(self.unknown(name)))
    }

    fn write(&mut self, name: &str, tensor: &HostTensor) -> Result<(), Error> {
        let Some(place) = self.places.get(name).cloned() else {
            return Err(self.unknown(name));
        };
        if tensor.shape() != place.ty.shape {
            return Err(Error::Call(format!("`{name}` is {} and should be {}", tensor.type_text(), place.ty)));
        }
        let converted = tensor.convert(element(place.ty.dtype))?;
        write(&mut self.block, place.offset, &place.ty, &converted);
        Ok(())
    }

    fn unknown(&self, name: &str) -> Error {
        let known: Vec<&str> =
            self.places.iter().filter(|(_, place)| place.parameter).map(|(name, _)| name.as_str()).collect();
        Error::Call(format!("the model has no parameter `{name}`; it has: {}", known.join(", ")))
    }
}

/// The state buffers of a program by name.
fn places(program: &Program) -> impl Iterator<Item = (&String, StatePlace)> {
    program.buffers.values().filter_map(|buffer| match (buffer.place, buffer.role) {
        (Place::State(offset), BufferRole::Parameter | BufferRole::State) => {
            let parameter = buffer.role == BufferRole::Parameter;
            Some((&buffer.name, StatePlace { offset: offset as usize, ty: buffer.ty.clone(), parameter }))
        }
        _ => None,
    })
}

fn initial_value(graph: &Graph, seed: u64) -> Result<Tensor, String> {
    let mut inputs = BTreeMap::new();
    for input in &graph.main().inputs {
        let crate::ir::op::Op::Input { name, ty, .. } = &graph.main().nodes[*input].op else {
            return Err("bug in bpc: an input that is no input".to_string());
        };
        let words = match name.as_str() {
            "seed" => vec![f64::from(seed as u32), f64::from((seed >> 32) as u32)],
            _ => vec![0.0; ty.elements() as usize],
        };
        inputs.insert(name.clone(), Tensor::new(ty.clone(), words)?);
    }
    let results = interpret::run(graph, &inputs)?;
    results.into_iter().next().map(|(_, value)| value).ok_or_else(|| "it gives no value".to_string())
}

/// The runtime's name of a dtype.
pub(crate) fn element(dtype: Dtype) -> Element {
    Element::from_name(dtype.name()).expect("bug in bpc: the runtime knows every dtype")
}

/// The type of a tensor in memory.
pub(crate) fn tensor_type(tensor: &HostTensor) -> TensorType {
    let dtype = Dtype::from_name(tensor.dtype().name()).expect("bug in bpc: the compiler knows every dtype");
    TensorType::new(dtype, tensor.shape())
}

/// A tensor of the interpreter in its own dtype.
pub(crate) fn host_tensor(tensor: &Tensor) -> HostTensor {
    let doubles = HostTensor::from_slice(tensor.ty.shape.clone(), &tensor.data);
    doubles
        .and_then(|doubles| doubles.convert(element(tensor.ty.dtype)))
        .unwrap_or_else(|error| panic!("bug in bpc: a value of {} does not fit: {error}", tensor.ty))
}

/// The tensor at a place of a block.
pub(super) fn read(block: &AlignedBytes, offset: usize, ty: &TensorType) -> HostTensor {
    let bytes = block.elements::<u8>(offset, ty.bytes() as usize).to_vec();
    HostTensor::new(element(ty.dtype), ty.shape.clone(), bytes)
        .unwrap_or_else(|error| panic!("bug in bpc: a buffer of {ty}: {error}"))
}

/// Writes a tensor of exactly this type to a place of a block.
pub(super) fn write(block: &mut AlignedBytes, offset: usize, ty: &TensorType, tensor: &HostTensor) {
    block.elements_mut::<u8>(offset, ty.bytes() as usize).copy_from_slice(tensor.bytes());
}
