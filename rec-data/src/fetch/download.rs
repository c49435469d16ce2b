//! Files over HTTP: into a `.part` beside the target, resumed where it was cut off, verified, and renamed into place.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use super::checksum;
use crate::progress::Progress;
use crate::{fail, problem, require};

/// No data set here is larger; a server that sends more is not sending a data set.
const MOST_BYTES: u64 = 16 << 30;
/// Times that a download goes on after it was cut off without a byte in between.
const PATIENCE: usize = 3;

/// Downloads `url` to `target`, which appears only whole and, where a hash is known, verified.
///
/// A `.part` of an earlier process is resumed where the hash is known, so that a file which has changed since cannot pass.
///
/// # Errors
/// an unavailable problem where the server cannot be reached or answers otherwise; a data problem where the hash is wrong; an I/O error
/// where the file cannot be written.
pub fn download(url: &str, target: &Path, sha256: Option<&str>) -> Result<()> {
    let folder = target.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut part = target.as_os_str().to_owned();
    part.push(".part");
    let transfer = Transfer { url, part: PathBuf::from(part), agent: agent(), progress: Progress::new(target) };
    if sha256.is_none() {
        transfer.discard()?;
    }
    let resumed = transfer.length()? > 0;
    transfer.run()?;
    if let Some(expected) = sha256 {
        let mut found = checksum::of_file(&transfer.part)?;
        if found != expected && resumed {
            crate::notes::note(&format!("{}: what was there before does not fit the rest; starting anew", target.display()));
            transfer.discard()?;
            transfer.run()?;
            found = checksum::of_file(&transfer.part)?;
        }
        if found != expected {
            transfer.discard()?;
            fail!(Data, "{url} sent {} with the sha256 {found}, not {expected}", target.file_name().unwrap_or_default().display());
        }
    }
    std::fs::rename(&transfer.part, target).with_context(|| format!("cannot write {}", target.display()))
}

fn agent() -> Agent {
    let short = Some(Duration::from_secs(10));
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_resolve(short)
        .timeout_connect(short)
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        // A compressed answer would make lengths and ranges mean something else.
        .accept_encoding("identity")
        .user_agent(concat!("rec-data/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

struct Transfer<'a> {
    url: &'a str,
    part: PathBuf,
    agent: Agent,
    progress: Progress,
}

/// How one request ended.
enum End {
    Whole,
    CutOff(String),
}

impl Transfer<'_> {
    fn length(&self) -> Result<u64> {
        match std::fs::metadata(&self.part) {
            Ok(metadata) => Ok(metadata.len()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(0),
            Err(e) => Err(e).with_context(|| format!("cannot look at {}", self.part.display())),
        }
    }

    fn discard(&self) -> Result<()> {
        match std::fs::remove_file(&self.part) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e).with_context(|| format!("cannot remove {}", self.part.display())),
            _ => Ok(()),
        }
    }

    fn run(&self) -> Result<()> {
        let mut patience = PATIENCE;
        loop {
            let before = self.length()?;
            match self.request(before)? {
                End::Whole => return Ok(()),
                End::CutOff(why) => {
                    patience = if self.length()? > before { PATIENCE } else { patience - 1 };
                    require!(patience > 0, Unavailable, "{} was cut off again and again: {why}", self.url);
                    std::thread::sleep(Duration::from_millis(300));
                }
            }
        }
    }

    fn request(&self, start: u64) -> Result<End> {
        let mut request = self.agent.get(self.url);
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        let response = request.call().map_err(|e| problem!(Unavailable, "{}: {e}", self.url))?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(start) => self.receive(response, start),
            StatusCode::OK => self.receive(response, 0),
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if start > 0 => {
                self.discard()?;
                Ok(End::CutOff("the server has no such range".into()))
            }
            status if status.is_server_error() => Ok(End::CutOff(format!("the server answered {status}"))),
            status => fail!(Unavailable, "{}: the server answered {status}", self.url),
        }
    }

    /// Writes the body at `start` of the part, which is cut there first.
    fn receive(&self, response: Response<Body>, start: u64) -> Result<End> {
        let (_, body) = response.into_parts();
        let length = body.content_length();
        require!(
            length.is_none_or(|l| l <= MOST_BYTES),
            Unavailable,
            "{} is {} bytes long, which no data set is",
            self.url,
            length.unwrap_or(0)
        );
        let shown = || format!("cannot write {}", self.part.display());
        let mut file = OpenOptions::new().create(true).append(true).open(&self.part).with_context(shown)?;
        file.set_len(start).with_context(shown)?;
        let mut reader = body.into_with_config().limit(MOST_BYTES).reader();
        let (mut at, mut buffer) = (start, vec![0; 1 << 16]);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) if length.is_some_and(|l| at < start + l) => return Ok(End::CutOff("the connection was closed".into())),
                Ok(0) => return Ok(End::Whole),
                Ok(n) => {
                    self.write(&mut file, &buffer[..n])?;
                    at += n as u64;
                }
                Err(e) => return Ok(End::CutOff(e.to_string())),
            }
            self.progress.at(at, length.map(|l| start + l));
        }
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> Result<()> {
        file.write_all(bytes).map_err(|e| {
            if e.kind() == ErrorKind::StorageFull {
                // What fills the disk is of no use to anyone; a failure to remove it changes nothing.
                let _ = self.discard();
            }
            anyhow::Error::new(e).context(format!("cannot write {}", self.part.display()))
        })
    }
}

/// Where the range that the server sends begins, by its `Content-Range: bytes 5-9/10`.
fn range_start(response: &Response<Body>) -> Option<u64> {
    response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    const BODY: &[u8] = b"0123456789abcdefghij";

    /// A server that answers one request after the other as told, and says which ranges were asked for.
    pub(in crate::fetch) fn server(answers: Vec<Vec<u8>>) -> (String, JoinHandle<Vec<Option<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let url = format!("http://{}/x", listener.local_addr().expect("address"));
        let thread = std::thread::spawn(move || {
            let mut ranges = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("accept");
                let mut range = None;
                for line in BufReader::new(&stream).lines() {
                    let Ok(line) = line else { break };
                    if let Some(r) = line.to_lowercase().strip_prefix("range: ") {
                        range = Some(r.to_owned());
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                ranges.push(range);
                // A client that has gone away is part of some tests.
                let _ = stream.write_all(&answer);
            }
            ranges
        });
        (url, thread)
    }

    pub(in crate::fetch) fn ok(body: &[u8], length: usize) -> Vec<u8> {
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").as_bytes(), body].concat()
    }

    fn partial(start: usize, body: &[u8]) -> Vec<u8> {
        let (end, of, length) = (BODY.len() - 1, BODY.len(), BODY.len() - start);
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{end}/{of}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    }

    fn expected() -> String {
        checksum::of_bytes(BODY)
    }

    struct Case(tempfile::TempDir);

    impl Case {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("temp"))
        }
        fn target(&self) -> PathBuf {
            self.0.path().join("d/x.bin")
        }
        fn part(&self) -> PathBuf {
            self.0.path().join("d/x.bin.part")
        }
        fn put_part(&self, bytes: &[u8]) {
            std::fs::create_dir_all(self.0.path().join("d")).expect("folder");
            std::fs::write(self.part(), bytes).expect("part");
        }
        fn assert_arrived(&self) {
            assert_eq!(std::fs::read(self.target()).expect("arrived"), BODY);
            assert!(!self.part().exists());
        }
    }

    #[test]
    fn a_file_arrives_whole_and_verified() {
        let case = Case::new();
        let (url, server) = server(vec![ok(BODY, BODY.len())]);
        download(&url, &case.target(), Some(&expected())).expect("valid");
        case.assert_arrived();
        assert_eq!(server.join().expect("served"), [None]);
    }

    #[test]
    fn a_cut_off_download_goes_on_where_it_was() {
        let case = Case::new();
        let (url, server) = server(vec![ok(&BODY[..7], BODY.len()), partial(7, &BODY[7..9]), partial(9, &BODY[9..])]);
        download(&url, &case.target(), Some(&expected())).expect("valid");
        case.assert_arrived();
        assert_eq!(server.join().expect("served"), [None, Some("bytes=7-".into()), Some("bytes=9-".into())]);
    }

    #[test]
    fn the_part_of_an_earlier_process_is_resumed() {
        let case = Case::new();
        case.put_part(&BODY[..5]);
        let (url, server) = server(vec![partial(5, &BODY[5..])]);
        download(&url, &case.target(), Some(&expected())).expect("valid");
        case.assert_arrived();
        assert_eq!(server.join().expect("served"), [Some("bytes=5-".into())]);
    }

    #[test]
    fn a_server_that_ignores_ranges_starts_the_file_anew() {
        let case = Case::new();
        case.put_part(&BODY[..5]);
        let (url, _server) = server(vec![ok(BODY, BODY.len())]);
        download(&url, &case.target(), Some(&expected())).expect("valid");
        case.assert_arrived();
    }

    #[test]
    fn a_part_that_does_not_fit_is_thrown_away() {
        let case = Case::new();
        case.put_part(b"XXXXX");
        let (url, _server) = server(vec![partial(5, &BODY[5..]), ok(BODY, BODY.len())]);
        download(&url, &case.target(), Some(&expected())).expect("valid");
        case.assert_arrived();

        let case = Case::new();
        case.put_part(&[b'X'; 99]);
        let refused = b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
        let (url, _server) = server(vec![refused, ok(BODY, BODY.len())]);
        download(&url, &case.target(), Some(&expected())).expect("valid");
        case.assert_arrived();
    }

    #[test]
    fn without_a_hash_an_old_part_is_not_trusted() {
        let case = Case::new();
        case.put_part(b"XXXXX");
        let (url, server) = server(vec![ok(BODY, BODY.len())]);
        download(&url, &case.target(), None).expect("valid");
        case.assert_arrived();
        assert_eq!(server.join().expect("served"), [None]);
    }

    #[test]
    fn a_wrong_hash_leaves_nothing_behind() {
        let case = Case::new();
        let (url, _server) = server(vec![ok(b"tampered!", 9)]);
        let error = download(&url, &case.target(), Some(&expected())).expect_err("tampered").to_string();
        assert!(error.contains("sent x.bin with the sha256"), "{error}");
        assert!(!case.target().exists() && !case.part().exists());
    }

    #[test]
    fn a_refusal_and_a_dead_server_are_unavailable() {
        let case = Case::new();
        let (url, _server) = server(vec![b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()]);
        let error = download(&url, &case.target(), None).expect_err("404");
        assert!(error.to_string().contains("the server answered 404"), "{error}");
        assert_eq!(crate::Kind::exit_code_of(&error), 4);
        let (url, _server) = server(vec![b"this is not TLS\r\n\r\n".to_vec()]);
        let error = download(&url.replace("http:", "https:"), &case.target(), None).expect_err("no TLS");
        assert_eq!(crate::Kind::exit_code_of(&error), 4);
        let dead = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
        let error = download(&format!("http://{dead}/x"), &case.target(), None).expect_err("dead");
        assert_eq!(crate::Kind::exit_code_of(&error), 4);
    }
}
