//! Augmentations of a sequence: another sequence that the same user might have had. Xie et al., ICDE 2022, arXiv:2010.14395, section 3.3.

use rec_data::rng::Rng;
use serde::{Deserialize, Serialize};

/// What is done to a sequence of n items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Augmentation {
    /// max(1, ⌊ratio·n⌋) items in a row are kept.
    Crop,
    /// ⌊ratio·n⌋ items, each equally likely, are hidden.
    Mask,
    /// ⌊ratio·n⌋ items in a row come in another order.
    Reorder,
}

impl Augmentation {
    /// The augmented sequence; `None` is a hidden item. It is never empty where `items` is not.
    pub fn apply(self, items: &[u32], ratio: f64, rng: &mut Rng) -> Vec<Option<u32>> {
        let n = items.len();
        let part = (ratio * n as f64) as usize;
        let mut start_of = |length: usize| rng.below((n - length + 1) as u32) as usize;
        let shown = |items: &[u32]| items.iter().copied().map(Some).collect::<Vec<_>>();
        match self {
            Augmentation::Crop => {
                let length = part.clamp(n.min(1), n);
                let start = start_of(length);
                shown(&items[start..start + length])
            }
            Augmentation::Reorder => {
                let length = part.min(n);
                let start = start_of(length);
                let mut view = items.to_vec();
                rng.shuffle(&mut view[start..start + length]);
                shown(&view)
            }
            Augmentation::Mask => {
                let mut places: Vec<usize> = (0..n).collect();
                rng.shuffle(&mut places);
                let mut view = shown(items);
                places[..part.min(n)].iter().for_each(|&at| view[at] = None);
                view
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
    use rec_data::rng::{Rng, Stream};

    use super::Augmentation;

    proptest! {
        #[test]
        fn a_view_is_what_its_augmentation_says(items in prop::collection::vec(0u32..9, 1..30), ratio in 0.0f64..=1.0, key in any::<u64>()) {
            let rng = || Rng::keyed(key, Stream::Views, 0, 0);
            let part = (ratio * items.len() as f64) as usize;

            let crop = Augmentation::Crop.apply(&items, ratio, &mut rng());
            prop_assert_eq!(crop.len(), part.max(1));
            prop_assert!(items.windows(crop.len()).any(|window| window.iter().zip(&crop).all(|(&item, &shown)| shown == Some(item))));

            let masked = Augmentation::Mask.apply(&items, ratio, &mut rng());
            prop_assert_eq!((masked.len(), masked.iter().filter(|item| item.is_none()).count()), (items.len(), part));
            prop_assert!(masked.iter().zip(&items).all(|(shown, item)| shown.is_none_or(|shown| shown == *item)));

            let reordered: Vec<u32> = Augmentation::Reorder.apply(&items, ratio, &mut rng()).into_iter().flatten().collect();
            let moved = || (0..items.len()).filter(|&at| reordered[at] != items[at]);
            prop_assert!(moved().next_back().is_none_or(|last| last - moved().next().unwrap_or(last) < part));
            let sorted = |items: &[u32]| { let mut items = items.to_vec(); items.sort_unstable(); items };
            prop_assert_eq!(sorted(&reordered), sorted(&items));
        }
    }

    #[test]
    fn every_part_and_every_order_comes() {
        let items = [1, 2, 3, 4];
        let mut seen = [const { std::collections::BTreeSet::new() }; 3];
        for key in 0..400 {
            for (seen, augmentation) in seen.iter_mut().zip([Augmentation::Crop, Augmentation::Mask, Augmentation::Reorder]) {
                seen.insert(augmentation.apply(&items, 0.5, &mut Rng::keyed(key, Stream::Views, 0, 0)));
            }
        }
        // Three windows of two; six pairs of places; the sequence itself and three neighbours swapped.
        assert_eq!(seen.map(|views| views.len()), [3, 6, 4]);
    }
}
