//! Copying of nodes between regions: what every pass that builds a new graph from an old one needs.
//!
//! Expects: verified regions.
//! Guarantees: copies keep attributes, types and provenance; the order of the copied nodes is that of the source.
//! Leaves out: sharing of equal nodes (`egraph`).

use super::graph::{Graph, NodeId, Region, RegionId};
use super::op::Op;
use cranelift_entity::{EntitySet, SecondaryMap};

/// Where the nodes of one region went in another one.
pub type NodeMap = SecondaryMap<NodeId, Option<NodeId>>;

/// The nodes that the `wanted` ones depend on, and these themselves.
pub fn live(region: &Region, wanted: impl IntoIterator<Item = NodeId>) -> EntitySet<NodeId> {
    reach(region, wanted, |_| false)
}

/// The same, without what only nodes depend on that are known already.
fn reach(
    region: &Region,
    wanted: impl IntoIterator<Item = NodeId>,
    known: impl Fn(NodeId) -> bool,
) -> EntitySet<NodeId> {
    let mut reached = EntitySet::with_capacity(region.nodes.len());
    for node in wanted {
        reached.insert(node);
    }
    for (id, node) in region.nodes.iter().rev() {
        if reached.contains(id) && !known(id) {
            for operand in &node.operands {
                reached.insert(*operand);
            }
        }
    }
    reached
}

/// Copies one node; its operands are looked up in the map, and it is entered there.
///
/// # Panics
/// Where an operand is not in the map.
pub fn copy_node(target: &mut Region, source: &Region, id: NodeId, map: &mut NodeMap) -> NodeId {
    let mut node = source.nodes[id].clone();
    for operand in &mut node.operands {
        *operand = map[*operand].expect("bug in bpc: a node is copied before its operand");
    }
    let is_input = matches!(node.op, Op::Input { .. });
    let copy = target.nodes.push(node);
    if is_input {
        target.inputs.push(copy);
    }
    map[id] = Some(copy);
    copy
}

/// Copies what `wanted` depends on, apart from what is in the map already, and returns the copies of `wanted`. Inputs
/// that are not in the map become inputs of the target.
pub fn copy(target: &mut Region, source: &Region, wanted: &[NodeId], map: &mut NodeMap) -> Vec<NodeId> {
    let needed = reach(source, wanted.iter().copied(), |node| map[node].is_some());
    for id in source.nodes.keys() {
        if needed.contains(id) && map[id].is_none() {
            copy_node(target, source, id, map);
        }
    }
    wanted.iter().map(|node| map[*node].expect("bug in bpc: a wanted node was not copied")).collect()
}

/// Puts a region in the place of its use: its inputs become the arguments, and the copies of its results are returned.
///
/// # Panics
/// Where the arguments do not fit the inputs of the body in number and type.
pub fn inline(target: &mut Region, body: &Region, arguments: &[NodeId]) -> Vec<NodeId> {
    assert_eq!(body.inputs.len(), arguments.len(), "bug in bpc: arguments of the region {}", body.name);
    let mut map = NodeMap::new();
    for (input, argument) in body.inputs.iter().zip(arguments) {
        let (wanted, given) = (&body.nodes[*input].ty, &target.nodes[*argument].ty);
        assert_eq!(wanted, given, "bug in bpc: type of an argument of the region {}", body.name);
        map[*input] = Some(*argument);
    }
    let results: Vec<NodeId> = body.results.iter().map(|output| output.node).collect();
    copy(target, body, &results, &mut map)
}

/// The graph without nodes that no result depends on and without regions that no node names. All inputs stay, and so do
/// all results.
pub fn prune(graph: &Graph) -> Graph {
    let mut pruned = Graph::default();
    let main = prune_into(graph, &mut pruned);
    pruned.add(main);
    pruned
}

/// The same in another graph, to which all regions but the main one are added: gives the main one.
pub fn prune_into(graph: &Graph, pruned: &mut Graph) -> Region {
    let lives: Vec<EntitySet<NodeId>> = graph
        .regions
        .values()
        .map(|region| {
            live(region, region.inputs.iter().copied().chain(region.results.iter().map(|output| output.node)))
        })
        .collect();
    let mut named = EntitySet::with_capacity(graph.regions.len());
    named.insert(graph.main_id());
    for (id, region) in graph.regions.iter().rev() {
        if named.contains(id) {
            for (node_id, node) in region.nodes.iter() {
                if let Some(body) = node.op.body()
                    && lives[id.as_u32() as usize].contains(node_id)
                {
                    named.insert(body);
                }
            }
        }
    }
    let mut moved: SecondaryMap<RegionId, Option<RegionId>> = SecondaryMap::new();
    for (id, region) in graph.regions.iter().filter(|(id, _)| named.contains(*id)) {
        let mut target = Region::new(region.name.clone());
        let mut map = NodeMap::new();
        for node in region.nodes.keys().filter(|node| lives[id.as_u32() as usize].contains(*node)) {
            let copy = copy_node(&mut target, region, node, &mut map);
            if let Some(body) = target.nodes[copy].op.body_mut() {
                *body = moved[*body].expect("bug in bpc: a region names one that comes after it");
            }
        }
        for output in &region.results {
            let node = map[output.node].expect("bug in bpc: a result was not copied");
            target.result(output.role, output.name.clone(), node);
        }
        if id == graph.main_id() {
            return target;
        }
        moved[id] = Some(pruned.add(target));
    }
    unreachable!("bug in bpc: a graph without regions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::text::{parse, print};

    const TWO: &str = r#"
region r0 "unused" {
  n0 = input {role = argument, name = "x", ty = f32[2]} : f32[2]
  result value "y" = n0
}
region r1 "body" {
  n0 = input {role = argument, name = "x", ty = f32[2]} : f32[2]
  n1 = exp(n0) : f32[2]
  n2 = neg(n0) : f32[2]
  result value "y" = n2
}
region r2 "main" {
  n0 = input {role = data, name = "a", ty = f32[2]} : f32[2]
  n1 = input {role = data, name = "b", ty = f32[2]} : f32[2]
  n2 = sin(n0) : f32[2]
  n3 = scan(n0) {carries = 1, sequences = 0, length = 3, reverse = false, stacks = (), body = r1} : (f32[2])
  n4 = project(n3) {index = 0} : f32[2]
  result value "y" = n4
}
"#;

    #[test]
    fn prune_removes_dead_nodes_and_regions_and_keeps_inputs() {
        let expected = r#"region r0 "body" {
  n0 = input {role = argument, name = "x", ty = f32[2]} : f32[2]
  n1 = neg(n0) : f32[2]
  result value "y" = n1
}

region r1 "main" {
  n0 = input {role = data, name = "a", ty = f32[2]} : f32[2]
  n1 = input {role = data, name = "b", ty = f32[2]} : f32[2]
  n2 = scan(n0) {carries = 1, sequences = 0, length = 3, reverse = false, stacks = (), body = r0} : (f32[2])
  n3 = project(n2) {index = 0} : f32[2]
  result value "y" = n3
}
"#;
        let pruned = prune(&parse(TWO).unwrap());
        assert_eq!(print(&pruned), expected);
        assert!(prune(&pruned).same(&pruned));
    }

    #[test]
    fn inline_replaces_inputs_and_copies_only_what_is_used() {
        let graph = parse(TWO).unwrap();
        let body = &graph.regions[RegionId::from_u32(1)];
        let mut target = graph.main().clone();
        let argument = target.inputs[1];
        let before = target.nodes.len();
        let results = inline(&mut target, body, &[argument]);
        assert_eq!(target.nodes.len(), before + 1);
        assert_eq!(target.nodes[results[0]].op, Op::Neg {});
        assert_eq!(target.nodes[results[0]].operands, [argument]);
        assert_eq!(target.inputs.len(), 2);
    }

    #[test]
    fn copy_stops_at_what_is_in_the_map() {
        let graph = parse(TWO).unwrap();
        let main = graph.main();
        let mut target = Region::new("target");
        let given = target.input(
            crate::ir::graph::InputRole::Data,
            "given",
            main.tensor(main.results[0].node).clone(),
            Default::default(),
        );
        let mut map = NodeMap::new();
        map[main.results[0].node] = Some(given);
        assert_eq!(copy(&mut target, main, &[main.results[0].node], &mut map), [given]);
        assert_eq!(target.nodes.len(), 1);
    }
}
