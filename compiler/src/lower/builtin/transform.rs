//! Transforms over blocks of places.

use super::Arguments;
use crate::ir::op::Op;
use crate::lower::context::{Lowering, Outcome};
use crate::lower::value::Value;

impl Lowering<'_> {
    /// `block_wht` and its adjoint, which has a grid.
    pub(super) fn block_transform(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let x = self.tensor(arguments, "x")?;
        let block = self.naturals(arguments, "block")?;
        let (rows, columns) = (self.naturals(arguments, "rows")?, self.naturals(arguments, "columns")?);
        let mirror = self.flag_argument(arguments, "mirror")?;
        let op = if arguments.name == "block_wht" {
            Op::BlockWht { block, rows, columns, mirror }
        } else {
            Op::BlockWhtT { grid: self.naturals(arguments, "grid")?, block, rows, columns, mirror }
        };
        self.emit(op, &[&x], arguments.span).map(Value::Tensor)
    }
}
