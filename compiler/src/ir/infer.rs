//! Type rules of the op table.

use super::op::Op;
use super::types::Type;

/// x
pub fn declared(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn argmax(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn bool_binary(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn bool_unary(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn broadcast(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn cast(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn comparison(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn concat(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn constant(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn float_binary(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn float_unary(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn grad(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn matmul(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn numeric_binary(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn numeric_unary(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn pad(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn permute(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn project(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn random(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn reduce(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn reduce_nonempty(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn reshape(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn reverse(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn ruled(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn same(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn scan(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn scatter_add(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn select(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn slice(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn take(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn unwindows(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn vjp(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
/// x
pub fn windows(_: &Op, _: &[&Type]) -> Result<Type, String> {
    Err("stub".into())
}
