//! Vectors sent to Qdrant, a vector database, through its HTTP interface: <https://api.qdrant.tech>.

use std::time::Duration;

use anyhow::Result;
use rec_data::{problem, require};
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::StatusCode;

use crate::vectors::IdVectors;

/// Points of a request.
const BATCH: usize = 500;

/// Sends each vector as a point: its number is the point's id, its raw id the payload `id`. A point that is there already is replaced. A collection
/// that is not there is made, with `distance` (`Dot`, `Cosine`) as its own. The key of a server that wants one is taken from `QDRANT_API_KEY`.
///
/// # Errors
/// an unavailable problem where the server cannot be reached or refuses; its own words are in the message.
pub fn upsert(url: &str, collection: &str, vectors: &IdVectors, distance: &str) -> Result<()> {
    let agent = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(120))).build().into();
    let server = Server { agent, key: std::env::var("QDRANT_API_KEY").ok() };
    let place = format!("{}/collections/{collection}", url.trim_end_matches('/'));
    server.make(&place, vectors.dim, distance)?;
    for (batch, (ids, values)) in vectors.ids.chunks(BATCH).zip(vectors.values.chunks(BATCH * vectors.dim)).enumerate() {
        let point =
            |(at, (id, vector)): (usize, (&String, &[f32]))| json!({ "id": batch * BATCH + at, "vector": vector, "payload": { "id": id } });
        let points: Vec<Value> = ids.iter().zip(values.chunks_exact(vectors.dim)).enumerate().map(point).collect();
        server.put(&format!("{place}/points?wait=true"), &json!({ "points": points }))?;
    }
    Ok(())
}

struct Server {
    agent: Agent,
    key: Option<String>,
}

impl Server {
    /// Makes the collection where it is not there.
    fn make(&self, place: &str, dim: usize, distance: &str) -> Result<()> {
        let request = self.agent.get(place).header("api-key", self.key.as_deref().unwrap_or_default());
        let answer = request.call().map_err(|e| problem!(Unavailable, "{place}: {e}"))?;
        if answer.status() == StatusCode::NOT_FOUND {
            self.put(place, &json!({ "vectors": { "size": dim, "distance": distance } }))?;
        }
        Ok(())
    }

    fn put(&self, address: &str, body: &Value) -> Result<()> {
        let request = self.agent.put(address).header("content-type", "application/json");
        let request = request.header("api-key", self.key.as_deref().unwrap_or_default());
        let mut answer = request.send(serde_json::to_vec(body)?).map_err(|e| problem!(Unavailable, "{address}: {e}"))?;
        let status = answer.status();
        let said = answer.body_mut().read_to_string().unwrap_or_default();
        require!(status.is_success(), Unavailable, "{address} answered {status}: {said}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    /// A server that answers these statuses one after the other; its address, and what it was asked: first lines and bodies.
    fn server(statuses: Vec<&'static str>) -> (String, JoinHandle<Vec<(String, Value)>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let answer = move || {
            let one = |status: &str| {
                let (mut stream, _) = listener.accept().expect("a request");
                let mut reader = BufReader::new(stream.try_clone().expect("the same"));
                let lines: Vec<String> =
                    reader.by_ref().lines().map(|line| line.expect("text")).take_while(|line| !line.is_empty()).collect();
                let length = lines.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("a body");
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 4\r\nconnection: close\r\n\r\nwhy?").expect("sent");
                (lines[0].clone(), serde_json::from_slice(&body).unwrap_or_default())
            };
            statuses.iter().map(|status| one(status)).collect()
        };
        (address, std::thread::spawn(answer))
    }

    #[test]
    fn points_come_in_batches_with_their_raw_ids_into_a_collection_that_is_made_where_it_is_missing() {
        let n = BATCH + 2;
        let vectors = IdVectors { ids: (0..n).map(|i| format!("i{i}")).collect(), dim: 2, values: (0..2 * n).map(|v| v as f32).collect() };
        let (address, asked) = server(vec!["404 Not Found", "200 OK", "200 OK", "200 OK"]);
        upsert(&format!("{address}/"), "films", &vectors, "Dot").expect("sent");
        let asked = asked.join().expect("no panic");
        let lines: Vec<&str> = asked.iter().map(|(line, _)| line.as_str()).collect();
        let points = "PUT /collections/films/points?wait=true HTTP/1.1";
        assert_eq!(lines, ["GET /collections/films HTTP/1.1", "PUT /collections/films HTTP/1.1", points, points]);
        assert_eq!(asked[1].1, json!({ "vectors": { "size": 2, "distance": "Dot" } }));
        let last = json!({ "points": [
            { "id": 500, "vector": [1000.0, 1001.0], "payload": { "id": "i500" } },
            { "id": 501, "vector": [1002.0, 1003.0], "payload": { "id": "i501" } },
        ] });
        assert_eq!((asked[2].1["points"].as_array().map(Vec::len), &asked[3].1), (Some(BATCH), &last));
    }

    #[test]
    fn what_the_server_says_is_in_the_error() {
        let vectors = IdVectors { ids: vec!["a".into()], dim: 1, values: vec![1.0] };
        let (address, asked) = server(vec!["200 OK", "400 Bad Request"]);
        let error = upsert(&address, "films", &vectors, "Dot").expect_err("refused");
        asked.join().expect("no panic");
        assert!(error.to_string().ends_with("answered 400 Bad Request: why?"), "{error}");
        assert_eq!(rec_data::Kind::exit_code_of(&error), 4);
        assert!(upsert(&address, "films", &vectors, "Dot").is_err(), "nobody listens any more");
    }
}
