//! The graph: regions of nodes in creation order.
//!
//! Expects: operands that exist before the node that uses them, so that the order of ids is a topological order.
//! Guarantees: [`Region::push`] gives every node the type that the op table infers; ids are never reused.
//! Leaves out: the checks that span nodes and regions (`verify`), and every transformation: a pass reads one graph and
//! builds another.

use super::op::Op;
use super::types::{TensorType, Type};
use bpc_lang::tree::Span;
use cranelift_entity::{PrimaryMap, entity_impl};

/// A node of a region.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);
entity_impl!(NodeId, "n");

/// A region of a graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(u32);
entity_impl!(RegionId, "r");

/// A program after lowering: the main region, and those that its nodes name (scan bodies and rules).
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// All regions. A region only names regions with smaller ids, so recursion is impossible; main is the last one.
    pub regions: PrimaryMap<RegionId, Region>,
}

/// A list of nodes with inputs and named results; it sees nothing from outside but its inputs.
#[derive(Clone, Debug, Default)]
pub struct Region {
    /// For people: `main`, `scan.path`, `tanh.exact`.
    pub name: String,
    /// In topological order.
    pub nodes: PrimaryMap<NodeId, Node>,
    /// The `input` nodes, in the order in which operands are matched to them.
    pub inputs: Vec<NodeId>,
    /// What leaves the region.
    pub results: Vec<Output>,
}

/// One result of a region.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// What it is for.
    pub role: OutputRole,
    /// Its name: of the metric, of the input whose next value it is, of the argument whose cotangent it is.
    pub name: String,
    /// The value.
    pub node: NodeId,
}

/// What a result of a region is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputRole {
    /// A value that the caller reads: a loss, an `out` line, a part of a scan, a cotangent.
    Value,
    /// The next value of the parameter, state or step input of the same name.
    Next,
    /// A bool scalar of main, or an i32 vector: the condition and numbers that belong to it. Where it holds, the caller says the warning of
    /// the same name.
    Warning,
}

/// What an input of the main region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputRole {
    /// Given anew at every step.
    Data,
    /// A trained or frozen parameter.
    Parameter,
    /// State of an optimiser.
    State,
    /// u32[2]: the seed of all random numbers.
    Seed,
    /// i32 scalar: the number of the step.
    Step,
    /// Of a region other than main.
    Argument,
    /// The same for the cotangent of a result, in the region of a rule.
    Cotangent,
}

impl InputRole {
    /// Whether it is an input of regions other than main.
    pub fn is_argument(self) -> bool {
        matches!(self, InputRole::Argument | InputRole::Cotangent)
    }
}

/// One operation at work.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// What it works on.
    pub operands: Vec<NodeId>,
    /// What it gives.
    pub ty: Type,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// Where a node comes from; means nothing to any pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The expression that asked for it.
    pub span: Option<Span>,
    /// Where that lies in the text of the library: the call in the user's text that led there.
    pub call: Option<Span>,
    /// Whether differentiation made it; then `span` is that of the node it belongs to.
    pub backward: bool,
}

impl Graph {
    /// Adds a region; the regions that its nodes name must be there already.
    pub fn add(&mut self, region: Region) -> RegionId {
        self.regions.push(region)
    }

    /// The id of the main region: the one added last.
    ///
    /// # Panics
    /// On a graph without regions, which no pass makes.
    pub fn main_id(&self) -> RegionId {
        self.regions.keys().next_back().expect("bug in bpc: a graph without regions")
    }

    /// The main region.
    pub fn main(&self) -> &Region {
        &self.regions[self.main_id()]
    }

    /// Whether both say the same in every region, name and node; where nodes come from does not count.
    pub fn same(&self, other: &Graph) -> bool {
        self.regions.len() == other.regions.len()
            && self.regions.values().zip(other.regions.values()).all(|(one, two)| {
                one.name == two.name
                    && one.inputs == two.inputs
                    && one.results == two.results
                    && one.nodes.len() == two.nodes.len()
                    && one
                        .nodes
                        .values()
                        .zip(two.nodes.values())
                        .all(|(one, two)| one.op == two.op && one.operands == two.operands && one.ty == two.ty)
            })
    }
}

impl Region {
    /// An empty region.
    pub fn new(name: impl Into<String>) -> Region {
        Region { name: name.into(), ..Region::default() }
    }

    /// Adds an input of a tensor type.
    pub fn input(
        &mut self,
        role: InputRole,
        name: impl Into<String>,
        ty: TensorType,
        provenance: Provenance,
    ) -> NodeId {
        let op = Op::Input { role, name: name.into(), ty: ty.clone() };
        let id = self.nodes.push(Node { op, operands: Vec::new(), ty: Type::Tensor(ty), provenance });
        self.inputs.push(id);
        id
    }

    /// Adds a node; its type is inferred.
    ///
    /// # Errors
    /// The sentence of the op table that says which operand does not fit; nothing is added then.
    pub fn push(&mut self, op: Op, operands: &[NodeId], provenance: Provenance) -> Result<NodeId, String> {
        let types: Vec<&Type> = operands.iter().map(|operand| &self.nodes[*operand].ty).collect();
        let ty = op.infer(&types)?;
        Ok(self.nodes.push(Node { op, operands: operands.to_vec(), ty, provenance }))
    }

    /// Names a result.
    pub fn result(&mut self, role: OutputRole, name: impl Into<String>, node: NodeId) {
        self.results.push(Output { role, name: name.into(), node });
    }

    /// The tensor type of a node.
    ///
    /// # Panics
    /// On a node that is a tuple (a scan).
    pub fn tensor(&self, node: NodeId) -> &TensorType {
        self.nodes[node].ty.tensor().expect("bug in bpc: a tuple where a tensor is wanted")
    }

    /// The input of that name.
    pub fn input_named(&self, name: &str) -> Option<NodeId> {
        self.inputs
            .iter()
            .copied()
            .find(|id| matches!(&self.nodes[*id].op, Op::Input { name: known, .. } if known == name))
    }

    /// The name of the first input of that role.
    pub fn input_of(&self, role: InputRole) -> Option<&str> {
        self.inputs.iter().find_map(|id| match &self.nodes[*id].op {
            Op::Input { role: known, name, .. } if *known == role => Some(name.as_str()),
            _ => None,
        })
    }

    /// The result of that role and name.
    pub fn result_named(&self, role: OutputRole, name: &str) -> Option<NodeId> {
        self.results.iter().find(|output| output.role == role && output.name == name).map(|output| output.node)
    }
}
