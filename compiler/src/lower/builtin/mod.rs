//! The primitives of the language, one small function each, in files by family.
//!
//! Expects: arguments sorted into the places of the table's parameters, required ones present.
//! Guarantees: static arguments alone give a static value.
//! Leaves out: rules chosen for the call (`call`).

mod bits;
mod elementwise;
mod fixed;
mod product;
mod random;
mod reduce;
mod segment;
mod shape;
mod transform;

use super::bind::Given;
use super::context::{Clock, Lowering, Outcome, Reported};
use super::operator::Placed;
use super::value::{Callee, Tensor, Value};
use crate::ir::op::Op;
use crate::ir::types::Dtype;
use bpc_lang::builtins::{Builtin, BuiltinKind};
use bpc_lang::tree::Span;

/// The arguments of one call of a primitive.
pub(super) struct Arguments<'a> {
    name: &'static str,
    parameters: &'static [&'static str],
    places: &'a [Option<Given>],
    span: Span,
}

impl Arguments<'_> {
    fn find(&self, parameter: &str) -> Option<&Given> {
        let place = self.parameters.iter().position(|known| *known == parameter)?;
        self.places[place].as_ref()
    }

    fn placed(&self, parameter: &str) -> Placed {
        let given = self.find(parameter).expect("bug in bpc: a required argument is missing");
        (given.value.clone(), given.span)
    }
}

/// The arguments of a primitive that has only required ones.
fn given_places(places: &[Option<Given>]) -> Vec<Given> {
    places.iter().flatten().cloned().collect()
}

impl Lowering<'_> {
    /// The value of a call of a primitive.
    pub fn builtin(&mut self, builtin: &'static Builtin, places: &[Option<Given>], span: Span) -> Outcome<Value> {
        let arguments = Arguments { name: builtin.name, parameters: builtin.parameters, places, span };
        match (builtin.kind, builtin.name) {
            (BuiltinKind::FloatUnary | BuiltinKind::NumericUnary, _) => self.elementwise_unary(&arguments),
            (BuiltinKind::NumericBinary, _) => self.elementwise_binary(&arguments),
            (BuiltinKind::Cast, name) => {
                let dtype = Dtype::from_name(name).expect("bug in bpc: a cast to no dtype");
                self.cast(arguments.placed("x"), dtype, span)
            }
            (_, "cast") => {
                let dtype = self.dtype_argument(&arguments, Dtype::F32)?;
                self.cast(arguments.placed("x"), dtype, span)
            }
            (_, "where") => self.choose(&arguments),
            (_, "sum" | "max" | "min") => self.reduction(&arguments),
            (_, "argmax") => self.argmax(&arguments),
            (_, "sum_to") => self.sum_to(&arguments),
            (_, "matmul") => self.matmul(arguments.placed("x"), arguments.placed("y"), span).map(Value::Tensor),
            (_, "take") => {
                let (table, indices) = (self.tensor(&arguments, "table")?, self.tensor(&arguments, "indices")?);
                self.take(&table, &indices, span).map(Value::Tensor)
            }
            (_, "scatter_add") => self.scatter_add(&arguments),
            (_, "histogram" | "counting_sort") => self.keys(&arguments),
            (_, "segment_matmul") => self.segment_matmul(&arguments),
            (_, "segment_outer") => self.segment_outer(&arguments),
            (_, "bit_count") => self.bit_count(&arguments),
            (_, "bit_matmul") => self.bit_matmul(&arguments),
            (_, "block_wht" | "block_wht_t") => self.block_transform(&arguments),
            (_, "reshape") => self.reshape(&arguments),
            (_, "transpose") => self.transpose(&arguments),
            (_, "permute") => self.permute(&arguments),
            (_, "expand") => self.expand(&arguments),
            (_, "slice") => self.slice(&arguments),
            (_, "narrow") => self.narrow(&arguments),
            (_, "pad") => self.pad(&arguments),
            (_, "concat") => self.concat(&arguments),
            (_, "reverse") => self.reverse(&arguments),
            (_, "windows") => self.windows(&arguments),
            (_, "unwindows") => self.unwindows(&arguments),
            (_, "range") => self.range_of(&arguments),
            (_, "zeros" | "ones" | "full") => self.filled(&arguments),
            (_, "random_uniform" | "random_normal") => self.random(&arguments),
            (_, "step") => Ok(Value::Tensor(self.clock(Clock::Step))),
            (_, "stop") => self.stop(&arguments),
            (_, "opaque") => self.opaque(&arguments),
            (_, "grad") => self.derivative(&arguments),
            (_, "pullback") => self.pullback(&given_places(places), span),
            (_, "pushforward") => self.pushforward(&given_places(places), span),
            (_, "lanes") => self.lanes(&given_places(places)[0]),
            (_, "trained") => self.trained(&given_places(places)[0]),
            (_, "len" | "prod") => self.of_list(&arguments),
            (_, "plus" | "minus") => self.entrywise(&arguments),
            (_, "invert") => self.invert(&arguments),
            (_, "warn") => self.warning(&arguments),
            (_, "assert") => self.assertion(&arguments),
            (_, "made_by") => self.made_by(&arguments),
            (_, name) => unreachable!("bug in bpc: the primitive {name} has no lowering"),
        }
    }

    /// An argument that is a tensor; a number becomes a scalar.
    fn tensor(&mut self, arguments: &Arguments, parameter: &str) -> Outcome<Tensor> {
        let dtype = match arguments.placed(parameter).0 {
            Value::Integer(_) => Dtype::I32,
            Value::Flag(_) => Dtype::Bool,
            _ => Dtype::F32,
        };
        self.as_tensor(arguments.name, arguments.placed(parameter), dtype)
    }

    fn wrong<T>(&mut self, arguments: &Arguments, parameter: &str, wanted: &str, given: &Given) -> Outcome<T> {
        let got = match &given.value {
            Value::Tensor(tensor) => format!("a tensor {}", self.type_text(&tensor.ty)),
            other => other.kind(&self.sizes),
        };
        let title = format!("`{parameter}` of `{}` is {wanted}, and this is {got}", arguments.name);
        self.error("BP0204", title, given.span, format!("expected {wanted}"))
    }

    fn integer(&mut self, arguments: &Arguments, parameter: &str, default: i64) -> Outcome<i64> {
        match arguments.find(parameter) {
            None => Ok(default),
            Some(Given { value: Value::Integer(value), .. }) => Ok(*value),
            Some(Given { value: Value::Poison, .. }) => Err(Reported),
            Some(given) => self.wrong(arguments, parameter, "a whole number", given),
        }
    }

    fn natural(&mut self, arguments: &Arguments, parameter: &str, default: u64) -> Outcome<u64> {
        let value = self.integer(arguments, parameter, default as i64)?;
        match u64::try_from(value) {
            Ok(value) => Ok(value),
            Err(_) => {
                let title = format!("`{parameter}` of `{}` cannot be {value}", arguments.name);
                let span = arguments.find(parameter).map_or(arguments.span, |given| given.span);
                self.error("BP0204", title, span, "negative")
            }
        }
    }

    fn flag_argument(&mut self, arguments: &Arguments, parameter: &str) -> Outcome<bool> {
        match arguments.find(parameter) {
            None => Ok(false),
            Some(Given { value: Value::Flag(value), .. }) => Ok(*value),
            Some(given) => self.wrong(arguments, parameter, "true or false", given),
        }
    }

    fn dtype_argument(&mut self, arguments: &Arguments, default: Dtype) -> Outcome<Dtype> {
        match arguments.find("dtype") {
            None => Ok(default),
            Some(Given { value: Value::Dtype(dtype), .. }) => Ok(*dtype),
            Some(given) => {
                if let Value::Function(Callee::Builtin(builtin)) = &given.value
                    && let Some(dtype) = Dtype::from_name(builtin.name)
                {
                    return Ok(dtype);
                }
                self.wrong(arguments, "dtype", "a dtype", given)
            }
        }
    }

    /// A list of whole numbers; a single one counts as a list of one.
    fn integers(&mut self, arguments: &Arguments, parameter: &str) -> Outcome<Vec<i64>> {
        let given = arguments.find(parameter).expect("bug in bpc: a required argument is missing");
        let values = match &given.value {
            Value::List(values) => values.clone(),
            value @ Value::Integer(_) => vec![value.clone()],
            _ => return self.wrong(arguments, parameter, "a list of whole numbers", given),
        };
        let mut numbers = Vec::new();
        for value in values {
            match value {
                Value::Integer(number) => numbers.push(number),
                Value::Poison => return Err(Reported),
                other => {
                    let title = format!(
                        "`{parameter}` of `{}` holds whole numbers, and one is {}",
                        arguments.name,
                        other.kind(&self.sizes)
                    );
                    let diagnostic =
                        bpc_lang::diagnostics::Diagnostic::error("BP0204", title, given.span, "expected whole numbers");
                    let diagnostic = match other {
                        Value::Real(_) => diagnostic.with_help("divide whole numbers with `//`"),
                        _ => diagnostic,
                    };
                    return Err(self.report(diagnostic));
                }
            }
        }
        Ok(numbers)
    }

    /// A list of sizes or counts, none negative.
    fn naturals(&mut self, arguments: &Arguments, parameter: &str) -> Outcome<Vec<u64>> {
        let numbers = self.integers(arguments, parameter)?;
        let mut sizes = Vec::new();
        for number in numbers {
            match u64::try_from(number) {
                Ok(size) => sizes.push(size),
                Err(_) => {
                    let span = arguments.find(parameter).map_or(arguments.span, |given| given.span);
                    let title =
                        format!("`{parameter}` of `{}` holds {number}, and sizes are not negative", arguments.name);
                    return self.error("BP0212", title, span, "negative");
                }
            }
        }
        Ok(sizes)
    }

    /// An axis of a tensor; negative ones count from the end.
    fn axis(&mut self, arguments: &Arguments, axis: i64, rank: usize) -> Outcome<u32> {
        let place = if axis < 0 { axis + rank as i64 } else { axis };
        if place < 0 || place >= rank as i64 {
            let span = arguments.find("axis").or(arguments.find("axes")).map_or(arguments.span, |given| given.span);
            let title = format!("there is no axis {axis} in {}", super::bind::count(rank, "axis"));
            return self.error("BP0209", title, span, "out of range");
        }
        Ok(place as u32)
    }

    /// `stop(x)`.
    fn stop(&mut self, arguments: &Arguments) -> Outcome<Value> {
        match arguments.placed("x").0 {
            Value::Tensor(x) => {
                let result = self.emit(Op::Stop {}, &[&x], arguments.span)?;
                Ok(Value::Tensor(Lowering::with_origins(result, x.origins)))
            }
            value if value.is_scalar() => Ok(value),
            _ => {
                let x = self.tensor(arguments, "x")?;
                Ok(Value::Tensor(x))
            }
        }
    }

    /// `opaque(x)`, which speaks for the function that it stands in.
    fn opaque(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let x = self.tensor(arguments, "x")?;
        let of = self.calls.last().map_or_else(|| arguments.name.to_string(), |(_, name, _)| name.clone());
        let probabilities = match arguments.find("probabilities") {
            Some(_) => Some(self.tensor(arguments, "probabilities")?),
            None => None,
        };
        let operands: Vec<&Tensor> = std::iter::once(&x).chain(&probabilities).collect();
        // A missing rule is shown at the call that the user wrote.
        let outside = self.calls.iter().rev().map(|(span, ..)| *span).find(|span| !self.in_library(*span));
        let span = if self.in_library(arguments.span) { outside.unwrap_or(arguments.span) } else { arguments.span };
        let result = self.emit(Op::Opaque { of }, &operands, span)?;
        Ok(Value::Tensor(Lowering::with_origins(result, x.origins)))
    }

    /// `grad(loss, x)`.
    fn derivative(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let (loss, x) = (self.tensor(arguments, "loss")?, arguments.placed("x"));
        let Value::Tensor(x) = x.0 else {
            let title = format!("a derivative is taken by a tensor, and this is {}", x.0.kind(&self.sizes));
            return self.error("BP0414", title, x.1, "expected a tensor");
        };
        if loss.ty.rank() != 0 || !loss.ty.dtype.is_float() {
            let title = format!("only a float scalar has a derivative, and this is {}", self.type_text(&loss.ty));
            return self.error("BP0413", title, arguments.placed("loss").1, "sum or mean it first");
        }
        if !x.ty.dtype.has_cotangent() {
            let title =
                format!("a derivative is taken by a float or bool tensor, and this is {}", self.type_text(&x.ty));
            return self.error("BP0414", title, arguments.placed("x").1, "not a float or bool tensor");
        }
        let result = self.emit(Op::Grad {}, &[&loss, &x], arguments.span)?;
        Ok(Value::Tensor(Lowering::with_origins(result, x.origins)))
    }
}
