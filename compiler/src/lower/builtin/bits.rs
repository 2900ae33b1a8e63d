//! Products of bits.

use super::Arguments;
use crate::ir::op::Op;
use crate::lower::bind::Given;
use crate::lower::context::{Lowering, Outcome};
use crate::lower::value::{Tensor, Value};
use bpc_lang::diagnostics::Diagnostic;
use bpc_runtime::bits::Gate;

impl Lowering<'_> {
    /// `bit_count(x, w, gate = "xnor")`
    pub(super) fn bit_count(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let (x, w) = (self.tensor(arguments, "x")?, self.tensor(arguments, "w")?);
        let gate = match arguments.find("gate") {
            None => Gate::Xnor,
            Some(Given { value: Value::Text(name), span, .. }) => match Gate::from_name(name) {
                Some(gate) => gate,
                None => {
                    let known = Gate::ALL.map(|gate| format!("{:?}", gate.name())).join(", ");
                    let diagnostic =
                        Diagnostic::error("BP0210", format!("there is no gate {name:?}"), *span, "unknown gate");
                    return Err(self.report(diagnostic.with_help(format!("the gates are {known}"))));
                }
            },
            Some(given) => return self.wrong(arguments, "gate", "a string", given),
        };
        let result = self.emit(Op::BitCount { gate }, &[&x, &w], arguments.span)?;
        Ok(product(result, &x, w.origins.first().cloned().flatten()))
    }

    /// `bit_matmul(z, bits, on, off)`
    pub(super) fn bit_matmul(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let (z, bits) = (self.tensor(arguments, "z")?, self.tensor(arguments, "bits")?);
        let (on, off) = (self.integer(arguments, "on", 1)?, self.integer(arguments, "off", 0)?);
        let result = self.emit(Op::BitMatmul { on, off }, &[&z, &bits], arguments.span)?;
        Ok(product(result, &z, bits.origins.last().cloned().flatten()))
    }
}

/// A product with the axes of its first operand but the last, and one more.
fn product(result: Tensor, first: &Tensor, last: Option<std::rc::Rc<crate::lower::value::Origin>>) -> Value {
    let mut origins = first.origins.clone();
    origins.pop();
    origins.push(last);
    Value::Tensor(Lowering::with_origins(result, origins))
}
