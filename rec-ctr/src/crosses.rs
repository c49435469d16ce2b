//! Crossed features: a pair of features of two fields is a feature of its own, by a hash.

use rec_data::csr::Csr;
use xxhash_rust::xxh3::xxh3_64;

/// The crosses of each of `rows` rows: of every pair of `pairs` of fields, each feature of the first with each of the second, its
/// value being the product of theirs. A cross is one of `buckets` by a hash of both features.
pub(crate) fn crosses(entries: &Csr, rows: usize, pairs: &[(usize, usize)], buckets: u32) -> Csr {
    let fields = entries.num_rows() / rows.max(1);
    let (mut starts, mut columns, mut values) = (vec![0], Vec::with_capacity(rows * pairs.len()), Vec::new());
    let valued = !entries.values().is_empty();
    for row in 0..rows {
        for &(left, right) in pairs {
            let (left, right) = (row * fields + left, row * fields + right);
            for (a, &from) in entries.row(left).iter().enumerate() {
                for (b, &to) in entries.row(right).iter().enumerate() {
                    columns.push(bucket(from, to, buckets));
                    if valued {
                        values.push(entries.row_values(left)[a] * entries.row_values(right)[b]);
                    }
                }
            }
        }
        starts.push(columns.len());
    }
    Csr::from_parts(starts, columns, values, buckets as usize)
}

fn bucket(left: u32, right: u32, buckets: u32) -> u32 {
    let key = (u64::from(left) << 32 | u64::from(right)).to_le_bytes();
    (xxh3_64(&key) % u64::from(buckets)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_of_one_field_meets_every_one_of_the_other() {
        // Two rows of three fields; the second field has two features of weight one half.
        let entries =
            Csr::from_parts(vec![0, 1, 3, 4, 5, 7, 8], vec![0, 3, 4, 7, 1, 3, 5, 8], vec![1.0, 0.5, 0.5, 2.0, 1.0, 0.5, 0.5, 3.0], 9);
        let made = crosses(&entries, 2, &[(0, 1), (1, 2)], 1 << 20);
        assert_eq!(made.starts(), [0, 4, 8]);
        let expected = [(0, 3), (0, 4), (3, 7), (4, 7), (1, 3), (1, 5), (3, 8), (5, 8)].map(|(a, b)| bucket(a, b, 1 << 20));
        assert_eq!(made.columns(), expected);
        assert_eq!(made.values(), [0.5, 0.5, 1.0, 1.0, 0.5, 0.5, 1.5, 1.5]);
    }
}
