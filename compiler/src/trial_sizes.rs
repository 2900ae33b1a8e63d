//! What only differentiation finds wrong with a model, at the sizes that are known, and at sizes that are tried for the others.
//!
//! Expects: a program that passed all other checks.
//! Guarantees: where all sizes are known, every error at them is reported. A dim that nothing gives a size gets some: first all dims
//! different ones, since models whose dims must differ are as common as those whose dims must agree; what is reported then is wrong at
//! sizes that fit together, and where none do the caller hears so.
//! Leaves out: a proof that no sizes fit; the tries are a fixed list.

use crate::differentiate::differentiate;
use crate::ir::types::TensorType;
use crate::lower::{self, Derivatives, Lowered, Options, Setting, SignatureDim};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::Program;
use std::collections::BTreeMap;

/// One size for all dims: most assertions about sizes, such as a number of heads, hold for one of them.
const COMMON: [i64; 4] = [64, 60, 210, 1];
/// Sizes that fall, for models in which one dim must be larger than a later one, such as a row and a window; read backwards they rise.
const DISTINCT: [i64; 8] = [64, 48, 30, 24, 12, 8, 6, 4];
/// Sizes for models in which one dim depends on another.
const SMALL: std::ops::RangeInclusive<i64> = 1..=12;

/// Elaborates the chosen model as a training step for inputs of these types, and differentiates it. What comes back is why the model
/// could not be looked at, if it could not.
///
/// # Errors
/// What is wrong with the model.
pub fn check_gradients(
    program: &Program,
    options: &Options,
    inputs: &BTreeMap<String, TensorType>,
) -> Result<Option<String>, Vec<Diagnostic>> {
    let mut open = Vec::new();
    match lowered(program, options, inputs, &mut open) {
        Ok(lowered) => {
            differentiate(&lowered.graph, &mut Derivatives::new(program, &lowered.loop_choices)).map(|_| None)
        }
        Err(found) if !open.is_empty() => {
            let title = found.first().map_or("", |diagnostic| diagnostic.title.as_str());
            Ok(Some(format!("none of the sizes that were tried for {} fit together ({title})", open.join(", "))))
        }
        // A setting without a value: the program leaves it to those who run it.
        Err(found) => match found.iter().find(|diagnostic| diagnostic.code == "BP0305") {
            Some(without) => Ok(Some(without.title.clone())),
            None => Err(found),
        },
    }
}

/// The model at the sizes that are known, and for the dims that are `open` the first sizes that fit together; or what is wrong at the
/// first ones.
fn lowered(
    program: &Program,
    options: &Options,
    inputs: &BTreeMap<String, TensorType>,
    open: &mut Vec<String>,
) -> Result<Lowered, Vec<Diagnostic>> {
    let mut options = Options { training: true, ..options.clone() };
    options.settings = lower::solve_dims(program, options.model.as_deref(), &options.settings, inputs)?;
    *open = open_dims(program, &options)?;
    let mut first = None;
    for sizes in tries(open.len()) {
        options.settings.extend(open.iter().cloned().zip(sizes.into_iter().map(Setting::Integer)));
        match lower::lower(program, &options) {
            Ok(lowered) => return Ok(lowered),
            // The sizes fit together, and a choice matches nothing.
            Err(found) if found.iter().all(|diagnostic| diagnostic.code == "BP0405") => {
                open.clear();
                return Err(found);
            }
            Err(found) => first = first.or(Some(found)),
        }
    }
    Err(first.expect("bug in bpc: no sizes were tried"))
}

/// The dims of inputs that nothing gives a size, each once.
fn open_dims(program: &Program, options: &Options) -> Result<Vec<String>, Vec<Diagnostic>> {
    let signature = lower::signature(program, options.model.as_deref())?;
    let mut open: Vec<String> = Vec::new();
    for dim in signature.inputs.into_iter().flat_map(|input| input.dims) {
        if let SignatureDim::Name(name) = dim
            && !signature.settings.contains(&name)
            && !options.settings.contains_key(&name)
            && !open.contains(&name)
        {
            open.push(name);
        }
    }
    Ok(open)
}

/// The sizes that are tried for so many dims, in order.
fn tries(dims: usize) -> Vec<Vec<i64>> {
    if dims == 0 {
        return vec![Vec::new()];
    }
    let falling: Vec<i64> = DISTINCT.into_iter().cycle().take(dims).collect();
    let rising: Vec<i64> = falling.iter().rev().copied().collect();
    let mut all = vec![falling, rising];
    all.extend(COMMON.map(|size| vec![size; dims]));
    // One dim depends on another: with two dims all small pairs, with more the usual ways to depend.
    for small in SMALL {
        let larger: Vec<i64> = match dims {
            1 => vec![small],
            2 => (small + 1..=3 * SMALL.end()).collect(),
            _ => vec![small + 1, 2 * small, 2 * small + 1, 3 * small, small * small],
        };
        for large in larger {
            all.extend((0..dims).map(|one| (0..dims).map(|dim| if dim == one { large } else { small }).collect()));
        }
    }
    all
}
