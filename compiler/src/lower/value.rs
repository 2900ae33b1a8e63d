//! Values of the elaborator: what an expression is while a program is lowered.
//!
//! Expects: nothing; plain data.
//! Guarantees: a [`Value::Tensor`] always has the type of its node.
//! Leaves out: what operations do with values (`operator`, `index`, `builtin`).

use super::sizes::SizeNames;
use crate::ir::graph::NodeId;
use crate::ir::types::{Dtype, TensorType};
use bpc_lang::builtins::{self, Builtin};
use bpc_lang::program::{ItemId, Program};
use bpc_lang::tree::{Item, Span};
use std::rc::Rc;

/// The value of an expression.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A node of a region under construction.
    Tensor(Tensor),
    /// A whole number.
    Integer(i64),
    /// A real number.
    Real(f64),
    /// `true` or `false`.
    Flag(bool),
    /// A string.
    Text(String),
    /// A list; dims are lists of whole numbers.
    List(Vec<Value>),
    /// A dtype.
    Dtype(Dtype),
    /// Something that can be called.
    Function(Callee),
    /// Several results.
    Tuple(Vec<Value>),
    /// An argument that did not survive the forward pass: its type is known and nothing else. The sentence says why.
    Gone(TensorType, Rc<str>),
    /// An error was reported where this value should have come from.
    Poison,
}

/// Something that can be called by name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Callee {
    /// A declaration.
    Item(ItemId),
    /// A primitive.
    Builtin(&'static Builtin),
    /// One turn of a loop, in a rule for loops.
    Step(usize),
}

/// A value that means the same everywhere in a program: an argument of a rule. Equal values are equal keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Static {
    /// A whole number.
    Integer(i64),
    /// The bits of a real number.
    Real(u64),
    /// `true` or `false`.
    Flag(bool),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Static>),
    /// A dtype.
    Dtype(Dtype),
    /// A declaration that can be called.
    Item(ItemId),
    /// The name of a primitive.
    Primitive(&'static str),
    /// Several values.
    Tuple(Vec<Static>),
}

impl Static {
    /// As a value.
    pub fn value(&self) -> Value {
        let all = |parts: &[Static]| parts.iter().map(Static::value).collect();
        match self {
            Static::Integer(value) => Value::Integer(*value),
            Static::Real(bits) => Value::Real(f64::from_bits(*bits)),
            Static::Flag(value) => Value::Flag(*value),
            Static::Text(value) => Value::Text(value.clone()),
            Static::List(parts) => Value::List(all(parts)),
            Static::Dtype(dtype) => Value::Dtype(*dtype),
            Static::Item(item) => Value::Function(Callee::Item(*item)),
            Static::Primitive(name) => {
                let builtin = builtins::find(name).expect("bug in bpc: a primitive without a name");
                Value::Function(Callee::Builtin(builtin))
            }
            Static::Tuple(parts) => Value::Tuple(all(parts)),
        }
    }

    /// As a program would write it.
    pub fn text(&self, program: &Program) -> String {
        let all = |parts: &[Static]| parts.iter().map(|part| part.text(program)).collect::<Vec<_>>().join(", ");
        match self {
            Static::Integer(value) => value.to_string(),
            Static::Real(bits) => format!("{:?}", f64::from_bits(*bits)),
            Static::Flag(value) => value.to_string(),
            Static::Text(value) => format!("{value:?}"),
            Static::List(parts) => format!("[{}]", all(parts)),
            Static::Dtype(dtype) => dtype.to_string(),
            Static::Item(item) => Item::name(program.item(*item)).map_or_else(String::new, |name| name.text.clone()),
            Static::Primitive(name) => (*name).to_string(),
            Static::Tuple(parts) => format!("({})", all(parts)),
        }
    }
}

/// A node with its type and the places that its sizes come from.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    /// The region under construction that holds the node: an index into the stack of regions.
    pub level: usize,
    /// The node.
    pub node: NodeId,
    /// Its type.
    pub ty: TensorType,
    /// For each axis, where its size comes from, if that is known.
    pub origins: Origins,
}

/// For each axis, where its size comes from, if that is known.
pub(super) type Origins = Vec<Option<Rc<Origin>>>;

/// Where a size comes from.
#[derive(Debug)]
pub(super) struct Origin {
    /// The dim in the text.
    pub span: Span,
    /// As it is written: `B`.
    pub text: String,
}

impl Value {
    /// What it is, for messages.
    pub fn kind(&self, sizes: &SizeNames) -> String {
        match self {
            Value::Tensor(tensor) => format!("a tensor {}", sizes.type_text(&tensor.ty)),
            Value::Integer(value) => format!("the whole number {value}"),
            Value::Real(value) => format!("the number {value:?}"),
            Value::Flag(value) => format!("the flag {value}"),
            Value::Text(value) => format!("the string \"{value}\""),
            Value::List(_) => "a list".to_string(),
            Value::Dtype(dtype) => format!("the dtype {dtype}"),
            Value::Function(_) => "a function".to_string(),
            Value::Tuple(parts) => format!("a tuple of {}", parts.len()),
            Value::Gone(ty, _) => format!("a tensor {}", sizes.type_text(ty)),
            Value::Poison => "an error".to_string(),
        }
    }

    /// The number, if it is static.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Integer(value) => Some(*value as f64),
            Value::Real(value) => Some(*value),
            _ => None,
        }
    }

    /// Whether it is a number or flag that is known at compile time.
    pub fn is_scalar(&self) -> bool {
        matches!(self, Value::Integer(_) | Value::Real(_) | Value::Flag(_))
    }

    /// A list of sizes.
    pub fn dims(shape: &[u64]) -> Value {
        Value::List(shape.iter().map(|size| Value::Integer(*size as i64)).collect())
    }

    /// The same, if it holds no tensor and nothing that only one rule knows.
    pub fn fixed(&self) -> Option<Static> {
        let all = |parts: &[Value]| parts.iter().map(Value::fixed).collect::<Option<Vec<_>>>();
        Some(match self {
            Value::Integer(value) => Static::Integer(*value),
            Value::Real(value) => Static::Real(value.to_bits()),
            Value::Flag(value) => Static::Flag(*value),
            Value::Text(value) => Static::Text(value.clone()),
            Value::List(parts) => Static::List(all(parts)?),
            Value::Dtype(dtype) => Static::Dtype(*dtype),
            Value::Function(Callee::Item(item)) => Static::Item(*item),
            Value::Function(Callee::Builtin(builtin)) => Static::Primitive(builtin.name),
            Value::Tuple(parts) => Static::Tuple(all(parts)?),
            Value::Function(Callee::Step(_)) | Value::Tensor(_) | Value::Gone(..) | Value::Poison => return None,
        })
    }
}

/// Whether two static values are equal; values of different kinds are not.
pub(super) fn equal(left: &Value, right: &Value) -> Option<bool> {
    Some(match (left, right) {
        (Value::Tensor(_) | Value::Gone(..) | Value::Poison, _) => return None,
        (_, Value::Tensor(_) | Value::Gone(..) | Value::Poison) => return None,
        (Value::Integer(a), Value::Integer(b)) => a == b,
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            let mut all = a.len() == b.len();
            for (a, b) in a.iter().zip(b) {
                all &= equal(a, b)?;
            }
            all
        }
        (Value::Flag(a), Value::Flag(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Dtype(a), Value::Dtype(b)) => a == b,
        (Value::Function(Callee::Item(a)), Value::Function(Callee::Item(b))) => a == b,
        (Value::Function(Callee::Builtin(a)), Value::Function(Callee::Builtin(b))) => a.name == b.name,
        // `bool` and `f32` are a dtype and the cast of that name.
        (Value::Dtype(a), Value::Function(Callee::Builtin(b)))
        | (Value::Function(Callee::Builtin(b)), Value::Dtype(a)) => a.name() == b.name,
        _ => match (left.number(), right.number()) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        },
    })
}
