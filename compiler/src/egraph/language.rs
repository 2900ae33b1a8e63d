//! The terms of the e-graph: an interned operation and its children.
//!
//! Expects: nothing.
//! Guarantees: an e-node is small and compares by numbers, which are given out in the order of insertion, so that nothing
//! depends on addresses or on the order of a hash map; an `input` is equal to itself alone.
//! Leaves out: what a class knows (`analysis`).

use crate::ir::op::Op;
use cranelift_entity::{PrimaryMap, entity_impl};
use egg::{Id, Language};
use std::collections::HashMap;

/// An operation in the table of an e-graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(u32);
entity_impl!(OpId, "op");

/// An e-node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// What it does.
    pub op: OpId,
    /// On which classes.
    pub children: Vec<Id>,
}

impl Language for Term {
    type Discriminant = OpId;

    fn discriminant(&self) -> OpId {
        self.op
    }

    fn matches(&self, other: &Self) -> bool {
        self.op == other.op && self.children.len() == other.children.len()
    }

    fn children(&self) -> &[Id] {
        &self.children
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}

/// All operations that occur in an e-graph.
#[derive(Debug, Default)]
pub struct OpTable {
    ops: PrimaryMap<OpId, Op>,
    known: HashMap<Op, OpId>,
}

impl OpTable {
    /// The id of an operation: the same one for equal operations.
    pub fn intern(&mut self, op: Op) -> OpId {
        if let Some(id) = self.known.get(&op) {
            return *id;
        }
        let id = self.ops.push(op.clone());
        self.known.insert(op, id);
        id
    }

    /// An id that no other call gives: an input is equal to no other, whatever its name.
    pub fn fresh(&mut self, op: Op) -> OpId {
        self.ops.push(op)
    }
}

impl std::ops::Index<OpId> for OpTable {
    type Output = Op;

    fn index(&self, id: OpId) -> &Op {
        &self.ops[id]
    }
}
