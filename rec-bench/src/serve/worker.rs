//! The thread that computes.

use std::path::Path;
use std::sync::Arc;
use std::thread::Scope;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::api::{Answer, Asked, Served};
use super::counters::Counters;
use super::engine::Engine;
use crate::runner::Bench;

/// Users that go through the stages together: what waits is taken until there are as many.
const BATCH: usize = 64;

/// A request on its way to the model.
pub(super) struct Job {
    pub(super) asked: Vec<Asked>,
    /// Nobody waits for the answer after this.
    pub(super) until: Instant,
    pub(super) reply: oneshot::Sender<Result<Vec<Answer>, String>>,
}

/// A thread that has a model. It ends when nobody can send to it any more.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) served: Served,
    pub(super) jobs: mpsc::Sender<Job>,
}

impl Worker {
    /// Loads `folder` on a thread of its own; the future is done when that is.
    ///
    /// The error is a sentence.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        folder: &'scope Path,
        bench: &'scope Bench,
        waiting: usize,
        counters: Arc<Counters>,
    ) -> impl Future<Output = anyhow::Result<Self>> + use<> {
        let (jobs, mut queue) = mpsc::channel::<Job>(waiting);
        let (loaded, ready) = oneshot::channel();
        scope.spawn(move || match Engine::load(folder, bench) {
            Ok(engine) => {
                let _ = loaded.send(Ok(engine.served()));
                while let Some(first) = queue.blocking_recv() {
                    answer(&engine, first, &mut queue, &counters);
                }
            }
            Err(error) => {
                let _ = loaded.send(Err(error));
            }
        });
        async move {
            let served = ready.await.unwrap_or_else(|_| Err(anyhow::anyhow!("loading ended without a word")))?;
            Ok(Self { served, jobs })
        }
    }
}

/// Answers `first` and what else waits.
fn answer(engine: &Engine, first: Job, queue: &mut mpsc::Receiver<Job>, counters: &Counters) {
    let mut users = first.asked.len();
    let mut jobs = vec![first];
    while users < BATCH
        && let Ok(job) = queue.try_recv()
    {
        users += job.asked.len();
        jobs.push(job);
    }
    let now = Instant::now();
    jobs.retain(|job| job.until > now && !job.reply.is_closed());
    let asked: Vec<Asked> = jobs.iter().flat_map(|job| job.asked.clone()).collect();
    if asked.is_empty() {
        return;
    }
    match engine.answer(&asked) {
        Ok((answers, spent)) => {
            counters.went_through(&spent);
            counters.users.inc_by(answers.iter().filter(|answer| answer.error.is_none()).count() as u64);
            let mut answers = answers.into_iter();
            for job in jobs {
                // A client that went away does not want it any more.
                let _ = job.reply.send(Ok(answers.by_ref().take(job.asked.len()).collect()));
            }
        }
        Err(error) => {
            let why = format!("{error:#}");
            for job in jobs {
                let _ = job.reply.send(Err(why.clone()));
            }
        }
    }
}
