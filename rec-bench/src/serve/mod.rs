//! A trained run or pipeline behind HTTP.
//!
//! Connections are answered on one thread; the model computes on another, for as many waiting requests at a time as there are. A reload
//! loads the folder on a third thread and takes over when it is ready: requests that wait are answered by the model that took them.

mod api;
mod counters;
mod engine;
mod routes;
mod worker;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context, Result};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rec_data::notes::note;
use rec_data::problem;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

pub use counters::Counters;
pub use engine::Engine;

use crate::runner::Bench;
use routes::{Reload, State, routes};
use worker::Worker;

/// What a server allows.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body: usize,
    /// Items that are asked for at once.
    pub k: usize,
    /// Users in one request.
    pub users: usize,
    /// Items of a history.
    pub history: usize,
    /// Requests that wait for the model; more are turned away.
    pub waiting: usize,
    /// Open connections; more wait to be accepted.
    pub connections: usize,
    /// How long a request may take, from its first byte to its answer.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body: 1 << 20, k: 1000, users: 64, history: 10_000, waiting: 256, connections: 1024, time: Duration::from_secs(10) }
    }
}

/// How long open requests may go on after a stop was asked for.
const GRACE: Duration = Duration::from_secs(10);

/// Serves the run or pipeline in `folder` at `address` until it is interrupted. `ready` is called with the address when it answers.
///
/// # Errors
/// those of loading; an I/O problem where the address cannot be listened at.
pub fn serve(folder: &Path, address: SocketAddr, limits: &Limits, bench: &Bench, ready: impl FnOnce(SocketAddr)) -> Result<()> {
    let counters = Arc::new(Counters::default());
    std::thread::scope(|scope| {
        // It ends before the scope does: connections that are cut off let go of the worker, whose thread then ends.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the server")?;
        let start = || Worker::start(scope, folder, bench, limits.waiting, Arc::clone(&counters));
        let first = runtime.block_on(start())?;
        runtime.block_on(async {
            let listener = TcpListener::bind(address).await.map_err(|e| problem!(Io, "cannot listen at {address}: {e}"))?;
            let (reload, mut reloads) = mpsc::channel::<Reload>(1);
            let state = State::new(Arc::new(RwLock::new(first)), Arc::clone(&counters), limits.clone(), reload);
            let app = routes(state.clone());
            let (graceful, free) = (GracefulShutdown::new(), Arc::new(Semaphore::new(limits.connections)));
            ready(listener.local_addr()?);
            loop {
                tokio::select! {
                    accepted = accept(&listener, &free) => {
                        let (stream, permit) = accepted;
                        let mut server = hyper::server::conn::http1::Builder::new();
                        server.timer(TokioTimer::new()).header_read_timeout(limits.time);
                        let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app.clone()));
                        let watched = graceful.watch(connection);
                        tokio::spawn(async move {
                            // A client that goes away in the middle is no fault of ours.
                            let _ = watched.await;
                            drop(permit);
                        });
                    }
                    Some(Reload { reply }) = reloads.recv() => {
                        let started = start();
                        let (state, counters) = (state.clone(), Arc::clone(&counters));
                        tokio::spawn(async move {
                            let loaded = started.await.map(|worker| {
                                let served = worker.served.clone();
                                state.take_over(worker);
                                counters.reloads.inc();
                                served
                            });
                            let _ = reply.send(loaded);
                        });
                    }
                    () = stopped(bench) => break,
                }
            }
            drop((listener, app, reloads));
            if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
                note("some requests were cut off: they took too long");
            }
            Ok(())
        })
    })
}

/// A connection, when one of those allowed is free.
async fn accept(listener: &TcpListener, free: &Arc<Semaphore>) -> (tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit) {
    loop {
        let permit = Arc::clone(free).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small: they are not to wait for more of them.
                let _ = stream.set_nodelay(true);
                return (stream, permit);
            }
            // Out of file descriptors, or the client is gone already.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn stopped(bench: &Bench<'_>) {
    while !bench.interrupt.is_set() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
