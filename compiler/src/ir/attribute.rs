//! Attributes of operations in one generic form, through which printer, parser and rule parameters see them.
//!
//! Expects: nothing.
//! Guarantees: `from_attribute(to_attribute(x)) == Some(x)` for every field type of the op table.
//! Leaves out: their text form (`text`).

use super::graph::{InputRole, RegionId};
use super::types::{Dtype, Literal, TensorType};
use bpc_runtime::bits::Gate;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// A whole number.
    Integer(i64),
    /// Several.
    Integers(Vec<i64>),
    /// `true` or `false`.
    Flag(bool),
    /// A dtype.
    Dtype(Dtype),
    /// A number with its dtype.
    Literal(Literal),
    /// A dtype and shape.
    Type(TensorType),
    /// Several of those.
    Types(Vec<TensorType>),
    /// A name in quotes.
    Text(String),
    /// A region.
    Region(RegionId),
    /// What an input is.
    Role(InputRole),
    /// What is counted of two rows of bits.
    Gate(Gate),
}

/// A type that may be a field of the op table.
pub trait AttributeField: Sized {
    /// The generic form.
    fn to_attribute(&self) -> Attribute;
    /// Back; `None` where the attribute has another kind or is out of range.
    fn from_attribute(attribute: &Attribute) -> Option<Self>;
}

macro_rules! integer_field {
    ($($field:ty),*) => { $(
        impl AttributeField for $field {
            fn to_attribute(&self) -> Attribute {
                Attribute::Integer(*self as i64)
            }
            fn from_attribute(attribute: &Attribute) -> Option<Self> {
                match attribute {
                    Attribute::Integer(value) => <$field>::try_from(*value).ok(),
                    _ => None,
                }
            }
        }
        impl AttributeField for Vec<$field> {
            fn to_attribute(&self) -> Attribute {
                Attribute::Integers(self.iter().map(|value| *value as i64).collect())
            }
            fn from_attribute(attribute: &Attribute) -> Option<Self> {
                match attribute {
                    Attribute::Integers(values) => {
                        values.iter().map(|value| <$field>::try_from(*value).ok()).collect()
                    }
                    _ => None,
                }
            }
        }
    )* };
}
integer_field!(u64, u32, i64);

macro_rules! direct_field {
    ($($field:ty = $variant:ident),*) => { $(
        impl AttributeField for $field {
            fn to_attribute(&self) -> Attribute {
                Attribute::$variant(self.clone())
            }
            fn from_attribute(attribute: &Attribute) -> Option<Self> {
                match attribute {
                    Attribute::$variant(value) => Some(value.clone()),
                    _ => None,
                }
            }
        }
    )* };
}
direct_field!(
    bool = Flag,
    Dtype = Dtype,
    Literal = Literal,
    TensorType = Type,
    Vec<TensorType> = Types,
    String = Text,
    RegionId = Region,
    InputRole = Role,
    Gate = Gate
);
