//! Recall@10 against queries per second, single queries, as `ann_run.py` measures other libraries.
//!
//! `measure VECTORS.npy QUERIES.npy l2|cosine|inner-product [INDEX …]` with float32 vectors, one a row, and indexes of `flat`, `hnsw`, `hnsw-byte`,
//! `forest`, `ivf`, `ivf-byte`, `pq`, `ivf-pq`, `ivf-pq-reranked`, `ivf-pq4-reranked`.
//! Prints one JSON object a line: index, parameters, recall, queries a second, build seconds. `RAYON_NUM_THREADS=1` builds on one thread. With
//! `REC_ANN_CLOCK=processor` seconds are those of the processor (Linux), which other programs on the machine change less.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use rec_ann::{
    Bits, Flat, Forest, ForestConfig, Hnsw, HnswConfig, Index, Ivf, IvfConfig, IvfPq, IvfPqConfig, Metric, Pq, PqConfig, Precision,
    ProductQuantiser, QuantiserConfig, VectorSet,
};
use serde_json::json;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, queries, metric, indexes @ ..] = &arguments[..] else {
        bail!("usage: measure VECTORS.npy QUERIES.npy l2|cosine|inner-product [flat] [hnsw] …");
    };
    let (base, queries) = (VectorSet::read(Path::new(base))?, VectorSet::read(Path::new(queries))?);
    ensure!(base.dim == queries.dim, "vectors of {} values and queries of {}", base.dim, queries.dim);
    let (dim, base, queries) = (base.dim, base.values, queries.values);
    let metric: Metric = metric.parse()?;
    let flat = Flat::new(&base, dim, metric)?;
    let start = seconds()?;
    let truth: Vec<Vec<u32>> = flat.search_batch(&queries, 10, None)?.iter().map(|found| found.iter().map(|n| n.id).collect()).collect();
    let batch_seconds = seconds()? - start;
    let data = Data { base, dim, metric, queries, truth };
    for index in indexes {
        match &index[..] {
            "flat" => {
                let num_queries = data.truth.len() as f64;
                let flops = 2.0 * data.base.len() as f64 * num_queries;
                println!(
                    "{}",
                    json!({"index": "flat batch", "qps": (num_queries / batch_seconds).round(), "gflops": (flops / batch_seconds / 1e8).round() / 10.0})
                );
                data.report("flat", json!({}), 0.0, &flat)?;
            }
            "hnsw" => data.hnsw(Precision::Float)?,
            "hnsw-byte" => data.hnsw(Precision::Byte)?,
            "forest" => data.forest()?,
            "ivf" => data.ivf(Precision::Float)?,
            "ivf-byte" => data.ivf(Precision::Byte)?,
            "pq" => data.pq()?,
            "ivf-pq" => data.ivf_pq(Bits::Eight, 0)?,
            "ivf-pq-reranked" => data.ivf_pq(Bits::Eight, 5)?,
            "ivf-pq4-reranked" => data.ivf_pq(Bits::Four, 10)?,
            other => bail!("no index `{other}`"),
        }
    }
    Ok(())
}

struct Data {
    base: Vec<f32>,
    dim: usize,
    metric: Metric,
    queries: Vec<f32>,
    truth: Vec<Vec<u32>>,
}

impl Data {
    fn report(&self, name: &str, parameters: serde_json::Value, build: f64, index: &dyn Index) -> Result<()> {
        let (mut hits, start) = (0, seconds()?);
        for (query, truth) in self.queries.chunks_exact(self.dim).zip(&self.truth) {
            hits += index.search(query, 10, None)?.iter().filter(|n| truth.contains(&n.id)).count();
        }
        let seconds = seconds()? - start;
        let recall = hits as f64 / self.truth.iter().map(Vec::len).sum::<usize>() as f64;
        let (recall, qps) = ((recall * 1e4).round() / 1e4, (self.truth.len() as f64 / seconds).round());
        println!(
            "{}",
            json!({"index": name, "params": parameters, "recall": recall, "qps": qps, "build_s": (build * 100.0).round() / 100.0})
        );
        Ok(())
    }

    fn forest(&self) -> Result<()> {
        let start = seconds()?;
        let mut index = Forest::new(&self.base, self.dim, self.metric, ForestConfig::default())?;
        let build = seconds()? - start;
        for search_k in [1000, 4000, 16000] {
            index.set_search_k(search_k);
            self.report("forest", json!({"trees": 100, "search_k": search_k}), build, &index)?;
        }
        Ok(())
    }

    fn ivf(&self, precision: Precision) -> Result<()> {
        let start = seconds()?;
        let mut index = Ivf::new(&self.base, self.dim, self.metric, IvfConfig { precision, ..IvfConfig::default() })?;
        let build = seconds()? - start;
        for probes in [1, 4, 16, 64] {
            index.set_probes(probes)?;
            self.report("ivf", json!({"cells": index.num_cells(), "probes": probes, "precision": precision}), build, &index)?;
        }
        Ok(())
    }

    /// Reconstruction error (mean squared length of what is lost) and search of all codes.
    fn pq(&self) -> Result<()> {
        for (bits, rotations) in [(Bits::Eight, 0), (Bits::Four, 0), (Bits::Eight, 5)] {
            let config = QuantiserConfig { parts: self.dim / 4, bits, rotations, ..QuantiserConfig::default() };
            let start = seconds()?;
            let quantiser = ProductQuantiser::train(&self.base, self.dim, &config)?;
            let build = seconds()? - start;
            let decoded = quantiser.decode(&quantiser.encode(&self.base)?)?;
            let lost: f64 = self.base.iter().zip(&decoded).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let error = lost * self.dim as f64 / self.base.len() as f64;
            println!("{}", json!({"index": "product quantiser", "bits": bits, "rotations": rotations, "train_s": build, "error": error}));
            let index = Pq::new(&self.base, self.dim, self.metric, PqConfig { quantiser: config, rerank: 0 })?;
            self.report("pq", json!({"parts": self.dim / 4, "bits": bits, "rotations": rotations}), build, &index)?;
        }
        Ok(())
    }

    fn ivf_pq(&self, bits: Bits, rerank: usize) -> Result<()> {
        let quantiser = QuantiserConfig { parts: self.dim / 4, bits, ..QuantiserConfig::default() };
        let start = seconds()?;
        let mut index = IvfPq::new(&self.base, self.dim, self.metric, IvfPqConfig { quantiser, rerank, ..IvfPqConfig::default() })?;
        let build = seconds()? - start;
        for probes in [1, 4, 16, 64] {
            index.set_probes(probes)?;
            let parameters = json!({"cells": index.num_cells(), "probes": probes, "parts": self.dim / 4, "bits": bits, "rerank": rerank});
            self.report("ivf-pq", parameters, build, &index)?;
        }
        Ok(())
    }

    fn hnsw(&self, precision: Precision) -> Result<()> {
        for m in [16, 32] {
            let start = seconds()?;
            let mut index = Hnsw::new(&self.base, self.dim, self.metric, HnswConfig { m, precision, ..HnswConfig::default() })?;
            let build = seconds()? - start;
            for ef in [10, 20, 40, 80, 160, 320] {
                index.set_ef(ef)?;
                self.report("hnsw", json!({"M": m, "ef": ef, "precision": precision}), build, &index)?;
            }
        }
        Ok(())
    }
}

/// Seconds from some moment on.
fn seconds() -> Result<f64> {
    if std::env::var("REC_ANN_CLOCK").is_ok_and(|clock| clock == "processor") {
        // Fields 14 and 15 of proc(5), counted behind the program's name: hundredths of seconds in user and in kernel mode.
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        return Ok(fields.map(str::parse::<f64>).sum::<Result<f64, _>>()? / 100.0);
    }
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}
