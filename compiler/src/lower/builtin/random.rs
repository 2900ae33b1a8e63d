//! Random tensors: each place has a name, and its numbers depend on seed, step and that name alone.

use super::Arguments;
use crate::ir::graph::{InputRole, Provenance};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType};
use crate::lower::context::{Clock, Lowering, Outcome};
use crate::lower::model::{Input, Site};
use crate::lower::value::Value;

impl Lowering<'_> {
    /// In the body of a scan the numbers of all steps are drawn outside, and walk in as a sequence.
    pub(super) fn random(&mut self, arguments: &Arguments) -> Outcome<Value> {
        let shape = self.naturals(arguments, "shape")?;
        let dtype = self.dtype_argument(arguments, Dtype::F32)?;
        if let Some(building) = self.building.iter().find(|building| !building.random) {
            let title = format!("`{}` stands in a rule: {}", arguments.name, building.region.name);
            return Err(self.report(
                bpc_lang::diagnostics::Diagnostic::error("BP0408", title, arguments.span, "a rule draws no numbers")
                    .with_help("draw them in the function, or in a `keep` line"),
            ));
        }
        let path = self.frame().site();
        let base = if path.is_empty() { arguments.name.to_string() } else { path.join(".") };
        let name = self.model.random_name(&base);
        let mut full: Vec<u64> =
            self.building.iter().filter_map(|building| building.scan.as_ref()).map(|scan| scan.length).collect();
        let scans = full.len();
        full.extend(&shape);
        let ty = TensorType::new(dtype, full);
        let provenance = self.provenance(arguments.span);
        let forced = self.options.forced.contains(&name) && self.model.recording;
        let mut node = if forced {
            self.refuse_taken(&name, arguments.span)?;
            let dims = ty.shape.iter().map(u64::to_string).collect();
            self.model.inputs.push(Input { name: name.clone(), ty: ty.clone(), dims, span: arguments.span });
            self.building[0].region.input(InputRole::Data, name.clone(), ty.clone(), provenance)
        } else {
            let (seed, step) = (self.clock(Clock::Seed).node, self.clock(Clock::Step).node);
            let normal = arguments.name == "random_normal";
            let op = Op::Random { normal, site: name.clone(), ty: ty.clone() };
            match self.building[0].region.push(op, &[seed, step], provenance) {
                Ok(node) => node,
                Err(sentence) => {
                    let title = self.sizes.rename(&sentence);
                    return self.error("BP0208", title, arguments.span, "here");
                }
            }
        };
        if self.model.recording {
            self.model.sites.push(Site {
                path: name.clone(),
                function: arguments.name.to_string(),
                rule: None,
                exact_for: None,
                replaced: false,
                random: Some(ty.clone()),
                forced,
                span: arguments.span,
            });
        }
        for step in 1..=scans {
            let level = self.building.len() - 1 - scans + step;
            let inner = TensorType::new(dtype, &ty.shape[step..]);
            let building = &mut self.building[level];
            let input =
                building.region.input(InputRole::Argument, format!("random.{name}"), inner, Provenance::default());
            let scan = building.scan.as_mut().expect("bug in bpc: a scan that is none");
            scan.sequences.push((node, input));
            node = input;
        }
        let level = self.building.len() - 1;
        Ok(Value::Tensor(self.tensor_at(level, node)))
    }
}
