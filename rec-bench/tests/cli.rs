//! What a user sees who does everything right: help, lists, JSON, training, measuring, recommending, comparing.

mod support;

use std::fs;

use serde_json::Value;
use support::{Place, answer, files_of, train};

const SHORT: [&str; 2] = ["--set", "loop.epochs=3"];

#[test]
fn the_help_of_every_command_is_as_committed() {
    let place = Place::new();
    for words in [
        "",
        "table",
        "table list",
        "table run",
        "table show",
        "table publish",
        "train",
        "eval",
        "recommend",
        "compare",
        "map",
        "curves",
        "ann",
        "export",
        "data",
        "data list",
        "data fetch",
        "data verify",
        "data describe",
        "data split",
        "models",
        "new-model",
        "doctor",
    ] {
        let name = format!("help {words}").trim_end().replace(' ', "-");
        let help = place.done(&words.split_whitespace().chain(["--help"]).collect::<Vec<_>>());
        insta::assert_snapshot!(name, help);
    }
}

#[test]
fn the_lists_of_tables_and_models_and_the_hyper_parameters_are_as_committed() {
    let place = Place::new();
    insta::assert_snapshot!("table-list", place.done(&["table", "list"]));
    insta::assert_snapshot!("models", place.done(&["models"]));
    insta::assert_snapshot!("models-bpr", place.done(&["models", "bpr"]));
}

#[test]
fn the_doctor_finds_libtorch_and_nothing_wrong() {
    let place = Place::new();
    let text = place.done(&["doctor"]);
    assert!(text.lines().any(|l| l.starts_with("✓ libtorch") && l.contains("2.13.0")), "{text}");
    assert!(!text.contains('✗'), "{text}");
    let findings = place.json(&["doctor", "--json"]);
    for what in ["rec-bench", "rustc", "libtorch", "device", "cpu", "threads", "cache", "REC_DATA_DIR"] {
        let found = findings.as_array().expect("a list").iter().find(|f| f["what"] == what).unwrap_or_else(|| panic!("no {what}"));
        assert!(found["found"].is_string() && found["wrong"].is_null(), "{found}");
    }
}

#[test]
fn the_doctor_says_what_is_wrong_and_the_way_out() {
    let place = Place::new();
    let mut command = place.command(&["doctor", "--json"]);
    command.env("REC_DATA_DIR", place.path("none"));
    let answer = answer(command);
    answer.refuses(4, &["1 thing is wrong"]);
    assert!(answer.out.contains("not a folder") && answer.out.contains("unset it"), "{}", answer.out);
}

#[test]
fn what_is_asked_for_as_json_is_json() {
    let place = Place::new();
    let count = |words: &[&str]| place.json(words).as_array().expect("a list").len();
    assert_eq!(count(&["table", "list", "--json"]), place.done(&["table", "list"]).lines().count());
    assert_eq!(count(&["models", "--json"]), place.done(&["models"]).lines().count());
    assert_eq!(count(&["data", "list", "--json"]), place.done(&["data", "list"]).lines().count());
    assert_eq!(place.json(&["models", "bpr", "--json"])["embedding_size"], 64);
    let datasets = place.json(&["data", "list", "--json"]);
    assert!(datasets.as_array().expect("a list").iter().any(|d| d["id"] == "ml-100k" && d["licence"].is_string()), "{datasets}");
}

#[test]
fn a_cell_of_a_table_says_what_was_published_and_what_was_measured() {
    let place = Place::new();
    let cells = place.json(&["table", "show", "quickstart", "--json"]);
    for cell in cells.as_array().expect("a list") {
        for key in [
            "table",
            "model",
            "dataset",
            "metric",
            "published",
            "source",
            "measured",
            "interval",
            "seeds",
            "status",
            "protocol_hash",
            "seconds",
        ] {
            assert!(cell.get(key).is_some(), "no {key} in {cell}");
        }
        assert!(cell["published"].is_null() || cell["published"].is_f64(), "{cell}");
        assert_eq!((&cell["table"], &cell["dataset"]), (&"quickstart".into(), &"ml-100k".into()));
    }
    assert!(cells.as_array().expect("a list").iter().any(|c| c["model"] == "BPR" && c["published"] == 0.292), "{cells}");
    assert!(place.done(&["table", "show", "quickstart", "--markdown"]).contains("| model | metric | published |"));
}

/// A value of the printed config, with where it is from.
fn line<'a>(printed: &'a str, start: &str) -> &'a str {
    printed.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("no {start} in {printed}"))
}

#[test]
fn a_setting_wins_over_the_environment_over_a_file_over_the_default() {
    let place = Place::with_clicks();
    place.write(
        "mine.toml",
        b"[model]\nembedding_size = 8\n[loop]\nepochs = 3\neval_every = 2\n[optimizer]\nlearning_rate = 0.5\n[optimizer.rule]\nbeta1 = 0.8\n",
    );
    let mut command = place.command(&train(
        "bpr",
        "run",
        &["--config", "mine.toml", "--set", "model.embedding_size=32", "--set", "protocol.split.by=all", "--dry-run"],
    ));
    command.env("REC_SET_MODEL__EMBEDDING_SIZE", "16").env("REC_SET_LOOP__EPOCHS", "4");
    let answer = answer(command);
    assert_eq!((answer.code, answer.out.as_str()), (0, ""), "{}", answer.err);
    for expected in [
        "embedding_size = 32  # --set",
        "epochs = 4  # REC_SET_LOOP__EPOCHS",
        "eval_every = 2  # mine.toml",
        "learning_rate = 0.5  # mine.toml",
        "beta1 = 0.8  # mine.toml",
        "beta2 = 0.999",
        "patience = 10",
        "kind = \"random\"  # train's default",
        "by = \"all\"  # --set",
        "dataset = \"file:clicks\"  # --set",
    ] {
        assert_eq!(line(&answer.err, expected), expected);
    }
    assert!(!place.path("run").exists(), "a dry run makes no folder");

    place.write("printed.toml", answer.err.as_bytes());
    let again = place.train("bpr", "run", &["--config", "printed.toml", "--dry-run"]);
    let bare = |text: &str| text.lines().map(|l| l.split("  # ").next().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    assert_eq!(bare(&again.err), bare(&answer.err), "what is printed is a config of the same run");
}

#[test]
fn a_tables_protocol_is_taken_whole() {
    let place = Place::new();
    let answer = place.run(&["train", "--table", "ml-1m-recbole-gnn", "--model", "ease", "--out", "run", "--dry-run"]);
    assert_eq!(answer.code, 0, "{}", answer.err);
    assert_eq!(line(&answer.err, "dataset"), "dataset = \"ml-1m\"  # table ml-1m-recbole-gnn");
}

#[test]
fn a_run_folder_holds_all_that_tells_what_was_run() {
    let place = Place::with_clicks();
    let printed = place.done(&train("bpr", "run", &SHORT));
    let names = files_of(&place.path("run"));
    for expected in [
        "config.toml",
        "data.toml",
        "protocol.json",
        "env.json",
        "metrics.jsonl",
        "per_user.parquet",
        "checkpoints/last.safetensors",
        "checkpoints/best.safetensors",
        "tb/run/projector_config.pbtxt",
        "report.html",
        "result.json",
    ] {
        assert!(names.iter().any(|n| n == expected), "no {expected} in {names:?}");
    }
    for part in ["tb/train/events.out.tfevents.", "tb/run/events.out.tfevents."] {
        assert_eq!(names.iter().filter(|n| n.starts_with(part)).count(), 1, "{part} in {names:?}");
    }
    support::assert_nothing_half_written(&place.path("run"));

    let result = place.read_json("run/result.json");
    assert_eq!(result["protocol_hash"], place.read_json("run/protocol.json")["hash"]);
    assert_eq!(result["environment"], place.read_json("run/env.json"));
    assert_eq!(result["outcome"]["epochs"], 3);
    let metrics = result["metrics"].as_array().expect("a list");
    let ndcg = metrics.iter().find(|m| m[0] == "ndcg@10").expect("measured")[1].as_f64().expect("a number");
    assert!(printed.contains(&format!("ndcg@10        {ndcg:.4}")), "{printed}");

    place.trained("popularity", "bare", &["--no-board"]);
    assert!(!place.path("bare/tb").exists());
}

#[test]
fn the_report_is_one_page_without_scripts_that_shows_what_was_measured() {
    let place = Place::with_clicks();
    fs::rename(place.path("clicks.csv"), place.path("<b>&.csv")).expect("renamed");
    place.done(&["train", "--file", "<b>&.csv", "--columns", "user,item", "--model", "bpr", "--out", "run", "--set", "loop.epochs=3"]);
    let page = fs::read_to_string(place.path("run/report.html")).expect("there");
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert!(page.contains("<h1>bpr on file:&lt;b&gt;&amp;</h1>") && !page.contains("<b>"), "names are escaped");
    assert_needs_nothing_else(&page);
    let result = place.read_json("run/result.json");
    for metric in result["metrics"].as_array().expect("a list") {
        let row = format!("<td>{}</td><td class=n>{:.4}</td>", metric[0].as_str().expect("a name"), metric[1].as_f64().expect("a number"));
        assert!(page.contains(&row), "{row}");
    }
    for part in [
        "<h2>train/loss</h2><svg",
        "<h2>valid/ndcg@10</h2><svg",
        "<h2>Items</h2><svg",
        result["protocol_hash"].as_str().expect("a hash"),
        "embedding_size = 64",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

/// A page without scripts, styles or pictures from elsewhere; the namespace of SVG is a name, not an address.
fn assert_needs_nothing_else(page: &str) {
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert!(
        !page.contains("<script") && !page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "").contains("http"),
        "it needs nothing else"
    );
}

#[test]
fn a_finished_run_is_measured_again_to_the_same_bit() {
    let place = Place::with_clicks();
    for (model, more) in [("bpr", &SHORT[..]), ("ease", &["--set", "selection.retrain=true"])] {
        let trained: Value = serde_json::from_str(&place.done(&train(model, model, &[more, &["--json"]].concat()))).expect("JSON");
        let measured = place.json(&["eval", model, "--json"]);
        for metric in trained["metrics"].as_array().expect("a list") {
            assert_eq!(measured["metrics"][metric[0].as_str().expect("a name")], metric[1], "{model} {}", metric[0]);
        }
        assert_eq!(measured["protocol_hash"], trained["protocol_hash"]);
    }
    let other = place.json(&["eval", "bpr", "--json", "--metric", "ndcg@5,hit@1", "--part", "valid", "--repeat", "2"]);
    assert_eq!(other["metrics"].as_object().expect("a map").keys().collect::<Vec<_>>(), ["hit@1", "ndcg@5"]);
    assert_eq!(other["seconds"].as_array().expect("a list").len(), 2);
    assert!(place.done(&["eval", "bpr"]).contains("300 users"));
    place.run(&["eval", "bpr", "--metric", "ndgc@5"]).refuses(2, &["(did you mean `ndcg`?)"]);
    place.run(&["eval", "bpr", "--metric", "rmse"]).refuses(2, &["predicts no ratings"]);
}

/// The recommended items, best first.
fn items(found: &Value) -> Vec<String> {
    let found = found.as_array().expect("a list");
    let scores: Vec<f64> = found.iter().map(|f| f["score"].as_f64().expect("a number")).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    found.iter().map(|f| f["item"].as_str().expect("a raw id").to_owned()).collect()
}

#[test]
fn items_are_recommended_to_a_known_user_and_to_a_history() {
    let place = Place::with_clicks();
    place.trained("ease", "ease", &[]);
    place.trained("bpr", "bpr", &SHORT);
    for run in ["ease", "bpr"] {
        let best = items(&place.json(&["recommend", run, "--user", "u7", "-k", "5", "--json"]));
        assert_eq!(best.len(), 5);
        let text = place.done(&["recommend", run, "--user", "u7", "-k", "5"]);
        assert!(text.lines().zip(&best).all(|(line, item)| line.contains(&format!("{item} "))), "{text} {best:?}");
    }
    let history = "i0,i1,i2,i3";
    let best = items(&place.json(&["recommend", "ease", "--history", history, "--json"]));
    assert_eq!(best.len(), 10);
    assert!(history.split(',').all(|seen| !best.contains(&seen.to_owned())), "{best:?}");
    let all = items(&place.json(&["recommend", "ease", "--history", history, "--with-seen", "-k", "1000", "--json"]));
    assert!(all.len() == 200 && history.split(',').all(|seen| all.contains(&seen.to_owned())), "{all:?}");

    place.run(&["recommend", "bpr", "--user", "nobody"]).refuses(2, &["file:clicks has no user `nobody`"]);
    place.run(&["recommend", "ease", "--history", "i0,nothing"]).refuses(2, &["file:clicks has no item `nothing`"]);
    place.run(&["recommend", "bpr", "--history", history]).refuses(2, &["`bpr` scores users that it was trained with only", "`ease`"]);
    place.run(&["recommend", "bpr", "--user", "u7", "-k", "0"]).refuses(2, &["`-k` is 0"]);
}

#[test]
fn every_autoencoder_recommends_from_a_history() {
    let place = Place::with_clicks();
    let history = "i0,i1,i2,i3";
    for (model, settings) in [
        ("autoencoder", &["--set", "model.hidden_sizes=[8]"][..]),
        ("denoising-autoencoder", &["--set", "model.hidden_sizes=[8]"]),
        ("cdae", &["--set", "model.embedding_size=8"]),
        ("mult-dae", &["--set", "model.hidden_sizes=[8]"]),
        ("mult-vae", &["--set", "model.hidden_sizes=[8]", "--set", "model.latent_size=4"]),
    ] {
        place.trained(model, model, &[settings, &["--set", "loop.epochs=2"]].concat());
        let best = items(&place.json(&["recommend", model, "--history", history, "--json"]));
        assert!(best.len() == 10 && history.split(',').all(|seen| !best.contains(&seen.to_owned())), "{model}: {best:?}");
        assert_eq!(best, items(&place.json(&["recommend", model, "--history", history, "--json"])), "{model}");
    }
    let row = |at: usize| format!("u{},i{},{}\n", at % 30, (at * 7 + at / 30) % 20, 1 + (at * at) % 5);
    place.write("rated.csv", format!("user,item,rating\n{}", (0..300).map(row).collect::<String>()).as_bytes());
    for model in ["i-autorec", "u-autorec"] {
        let words = ["train", "--file", "rated.csv", "--columns", "user,item,rating", "--model", model, "--out", model];
        let settings = ["--set", "model.hidden_sizes=[6]", "--set", "loop.epochs=2", "--set", "loop.metric=rmse"];
        place.done(&[&words[..], &settings, &["--set", "protocol.metrics=[\"rmse\"]"]].concat());
        let best = items(&place.json(&["recommend", model, "--history", "i0:5,i1:4,i2:1", "--json"]));
        assert!(best.len() == 10 && ["i0", "i1", "i2"].iter().all(|seen| !best.contains(&(*seen).to_owned())), "{model}: {best:?}");
        place.run(&["recommend", model, "--history", "i0,i1"]).refuses(2, &["learns from ratings", "`1193:5,661:3`"]);
        place.run(&["recommend", model, "--history", "i0:5,i1"]).refuses(2, &["1 of the 2 items", "have a rating"]);
        place.run(&["recommend", model, "--history", "i0:many"]).refuses(2, &["`i0:many`: the rating `many` is no number"]);
        place.done(&["recommend", model, "--user", "u3"]);
    }
}

#[test]
fn two_runs_compare_user_by_user_under_one_protocol_only() {
    let place = Place::with_clicks();
    place.trained("ease", "ease", &[]);
    place.trained("popularity", "popularity", &[]);
    let found = place.json(&["compare", "ease", "popularity", "--json"]);
    assert_eq!(found["users"], 300);
    assert!(found["difference"]["low"].as_f64() > Some(0.0), "EASE is better: {found}");
    assert!(found["wilcoxon_p"].as_f64() < Some(0.01), "{found}");
    assert!(place.done(&["compare", "ease", "popularity", "--metric", "recall@20"]).starts_with("recall@20: first − second = +"));
    let same = place.json(&["compare", "ease", "ease", "--json"]);
    assert_eq!(same["difference"]["mean"], 0.0);

    place.run(&["compare", "ease", "popularity", "--metric", "coverage@10"]).refuses(2, &["no mean over users"]);
    place.run(&["compare", "ease", "popularity", "--metric", "ndcg@7"]).refuses(2, &["per_user.parquet has no `ndcg@7`"]);
    for (setting, key) in [
        ("protocol.split_seeds=[2]", "`split_seeds` of the protocol is [1] in the first and [2] in the second"),
        ("protocol.split.ratios=[0.7, 0.1, 0.2]", "`split.ratios` of the protocol is [0.8,0.1,0.1] in the first and [0.7,0.1,0.2]"),
        ("protocol.mask=nothing", "`mask` of the protocol is \"seen\" in the first and \"nothing\" in the second"),
    ] {
        let out = key.split('`').nth(1).expect("a key");
        place.trained("popularity", out, &["--set", setting]);
        place.run(&["compare", "ease", out]).refuses(2, &[key]);
    }
    place.trained("popularity", "splits", &["--set", "protocol.split_seeds=[1, 2]"]);
    place.trained("popularity", "second", &["--set", "protocol.split_seeds=[1, 2]", "--set", "split=1"]);
    place.run(&["compare", "splits", "second"]).refuses(2, &["split number 0 in the first, 1 in the second"]);
}

#[test]
fn item_vectors_of_runs_are_drawn_beside_each_other_and_the_same_each_time() {
    let place = Place::with_clicks();
    place.trained("bpr", "bpr", &SHORT);
    place.trained("ials", "ials", &SHORT);
    place.trained("popularity", "popularity", &[]);
    let found = place.json(&["map", "bpr", "ials", "--out", "map.html", "--json"]);
    let runs: Vec<_> = found.as_array().expect("a list").iter().map(|f| (f["run"].as_str(), f["model"].as_str())).collect();
    assert_eq!(runs, [(Some("bpr"), Some("bpr")), (Some("ials"), Some("ials"))]);
    let drawn = found[0]["drawn"].as_u64().expect("a number") as usize;
    assert!(drawn > 100 && found[0]["items"] == found[0]["drawn"] && found[0]["purity"].is_null(), "{found}");
    let page = fs::read_to_string(place.path("map.html")).expect("there");
    assert_needs_nothing_else(&page);
    assert_eq!((page.matches("<svg").count(), page.matches("<circle").count()), (2, 2 * drawn));
    let titles = ["<h2>bpr (bpr)</h2><svg", "<h2>ials (ials)</h2><svg", "no feature <code>genres</code> or <code>genre</code>"];
    assert!(titles.iter().all(|title| page.contains(title)), "{titles:?}");
    let printed = place.done(&["map", "bpr", "ials", "--out", "again.html", "--threads", "2"]);
    assert_eq!(printed, "bpr (bpr): no genres, no purity\nials (ials): no genres, no purity\nagain.html\n");
    assert!(fs::read_to_string(place.path("again.html")).expect("there") == page, "two maps of the same runs differ");

    let places = fs::read_to_string(place.path("bpr/tb/run/projector/items-t-sne/tensors.tsv")).expect("there");
    assert!(places.lines().count() == drawn && places.lines().all(|line| line.split('\t').count() == 2), "{places}");
    let config = fs::read_to_string(place.path("bpr/tb/run/projector_config.pbtxt")).expect("there");
    assert!(config.contains("\"items\"") && config.contains("\"items-t-sne\""), "{config}");

    place.run(&["map", "bpr", "popularity", "--out", "no.html"]).refuses(2, &["`popularity` of popularity has no item vectors", "`bpr`"]);
    place.run(&["map", "none", "--out", "no.html"]).refuses(2, &["none is no run folder"]);
    place.write("fewer.csv", support::clicks(300, 190).as_bytes());
    place.done(&["train", "--file", "fewer.csv", "--columns", "user,item", "--model", "ials", "--out", "fewer", "--set", "loop.epochs=1"]);
    place.run(&["map", "bpr", "fewer", "--out", "no.html"]).refuses(2, &["fewer has other items than bpr"]);
    fs::remove_file(place.path("bpr/result.json")).expect("there");
    place.run(&["map", "bpr", "--out", "no.html"]).refuses(2, &["bpr is not finished: train it to the end first"]);
    assert!(!place.path("no.html").exists());
}

#[test]
fn curves_of_runs_are_drawn_by_epoch_and_by_second_finished_or_not() {
    let place = Place::with_clicks();
    place.trained("bpr", "bpr", &SHORT);
    place.trained("ials", "ials", &SHORT);
    place.trained("ease", "ease", &[]);
    fs::remove_file(place.path("bpr/result.json")).expect("there");
    assert_eq!(place.done(&["curves", "bpr", "ials", "--out", "curves.html"]), "curves.html\n");
    let page = fs::read_to_string(place.path("curves.html")).expect("there");
    assert_needs_nothing_else(&page);
    for (name, axis) in [("train/loss", "epoch"), ("train/loss", "second"), ("ndcg@10", "epoch"), ("ndcg@10", "second")] {
        assert!(page.contains(&format!("<h2>{name} by {axis}</h2><svg")), "{name} by {axis}");
    }
    // The first run's colour in four pictures, the second's in two: iALS has no loss.
    let lines = |colour: &str| page.matches(&format!("stroke=\"{colour}\" stroke-width=\"2\" points=")).count();
    assert_eq!((lines("#1F77B4"), lines("#FF7F0E")), (4, 2));
    assert!(page.contains("Without train/loss: ials (ials), judged on valid."));

    place.run(&["curves", "ease", "--out", "no.html"]).refuses(2, &["ease has no curve"]);
    place.run(&["curves", "none", "--out", "no.html"]).refuses(2, &["none is no run folder"]);
    let asked = |metric| place.run(&["curves", "bpr", "--out", "no.html", "--metric", metric]);
    asked("ndgc@10").refuses(2, &["no metric is called `ndgc` (did you mean `ndcg`?)"]);
    asked("recall@20").refuses(2, &["bpr has no `recall@20` by epoch: it was judged by `ndcg@10`"]);
    place.trained("bpr", "recall", &[&SHORT[..], &["--set", "loop.metric=recall@10"]].concat());
    place.run(&["curves", "bpr", "recall", "--out", "no.html"]).refuses(2, &["recall has no `ndcg@10`", "judged by `recall@10`"]);
    assert!(!place.path("no.html").exists());
}

#[test]
fn indexes_over_vectors_are_compared_and_saved() {
    let place = Place::with_clicks();
    place.trained("ials", "ials", &SHORT);
    let found = place.json(&["ann", "ials", "--index", "flat,hnsw", "-k", "5", "--json"]);
    assert_eq!(
        (&found["task"]["vectors"], &found["task"]["queries"], &found["task"]["metric"]),
        (&180.into(), &20.into(), &"cosine".into())
    );
    let rows = found["rows"].as_array().expect("a list");
    assert!(rows.len() > 10 && rows.iter().any(|row| row["best"] == true) && rows[0]["index"]["kind"] == "flat", "{found}");
    assert_eq!((&rows[0]["recall"], &rows[0]["settings"]), (&1.0.into(), &"".into()));
    assert!(rows.iter().all(|row| row["recall"].as_f64() > Some(0.9) && row["bytes"].as_u64() > Some(1000)), "{found}");
    assert_eq!(place.read_json("ials/ann/ann.json"), found);
    let page = fs::read_to_string(place.path("ials/ann/ann.html")).expect("there");
    let picture = fs::read_to_string(place.path("ials/ann/ann.svg")).expect("there");
    assert_needs_nothing_else(&page);
    assert!(page.contains(&picture) && picture.contains("recall@5") && picture.matches("<circle").count() == rows.len());
    assert_eq!(page.matches("<tr>").count(), 1 + rows.len());

    let vectors: Vec<f32> = (0..300 * 4).map(|i| (i as f32 * 0.37).sin()).collect();
    place.write("v.npy", &rec_ann::npy(&vectors, 4));
    place.write("q.npy", &rec_ann::npy(&vectors[..40], 4));
    let text = place.done(&["ann", "v.npy", "--queries", "q.npy", "--limit", "250", "--index", "ivf", "--out", "out"]);
    assert!(
        text.starts_with("v.npy: 250 vectors of 4 values, l2, 10 queries for the 10 nearest") && text.ends_with("out/ann.html\n"),
        "{text}"
    );
    place.done(&["ann", "v.npy", "--index", "hnsw", "--set", "m=5", "--set", "precision=byte", "--save", "v.index"]);
    let index = rec_ann::open(place.path("v.index")).expect("whole");
    assert_eq!((index.len(), index.search(&vectors[8..12], 1, None).expect("finite")[0].id), (300, 2));

    let refused = |words: &[&str], code, parts: &[&str]| place.run(&[&["ann"], words].concat()).refuses(code, parts);
    place.trained("ease", "ease", &[]);
    refused(&["ease"], 2, &["`ease` has no item vectors"]);
    refused(&["none"], 2, &["there is no none"]);
    refused(&["v.npy", "--queries", "users"], 2, &["a file has no users"]);
    refused(&["clicks.csv"], 3, &["clicks.csv", "np.save"]);
    refused(&["v.npy", "--limit", "200", "--index", "pq"], 2, &["too few for codes"]);
    refused(&["v.npy", "--index", "flat,hnsw", "--save", "no.index"], 2, &["`--index` names 2"]);
    refused(&["v.npy", "--index", "hnsw", "--set", "ef_constuction=3", "--save", "no.index"], 2, &["did you mean `ef_construction`"]);
    refused(&["v.npy", "--index", "hnsw", "--set", "m=1", "--save", "no.index"], 2, &["m is 1: it must lie in 2..=1024"]);
    place.write("nan.npy", &rec_ann::npy(&[1.0, 2.0, 3.0, f32::NAN], 2));
    refused(&["nan.npy", "--index", "flat", "--save", "no.index"], 3, &["vector 1: value 1 is NaN"]);
    assert!(!place.path("no.index").exists());
}

#[test]
fn exported_vectors_and_a_saved_index_give_what_is_recommended() {
    let place = Place::with_clicks();
    // A model with a bias for each item, which is the last value of its vector then.
    place.trained("bpr-sgd", "bpr", &SHORT);
    let said = place.done(&["export", "bpr", "--out", "vectors"]);
    assert!(said.starts_with("200 items, ") && said.contains("300 users, "), "{said}");
    assert_eq!(
        files_of(&place.path("vectors")),
        ["item_ids.npy", "items.npy", "items.parquet", "user_ids.npy", "users.npy", "users.parquet"]
    );
    let users = rec_ann::VectorSet::read(&place.path("vectors/users.npy")).expect("whole");
    assert!(users.values.chunks_exact(users.dim).all(|user| user[users.dim - 1] == 1.0));
    place.done(&["ann", "bpr", "--queries", "users", "--index", "flat", "--save", "items.index"]);
    let (index, ids) = rec_ann::open_with_ids(place.path("items.index")).expect("whole");
    // The first user of the file is the first of the vectors.
    let best = index.search(&users.values[..users.dim], 10, None).expect("finite");
    let recommended = place.json(&["recommend", "bpr", "--user", "u0", "--with-seen", "--json"]);
    for (found, expected) in best.iter().zip(recommended.as_array().expect("a list")) {
        assert_eq!(ids.get(found.id), expected["item"].as_str());
        assert!((f64::from(-found.distance) - expected["score"].as_f64().expect("a number")).abs() < 1e-5, "{found:?} {expected}");
    }
    place.trained("ease", "ease", &[]);
    place.run(&["export", "ease", "--out", "no"]).refuses(2, &["`ease` has no vectors"]);
    assert!(!place.path("no").exists());
    place.run(&["export", "bpr", "--qdrant", "http://127.0.0.1:9", "--collection", "films"]).refuses(4, &["127.0.0.1:9"]);
}

#[test]
fn a_table_of_ones_own_is_checked_when_it_is_read() {
    let place = Place::new();
    let table = "id = \"mine\"\ntitle = \"Mine\"\nsource = \"nobody\"\n[protocol]\ndataset = \"gowalla\"\nsplit = { kind = \"published\" }\nmetrics = [\"ndcg@10\"]\n[[row]]\nname = \"Popularity\"\ntuned = \"nothing to tune\"\nmodel = { name = \"popularity\" }\ncell = [{ metric = \"ndcg@10\", published = 0.1, tolerance = 0.01 }]\n";
    place.write("mine.toml", table.as_bytes());
    let cells = place.json(&["table", "show", "mine.toml", "--json"]);
    assert_eq!((&cells[0]["status"], &cells[0]["published"], &cells[0]["measured"]), (&"not-run".into(), &0.1.into(), &Value::Null));
    place.run(&["table", "publish", "mine.toml"]).refuses(2, &["no row of mine is finished under runs"]);
    place.write("mine.toml", table.replace(", tolerance = 0.01", "").as_bytes());
    place.run(&["table", "show", "mine.toml"]).refuses(2, &["mine.toml: Popularity ndcg@10: a published value needs a `tolerance`"]);
    place.write("mine.toml", table.replace("cell = [{ metric = \"ndcg@10\"", "cell = [{ metric = \"ndcg@20\"").as_bytes());
    place.run(&["table", "show", "mine.toml"]).refuses(2, &["Popularity ndcg@20: the protocol does not measure it"]);
}
