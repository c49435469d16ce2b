//! A model of a user's own, in a crate outside the workspace, made by `rec-bench new-model`: it is short, shares libtorch and the
//! target folder, trains under the quickstart's protocol, and lands in a table.

use std::path::Path;
use std::process::Command;

const RUN: &str = env!("CARGO_BIN_EXE_rec-bench");

#[test]
fn a_model_outside_the_workspace_lands_in_a_table_of_its_own() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("my-model");
    let made = Command::new(RUN).args(["new-model", "my-model", "--out"]).arg(&folder).output().expect("runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let model = std::fs::read_to_string(folder.join("src/model.rs")).expect("written");
    let lines = model.lines().filter(|l| !l.trim().is_empty() && !l.trim_start().starts_with("//")).count();
    assert!(lines <= 60, "the model has {lines} lines");
    let main = std::fs::read_to_string(folder.join("src/main.rs")).expect("written");
    assert_eq!(main.lines().filter(|l| l.contains("registry.")).count(), 1, "one line registers it");

    let target = Path::new(RUN).ancestors().nth(2).expect("target/PROFILE/rec-bench");
    let torch_before = builds_of_torch(target);
    let runs = parent.path().join("runs");
    let ran = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--", "table", "run", "table.toml", "--runs"])
        .arg(&runs)
        .current_dir(&folder)
        .output()
        .expect("cargo runs");
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}\n{err}");
    assert_eq!(torch_before, builds_of_torch(target), "torch-sys is not built again");
    assert!(out.contains("my-model") && out.contains("EASE"), "{out}");

    let shown = Command::new(target.join("debug/my-model"))
        .args(["table", "show", "table.toml", "--json", "--runs"])
        .arg(&runs)
        .current_dir(&folder)
        .output()
        .expect("the binary runs by hand");
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let cells: Vec<serde_json::Value> = serde_json::from_slice(&shown.stdout).expect("JSON");
    let ndcg = |row: &str| {
        let cell = cells.iter().find(|c| c["model"] == row && c["metric"] == "ndcg@10").expect("in the table");
        (cell["measured"].as_f64().expect("measured"), cell["protocol_hash"].as_str().expect("hashed").to_owned())
    };
    let ((mine, my_hash), (ease, its_hash)) = (ndcg("my-model"), ndcg("EASE"));
    assert_eq!(my_hash, its_hash);
    assert!(mine > 0.2 && mine < ease, "my model {mine}, EASE {ease}: a learned model, and not one that saw the test rows");
}

/// The folders of torch-sys's build script runs: a second build would add one.
fn builds_of_torch(target: &Path) -> usize {
    let built = std::fs::read_dir(target.join("debug/build")).expect("the target folder");
    built
        .filter(|e| e.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().starts_with("torch-sys-") && e.path().join("output").exists()))
        .count()
}
