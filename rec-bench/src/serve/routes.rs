//! The paths, and what each answers.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State as Taken};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::Limits;
use super::api::{Answer, Asked, Body, Served};
use super::counters::Counters;
use super::worker::{Job, Worker};
use crate::page::{escape, page};

const OPENAPI: &str = include_str!("openapi.json");

/// Asks for the folder to be loaded again.
pub(super) struct Reload {
    pub(super) reply: oneshot::Sender<anyhow::Result<Served>>,
}

/// What all requests share.
#[derive(Clone)]
pub(super) struct State {
    worker: Arc<RwLock<Worker>>,
    counters: Arc<Counters>,
    limits: Arc<Limits>,
    reload: mpsc::Sender<Reload>,
    /// Held while a reload goes on.
    loading: Arc<tokio::sync::Mutex<()>>,
    since: Arc<RwLock<u64>>,
}

impl State {
    pub(super) fn new(worker: Arc<RwLock<Worker>>, counters: Arc<Counters>, limits: Limits, reload: mpsc::Sender<Reload>) -> Self {
        let (loading, since) = (Arc::default(), Arc::new(RwLock::new(now())));
        Self { worker, counters, limits: Arc::new(limits), reload, loading, since }
    }

    /// From now on `worker` answers. The one before it ends when what it took is answered.
    pub(super) fn take_over(&self, worker: Worker) {
        *self.worker.write().unwrap_or_else(PoisonError::into_inner) = worker;
        *self.since.write().unwrap_or_else(PoisonError::into_inner) = now();
    }

    fn worker(&self) -> Worker {
        self.worker.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// The application.
pub(super) fn routes(state: State) -> Router {
    Router::new()
        .route("/", get(described))
        .route("/recommend", post(recommend))
        .route("/reload", post(reload))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(|| async { ([(header::CONTENT_TYPE, "application/json")], OPENAPI) }))
        .fallback(|| async { refused(StatusCode::NOT_FOUND, "there is no such path: GET / tells which there are") })
        .layer(DefaultBodyLimit::max(state.limits.body))
        .layer(from_fn_with_state(state.clone(), counted))
        .with_state(state)
}

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => (status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn refused(status: StatusCode, why: &str) -> Response {
    json(status, &Problem { error: why })
}

/// Counts and times every request, and ends those that take too long: their arrival, the wait and the answer.
async fn counted(Taken(state): Taken<State>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    // Unknown paths are one, or anybody could make as many counters as there are names.
    let known = ["/", "/recommend", "/reload", "/health", "/metrics", "/openapi.json"];
    let path = known.into_iter().find(|path| *path == request.uri().path()).unwrap_or("other");
    state.counters.in_flight.inc();
    let response = if path == "/reload" {
        next.run(request).await
    } else {
        match tokio::time::timeout(state.limits.time, next.run(request)).await {
            Ok(response) => response,
            Err(_) => refused(StatusCode::REQUEST_TIMEOUT, "the request did not arrive, or was not answered, in time"),
        }
    };
    state.counters.in_flight.dec();
    state.counters.answered(path, response.status().as_u16(), start.elapsed().as_secs_f64());
    response
}

async fn recommend(Taken(state): Taken<State>, body: Result<Bytes, BytesRejection>) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return refused(rejection.status(), &rejection.body_text()),
    };
    let asked = match read(&body, &state.limits) {
        Ok(asked) => asked,
        Err(why) => return refused(StatusCode::BAD_REQUEST, &why),
    };
    let (reply, answered) = oneshot::channel();
    let job = Job { asked, until: Instant::now() + state.limits.time, reply };
    match state.worker().jobs.try_send(job) {
        Ok(()) => {}
        Err(mpsc::error::TrySendError::Full(_)) => return busy(),
        Err(mpsc::error::TrySendError::Closed(_)) => {
            return refused(StatusCode::INTERNAL_SERVER_ERROR, "the model has stopped: see the server's log");
        }
    }
    match answered.await {
        Ok(Ok(answers)) => {
            let status =
                if answers.iter().all(|answer| answer.error.is_some()) { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
            json(status, &Answers { answers: &answers })
        }
        Ok(Err(why)) => refused(StatusCode::INTERNAL_SERVER_ERROR, &why),
        Err(_) => refused(StatusCode::INTERNAL_SERVER_ERROR, "the model has stopped: see the server's log"),
    }
}

#[derive(Serialize)]
struct Answers<'a> {
    answers: &'a [Answer],
}

fn busy() -> Response {
    let mut response = refused(StatusCode::SERVICE_UNAVAILABLE, "too many requests are waiting: try again");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The users of a body, within the limits.
fn read(body: &[u8], limits: &Limits) -> Result<Vec<Asked>, String> {
    let Body { requests } = serde_json::from_slice(body).map_err(|e| format!("the body cannot be read: {e}"))?;
    if !(1..=limits.users).contains(&requests.len()) {
        return Err(format!("`requests` has {} entries: there must be 1 to {}", requests.len(), limits.users));
    }
    for asked in &requests {
        if !(1..=limits.k).contains(&asked.k) {
            return Err(format!("`k` is {}: it must lie in 1 to {}", asked.k, limits.k));
        }
        let length = asked.history.as_ref().map_or(0, Vec::len);
        if length > limits.history {
            return Err(format!("a history has {length} items: there must be at most {}", limits.history));
        }
    }
    Ok(requests)
}

async fn reload(Taken(state): Taken<State>) -> Response {
    let Ok(_only) = state.loading.try_lock() else { return refused(StatusCode::CONFLICT, "it is being loaded already") };
    let (reply, loaded) = oneshot::channel();
    if state.reload.send(Reload { reply }).await.is_err() {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping");
    }
    match loaded.await {
        Ok(Ok(served)) => json(StatusCode::OK, &served),
        Ok(Err(error)) => refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}")),
        Err(_) => refused(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping"),
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    /// Seconds since 1970 at which what is served was loaded.
    since: u64,
    #[serde(flatten)]
    served: Served,
}

async fn health(Taken(state): Taken<State>) -> Response {
    let worker = state.worker();
    let since = *state.since.read().unwrap_or_else(PoisonError::into_inner);
    if worker.jobs.is_closed() {
        return refused(StatusCode::INTERNAL_SERVER_ERROR, "the model has stopped: see the server's log");
    }
    json(StatusCode::OK, &Health { status: "ok", since, served: worker.served })
}

async fn metrics(Taken(state): Taken<State>) -> Response {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], state.counters.text()).into_response()
}

async fn described() -> Html<String> {
    let text = format!(
        "<p>The API, as <a href=\"/openapi.json\">OpenAPI 3.1</a>. Try:</p><pre>{}</pre><pre>{}</pre>",
        escape(EXAMPLE),
        escape(OPENAPI)
    );
    Html(page("Recommendations", &text))
}

const EXAMPLE: &str = "curl -s localhost:8080/recommend -d '{\"requests\": [{\"history\": [\"50\", \"181\"], \"k\": 5}]}'";
