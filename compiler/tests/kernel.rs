//! Programs of kernels, by the evaluator and as machine code, against the reference interpreter, on graphs in text form.

#[path = "engines/agree.rs"]
mod agree;
mod engines;

use bpc::ir::text;
use bpc::kernel::ir::Program;

/// The program of a graph in text form, after it gave what the interpreter gives.
fn check_text(source: &str) -> Program {
    agree::check(&text::parse(source).unwrap_or_else(|error| panic!("{error}\n{source}"))).0
}

/// The same for a main region of these lines.
fn main_region(lines: &str) -> Program {
    check_text(&format!("region r0 \"main\" {{\n{lines}\n}}\n"))
}

#[test]
fn elementwise_chains_and_broadcasts() {
    main_region(
        r#"
  n0 = input {role = data, name = "x", ty = f32[5, 7]} : f32[5, 7]
  n1 = input {role = data, name = "b", ty = f32[1, 7]} : f32[1, 7]
  n2 = broadcast(n1) {shape = [5, 7]} : f32[5, 7]
  n3 = add(n0, n2) : f32[5, 7]
  n4 = tanh(n3) : f32[5, 7]
  n5 = mul(n4, n4) : f32[5, 7]
  n6 = constant {value = f32(1.0), shape = [5, 7]} : f32[5, 7]
  n7 = sub(n6, n5) : f32[5, 7]
  n8 = less(n0, n7) : bool[5, 7]
  n9 = select(n8, n0, n7) : f32[5, 7]
  result value "y" = n7
  result value "z" = n9"#,
    );
}

#[test]
fn softmax_and_its_sums() {
    main_region(
        r#"
  n0 = input {role = data, name = "x", ty = f32[5, 37]} : f32[5, 37]
  n1 = reduce_max(n0) {axes = [1]} : f32[5, 1]
  n2 = broadcast(n1) {shape = [5, 37]} : f32[5, 37]
  n3 = sub(n0, n2) : f32[5, 37]
  n4 = exp(n3) : f32[5, 37]
  n5 = reduce_sum(n4) {axes = [1]} : f32[5, 1]
  n6 = broadcast(n5) {shape = [5, 37]} : f32[5, 37]
  n7 = div(n4, n6) : f32[5, 37]
  n8 = reduce_sum(n7) {axes = [0]} : f32[1, 37]
  n9 = reduce_sum(n7) {axes = [0, 1]} : f32[1, 1]
  n10 = argmax(n7) {axis = 1} : i32[5, 1]
  result value "p" = n7
  result value "columns" = n8
  result value "all" = n9
  result value "best" = n10"#,
    );
}

/// A draw from each row and a softmax of it; `together` rows of a turn of the nest are done at a time.
#[test]
fn short_rows_go_many_at_a_time() {
    for (rows, size, together) in [(64, 8, 64), (7, 8, 1), (3 * 256, 8, 256), (100, 10, 100), (96, 32, 48), (64, 33, 1)]
    {
        for dtype in ["f32", "f64"] {
            let (all, one) = (format!("{dtype}[{rows}, {size}]"), format!("{dtype}[{rows}, 1]"));
            let shape = format!("{{shape = [{rows}, {size}]}}");
            let program = main_region(&format!(
                r#"
  n0 = input {{role = data, name = "x", ty = {all}}} : {all}
  n1 = input {{role = seed, name = "seed", ty = u32[2]}} : u32[2]
  n2 = input {{role = step, name = "step", ty = i32[]}} : i32[]
  n3 = random(n1, n2) {{normal = false, site = "a", ty = {all}}} : {all}
  n4 = constant {{value = {dtype}(0.000001), shape = [{rows}, {size}]}} : {all}
  n5 = maximum(n3, n4) : {all}
  n6 = log(n5) : {all}
  n7 = neg(n6) : {all}
  n8 = log(n7) : {all}
  n9 = sub(n0, n8) : {all}
  n10 = argmax(n9) {{axis = 1}} : i32[{rows}, 1]
  n11 = reduce_max(n0) {{axes = [1]}} : {one}
  n12 = broadcast(n11) {shape} : {all}
  n13 = sub(n0, n12) : {all}
  n14 = exp(n13) : {all}
  n15 = reduce_sum(n14) {{axes = [1]}} : {one}
  n16 = broadcast(n15) {shape} : {all}
  n17 = div(n14, n16) : {all}
  n18 = broadcast(n10) {{shape = [{rows}, {size}]}} : i32[{rows}, {size}]
  n19 = iota {{axis = 1, ty = i32[{rows}, {size}]}} : i32[{rows}, {size}]
  n20 = equal(n18, n19) : bool[{rows}, {size}]
  n21 = cast(n20) {{dtype = {dtype}}} : {all}
  n22 = sub(n21, n17) : {all}
  result value "drawn" = n10
  result value "difference" = n22"#,
            ));
            let turns = rows / together;
            let text = bpc::kernel::text::print(&program);
            assert!(text.contains(&format!("[i < {turns}] scratch")), "{text}");
        }
    }
}

#[test]
fn views() {
    main_region(
        r#"
  n0 = input {role = data, name = "x", ty = f32[4, 6]} : f32[4, 6]
  n1 = permute(n0) {axes = [1, 0]} : f32[6, 4]
  n2 = reshape(n1) {shape = [3, 8]} : f32[3, 8]
  n3 = slice(n2) {starts = [1, 2], stops = [3, 7]} : f32[2, 5]
  n4 = reverse(n3) {axis = 1} : f32[2, 5]
  n5 = pad(n4) {low = [1, 2], high = [0, 3], value = f32(0.5)} : f32[3, 10]
  n6 = exp(n4) : f32[2, 5]
  n7 = pad(n6) {low = [1, 2], high = [0, 3], value = f32(-1.0)} : f32[3, 10]
  n8 = concat(n5, n7) {axis = 0} : f32[6, 10]
  n9 = concat(n8, n8) {axis = 1} : f32[6, 20]
  n10 = windows(n0) {axis = 1, size = 3, stride = 2} : f32[4, 2, 3]
  n11 = unwindows(n10) {axis = 1, length = 6, stride = 2} : f32[4, 6]
  n12 = windows(n0) {axis = 1, size = 3, stride = 1} : f32[4, 4, 3]
  n13 = unwindows(n12) {axis = 1, length = 6, stride = 1} : f32[4, 6]
  n14 = reshape(n0) {shape = [2, 2, 6]} : f32[2, 2, 6]
  n15 = permute(n14) {axes = [0, 2, 1]} : f32[2, 6, 2]
  n16 = reshape(n15) {shape = [2, 12]} : f32[2, 12]
  n17 = pad(n5) {low = [0, 1], high = [1, 0], value = f32(9.0)} : f32[4, 11]
  n18 = windows(n0) {axis = 1, size = 2, stride = 3} : f32[4, 2, 2]
  n19 = unwindows(n18) {axis = 1, length = 5, stride = 3} : f32[4, 5]
  n20 = unwindows(n18) {axis = 1, length = 6, stride = 3} : f32[4, 6]
  result value "a" = n5
  result value "b" = n7
  result value "c" = n8
  result value "d" = n9
  result value "e" = n11
  result value "f" = n13
  result value "g" = n16
  result value "h" = n17
  result value "i" = n19
  result value "j" = n20"#,
    );
}

#[test]
fn products_read_views_in_place() {
    let program = main_region(
        r#"
  n0 = input {role = data, name = "x", ty = f32[3, 5, 4]} : f32[3, 5, 4]
  n1 = input {role = parameter, name = "w", ty = f32[6, 4]} : f32[6, 4]
  n2 = permute(n1) {axes = [1, 0]} : f32[4, 6]
  n3 = reshape(n2) {shape = [1, 4, 6]} : f32[1, 4, 6]
  n4 = broadcast(n3) {shape = [3, 4, 6]} : f32[3, 4, 6]
  n5 = matmul(n0, n4) : f32[3, 5, 6]
  n6 = reshape(n0) {shape = [15, 4]} : f32[15, 4]
  n7 = permute(n6) {axes = [1, 0]} : f32[4, 15]
  n8 = reshape(n5) {shape = [15, 6]} : f32[15, 6]
  n9 = matmul(n7, n8) : f32[4, 6]
  n10 = neg(n9) : f32[4, 6]
  n11 = matmul(n10, n1) : f32[4, 4]
  result value "y" = n5
  result value "g" = n9
  result value "h" = n11"#,
    );
    // Three products and the negation: no view is copied.
    assert_eq!(program.steps.len(), 4);
}

#[test]
fn tables_and_random_numbers() {
    main_region(
        r#"
  n0 = input {role = parameter, name = "table", ty = f32[5, 3]} : f32[5, 3]
  n1 = input {role = data, name = "i", ty = i32[2, 4]} : i32[2, 4]
  n2 = take(n0, n1) : f32[2, 4, 3]
  n3 = neg(n2) : f32[2, 4, 3]
  n4 = scatter_add(n1, n3) {rows = 5} : f32[5, 3]
  n5 = input {role = seed, name = "seed", ty = u32[2]} : u32[2]
  n6 = input {role = step, name = "step", ty = i32[]} : i32[]
  n7 = random(n5, n6) {normal = true, site = "a", ty = f32[5, 3]} : f32[5, 3]
  n8 = add(n7, n4) : f32[5, 3]
  n9 = random(n5, n6) {normal = false, site = "b", ty = f64[7]} : f64[7]
  n10 = iota {axis = 1, ty = i32[2, 4]} : i32[2, 4]
  n11 = add(n10, n1) : i32[2, 4]
  n12 = permute(n0) {axes = [1, 0]} : f32[3, 5]
  n13 = take(n12, n1) : f32[2, 4, 5]
  n14 = cast(n13) {dtype = i32} : i32[2, 4, 5]
  n15 = div(n11, n1) : i32[2, 4]
  result value "taken" = n3
  result value "scattered" = n8
  result value "uniform" = n9
  result value "whole" = n11
  result value "columns" = n14
  result value "quotient" = n15"#,
    );
}

#[test]
fn updates_go_in_place() {
    let program = main_region(
        r#"
  n0 = input {role = parameter, name = "w", ty = f32[4, 3]} : f32[4, 3]
  n1 = input {role = state, name = "m", ty = f32[4, 3]} : f32[4, 3]
  n2 = input {role = data, name = "g", ty = f32[4, 3]} : f32[4, 3]
  n3 = constant {value = f32(0.9), shape = [4, 3]} : f32[4, 3]
  n4 = mul(n1, n3) : f32[4, 3]
  n5 = add(n4, n2) : f32[4, 3]
  n6 = sub(n0, n5) : f32[4, 3]
  result next "m" = n5
  result next "w" = n6"#,
    );
    assert!(program.steps.len() <= 2, "no copies");
    assert_eq!(program.workspace_bytes, 0, "only the gradient, which is the caller's");
}

#[test]
fn an_exchange_of_parameters_keeps_both_values() {
    main_region(
        r#"
  n0 = input {role = parameter, name = "a", ty = f32[3]} : f32[3]
  n1 = input {role = parameter, name = "b", ty = f32[3]} : f32[3]
  n2 = input {role = parameter, name = "c", ty = f32[3]} : f32[3]
  n3 = exp(n2) : f32[3]
  n4 = reverse(n2) {axis = 0} : f32[3]
  result value "old" = n0
  result next "a" = n1
  result next "b" = n0
  result next "c" = n4
  result value "e" = n3
  result value "again" = n3"#,
    );
}

#[test]
fn empty_tensors() {
    main_region(
        r#"
  n0 = input {role = data, name = "x", ty = f32[0, 3]} : f32[0, 3]
  n1 = input {role = data, name = "y", ty = f32[3, 2]} : f32[3, 2]
  n2 = reduce_sum(n0) {axes = [0]} : f32[1, 3]
  n3 = exp(n0) : f32[0, 3]
  n4 = matmul(n0, n1) : f32[0, 2]
  n5 = permute(n0) {axes = [1, 0]} : f32[3, 0]
  n6 = matmul(n5, n4) : f32[3, 2]
  n7 = concat(n0, n2) {axis = 0} : f32[1, 3]
  result value "sum" = n2
  result value "exp" = n3
  result value "product" = n6
  result value "joined" = n7"#,
    );
}

#[test]
fn a_scan() {
    for reverse in [false, true] {
        check_text(&format!(
            r#"region r0 "body" {{
  n0 = input {{role = argument, name = "w", ty = f64[3]}} : f64[3]
  n1 = input {{role = argument, name = "v", ty = f64[]}} : f64[]
  n2 = input {{role = argument, name = "t", ty = f64[3]}} : f64[3]
  n3 = input {{role = argument, name = "k", ty = f64[3, 3]}} : f64[3, 3]
  n4 = reshape(n0) {{shape = [3, 1]}} : f64[3, 1]
  n5 = matmul(n3, n4) : f64[3, 1]
  n6 = reshape(n5) {{shape = [3]}} : f64[3]
  n7 = sin(n6) : f64[3]
  n8 = add(n7, n2) : f64[3]
  n9 = reduce_sum(n8) {{axes = [0]}} : f64[1]
  n10 = reshape(n9) {{shape = []}} : f64[]
  n11 = add(n10, n1) : f64[]
  result value "w" = n8
  result value "v" = n11
  result value "trace" = n8
  result value "same" = n2
}}
region r1 "main" {{
  n0 = input {{role = data, name = "w0", ty = f64[3]}} : f64[3]
  n1 = input {{role = data, name = "v0", ty = f64[]}} : f64[]
  n2 = input {{role = data, name = "torque", ty = f64[6, 3]}} : f64[6, 3]
  n3 = input {{role = data, name = "k", ty = f64[3, 3]}} : f64[3, 3]
  n4 = neg(n2) : f64[6, 3]
  n5 = scan(n0, n1, n4, n3) {{carries = 2, sequences = 1, length = 6, reverse = {reverse}, stacks = (f64[6, 3], f64[6, 3]), body = r0}} : (f64[3], f64[], f64[6, 3], f64[6, 3])
  n6 = project(n5) {{index = 0}} : f64[3]
  n7 = project(n5) {{index = 1}} : f64[]
  n8 = project(n5) {{index = 2}} : f64[6, 3]
  n9 = project(n5) {{index = 3}} : f64[6, 3]
  n10 = add(n8, n2) : f64[6, 3]
  result value "w" = n6
  result value "v" = n7
  result value "trace" = n10
  result value "same" = n9
}}
"#
        ));
    }
}

#[test]
fn softmax_cross_entropy_is_one_pass_over_rows() {
    let program = main_region(
        r#"
  n0 = input {role = data, name = "x", ty = f32[32, 10]} : f32[32, 10]
  n1 = input {role = data, name = "label", ty = i32[32]} : i32[32]
  n2 = reduce_max(n0) {axes = [1]} : f32[32, 1]
  n3 = broadcast(n2) {shape = [32, 10]} : f32[32, 10]
  n4 = sub(n0, n3) : f32[32, 10]
  n5 = exp(n4) : f32[32, 10]
  n6 = reduce_sum(n5) {axes = [1]} : f32[32, 1]
  n7 = log(n6) : f32[32, 1]
  n8 = broadcast(n7) {shape = [32, 10]} : f32[32, 10]
  n9 = sub(n4, n8) : f32[32, 10]
  n10 = reshape(n1) {shape = [32, 1]} : i32[32, 1]
  n11 = broadcast(n10) {shape = [32, 10]} : i32[32, 10]
  n12 = iota {axis = 1, ty = i32[32, 10]} : i32[32, 10]
  n13 = equal(n11, n12) : bool[32, 10]
  n14 = constant {value = f32(0.0), shape = [32, 10]} : f32[32, 10]
  n15 = select(n13, n9, n14) : f32[32, 10]
  n16 = reduce_sum(n15) {axes = [0, 1]} : f32[1, 1]
  n17 = reshape(n16) {shape = []} : f32[]
  n18 = constant {value = f32(-0.03125), shape = []} : f32[]
  n19 = mul(n17, n18) : f32[]
  n20 = broadcast(n6) {shape = [32, 10]} : f32[32, 10]
  n21 = div(n5, n20) : f32[32, 10]
  n22 = constant {value = f32(1.0), shape = [32, 10]} : f32[32, 10]
  n23 = select(n13, n22, n14) : f32[32, 10]
  n24 = sub(n21, n23) : f32[32, 10]
  n25 = reduce_sum(n24) {axes = [0]} : f32[1, 10]
  n26 = reshape(n25) {shape = [10]} : f32[10]
  result value "loss" = n19
  result value "g" = n24
  result value "b" = n26"#,
    );
    insta::assert_snapshot!(bpc::kernel::text::print(&program));
}
