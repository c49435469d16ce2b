//! A map as a part of a page: the picture, its legend, its caption, its numbers.

use std::fmt::Write;

use anyhow::Result;

use super::{ItemMap, Items, NEIGHBOURS, Purity, Share};
use crate::page::escape;
use crate::plot::{Dot, dots, legend};

/// Items that carry a number in the picture and are named beneath it: the most popular.
const NAMED: usize = 10;

impl Items {
    /// The drawn items where `map` places them.
    ///
    /// # Errors
    /// as [`dots`].
    pub fn picture(&self, map: &ItemMap) -> Result<String> {
        let points: Vec<Dot> = self.drawn().iter().zip(&map.places).map(|(&item, &at)| Dot { at, colour: self.colour(item) }).collect();
        dots(&points, NAMED)
    }

    /// What the colours and the numbers stand for, and what is drawn: the same for every model.
    pub fn legend(&self) -> String {
        let (all, drawn) = (self.all().len(), self.drawn().len());
        let mut entries: Vec<(Option<usize>, String)> = Vec::new();
        if let Some(genres) = self.genres() {
            let names = self.coloured().iter().enumerate();
            entries.extend(names.map(|(at, &(genre, count))| (Some(at), format!("{} {count}", genres.name(genre)))));
            let others = drawn - self.coloured().iter().map(|(_, count)| count).sum::<usize>();
            entries.push((None, format!("others {others}")));
        }
        let named = self.drawn().iter().take(NAMED).enumerate();
        let named: Vec<String> = named.map(|(at, &item)| format!("{}&nbsp;{}", at + 1, escape(self.title(item)))).collect();
        let which = if drawn < all { format!("the {drawn} most popular of {all} items") } else { format!("the {all} items") };
        let colours = if self.genres().is_some() {
            " The colour is an item's first genre."
        } else {
            " The data has no feature <code>genres</code> or <code>genre</code>."
        };
        format!(
            "{}<p>t-SNE of {which} with a training row: near points stand for vectors of a large cosine; how far apart distant ones are \
             says little.{colours} Most popular: {}.</p>",
            if entries.is_empty() { String::new() } else { legend(&entries) },
            named.join(", ")
        )
    }
}

/// The purity of each of `rows` beside chance, and what both are; nothing where no row has one.
pub fn purities(rows: &[(&str, Option<&Purity>)]) -> String {
    let mut lines = String::new();
    for (name, purity) in rows {
        let Some(Purity { all, popular, rare }) = purity else { continue };
        let _ = write!(lines, "<tr><td>{}</td>", escape(name));
        for Share { items, purity, chance } in [all, popular, rare] {
            let _ = write!(lines, "<td class=n>{purity:.3}</td><td class=n>{chance:.3}</td><td class=n>{items}</td>");
        }
        lines.push_str("</tr>");
    }
    if lines.is_empty() {
        return lines;
    }
    let head = ["all", "popular half", "rare half"].map(|of| format!("<th class=n>{of}</th><th class=n>chance</th><th class=n>items</th>"));
    format!(
        "<table><tr><th>neighbour purity by genre</th>{}</tr>{lines}</table><p>Purity: the mean over items with a genre of the share of \
         their {NEIGHBOURS} nearest others (cosine of the vectors, not places of the picture) that have a genre in common with them. Chance: \
         the same for neighbours drawn at random. Halves by training rows.</p>",
        head.concat()
    )
}

#[cfg(test)]
mod tests {
    use rec_core::model::Vectors;
    use rec_data::features::{Feature, Features};
    use rec_data::{Interactions, Vocabulary};

    use super::*;

    /// Forty items of twelve genres, item i of genre i mod 12 and of the last one; item 39 has no training row.
    fn items() -> (Interactions, Vec<u32>) {
        let genres = Feature::Tokens {
            ends: (1..=40).map(|i| 2 * i).collect::<Vec<_>>().into(),
            values: (0..40).flat_map(|i| [i % 12, 12]).collect::<Vec<_>>().into(),
            vocabulary: (0..13).map(|g| format!("<g{g}>")).collect(),
        };
        let title = Feature::Text((0..40).map(|i| format!("Title & {i}")).collect());
        let data = Interactions {
            item_ids: Vocabulary::numbers(40),
            item_features: Features { columns: vec![("title".into(), title), ("genre".into(), genres)] },
            ..Interactions::default()
        };
        (data, (0..40).map(|i| 39 - i).collect())
    }

    #[test]
    fn a_map_shows_the_items_with_a_training_row_in_the_colours_of_their_first_genres() {
        let (data, rows) = items();
        let items = Items::new(&data, &rows).expect("enough items");
        assert_eq!((items.drawn().len(), items.drawn()[0], items.title(7)), (39, 0, "Title & 7"));
        // Items 0, 12, 24 and 36 are of genre 0; genres 10 and 11, of three items each as 3 to 9 are, come too late for a colour.
        assert_eq!(items.coloured()[..4], [(0, 4), (1, 4), (2, 4), (3, 3)]);
        assert_eq!((items.colour(12), items.colour(9), items.colour(10)), (Some(0), Some(9), None));

        let values: Vec<f32> = (0..40).flat_map(|i| [(i as f32).cos(), (i as f32).sin()]).collect();
        let map = items.map(&Vectors { dim: 2, values: values.into() }).expect("finite");
        let picture = items.picture(&map).expect("drawn");
        assert_eq!(picture.matches("<circle").count(), 39);
        assert_eq!(picture.matches("<text").count(), 10);
        let legend = items.legend();
        for part in ["&lt;g0&gt; 4<", "others 6<", "the 39 items", "1&nbsp;Title &amp; 0, 2&nbsp;"] {
            assert!(legend.contains(part), "{part} in {legend}");
        }
        // All share the last genre, so all neighbours do, drawn ones too.
        let purity = map.purity.expect("genres");
        assert_eq!((purity.all.purity, purity.all.chance, purity.popular.items, purity.rare.items), (1.0, 1.0, 20, 19));
        let table = purities(&[("<mine>", Some(&purity)), ("theirs", None)]);
        assert!(table.contains("<tr><td>&lt;mine&gt;</td><td class=n>1.000</td><td class=n>1.000</td><td class=n>39</td>"), "{table}");
        assert!(!table.contains("theirs") && purities(&[("theirs", None)]).is_empty());
    }

    #[test]
    fn without_genres_there_is_a_picture_and_no_purity_and_of_few_items_no_picture() {
        let data = Interactions { item_ids: Vocabulary::numbers(40), ..Interactions::default() };
        let items = Items::new(&data, &[1; 40]).expect("enough items");
        let values: Vec<f32> = (0..40).flat_map(|i| [(i as f32).cos(), (i as f32).sin()]).collect();
        let map = items.map(&Vectors { dim: 2, values: values.into() }).expect("finite");
        assert!(map.purity.is_none() && items.picture(&map).expect("drawn").contains("<circle"));
        assert!(items.legend().contains("no feature <code>genres</code>") && items.title(3) == "3");
        let six: Vec<u32> = (0..40).map(|i| u32::from(i < 6)).collect();
        assert!(Items::new(&data, &six).is_none());
    }
}
