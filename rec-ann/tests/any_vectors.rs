//! Every index on vectors of any kind: none, one, doubles, zeros, and what is no number.

use proptest::prelude::*;
use rec_ann::{
    Bits, Flat, Forest, ForestConfig, Hnsw, HnswConfig, Index, Ivf, IvfConfig, IvfPq, IvfPqConfig, Metric, Neighbour, Pq, PqConfig,
    Precision, QuantiserConfig, Subset,
};

/// Every kind of index, set so that it looks at every vector there is.
fn all(vectors: &[f32], dim: usize, metric: Metric) -> anyhow::Result<Vec<Box<dyn Index>>> {
    let mut out: Vec<Box<dyn Index>> = Vec::new();
    let n = vectors.len() / dim.max(1);
    for precision in [Precision::Float, Precision::Byte] {
        out.push(Box::new(Flat::with_precision(vectors, dim, metric, precision)?));
        out.push(Box::new(Hnsw::new(vectors, dim, metric, HnswConfig { ef: n.max(1), precision, ..HnswConfig::default() })?));
        let config = ForestConfig { trees: 3, leaf_size: 4, search_k: usize::MAX, precision, ..ForestConfig::default() };
        out.push(Box::new(Forest::new(vectors, dim, metric, config)?));
        out.push(Box::new(Ivf::new(vectors, dim, metric, IvfConfig { cells: 3, probes: 3, precision, ..IvfConfig::default() })?));
    }
    for bits in [Bits::Four, Bits::Eight] {
        let quantiser = QuantiserConfig { bits, rotations: 1, ..QuantiserConfig::default() };
        let rerank = n.max(1);
        out.push(Box::new(Pq::new(vectors, dim, metric, PqConfig { quantiser: quantiser.clone(), rerank })?));
        out.push(Box::new(IvfPq::new(
            vectors,
            dim,
            metric,
            IvfPqConfig { cells: 3, probes: 3, quantiser, rerank, ..IvfPqConfig::default() },
        )?));
    }
    Ok(out)
}

/// Whether the distances are those of `exact`, position by position, to `error`; which of equally near vectors is found is left open.
fn as_near(found: &[Neighbour], exact: &[Neighbour], error: f32) -> bool {
    found.len() == exact.len() && found.iter().zip(exact).all(|(f, e)| (f.distance - e.distance).abs() <= error)
}

fn metrics() -> impl Strategy<Value = Metric> {
    prop_oneof![Just(Metric::L2), Just(Metric::InnerProduct), Just(Metric::Cosine)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    // Few different values, so that doubles, zero vectors and equal distances are common.
    #[test]
    fn what_looks_at_everything_finds_the_nearest(
        metric in metrics(), dim in 1usize..6, k in 0usize..12,
        values in prop::collection::vec(-2i8..3, 0..150), query in prop::collection::vec(-2i8..3, 5), share in 1u32..4,
    ) {
        let vectors: Vec<f32> = values[..values.len() / dim * dim].iter().map(|&v| f32::from(v)).collect();
        let query: Vec<f32> = query[..dim].iter().map(|&v| f32::from(v)).collect();
        let within = Subset::of(vectors.len() / dim, |id| id % share == 0);
        let flat = Flat::new(&vectors, dim, metric).expect("finite");
        for (i, index) in all(&vectors, dim, metric).expect("finite").iter().enumerate() {
            prop_assert_eq!(index.len(), vectors.len() / dim);
            for within in [None, Some(&within)] {
                let exact = flat.search(&query, k, within).expect("finite");
                let found = index.search(&query, k, within).expect("finite");
                // The eight first kinds come with floats and then with bytes; steps of bytes are 4/255 at most here.
                let error = if (4..8).contains(&i) { 0.3 } else { 1e-4 };
                prop_assert!(as_near(&found, &exact, error), "kind {}: {:?} for {:?}", i, found, exact);
                prop_assert!(found.iter().all(|n| within.is_none_or(|within| within.contains(n.id))));
                prop_assert_eq!(&index.search_batch(&query, k, within).expect("finite")[0], &found);
            }
        }
    }

    // At most 25 different vectors: all of them fit the links of a node and the walk, their doubles do not.
    #[test]
    fn a_walk_through_a_graph_finds_the_nearest_however_many_doubles_there_are(
        metric in metrics(), dim in 1usize..3, k in 0usize..20, precision in prop_oneof![Just(Precision::Float), Just(Precision::Byte)],
        values in prop::collection::vec(-2i8..3, 0..400), query in prop::collection::vec(-2i8..3, 2),
    ) {
        let vectors: Vec<f32> = values[..values.len() / dim * dim].iter().map(|&v| f32::from(v)).collect();
        let query: Vec<f32> = query[..dim].iter().map(|&v| f32::from(v)).collect();
        let index = Hnsw::new(&vectors, dim, metric, HnswConfig { ef: 26, precision, ..HnswConfig::default() }).expect("finite");
        let exact = Flat::with_precision(&vectors, dim, metric, precision).expect("finite").search(&query, k, None).expect("finite");
        let found = index.search(&query, k, None).expect("finite");
        prop_assert!(as_near(&found, &exact, 1e-6), "{:?} for {:?}", found, exact);
        prop_assert!((1..found.len()).all(|i| found[..i].iter().all(|before| before.id != found[i].id)));
    }

    #[test]
    fn what_is_no_number_is_refused_with_its_place(metric in metrics(), at in 0usize..40, value in prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY)]) {
        let mut vectors: Vec<f32> = (0..40).map(|i| i as f32).collect();
        let indexes = all(&vectors, 4, metric).expect("finite");
        vectors[at] = value;
        let error = all(&vectors, 4, metric).err().expect("refused").to_string();
        prop_assert!(error.starts_with(&format!("vector {}: value {}", at / 4, at % 4)), "{}", error);
        for index in indexes {
            let error = index.search(&vectors[at / 4 * 4..][..4], 1, None).expect_err("refused").to_string();
            prop_assert!(error.starts_with(&format!("the query: value {}", at % 4)), "{}", error);
            prop_assert!(index.search_batch(&vectors, 1, None).is_err());
        }
    }
}

#[test]
fn queries_of_another_length_are_refused_and_no_queries_have_no_answers() {
    for index in all(&[1.0; 40], 4, Metric::L2).expect("finite") {
        assert!(index.search(&[1.0; 3], 1, None).is_err() && index.search_batch(&[1.0; 7], 1, None).is_err());
        assert!(index.search_batch(&[], 1, None).expect("none").is_empty());
        assert_eq!((index.len(), index.dim(), index.is_empty()), (10, 4, false));
    }
}

#[test]
fn the_largest_lengths_have_distances_and_larger_ones_are_refused() {
    let vectors = [1e18f32, 0.0, -1e18, 0.0, 0.0, 1e-30];
    for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
        for index in all(&vectors, 2, metric).expect("finite") {
            let found = index.search(&[1e18, 1e18], 3, None).expect("finite");
            assert!(found.iter().all(|n| n.distance.is_finite()), "{metric:?} {found:?}");
        }
    }
    for metric in [Metric::L2, Metric::InnerProduct] {
        let error = all(&[1e19, 1e19], 2, metric).err().expect("refused").to_string();
        assert!(error.contains("scale the vectors down"), "{error}");
    }
}

#[test]
fn a_file_of_every_kind_is_opened_by_its_own_description_and_refused_where_it_was_cut_or_changed() {
    let temp = tempfile::tempdir().expect("temp");
    let path = temp.path().join("index");
    let vectors: Vec<f32> = (0..60 * 4).map(|i| (i as f32 * 0.37).sin()).collect();
    for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
        for index in all(&vectors, 4, metric).expect("finite") {
            index.save(&path).expect("saved");
            let opened = rec_ann::open(&path).expect("whole");
            assert_eq!((opened.len(), opened.dim(), opened.metric()), (60, 4, metric));
            assert_eq!(opened.search_batch(&vectors, 5, None).expect("finite"), index.search_batch(&vectors, 5, None).expect("finite"));
        }
    }
    for index in all(&vectors[..40], 4, Metric::L2).expect("finite") {
        index.save(&path).expect("saved");
        let mut bytes = std::fs::read(&path).expect("there");
        for at in (0..bytes.len()).step_by(41) {
            std::fs::write(&path, &bytes[..at]).expect("written");
            assert!(rec_ann::open(&path).is_err(), "length {at} of {}", bytes.len());
        }
        for at in (0..bytes.len()).step_by(61) {
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).expect("written");
            assert!(rec_ann::open(&path).is_err(), "byte {at}");
            bytes[at] ^= 0x10;
        }
    }
    let missing = temp.path().join("no/such/folder");
    let error = all(&vectors, 4, Metric::L2).expect("finite")[0].save(&missing).expect_err("no folder").to_string();
    assert!(error.contains("cannot write the index") && error.contains("folder"), "{error}");
}
