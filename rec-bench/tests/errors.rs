//! What is wrong is said in a sentence with file, line and value, ends with the documented exit code, and leaves nothing half-written.

mod support;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Place, answer, assert_no_result, assert_nothing_half_written, assert_same_users, train};

const SHORT: [&str; 2] = ["--set", "loop.epochs=2"];

#[test]
fn a_wrong_line_of_a_users_file_is_named_with_its_value_and_no_folder_is_made() {
    let place = Place::new();
    let cases: [(&str, &[u8], &str); 11] = [
        ("empty", b"", "the file is empty"),
        ("a header alone", b"user,item,rating\n", "a header but no row"),
        ("binary", b"\x7fELF\x02\x01\x01\0\0\0\0", ":1: a NUL byte"),
        ("binary after good lines", b"user,item,rating\na,b,1\n\0\0\0", ":3: a NUL byte"),
        ("cut off in a line", b"user,item,rating\na,b,1\na,c", ":3: 2 columns, not 3"),
        ("another header", b"user,itme,rating\na,b,1\n", ":1: no column `item` (did you mean `itme`?); the header has `user`, `itme`"),
        ("no user", b"user,item,rating\n,b,1\n", ":2: the user is empty"),
        ("no UTF-8", b"user,item,rating\na,b,1\na,\xff\xfe,1\n", ":3: item `"),
        ("NaN", b"user,item,rating\na,b,1\na,c,NaN\n", ":3: the rating `NaN` is not a finite number"),
        ("infinite", b"user,item,rating\na,b,-inf\n", ":2: the rating `-inf` is not a finite number"),
        ("no number", b"user,item,rating\na,b,good\n", ":2: the rating `good` is not a number"),
    ];
    for (what, bytes, said) in cases {
        let file = place.write("rows.csv", bytes);
        let answer = place.run(&["train", "--file", "rows.csv", "--columns", "user,item,rating", "--model", "ease", "--out", "run"]);
        eprintln!("{what}: {}", answer.error());
        answer.refuses(3, &[&file.display().to_string(), said]);
        assert!(!place.path("run").exists(), "{what}: a folder was made");
    }
    let file = place.write("times.csv", b"user,item,rating,time\na,b,1,yesterday\n");
    let columns = "user,item,rating,time";
    let answer = place.run(&["train", "--file", "times.csv", "--columns", columns, "--model", "ease", "--out", "run"]);
    answer.refuses(3, &[&file.display().to_string(), ":2: the time `yesterday`"]);
}

#[test]
fn a_wrong_word_about_a_file_is_a_usage_problem() {
    let place = Place::with_clicks();
    let words = |file, columns| ["train", "--file", file, "--columns", columns, "--model", "ease", "--out", "run"];
    place.run(&words("none.csv", "user,item")).refuses(2, &["none.csv", "there is no file"]);
    place.run(&words("clicks.csv", "user")).refuses(2, &["`--columns` names user and item", "1 names"]);
    place.run(&words(".", "user,item")).refuses(2, &["there is no file"]);
    place.run(&words("clicks.csv", "user,price")).refuses(3, &["clicks.csv:1: no column `price`"]);
    let both = place.train("ease", "run", &["--set", "protocol.dataset=ml-1m"]);
    both.refuses(2, &["`protocol.dataset` is set to `ml-1m`", "`file:clicks`"]);
    assert_eq!(place.train("ease", "run", &["--dataset", "ml-1m"]).code, 2, "clap says that the two exclude each other");
    assert!(!place.path("run").exists());
}

#[test]
fn a_published_file_that_is_not_the_published_one_is_refused_by_name_line_and_value() {
    let place = Place::new();
    let movies = "ours/ml-latest-small/movies.csv";
    let ratings = "ours/ml-latest-small/ratings.csv";
    place.write(movies, b"movieId,title,genres\n1,Toy Story (1995),Comedy\n");
    let describe = |id| {
        let mut command = place.command(&["data", "describe", id]);
        command.env("REC_DATA_DIR", place.path("ours"));
        answer(command)
    };
    for (rows, said) in [
        ("1,-1,4.0,964982703", ":2: the item id `-1` is negative"),
        ("-7,1,4.0,964982703", ":2: the user id `-7` is negative"),
        ("1,4294967296,4.0,964982703", ":2: the item id `4294967296` is out of range"),
        ("1,x,4.0,964982703", ":2: the item id `x` is not a whole number"),
        ("1,1,nan,964982703", ":2: the rating `nan` is not a finite number"),
        ("1,1,4.0", ":2: 3 columns, not 4"),
    ] {
        place.write(ratings, format!("userId,movieId,rating,timestamp\n{rows}\n").as_bytes());
        describe("ml-latest-small").refuses(3, &[&place.path(ratings).display().to_string(), said]);
    }
    place.write(ratings, b"userId,movieId,rating,timestamp\n1,1,4.0,964982703\n");
    describe("ml-latest-small").refuses(3, &["ml-latest-small", "has 1 interactions, not 100836"]);

    place.write("ours/gowalla/train.txt", b"0 1 2\n");
    let test = place.write("ours/gowalla/test.txt", b"0 3\n");
    describe("gowalla").refuses(3, &[&test.display().to_string(), "has the sha256 350195e7", "not 099a2a73", "not the published file"]);
    let mut verify = place.command(&["data", "verify", "gowalla", "--json"]);
    verify.env("REC_DATA_DIR", place.path("ours"));
    let answer = answer(verify);
    answer.refuses(3, &["not the published ones"]);
    serde_json::from_str::<serde_json::Value>(&answer.out).expect("what was found is printed all the same");
    assert_eq!(support::files_of(&place.path("cache/parsed")), Vec::<String>::new(), "nothing wrong is kept");
}

#[test]
fn a_parsed_file_with_one_other_byte_is_noticed_and_parsed_again() {
    let place = Place::with_clicks();
    place.trained("ease", "before", &[]);
    let parsed = support::files_of(&place.path("cache/parsed"));
    assert_eq!(parsed.len(), 1);
    let file = place.path("cache/parsed").join(&parsed[0]);
    let whole = fs::read(&file).expect("there");
    for (at, out) in [(0, "head"), (whole.len() / 2, "middle"), (whole.len() - 1, "end")] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&file, bytes).expect("written");
        let answer = place.train("ease", out, &[]);
        assert_eq!(answer.code, 0, "{}", answer.err);
        assert!(answer.err.contains("is not used") && answer.err.contains("is parsed again"), "{}", answer.err);
        assert_same_users(&place.path("before"), &place.path(out));
        assert_eq!(fs::read(&file).expect("there"), whole, "a whole one takes its place");
    }
}

#[test]
fn a_wrong_setting_is_refused_with_its_key_and_what_it_may_be() {
    let place = Place::with_clicks();
    for (setting, said) in [
        ("nonsense", "`--set nonsense` is not key=value"),
        ("colour=red", "`colour` is no section of a config"),
        ("model=3", "`model` is of type integer, it must be a section"),
        ("model.zebra=8", "[model] zebra: unknown field `zebra`"),
        ("model.embedding_size=eight", "[model] embedding_size: invalid type: string \"eight\", expected a whole number from 0"),
        ("model.embedding_size=0", "`embedding_size` is 0: it must be at least 1"),
        ("loop.epochs=0", "`epochs` is 0"),
        ("loop.epochs=-1", "[loop] epochs: invalid value: integer `-1`, expected a whole number from 0"),
        ("loop.checkpoint_seconds=nan", "`checkpoint_seconds` is NaN"),
        ("loop.metric=ndgc@10", "no metric is called `ndgc` (did you mean `ndcg`?)"),
        ("protocol.metrics=[]", "[protocol] metrics is empty"),
        ("protocol.metrics=[\"hit@5\", \"hit@5\"]", "[protocol] metrics has `hit@5` twice"),
        ("optimizer.rule.name=adma", "[optimizer] rule.name: unknown variant `adma`"),
        ("seed=99999999999999999999", "`seed` must be a whole number, at least 0"),
    ] {
        place.train("bpr", "run", &["--set", setting]).refuses(2, &[said]);
    }
    place.train("ease", "run", &["--set", "optimizer.learning_rate=0.1"]).refuses(2, &["`ease` does not learn by gradients"]);
    assert!(!place.path("run").exists());
}

#[test]
fn what_only_the_data_can_tell_is_refused_too_and_the_folder_is_free_for_another_config() {
    let place = Place::with_clicks();
    for (setting, said) in [
        ("split=3", "split number 3 was asked for, the protocol has 1 split seeds"),
        ("protocol.split={kind=\"random\", by=\"user\", ratios=[0.8, 0.3, 0.1]}", "[0.8, 0.3, 0.1]: they must lie in [0, 1]"),
        ("protocol.split={kind=\"published\"}", "this data was published without a split"),
        ("protocol.relevant_at_least=4", "a relevance threshold needs ratings"),
        ("loop.metric=rmse", "predicts no ratings"),
        ("batch.batch_size=0", "`batch_size` is 0"),
    ] {
        place.train("bpr", "run", &["--set", setting]).refuses(2, &[said]);
        assert_no_result(&place.path("run"));
    }
    place.trained("bpr", "run", &SHORT);
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_one() {
    let place = Place::with_clicks();
    place.train("bprr", "run", &[]).refuses(2, &["no model is called `bprr` (did you mean `bpr`?)", "popularity"]);
    place.run(&["models", "eease"]).refuses(2, &["(did you mean `ease`?)"]);
    let dataset = |id| ["train", "--dataset", id, "--model", "ease", "--out", "run"];
    place.run(&dataset("ml-100")).refuses(2, &["no data set is called `ml-100` (did you mean `ml-100k`?)"]);
    place.run(&["data", "describe", "gowala"]).refuses(2, &["(did you mean `gowalla`?)"]);
    place.run(&["table", "show", "quikstart"]).refuses(2, &["no table is called `quikstart` (did you mean `quickstart`?)"]);
    place.run(&["table", "run", "quickstart", "--row", "BRP"]).refuses(2, &["has no row `BRP` (did you mean `BPR`?)"]);
    place.run(&["train", "--table", "nothing-like-it", "--model", "bpr", "--out", "run"]).refuses(2, &["no table is called"]);
    place.run(&["train", "--out", "run"]).refuses(2, &["no model is named"]);
    place.run(&["train", "--model", "bpr", "--out", "run"]).refuses(2, &["no data is named"]);
    place.run(&["--device", "gpu", "models"]).refuses(2, &["the device `gpu` is none of"]);
    place.run(&["--threads", "100000", "models"]).refuses(2, &["`--threads` is 100000: it must be at most 1024"]);
    for words in [&["fly"][..], &["train"], &["recommend", "run"], &["--threads", "many", "models"]] {
        let answer = place.run(words);
        assert_eq!(answer.code, 2, "{words:?}: {}", answer.err);
        assert!(answer.err.starts_with("error: "), "{}", answer.err);
    }
    assert!(!place.path("run").exists());
}

#[test]
fn a_file_of_a_config_or_a_table_that_cannot_be_read_is_named_with_its_line() {
    let place = Place::with_clicks();
    place.write("broken.toml", b"seed = 1\n[model\nname = \"bpr\"\n");
    place.write("typo.toml", b"[modell]\nname = \"bpr\"\n");
    place.write("latin.toml", b"# \xe4\n");
    let config = |file| ["--config", file];
    place.train("bpr", "run", &config("broken.toml")).refuses(2, &["broken.toml", "line 2"]);
    place.train("bpr", "run", &config("typo.toml")).refuses(2, &["(did you mean `model`?)"]);
    place.train("bpr", "run", &config("none.toml")).refuses(5, &["none.toml", "No such file"]);
    place.train("bpr", "run", &config("latin.toml")).refuses(5, &["latin.toml", "UTF-8"]);
    place.run(&["table", "show", "broken.toml"]).refuses(2, &["broken.toml", "line 2"]);
    place.run(&["table", "show", "none.toml"]).refuses(5, &["none.toml"]);
    place.write("table.toml", b"id = \"t\"\ntitle = \"t\"\nsource = \"s\"\nshape = 3\n");
    place.run(&["table", "show", "table.toml"]).refuses(2, &["table.toml", "line 4", "unknown field `shape`"]);
    assert!(!place.path("run").exists());
}

#[test]
fn what_the_environment_says_wrongly_is_named_and_what_is_no_text_is_no_panic() {
    let place = Place::with_clicks();
    let with = |name: &str, value: &[u8]| {
        let mut command = place.command(&train("popularity", "run", &[]));
        command.env(name, std::ffi::OsStr::from_bytes(value));
        answer(command)
    };
    with("REC_SET_MODEL__COLOUR", b"3").refuses(2, &["[model]", "colour"]);
    with("REC_SET_", b"3").refuses(2, &["is not a path of keys"]);
    with("REC_SET_SEED", b"\xff").refuses(2, &["REC_SET_SEED", "not UTF-8"]);
    with("REC_DATA_DIR", b"/nonexistent/folder").refuses(2, &["REC_DATA_DIR is /nonexistent/folder"]);
    assert!(!place.path("run").exists());
    assert_eq!(with("SOMETHING_ELSE", b"\xff\xfe").code, 0);
}

#[test]
fn a_folder_with_another_run_is_refused_and_left_as_it_is() {
    let place = Place::with_clicks();
    place.write("other.csv", b"user,item\na,b\n");
    place.trained("bpr", "run", &SHORT);
    let whole = |names: &[&str]| names.iter().map(|n| fs::read(place.path("run").join(n)).expect("there")).collect::<Vec<_>>();
    let files = ["config.toml", "data.toml", "protocol.json", "result.json", "checkpoints/last.safetensors", "metrics.jsonl"];
    let before = whole(&files);
    for more in [&["--set", "loop.epochs=3"][..], &["--set", "loop.epochs=2", "--set", "seed=2"]] {
        place.train("bpr", "run", more).refuses(2, &["run holds a run with another config", "choose another `--out`"]);
    }
    place.train("ease", "run", &[]).refuses(2, &["run holds a run with another config"]);
    let other = ["train", "--file", "other.csv", "--columns", "user,item", "--model", "bpr", "--out", "run", "--set", "loop.epochs=2"];
    place.run(&other).refuses(2, &["run holds a run with another config"]);
    assert_eq!(whole(&files), before);
    assert_nothing_half_written(&place.path("run"));
    place.done(&["eval", "run"]);

    fs::write(place.path("run/config.toml"), "[").expect("written");
    place.train("bpr", "run", &SHORT).refuses(3, &["run/config.toml"]);
    place.run(&["eval", "run"]).refuses(3, &["run/config.toml"]);
}

#[test]
fn a_damaged_checkpoint_is_named_with_the_way_out_which_works() {
    let place = Place::with_clicks();
    place.trained("bpr", "whole", &SHORT);
    for (name, damage) in [("last", "cut"), ("last", "foreign"), ("best", "cut"), ("best", "removed")] {
        let run = place.path("run");
        place.trained("bpr", "run", &SHORT);
        fs::remove_file(run.join("result.json")).expect("there");
        let file = run.join(format!("checkpoints/{name}.safetensors"));
        let bytes = fs::read(&file).expect("there");
        match damage {
            "cut" => fs::write(&file, &bytes[..bytes.len() - 1]).expect("written"),
            "foreign" => fs::write(&file, b"this is no state file at all, but a text of some length").expect("written"),
            _ => fs::remove_file(&file).expect("removed"),
        }
        let answer = place.train("bpr", "run", &SHORT);
        let named = format!("run/checkpoints/{name}.safetensors");
        answer.refuses(3, &[&named, "delete the folder run/checkpoints to start afresh"]);
        assert_no_result(&run);
        fs::remove_dir_all(run.join("checkpoints")).expect("removed");
        place.trained("bpr", "run", &SHORT);
        support::assert_same_run(&place.path("whole"), &run);
        fs::remove_dir_all(&run).expect("removed");
    }
    place.trained("bpr", "other", &["--set", "loop.epochs=2", "--set", "model.embedding_size=8"]);
    fs::remove_file(place.path("other/result.json")).expect("there");
    fs::copy(place.path("whole/checkpoints/last.safetensors"), place.path("other/checkpoints/last.safetensors")).expect("copied");
    let answer = place.train("bpr", "other", &["--set", "loop.epochs=2", "--set", "model.embedding_size=8"]);
    answer.refuses(3, &["other/checkpoints/last.safetensors", "`parameters/user_embedding` has the shape [300, 64]"]);
}

#[test]
fn a_damaged_file_of_a_finished_run_is_named() {
    let place = Place::with_clicks();
    place.trained("ease", "run", &[]);
    let damaged = |name: &str, length: usize, check: &dyn Fn()| {
        let file = place.path("run").join(name);
        let whole = fs::read(&file).expect("there");
        fs::write(&file, &whole[..length]).expect("written");
        check();
        fs::write(&file, whole).expect("written");
    };
    damaged("result.json", 40, &|| {
        for words in [&["eval", "run"][..], &["compare", "run", "run"], &["recommend", "run", "--user", "u1"]] {
            place.run(words).refuses(3, &["run/result.json", "delete it to run again"]);
        }
        place.train("ease", "run", &[]).refuses(3, &["run/result.json"]);
    });
    damaged("data.toml", 10, &|| place.run(&["eval", "run"]).refuses(3, &["run/data.toml"]));
    damaged("protocol.json", 20, &|| place.run(&["compare", "run", "run"]).refuses(3, &["run/protocol.json"]));
    damaged("per_user.parquet", 100, &|| place.run(&["compare", "run", "run"]).refuses(3, &["run/per_user.parquet"]));
    damaged("per_user.parquet", 0, &|| place.run(&["compare", "run", "run"]).refuses(3, &["run/per_user.parquet"]));
    place.done(&["eval", "run"]);

    place.run(&["eval", "nowhere"]).refuses(2, &["nowhere is no run folder"]);
    place.run(&["compare", "run", "nowhere"]).refuses(2, &["nowhere is no run folder"]);
    fs::write(place.path("clicks.csv"), "user,item\na,b\n").expect("written");
    place.run(&["eval", "run"]).refuses(3, &["file:clicks", "they are not the same data"]);
}

#[test]
fn an_out_that_cannot_be_a_folder_is_a_disk_problem_that_names_it() {
    let place = Place::with_clicks();
    place.write("taken", b"mine");
    for out in ["taken", "taken/below", "/proc/nothing/goes/here"] {
        place.train("popularity", out, &[]).refuses(5, &[out]);
    }
    assert_eq!(fs::read(place.path("taken")).expect("there"), b"mine");
}

#[test]
fn a_diverging_training_ends_with_the_step_and_code_6() {
    let place = Place::with_clicks();
    let answer = place.train("bpr", "run", &["--set", "optimizer.learning_rate=1e30", "--set", "loop.epochs=2"]);
    answer.refuses(6, &["the loss is", "at step", "of epoch 1", "lower `learning_rate`"]);
    assert_no_result(&place.path("run"));
}

/// The end of a pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    fs::OpenOptions::new().write(true).open("/dev/full").expect("there is one").into()
}

#[test]
fn a_reader_that_goes_away_stops_no_run_and_is_no_panic() {
    let place = Place::with_clicks();
    let ended = |words: &[&str], out: Option<Stdio>, err: Option<Stdio>| {
        let mut command = place.command(words);
        command.stdout(out.unwrap_or_else(Stdio::piped));
        command.stderr(err.unwrap_or_else(Stdio::piped));
        let ended = command.spawn().expect("it starts").wait_with_output().expect("it ends");
        support::assert_no_panic(&String::from_utf8_lossy(&ended.stderr));
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    for words in [&["models"][..], &["table", "list", "--json"], &["table", "show", "quickstart"], &["doctor"], &["--help"]] {
        assert_eq!(ended(words, Some(closed()), None).0, Some(0), "{words:?}");
    }
    let (code, err) = ended(&["models"], Some(full()), None);
    assert_eq!(code, Some(5));
    assert!(err.contains("writing to standard output"), "{err}");

    for (out, to) in [("closed", closed()), ("full", full())] {
        assert_eq!(ended(&train("bpr", out, &SHORT), None, Some(to)).0, Some(0));
        assert!(place.path(out).join("result.json").exists());
    }
    assert_eq!(ended(&["models", "none"], None, Some(closed())).0, Some(2));
}

/// A file system of so many KiB, taken away at the end.
struct Disk(PathBuf);

impl Disk {
    fn mounted(at: &Path, kib: usize) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "none"]).arg(at).stderr(Stdio::null()).status();
        mount.is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }

    fn grow(&self, kib: usize) {
        let grown = Command::new("mount").args(["-o", &format!("remount,size={kib}k")]).arg(&self.0).status().expect("it mounted before");
        assert!(grown.success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_names_the_file_leaves_nothing_half_written_and_the_run_goes_on_where_there_is_room() {
    let place = Place::with_clicks();
    let small = [&SHORT[..], &["--set", "model.embedding_size=16"]].concat();
    place.trained("bpr", "alone", &small);
    for (at, kib) in [4, 16, 100, 256, 280].into_iter().enumerate() {
        let Some(disk) = Disk::mounted(&place.path("small"), kib) else {
            println!("skipped: this user may not mount a small disk");
            return;
        };
        let answer = place.train("bpr", "small/run", &small);
        println!("{kib} KiB: {}", answer.err.lines().last().unwrap_or_default());
        if answer.code == 0 {
            assert!(at > 2, "a run needs more than {kib} KiB");
            break;
        }
        answer.refuses(5, &["small/run/", "No space left on device"]);
        assert_no_result(&place.path("small/run"));
        disk.grow(8192);
        place.trained("bpr", "small/run", &small);
        support::assert_same_run(&place.path("alone"), &place.path("small/run"));
        assert_nothing_half_written(&place.path("small/run"));
    }
}

#[test]
fn a_cache_that_cannot_be_written_costs_a_note_only() {
    let place = Place::with_clicks();
    place.write("cache", b"a file where a folder should be");
    let answer = place.train("popularity", "run", &[]);
    assert_eq!(answer.code, 0, "{}", answer.err);
    assert!(answer.err.contains("is not kept parsed"), "{}", answer.err);
}
