//! A training that is killed, stopped or paused ends with the numbers of one that is not, to the bit.

mod support;

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use support::{Draws, Place, assert_no_result, assert_nothing_half_written, assert_same_run, assert_same_users, state, train};

/// Some seconds of training: every epoch is measured, none is the last for want of progress.
const LONG: [&str; 9] = [
    "--threads",
    "1",
    "--set",
    "loop.patience=100000",
    "--set",
    "protocol.metrics=[\"ndcg@10\", \"recall@10\"]",
    "--set",
    "loop.metric=ndcg@10",
    "--set",
];

/// [`LONG`] with so many epochs and other settings.
fn settings<'a>(epochs: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut words = LONG.to_vec();
    words.push(epochs);
    more.iter().for_each(|setting| words.extend(["--set", setting]));
    words
}

/// What a run took, and what of that was the way to its first step.
fn timed(place: &Place, words: &[&str]) -> (Duration, Duration) {
    let start = Instant::now();
    place.done(words);
    let all = start.elapsed();
    let start = Instant::now();
    place.done(&["models"]);
    (all, start.elapsed())
}

fn end(mut child: Child) -> (Option<i32>, String) {
    use std::io::Read;
    let mut err = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut err).expect("text");
    let code = child.wait().expect("it ends").code();
    support::assert_no_panic(&err);
    (code, err)
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status().expect("a shell");
    assert!(sent.success());
}

/// The epoch of the last whole line of a run's log.
fn epoch(run: &Path) -> u64 {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let last = text.lines().rev().find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["epoch"].as_u64());
    last.unwrap_or(0)
}

/// Kills a training `kills` times at random moments spread over it, goes on each time, and compares the end with that of a run left
/// alone. Every other time checkpoints are written within epochs; every fifth kill hits the way to the first step.
fn killed_and_resumed(model: &str, epochs: u64, more: &[&str], kills: u32) {
    let place = Place::with_clicks();
    let number = format!("loop.epochs={epochs}");
    let after_each_epoch = settings(&number, &[more, &["loop.checkpoint_seconds=0"]].concat());
    let within_epochs = settings(&number, &[more, &["loop.checkpoint_seconds=0.004"]].concat());
    let (all, start) = timed(&place, &train(model, "alone", &after_each_epoch));
    let one_epoch = all.saturating_sub(start) / epochs as u32;

    let run = place.path("killed");
    let last = run.join("checkpoints/last.safetensors");
    let mut draws = Draws(20);
    let (mut before, mut advanced) = (None, 0);
    for kill in 0..kills {
        let settings = if kill % 2 == 0 { &after_each_epoch } else { &within_epochs };
        let mut child = place.command(&train(model, "killed", settings)).spawn().expect("it starts");
        if kill % 5 == 4 {
            std::thread::sleep(start.mul_f64(draws.share()));
        } else {
            let place_in_training = (f64::from(kill) + draws.share()) / f64::from(kills + 2);
            wait(|| epoch(&run) as f64 >= place_in_training * epochs as f64);
            std::thread::sleep(one_epoch.mul_f64(2.0 * draws.share()));
        }
        let running = child.try_wait().expect("it was started").is_none();
        child.kill().expect("SIGKILL");
        let (code, err) = end(child);
        assert!(running && code.is_none(), "kill {} came too late: {err}", kill + 1);
        assert!(!run.join("result.json").exists());
        let after = last.exists().then(|| state(&last).2["progress"].clone());
        advanced += u32::from(after != before);
        before = after;
    }
    assert!(advanced >= kills / 2, "only {advanced} of {kills} attempts came to a new checkpoint");
    let ended = place.train(model, "killed", &after_each_epoch);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("going on from epoch"), "{}", ended.err);
    assert_same_run(&place.path("alone"), &run);
    assert_nothing_half_written(&run);
}

fn wait(until: impl Fn() -> bool) {
    let start = Instant::now();
    while !until() {
        assert!(start.elapsed() < Duration::from_secs(60), "the training does not come on");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_training_killed_at_20_random_moments_ends_as_one_left_alone() {
    killed_and_resumed("bpr", 200, &["model.embedding_size=16", "batch.batch_size=256"], 20);
}

#[test]
fn a_training_by_single_updates_killed_at_6_random_moments_ends_as_one_left_alone() {
    killed_and_resumed("bpr-sgd", 200, &["model.embedding_size=16", "model.learning_rate=0.02"], 6);
}

#[test]
fn a_weight_that_grows_by_the_step_and_noise_go_on_where_they_were() {
    let model = ["model.hidden_sizes=[16]", "model.latent_size=8", "model.anneal_steps=400"];
    killed_and_resumed("mult-vae", 200, &[&model[..], &["batch.batch_size=64"]].concat(), 6);
}

#[test]
fn corrupted_rows_with_sampled_outputs_go_on_where_they_were() {
    killed_and_resumed("cdae", 200, &["model.embedding_size=8", "batch.batch_size=64", "batch.num_negatives=3"], 6);
}

#[test]
fn ctrl_c_leaves_a_checkpoint_within_an_epoch_and_the_same_command_goes_on() {
    let place = Place::with_clicks();
    let settings = settings("loop.epochs=40", &["model.embedding_size=16", "batch.batch_size=32"]);
    place.trained("bpr", "alone", &settings);
    let mut steps = Vec::new();
    for (stop, name) in ["INT", "TERM", "INT"].into_iter().enumerate() {
        let mut command = place.command(&train("bpr", "stopped", &settings));
        // Without the variable the program starts itself again, as the same process: the signal must reach it there.
        if stop == 0 {
            command.env_remove("OMP_WAIT_POLICY");
        }
        let child = command.spawn().expect("it starts");
        wait(|| epoch(&place.path("stopped")) >= 5 * (stop as u64 + 1));
        std::thread::sleep(Duration::from_millis(7));
        signal(&child, name);
        let (code, err) = end(child);
        assert_eq!(code, Some(130), "{err}");
        assert!(err.contains("stopping after this step") && err.contains("the same command goes on from there"), "{err}");
        assert_no_result(&place.path("stopped"));
        let (_, _, values) = state(&place.path("stopped/checkpoints/last.safetensors"));
        steps.push(values["progress"]["step"].as_u64().expect("a step"));
    }
    assert!(steps.iter().any(|&step| step > 0), "some stop lay within an epoch: {steps:?}");
    place.trained("bpr", "stopped", &settings);
    assert_same_run(&place.path("alone"), &place.path("stopped"));
}

#[test]
fn checkpoints_within_an_epoch_change_no_number() {
    let place = Place::with_clicks();
    let small = ["batch.batch_size=32", "loop.checkpoint_seconds=0.02"];
    let never = ["batch.batch_size=32", "loop.checkpoint_seconds=inf"];
    place.trained("bpr", "never", &settings("loop.epochs=20", &never));
    let mut child = place.command(&train("bpr", "often", &settings("loop.epochs=20", &small))).spawn().expect("it starts");
    let last = place.path("often/checkpoints/last.safetensors");
    let mut within = 0;
    while child.try_wait().expect("it was started").is_none() {
        if last.exists() && state(&last).2["progress"]["step"].as_u64() > Some(0) {
            within += 1;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(end(child).0, Some(0));
    assert!(within > 0, "no checkpoint lay within an epoch");
    assert_same_run(&place.path("never"), &place.path("often"));
}

#[test]
fn checkpoints_due_at_once_still_let_the_training_go_on() {
    let place = Place::with_clicks();
    let settings = settings("loop.epochs=1", &["model.embedding_size=16", "batch.batch_size=1024", "loop.checkpoint_seconds=1e-9"]);
    place.trained("bpr", "run", &settings);
}

#[test]
fn two_runs_with_one_seed_and_number_of_threads_are_the_same_to_the_bit() {
    let place = Place::with_clicks();
    for (model, more) in
        [("bpr", &["--set", "loop.epochs=4"][..]), ("bpr-sgd", &["--set", "loop.epochs=4"]), ("ials", &["--set", "loop.epochs=3"])]
    {
        let outs = [format!("{model}-1"), format!("{model}-2"), format!("{model}-other")];
        place.trained(model, &outs[0], &[&["--threads", "2"], more].concat());
        place.trained(model, &outs[1], &[&["--threads", "2"], more].concat());
        place.trained(model, &outs[2], &[&["--threads", "2", "--set", "seed=2"], more].concat());
        assert_same_run(&place.path(&outs[0]), &place.path(&outs[1]));
        let weights = |out: &String| state(&place.path(out).join("checkpoints/last.safetensors")).1;
        assert!(weights(&outs[0]) != weights(&outs[2]), "{model}: another seed is another training");
    }
}

#[test]
fn a_model_without_draws_has_the_same_metrics_with_one_and_with_two_threads() {
    let place = Place::with_clicks();
    for model in ["ease", "item-knn", "popularity"] {
        let outs = [format!("{model}-1"), format!("{model}-2")];
        place.trained(model, &outs[0], &["--threads", "1"]);
        place.trained(model, &outs[1], &["--threads", "2"]);
        assert_same_users(&place.path(&outs[0]), &place.path(&outs[1]));
    }
}

#[test]
fn what_a_kill_leaves_of_a_file_is_swept_away_by_the_run_that_goes_on() {
    let place = Place::with_clicks();
    let left = [
        ".part-aaaaaa",
        "checkpoints/.part-bbbbbb",
        "tb/run/projector/items/.writing-cccccc",
        "tb/run/projector/items-t-sne/.writing-dddddd",
    ];
    left.iter().for_each(|name| drop(place.write(&format!("run/{name}"), b"half")));
    place.trained("popularity", "run", &[]);
    assert_nothing_half_written(&place.path("run"));
}

#[test]
fn a_finished_run_is_read_and_not_repeated() {
    let place = Place::with_clicks();
    place.trained("popularity", "run", &[]);
    let first = std::fs::read(place.path("run/result.json")).expect("there");
    place.trained("popularity", "run", &[]);
    assert_eq!(std::fs::read(place.path("run/result.json")).expect("there"), first);
}
