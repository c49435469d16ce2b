//! Runs that need trained runs: those that start from their parameters, and those that rank their models anew.

mod support;

use rec_core::state::StateReader;
use support::{Place, assert_no_result};

const SIZES: [&str; 8] =
    ["--set", "model.embedding_size=4", "--set", "loop.epochs=2", "--set", "batch.batch_size=512", "--set", "loop.eval_every=2"];
const MLP: [&str; 2] = ["--set", "model.hidden_sizes=[6,3]"];
const NEUMF: [&str; 4] = ["--set", "model.mlp_embedding_size=4", "--set", "start=[\"gmf\", \"mlp\"]"];
const RETRAIN: [&str; 2] = ["--set", "selection.retrain=true"];

fn words<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    [&SIZES[..], &parts.concat()].concat()
}

#[test]
fn neumf_starts_from_trained_runs_beside_its_own_in_both_of_its_trainings() {
    let place = Place::with_clicks();
    place.trained("gmf", "runs/gmf", &words(&[&RETRAIN]));
    place.trained("mlp", "runs/mlp", &words(&[&MLP, &RETRAIN]));
    // So small a step leaves the initial values as they are.
    let still = ["--set", "optimizer.learning_rate=1e-30"];
    place.trained("neumf", "runs/neumf", &words(&[&MLP, &RETRAIN, &NEUMF, &still]));
    let values = |run: &str, state: &str, name: &str| {
        let state = StateReader::open(&place.path(&format!("runs/{run}/checkpoints/{state}.safetensors"))).expect("a checkpoint");
        state.floats(&format!("parameters/{name}")).expect("an array").1
    };
    for state in ["best", "all-of-train/last"] {
        for (from, theirs, ours, share) in [
            ("gmf", "user_embedding", "gmf_user_embedding", 1.0),
            ("gmf", "item_embedding", "gmf_item_embedding", 1.0),
            ("gmf", "prediction", "gmf_prediction", 0.5),
            ("mlp", "user_embedding", "mlp_user_embedding", 1.0),
            ("mlp", "hidden_1_item", "hidden_1_item", 1.0),
            ("mlp", "hidden_2_bias", "hidden_2_bias", 1.0),
            ("mlp", "prediction", "mlp_prediction", 0.5),
        ] {
            let expected: Vec<f32> = values(from, state, theirs).iter().map(|v| v * share).collect();
            assert_eq!(values("neumf", state, ours), expected, "{state}: {ours}");
        }
    }
    assert_ne!(values("gmf", "best", "prediction"), values("gmf", "all-of-train/last", "prediction"));
    // A finished run is asked for nothing; one that is loaded needs its sources no more.
    std::fs::remove_dir_all(place.path("runs/gmf")).expect("removed");
    place.trained("neumf", "runs/neumf", &words(&[&MLP, &RETRAIN, &NEUMF, &still]));
    place.done(&["recommend", "runs/neumf", "--user", "u1"]);
}

#[test]
fn a_source_that_learned_from_other_rows_or_is_not_there_is_refused_before_any_training() {
    let place = Place::with_clicks();
    place.trained("gmf", "runs/gmf", &words(&[]));
    place.trained("mlp", "runs/mlp", &words(&[&MLP]));
    place.trained("gmf", "runs/peeking", &words(&[&["--set", "selection.by=test"]]));
    place.trained("gmf", "runs/again", &words(&[&["--set", "selection.by=last"], &RETRAIN]));
    let refused = |more: &[&str], parts: &[&str]| {
        place.train("neumf", "runs/neumf", &words(&[&MLP, &NEUMF, more])).refuses(2, parts);
        assert_no_result(&place.path("runs/neumf"));
        assert!(!place.path("runs/neumf/checkpoints").exists());
    };
    refused(&RETRAIN, &["gmf was not trained again on all of train, as this run is"]);
    refused(&["--set", "protocol.metrics=[\"hit@5\"]"], &["gmf was trained under another protocol: its `metrics` is"]);
    refused(&["--set", "start=[\"gmff\", \"mlp\"]"], &["`start`", "gmff is no run folder"]);
    refused(&["--set", "start=[\"peeking\", \"mlp\"]"], &["peeking picked its epoch on the test rows"]);
    refused(&["--set", "start=[\"again\", \"mlp\"]"], &["again was trained on all of train only, valid included"]);
    refused(&["--set", "start=[\"gmf\"]"], &["of which 1 are of `gmf` and 0 of `mlp`"]);
    refused(&["--set", "start=gmf"], &["`start` must be a list of run folders"]);
    std::fs::remove_file(place.path("runs/mlp/result.json")).expect("removed");
    refused(&[], &["mlp is not finished"]);
    place.train("bpr", "runs/bpr", &words(&[&["--set", "start=[\"gmf\"]"]])).refuses(2, &["does not start from other runs"]);
    let splits = ["--set", "protocol.split_seeds=[1, 2]"];
    place.trained("gmf", "runs/first", &words(&[&splits]));
    let second = ["--set", "split=1", "--set", "start=[\"first\", \"mlp\"]"];
    refused(&[&splits[..], &second].concat(), &["first was trained on split number 0, this run is on 1"]);
    let nested = ["--set", "protocol.split={kind=\"random\", by=\"user\", ratios=[0.8, 0.0, 0.2]}"];
    place.trained("gmf", "runs/whole", &words(&[&nested, &["--set", "selection.by=last"]]));
    let carved = ["--set", "selection.nested={kind=\"random\", valid=0.1}"];
    refused(&[&nested[..], &carved, &["--set", "start=[\"whole\", \"mlp\"]"]].concat(), &["whole has another `selection.nested`"]);
}

#[test]
fn a_row_that_starts_from_no_row_above_it_is_refused_with_the_nearest_name() {
    let place = Place::new();
    let head = "id = \"t\"\ntitle = \"t\"\nsource = \"s\"\n[protocol]\ndataset = \"ml-100k\"\nmetrics = [\"hit@10\"]\nsplit = { kind = \"random\", by = \"user\", ratios = [0.8, 0.1, 0.1] }\n";
    let row = |name: &str, more: &str| {
        format!("[[row]]\nname = \"{name}\"\ntuned = \"no\"\nmodel = {{ name = \"gmf\" }}\ncell = [{{ metric = \"hit@10\" }}]\n{more}\n")
    };
    let refuses = |rows: &[String], parts: &[&str]| {
        place.write("t.toml", format!("{head}{}", rows.concat()).as_bytes());
        place.run(&["table", "show", "t.toml"]).refuses(2, parts);
    };
    refuses(&[row("GMF", ""), row("NeuMF", "start = [\"GFM\"]")], &["`NeuMF` starts from `GFM`", "did you mean `GMF`?"]);
    refuses(&[row("NeuMF", "start = [\"GMF\"]"), row("GMF", "")], &["no row above it is called so"]);
    refuses(
        &[row("GMF", ""), row("NeuMF", "seeds = [1, 2]\nstart = [\"GMF\"]")],
        &["`NeuMF` has 2 runs and starts from `GMF`, which has 1"],
    );
}

#[test]
fn a_trained_model_is_ranked_under_another_protocol_and_only_where_it_learned_from_the_same_rows() {
    let place = Place::with_clicks();
    place.trained("gmf", "runs/table/gmf", &words(&[]));
    let anew = ["--set", "ranks=../table/gmf"];
    let drawn = ["--set", "protocol.mask=nothing", "--set", "protocol.candidates={kind=\"sampled\", n=3, popularity_percent=100}"];
    place.trained("gmf", "runs/other/same", &words(&[&anew]));
    place.trained("gmf", "runs/other/drawn", &words(&[&anew, &drawn]));
    let result = |run: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(place.path(&format!("runs/{run}/result.json"))).expect("a result")).expect("JSON")
    };
    let (first, same, drawn_result) = (result("table/gmf"), result("other/same"), result("other/drawn"));
    assert_eq!((&first["metrics"], &first["outcome"]), (&same["metrics"], &same["outcome"]));
    assert_ne!(first["metrics"], drawn_result["metrics"]);
    assert_ne!(first["protocol_hash"], drawn_result["protocol_hash"]);
    assert!(!place.path("runs/other/drawn/checkpoints").exists());
    // The folder stands for the model wherever a run's does.
    place.done(&["recommend", "runs/other/drawn", "--user", "u1"]);
    place.done(&["eval", "runs/other/drawn"]);

    let refused = |more: &[&str], parts: &[&str]| {
        place.train("gmf", "runs/other/refused", &words(&[&anew, more])).refuses(2, parts);
        assert_no_result(&place.path("runs/other/refused"));
    };
    refused(&["--set", "ranks=../table/gmff"], &["`ranks`", "gmff is no run folder"]);
    refused(&["--set", "protocol.drop_cold=true"], &["../table/gmf was trained under another protocol: its `drop_cold` is"]);
    refused(&["--set", "model.embedding_size=5"], &["was trained with another `model`"]);
    refused(&["--set", "seed=5"], &["was trained with another `seed`"]);
    refused(&["--set", "selection.by=test"], &["was trained with another `selection`"]);
}
