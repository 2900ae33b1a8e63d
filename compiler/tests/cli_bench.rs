//! `bpc bench` beside peers that spin while they wait: shell scripts that stand for a Python with a framework.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = "
use std.optim { sgd }
model small {
    in x: f32[B]
    param w: f32[] ~ constant(3)
    minimize mean(square(w * x - 1)) using sgd(lr = 0.1)
}
";

const SUITE: &str = r#"[{"name": "small", "program": "small.bp", "peer": "small.py", "case": "sgd", "tolerance": 1e-4,
    "inputs": {"x": {"dtype": "f32", "shape": [8]}}}]"#;

/// PyTorch alone, with the results of `bpc`. As long as it lives a child of it writes to `spins-THREADS` without a pause; TURN is what it does when
/// it is asked.
const PEER: &str = r#"#!/bin/sh
if [ "$1" = -c ]; then case "$2" in *torch*) exit 0 ;; *) exit 1 ;; esac; fi
engine=$2 results=$4 threads=$5
[ "$engine" = torch ] || { echo '{"unknown": true}'; exit; }
cp "$results/bpc.npz" "$results/torch.npz"
cd FOLDER
while kill -0 $$; do echo >> "spins-$threads"; done >/dev/null 2>&1 &
echo $$ $! > "processes-$threads"
echo '{"first": 0.1}'
while read -r count; do
    [ "$count" = end ] && { echo '{"peak": 1000}'; exit; }
    TURN
    times=0.00$threads
    while [ "$count" -gt 1 ]; do times=$times,0.00$threads count=$((count - 1)); done
    echo "{\"seconds\": [$times]}"
done
"#;

/// A folder with the suite and the peer.
fn prepare(test: &str, turn: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli_bench").join(test);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let script = PEER.replace("FOLDER", folder.to_str().unwrap()).replace("TURN", turn);
    for (name, text) in [("small.bp", PROGRAM), ("suite.json", SUITE), ("small.py", ""), ("peer", &script)] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    std::fs::set_permissions(folder.join("peer"), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// `bpc bench` on two threads, so that the peer runs twice: on two and on one.
fn bench(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bpc"));
    command.arg("bench").arg("--suite").arg(folder).arg("--python").arg(folder.join("peer"));
    command.args(["--threads", "2", "--seconds", "0.01"]);
    command
}

/// The processes of the peer and their children that have not ended. `Z` is one that has, and that nobody has asked about.
fn alive(folder: &Path) -> Vec<String> {
    let known =
        ["processes-1", "processes-2"].map(|name| std::fs::read_to_string(folder.join(name)).unwrap_or_default());
    let numbers = known.iter().flat_map(|numbers| numbers.split_whitespace());
    let states = numbers.map(|number| std::fs::read_to_string(format!("/proc/{number}/stat")));
    states.flatten().filter(|state| !state.contains(") Z ")).collect()
}

#[test]
fn no_peer_runs_while_another_has_its_turn() {
    // What the other writes must stay as it is, and what its own child writes must grow. A signal takes a moment.
    let turn = r#"sleep 0.05
    size() { wc -c < "spins-$1"; }
    own=$(size "$threads") other=$(size $((3 - threads)))
    sleep 0.1
    [ "$(size $((3 - threads)))" = "$other" ] || echo "beside $threads" >> disturbed
    [ "$(size "$threads")" = "$own" ] && echo "$threads" >> held_in_its_turn
    echo "$threads" >> turns"#;
    let folder = prepare("turns", turn);
    let output = bench(&folder).output().unwrap();
    let (table, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    let said = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    assert!(said("turns").contains('1') && said("turns").contains('2'), "{}", said("turns"));
    assert_eq!((said("disturbed"), said("held_in_its_turn")), (String::new(), String::new()));
    // It says that a step takes 1 ms on one thread and 2 ms on two: the former is what counts.
    assert!(table.contains(" 1.000 (1) "), "{table}");
    assert_eq!(alive(&folder), Vec::<String>::new());
}

#[test]
fn a_killed_bench_leaves_no_held_process_behind() {
    let folder = prepare("killed", "touch at_work; sleep 1");
    let mut process = bench(&folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let soon = Instant::now() + Duration::from_secs(60);
    while !folder.join("at_work").exists() {
        assert!(Instant::now() < soon, "no turn of the peer");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(alive(&folder).len(), 4);
    process.kill().unwrap();
    process.wait().unwrap();
    let soon = Instant::now() + Duration::from_secs(30);
    while !alive(&folder).is_empty() {
        assert!(Instant::now() < soon, "left behind: {:?}", alive(&folder));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_peer_that_dies_is_said_to_have_failed_and_the_bench_goes_on() {
    // On one thread it dies when it is asked; on two it goes on, and is what counts.
    let folder = prepare("dies", r#"[ "$threads" = 1 ] && exit 3"#);
    let json = folder.join("all.json");
    let output = bench(&folder).arg("--json").arg(&json).output().unwrap();
    let (table, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && errors.contains("torch on 1: ended without an answer"), "{errors}");
    assert!(table.contains(" 2.000 "), "{table}");
    let all: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!((&all[0]["engines"][1]["threads"], &all[0]["lost"][0]["threads"]), (&2.into(), &1.into()), "{all}");
    assert!(all[0]["lost"][0]["failed"].as_str().unwrap().contains("ended without an answer"), "{all}");
    assert_eq!(alive(&folder), Vec::<String>::new());
}

#[test]
fn a_peer_that_answers_nonsense_has_failed_in_its_row() {
    let folder = prepare("nonsense", "echo nonsense; continue");
    let output = bench(&folder).output().unwrap();
    let (table, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("torch on 2: wrote `nonsense`, torch on 1: wrote `nonsense`"), "{errors}");
    let row = table.lines().find(|line| line.trim_start().starts_with("small ")).unwrap();
    assert_eq!(row.split_whitespace().last(), Some("failed"), "{table}");
    assert_eq!(alive(&folder), Vec::<String>::new());
}

#[test]
fn a_peer_that_gives_no_answer_is_late_and_the_bench_goes_on() {
    // On two threads it hangs; on one it has ended, and a child of it holds its standard output open.
    let turn = r#"[ "$threads" = 2 ] && sleep 1000
    sleep 1000 & echo $! >> "processes-$threads"; exit"#;
    let folder = prepare("late", turn);
    let json = folder.join("all.json");
    let output = bench(&folder).args(["--limit", "2", "--json"]).arg(&json).output().unwrap();
    let (table, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("torch on 2: no answer in 2 s, torch on 1: no answer in 2 s"), "{errors}");
    let row = table.lines().find(|line| line.trim_start().starts_with("small ")).unwrap();
    assert_eq!(row.split_whitespace().last(), Some("late"), "{table}");
    let all: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(
        (all[0]["engines"].as_array().unwrap().len(), all[0]["lost"].as_array().unwrap().len()),
        (1, 2),
        "{all}"
    );
    assert_eq!(alive(&folder), Vec::<String>::new());
}
