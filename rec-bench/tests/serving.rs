//! A pipeline of two stages, trained on a file of one's own, and served: right answers, clear refusals, a clean end.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Draws, Place, assert_no_panic};

/// Users like one of four groups of items and come back to it; rows are a minute apart.
fn rows() -> String {
    let mut draws = Draws(3);
    let mut text = String::from("user,item,rating,time\n");
    for user in 0..160u64 {
        let mut items: Vec<u64> = (0..15).collect();
        for at in (1..items.len()).rev() {
            items.swap(at, (draws.next() % (at as u64 + 1)) as usize);
        }
        for (at, item) in items.iter().take(10).enumerate() {
            text += &format!("u{user},i{},5,{}\n", user % 4 * 15 + item, 1000 * user + 60 * at as u64);
        }
    }
    text
}

const CONFIG: &str = r#"
num_candidates = 20
file = { path = "rows.csv", user = "user", item = "item", rating = "rating", time = "time" }
index = { kind = "hnsw", m = 8, ef = 40 }
[protocol]
split = { kind = "leave-last", test = 1, valid = 1 }
metrics = ["ndcg@10", "hit@10"]
[candidates]
model = { name = "youtube-candidates", embedding_size = 16, hidden_sizes = [16] }
loop = { epochs = 15 }
optimizer = { learning_rate = 0.01 }
batch = { batch_size = 64, num_negatives = 30 }
[ranker]
model = { name = "fm", embedding_size = 8 }
loop = { epochs = 10 }
optimizer = { learning_rate = 0.02 }
batch = { batch_size = 64, negative_rows = 4 }
[ranker.protocol]
fields = [{ name = "item", from = "item" }, { name = "past", from = "history", encoding = { kind = "shared", field = "item" } }]
"#;

/// A server that is stopped when it is dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(place: &Place, words: &[&str]) -> Self {
        let words = [&["--threads", "1", "serve", "--address", "127.0.0.1:0"], words].concat();
        let mut child = place.command(&words).spawn().expect("it starts");
        let mut err = BufReader::new(child.stderr.take().expect("piped"));
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(err.read_line(&mut line).expect("text") > 0, "it ended: {said}");
            if let Some((_, address)) = line.trim().split_once(" at http://") {
                break address.to_owned();
            }
            said += &line;
        };
        std::thread::spawn(move || err.read_to_string(&mut String::new()));
        Self { child, address }
    }

    /// Sends bytes as they are; the answer's status and body.
    fn raw(&self, bytes: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        stream.write_all(bytes).expect("sent");
        let mut answer = Vec::new();
        // It may close before all was read.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert_no_panic(&answer);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
    }

    fn send(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let length = body.len();
        self.raw(format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes())
    }

    fn ask(&self, requests: &Value) -> (u16, Value) {
        let (status, body) = self.send("POST", "/recommend", &json!({ "requests": requests }).to_string());
        (status, serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The items of the first answer.
fn items(answer: &Value) -> Vec<String> {
    let items = answer["answers"][0]["items"].as_array().expect("items");
    items.iter().map(|item| item["item"].as_str().expect("an id").to_owned()).collect()
}

fn of_group(item: &str) -> u64 {
    item[1..].parse::<u64>().expect("a number") / 15
}

#[test]
fn a_pipeline_is_trained_measured_and_served() {
    let place = Place::new();
    place.write("rows.csv", rows().as_bytes());
    place.write("pipeline.toml", CONFIG.as_bytes());
    let measured = place.json(&["--threads", "1", "--no-board", "pipeline", "pipeline.toml", "--out", "two", "--json"]);
    let hit = |at: usize| measured["metrics"][1][1][at].as_f64().expect("a number");
    // Five of a group's items are unknown to a user: ten recommendations can hold them all. Chance has a fifth.
    assert!(hit(3) > 0.8 && (hit(3) - hit(2)).abs() < 0.02, "{measured}");
    assert!(measured["recall"]["of_exact"].as_f64().expect("a number") > 0.97, "{measured}");
    assert!(place.path("two/report.html").exists());
    // What is finished is not trained again.
    let again = place.json(&["--threads", "1", "--no-board", "pipeline", "pipeline.toml", "--out", "two", "--json"]);
    assert_eq!((&again["metrics"], &again["recall"]), (&measured["metrics"], &measured["recall"]));

    let server = Server::start(&place, &["two", "--max-seconds", "1", "--max-body", "2000", "--max-k", "50"]);
    // A known user, a new one, both at once.
    let (status, known) = server.ask(&json!([{ "user": "u1", "k": 5 }]));
    assert_eq!((status, items(&known).len()), (200, 5), "{known}");
    assert!(items(&known).iter().all(|item| of_group(item) == 1), "{known}");
    let (_, new) = server.ask(&json!([{ "history": ["i30", "i31", "i32"], "k": 5 }]));
    assert!(items(&new).iter().all(|item| of_group(item) == 2 && !["i30", "i31", "i32"].contains(&item.as_str())), "{new}");
    let (_, both) = server.ask(&json!([{ "user": "u1", "k": 5 }, { "history": ["i30", "i31", "i32"], "k": 5, "with_seen": true }]));
    assert_eq!(items(&both), items(&known));
    assert!(both["answers"][1]["items"].as_array().expect("items").len() == 5);

    // What is wrong with one is said of that one; where all are wrong the status says so.
    let (status, mixed) = server.ask(&json!([{ "user": "nobody" }, { "user": "u1" }]));
    assert_eq!((status, mixed["answers"][0]["error"].as_str().is_some_and(|why| why.contains("nobody"))), (200, true), "{mixed}");
    assert_eq!(server.ask(&json!([{ "history": ["i1", "none"] }])).0, 422);
    assert_eq!(server.ask(&json!([{ "history": ["i1"], "ratings": [1, 2] }])).0, 422);
    assert_eq!(server.ask(&json!([{}])).0, 422);
    for (status, requests, said) in [
        (400, json!([]), "1 to"),
        (400, json!([{ "user": "u1", "k": 0 }]), "`k` is 0"),
        (400, json!([{ "user": "u1", "k": 51 }]), "1 to 50"),
        (400, json!([{ "usr": "u1" }]), "usr"),
        (400, json!([{ "user": 1 }]), "string"),
        (413, json!([{ "user": "u".repeat(3000) }]), "limit"),
    ] {
        let (got, answer) = server.ask(&requests);
        assert_eq!((got, answer["error"].as_str().is_some_and(|why| why.contains(said))), (status, true), "{answer}");
    }
    assert_eq!(server.send("POST", "/recommend", "{\"requests\": [").0, 400);
    assert_eq!(server.send("GET", "/recommend", "").0, 405);
    assert_eq!(server.send("GET", "/nowhere", "").0, 404);
    assert_eq!(server.raw(b"\x00\x01 what?\r\n\r\n").0, 400);

    // Who sends half a head or half a body is let go, and the others are answered meanwhile.
    let start = Instant::now();
    let slow =
        [&b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Le"[..], b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"];
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let slow = slow.map(|bytes| scope.spawn(|| server.raw(bytes).0));
        assert_eq!(server.ask(&json!([{ "user": "u2" }])).0, 200);
        slow.into_iter().map(|waiting| waiting.join().expect("it ends")).collect()
    });
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(statuses[1], 408);

    let (status, page) = server.send("GET", "/", "");
    assert!(status == 200 && page.contains("/recommend"));
    let (_, described) = server.send("GET", "/openapi.json", "");
    let described: Value = serde_json::from_str(&described).expect("JSON");
    for path in described["paths"].as_object().expect("paths").keys().filter(|path| *path != "/recommend" && *path != "/reload") {
        assert_eq!(server.send("GET", path, "").0, 200, "{path}");
    }
    let (_, metrics) = server.send("GET", "/metrics", "");
    assert!(metrics.contains("rec_requests_total{path=\"/recommend\",status=\"413\"} 1"), "{metrics}");

    // A reload takes over while requests go on; one that fails leaves what was there.
    let (status, health) = server.send("GET", "/health", "");
    assert!(status == 200 && health.contains("youtube-candidates, then fm"), "{health}");
    let asking = || server.ask(&json!([{ "user": "u1", "k": 5 }]));
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| server.send("POST", "/reload", ""));
        while !reload.is_finished() {
            assert_eq!(items(&asking().1), items(&known));
        }
        assert_eq!(reload.join().expect("it ends").0, 200);
    });
    // Files that are mapped are replaced, never written over.
    let nonsense = place.write("nonsense", b"nonsense");
    std::fs::rename(nonsense, place.path("two/items.index")).expect("replaced");
    let (status, why) = server.send("POST", "/reload", "");
    assert!(status == 500 && why.contains("items.index"), "{why}");
    assert_eq!(items(&asking().1), items(&known));

    let mut server = server;
    let sent = Command::new("sh").args(["-c", &format!("kill -TERM {}", server.child.id())]).status().expect("a shell");
    assert!(sent.success() && server.child.wait().expect("it ends").success());
}

#[test]
fn a_run_is_served_by_exact_scores() {
    let place = Place::with_clicks();
    place.trained("ease", "run", &["--threads", "1"]);
    let wanted = place.json(&["recommend", "run", "--history", "i1,i2,i9", "-k", "4", "--json"]);
    let server = Server::start(&place, &["run"]);
    let (_, answer) = server.ask(&json!([{ "history": ["i1", "i2", "i9"], "k": 4 }]));
    let wanted: Vec<&str> = wanted.as_array().expect("items").iter().map(|item| item["item"].as_str().expect("an id")).collect();
    assert_eq!(items(&answer), wanted);
}
