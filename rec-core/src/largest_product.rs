//! The best item of each row, from vectors: argmax over items of E h + b, without a matrix of all scores. Scores of some rows at a time
//! are made and looked through where they lie; memory is that of one such part.

use anyhow::Result;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::full_softmax::PART;
use crate::params::slice;
use crate::simd::{largest, vectorised};

/// Scores that are looked through at once for the place of the largest.
const BLOCK: usize = 64;

/// The item with the largest items · h + bias of each row; of equal ones the lowest, and 0 where all are NaN. A constant: no gradient.
///
/// # Shapes
/// `hidden` `[P, d]`, `items` `[I, d]`, `bias` `[I]`; returns `[P]`
///
/// # Errors
/// where shapes do not fit, or there is no item; libtorch's own.
pub fn largest_product(hidden: &Tensor, items: &Tensor, bias: &Tensor) -> Result<Vec<u32>> {
    let ((rows, d), (num_items, width)) = (hidden.size2()?, items.size2()?);
    anyhow::ensure!(d == width, "rows have {d} numbers, items {width}");
    anyhow::ensure!(num_items > 0 && bias.size() == [num_items], "{num_items} items have biases of the shape {:?}", bias.size());
    tch::no_grad(|| {
        let (items, ours) = (items.f_tr()?, hidden.device() == Device::Cpu && hidden.kind() == Kind::Float);
        let part = (PART as i64 / num_items).clamp(1, rows.max(1));
        let space = Tensor::f_empty([part, num_items], (hidden.kind(), hidden.device()))?;
        let mut best = Vec::with_capacity(rows as usize);
        for first in (0..rows).step_by(part as usize) {
            let n = part.min(rows - first);
            let scores = bias.f_addmm_out(&space.f_narrow(0, 0, n)?, &hidden.f_narrow(0, first, n)?, &items)?;
            if ours {
                best.par_extend(slice(&scores).par_chunks(num_items as usize).with_min_len(8).map(place_of_largest));
            } else {
                best.extend(Vec::<i64>::try_from(scores.f_argmax(1, false)?)?.into_iter().map(|item| item as u32));
            }
        }
        Ok(best)
    })
}

fn place_of_largest(scores: &[f32]) -> u32 {
    vectorised(
        #[inline(always)]
        || {
            let most = largest(scores);
            // Blocks are looked at whole, without a way out in the middle: only so does the compiler vectorise it.
            let block = scores.chunks(BLOCK).position(|block| block.iter().fold(false, |found, &score| found | (score == most)));
            let first = block.unwrap_or(0) * BLOCK;
            (first + scores[first..].iter().position(|&score| score == most).unwrap_or(0)) as u32
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_items_are_those_of_all_scores() {
        tch::manual_seed(5);
        // The last case has more scores than one part holds.
        for (rows, num_items, d) in [(0, 3, 2), (1, 1, 1), (37, 301, 9), (3_000, 3_000, 4)] {
            let random = |shape: [i64; 2]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
            let (hidden, items, bias) = (random([rows, d]), random([num_items, d]), random([num_items, 1]).view([-1]));
            let found = largest_product(&hidden, &items, &bias).expect("fits");
            let all: Vec<i64> = (hidden.matmul(&items.tr()) + &bias).argmax(1, false).try_into().expect("whole numbers");
            assert_eq!(found, all.iter().map(|&item| item as u32).collect::<Vec<_>>(), "{rows} × {num_items}");
            let again = largest_product(&hidden.to_kind(Kind::Double), &items.to_kind(Kind::Double), &bias.to_kind(Kind::Double));
            assert_eq!(found, again.expect("fits"));
        }
    }

    #[test]
    fn of_equal_items_the_lowest_is_taken_and_what_does_not_fit_is_refused() {
        let t = |r, c| Tensor::ones([r, c], (Kind::Float, Device::Cpu));
        let bias = Tensor::from_slice(&[vec![0f32; 70], vec![1.0; 70]].concat());
        assert_eq!(largest_product(&t(2, 3), &t(140, 3), &bias).expect("fits"), [70, 70]);
        assert_eq!(largest_product(&(t(1, 3) * f64::NAN), &t(140, 3), &bias).expect("fits"), [0]);
        assert!(largest_product(&t(2, 3), &t(140, 4), &bias).is_err());
        assert!(largest_product(&t(2, 3), &t(5, 3), &bias).is_err());
    }
}
