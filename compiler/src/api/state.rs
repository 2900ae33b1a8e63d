//! What lives from step to step: parameters, optimiser state, the seed and the number of the step.
//!
//! Expects: compiled programs that agree about the type of what they share by name.
//! Guarantees: parameters are initialised once, from the seed alone; a loaded tensor has the type of its place; what a
//! program does not know keeps its value, so that training and evaluation may have different parameters.
//! Leaves out: files (`bpc_runtime::checkpoint`).

use super::error::Error;
use super::step::memory;
use super::values::Tensors;
use crate::codegen::memory::AlignedBytes;
use crate::ir::graph::InputRole;
use crate::ir::types::TensorType;
use crate::kernel::ir::{BufferRole, Place, Program};
use crate::kernel::pack;
use crate::kernel::plan::ALIGNMENT;
use crate::lower::{Lowered, Parameter};
use crate::pipeline::Compilation;
use bpc_runtime::bits;
use bpc_runtime::tensor::HostTensor;
use std::collections::{BTreeMap, BTreeSet};

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
    /// See `kernel::ir::Buffer`.
    packed: Option<u64>,
}

impl StatePlace {
    fn bytes(&self) -> u64 {
        match self.packed {
            Some(row) => bits::packed_bytes(self.ty.elements() / row, row),
            None => self.ty.bytes(),
        }
    }
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
            .map(|(name, place)| (name.clone(), read(&self.block, place)))
            .collect()
    }

    /// Everything that lives from step to step, by name: parameters and the state of optimisers. Empty before the first step.
    pub fn all(&self) -> Vec<(&str, HostTensor)> {
        self.places.iter().map(|(name, place)| (name.as_str(), read(&self.block, place))).collect()
    }

    /// Whether everything that a program keeps lies where it looks for it.
    pub(super) fn fits(&self, compilation: &Compilation) -> bool {
        self.pending.is_empty()
            && places(&compilation.kernels)
                .all(|(name, place)| self.places.get(name).is_some_and(|known| *known == place))
    }

    /// Lays the state out as a program wants it, with what was loaded; gives the names of what is new and waits for its
    /// first value, zeros until then.
    pub(super) fn lay_out_for(&mut self, compilation: &Compilation) -> Result<BTreeSet<String>, Error> {
        let program = &compilation.kernels;
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
        let mut fresh: BTreeSet<String> =
            places(program).map(|(name, _)| name).filter(|name| !self.places.contains_key(*name)).cloned().collect();
        self.lay_out(places(program).map(|(name, place)| (name.clone(), place)).collect(), program.state_bytes)?;
        for (name, tensor) in std::mem::take(&mut self.pending) {
            if fresh.remove(&name) {
                self.write(&name, &tensor)?;
            } else {
                self.pending.insert(name, tensor);
            }
        }
        if let Some(seed) = compilation.optimized.main().input_of(InputRole::Seed)
            && fresh.remove(seed)
        {
            let words = self.seed_words();
            self.block.elements_mut(self.places[seed].offset, 2).copy_from_slice(&words);
        }
        Ok(fresh)
    }

    /// The seed as a program takes it.
    pub(super) fn seed_words(&self) -> [u32; 2] {
        [self.seed as u32, (self.seed >> 32) as u32]
    }

    /// Whether first values lie in the sets that their parameters may not leave: the inverse of a constraint gives no number
    /// for one outside.
    pub(super) fn check_constraints(&self, lowered: &Lowered, fresh: &BTreeSet<String>) -> Result<(), Error> {
        for parameter in lowered.parameters.iter().filter(|parameter| fresh.contains(&parameter.name)) {
            let Some(constraint) = &parameter.constraint else { continue };
            let place = &self.places[&parameter.name];
            if read(&self.block, place).to_f64().iter().any(|number| !number.is_finite()) {
                return Err(Error::Call(format!(
                    "the first value of `{}` does not lie in `{constraint}`; choose one inside, after `~`",
                    parameter.name
                )));
            }
        }
        Ok(())
    }

    /// Moves everything to new places; what has none there lies behind `bytes`, where a program that does not know it
    /// leaves it alone.
    fn lay_out(&mut self, mut places: BTreeMap<String, StatePlace>, bytes: u64) -> Result<(), Error> {
        let mut end = bytes;
        for (name, old) in &self.places {
            if !places.contains_key(name) {
                places.insert(name.clone(), StatePlace { offset: end as usize, ..old.clone() });
                end += old.bytes().next_multiple_of(ALIGNMENT);
            }
        }
        let mut block = memory("state of the model", end)?;
        for (name, old) in &self.places {
            let bytes = old.bytes() as usize;
            let value: &[u8] = self.block.elements(old.offset, bytes);
            block.elements_mut(places[name].offset, bytes).copy_from_slice(value);
        }
        (self.places, self.block) = (places, block);
        Ok(())
    }

    /// Whether something was loaded that has no place yet.
    pub(super) fn has_unplaced(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Keeps what was loaded for those of these parameters that have no place.
    pub(super) fn keep(&mut self, parameters: &[Parameter]) -> Result<(), Error> {
        for parameter in parameters {
            let Some(tensor) = self.pending.remove(&parameter.name) else { continue };
            let packed = pack::parameter_row(&parameter.ty);
            let place = StatePlace { offset: self.block.len(), ty: parameter.ty.clone(), parameter: true, packed };
            let end = self.block.len() as u64 + place.bytes().next_multiple_of(ALIGNMENT);
            let mut places = self.places.clone();
            places.insert(parameter.name.clone(), place);
            self.lay_out(places, end)?;
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
            return Err(Error::Call(format!(
                "`{name}` was given as {}, and the model has it as {}",
                tensor.type_text(),
                place.ty
            )));
        }
        let converted = tensor.convert(place.ty.dtype)?;
        write(&mut self.block, &place, &converted);
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
            let (offset, packed) = (offset as usize, buffer.packed);
            Some((&buffer.name, StatePlace { offset, ty: buffer.ty.clone(), parameter, packed }))
        }
        _ => None,
    })
}

/// The type of a tensor in memory.
pub(crate) fn tensor_type(tensor: &HostTensor) -> TensorType {
    TensorType::new(tensor.dtype(), tensor.shape())
}

/// The tensor at a place of a block.
fn read(block: &AlignedBytes, place: &StatePlace) -> HostTensor {
    let ty = &place.ty;
    let bytes = block.elements::<u8>(place.offset, place.bytes() as usize);
    let bytes = place.packed.map_or_else(|| bytes.to_vec(), |row| bits::unpack(bytes, row as usize));
    HostTensor::new(ty.dtype, ty.shape.clone(), bytes)
        .unwrap_or_else(|error| panic!("bug in bpc: a buffer of {ty}: {error}"))
}

/// Writes a tensor of exactly this type to a place of a block.
fn write(block: &mut AlignedBytes, place: &StatePlace, tensor: &HostTensor) {
    let bytes = block.elements_mut::<u8>(place.offset, place.bytes() as usize);
    match place.packed {
        Some(row) => bits::pack(tensor.bytes(), row as usize, bytes),
        None => bytes.copy_from_slice(tensor.bytes()),
    }
}
