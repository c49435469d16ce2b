//! MovieLens in its three dialects: 100K (`u.data`, `u.user`, `u.item`), 1M and 10M (`*.dat` with `::`), and the CSV files of later
//! releases.
//!
//! Users and items are numbered by first appearance in the ratings; those without a rating are left out. Raw ids are MovieLens's.
//! Features: of users `age`, `gender`, `occupation`, `zip` (not in 10M and the CSV dialect; 1M's ages and occupations are codes); of items
//! `title`, `year` (from the title's last parentheses), `genres`, and in 100K `release_date`.

use anyhow::Result;
use csv::ByteRecord;

use super::ids::Appearance;
use super::side::{Meaning, Side};
use super::text::{Line, Parsed, Text, decode, excerpt};
use super::{delimited, text};
use crate::features::Features;
use crate::{Interactions, problem};

/// The genres of 100K's flags, in the order of `u.genre`.
const GENRES: [&str; 19] = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
];

const USER: [(&str, Meaning); 4] =
    [("age", Meaning::Number), ("gender", Meaning::Token), ("occupation", Meaning::Token), ("zip", Meaning::Token)];
/// 1M's ages are codes of ranges, so they are categories.
const USER_CODED: [(&str, Meaning); 4] =
    [("age", Meaning::Token), ("gender", Meaning::Token), ("occupation", Meaning::Token), ("zip", Meaning::Token)];
const ITEM: [(&str, Meaning); 3] = [("title", Meaning::Text), ("year", Meaning::Number), ("genres", Meaning::Tokens('|'))];
const ITEM_DATED: [(&str, Meaning); 4] = [ITEM[0], ITEM[1], ITEM[2], ("release_date", Meaning::Text)];

/// MovieLens 100K: tab-separated ratings, `|`-separated users and items, the latter in Latin-1.
///
/// # Errors
/// a data problem that names file, line and text.
pub fn read_100k(ratings: Text<'_>, users: Text<'_>, items: Text<'_>) -> Result<Parsed> {
    let rows = Rows::read(ratings, |line| line.fields::<4>(b'\t'))?;
    let user_features = side(users.path, users.bytes, &USER, &rows.user_ids, "user", |line, row| {
        let [id, age, gender, occupation, zip] = line.fields::<5>(b'|')?;
        row.extend(line.texts([age, gender, occupation, zip])?);
        line.id(id, "user id")
    })?;
    let items_text = decode(items.bytes);
    let item_features = side(items.path, items_text.as_bytes(), &ITEM_DATED, &rows.item_ids, "item", |line, row| {
        let fields = line.fields::<24>(b'|')?;
        let title = line.text(fields[1], "title")?.trim();
        let mut genres = Vec::new();
        for (flag, genre) in fields[5..].iter().zip(GENRES) {
            match *flag {
                b"0" => {}
                b"1" => genres.push(genre),
                other => return Err(line.problem(format_args!("the flag of genre `{genre}` is {}, not 0 or 1", excerpt(other)))),
            }
        }
        row.extend([title.to_owned(), year(title).to_owned(), genres.join("|"), line.text(fields[2], "release date")?.to_owned()]);
        line.id(fields[0], "item id")
    })?;
    rows.finish(user_features, item_features)
}

/// MovieLens 1M: `::` between fields, movies in Latin-1.
///
/// # Errors
/// a data problem that names file, line and text.
pub fn read_1m(ratings: Text<'_>, users: Text<'_>, items: Text<'_>) -> Result<Parsed> {
    let rows = Rows::read(ratings, |line| line.double_colon_fields::<4>())?;
    let user_features = side(users.path, users.bytes, &USER_CODED, &rows.user_ids, "user", |line, row| {
        let [id, gender, age, occupation, zip] = line.double_colon_fields::<5>()?;
        row.extend(line.texts([age, gender, occupation, zip])?);
        line.id(id, "user id")
    })?;
    let item_features = movies_dat(items, &rows.item_ids)?;
    rows.finish(user_features, item_features)
}

/// MovieLens 10M: as 1M, with half stars and without a file of users.
///
/// # Errors
/// a data problem that names file, line and text.
pub fn read_10m(ratings: Text<'_>, items: Text<'_>) -> Result<Parsed> {
    let rows = Rows::read(ratings, |line| line.double_colon_fields::<4>())?;
    let item_features = movies_dat(items, &rows.item_ids)?;
    rows.finish(Features::default(), item_features)
}

fn movies_dat(items: Text<'_>, ids: &Appearance) -> Result<Features> {
    let text = decode(items.bytes);
    side(items.path, text.as_bytes(), &ITEM, ids, "item", |line, row| {
        let [id, title, genres] = line.double_colon_fields::<3>()?;
        let title = line.text(title, "title")?.trim();
        let genres = line.text(genres, "genres")?.replace("(no genres listed)", "");
        row.extend([title.to_owned(), year(title).to_owned(), genres]);
        line.id(id, "item id")
    })
}

/// The CSV files of MovieLens's later releases: `ratings.csv` and `movies.csv`.
///
/// # Errors
/// a data problem that names file, line and text.
pub fn read_csv(ratings: Text<'_>, items: Text<'_>) -> Result<Parsed> {
    let mut rows = Rows::with_capacity(ratings.num_lines());
    for_each_record(ratings, ["userId", "movieId", "rating", "timestamp"], |line, [user, item, rating, time]| {
        rows.push(&line, user, item, rating, time)
    })?;
    let mut side = Side::new(rows.item_ids.len(), ITEM);
    for_each_record(items, ["movieId", "title", "genres"], |line, [id, title, genres]| {
        if let Some(row) = rows.item_ids.get(line.id(id, "movieId")?) {
            let title = line.text(title, "title")?.trim().to_owned();
            let genres = line.text(genres, "genres")?.replace("(no genres listed)", "");
            let year = year(&title).to_owned();
            if !side.set(row, [title, year, genres]) {
                return Err(line.problem(format_args!("the item {} is listed a second time", excerpt(id))));
            }
        }
        Ok(())
    })?;
    rows.finish(Features::default(), side.finish())
}

/// The year in the last parentheses of a title: `"Toy Story (1995)"` → `"1995"`, or nothing.
fn year(title: &str) -> &str {
    title
        .rsplit('(')
        .filter_map(|tail| tail.split(')').next())
        .find(|inner| inner.len() == 4 && inner.bytes().all(|b| b.is_ascii_digit()))
        .unwrap_or("")
}

impl<'a> Line<'a> {
    fn texts<const N: usize>(&self, fields: [&'a [u8]; N]) -> Result<[String; N]> {
        let mut texts = [const { String::new() }; N];
        for (text, field) in texts.iter_mut().zip(fields) {
            *text = self.text(field, "field")?.to_owned();
        }
        Ok(texts)
    }
}

/// Ratings under construction.
#[derive(Default)]
struct Rows {
    user_ids: Appearance,
    item_ids: Appearance,
    users: Vec<u32>,
    items: Vec<u32>,
    values: Vec<f32>,
    times: Vec<i64>,
}

impl Rows {
    fn with_capacity(n: usize) -> Self {
        Self {
            users: Vec::with_capacity(n),
            items: Vec::with_capacity(n),
            values: Vec::with_capacity(n),
            times: Vec::with_capacity(n),
            ..Self::default()
        }
    }

    fn read<'a>(ratings: Text<'a>, fields: impl Fn(&Line<'a>) -> Result<[&'a [u8]; 4]>) -> Result<Self> {
        let mut rows = Self::with_capacity(ratings.num_lines());
        for line in ratings.lines() {
            let [user, item, rating, time] = fields(&line)?;
            rows.push(&line, user, item, rating, time)?;
        }
        Ok(rows)
    }

    fn push(&mut self, line: &Line<'_>, user: &[u8], item: &[u8], rating: &[u8], time: &[u8]) -> Result<()> {
        self.users.push(self.user_ids.number(line.id(user, "user id")?));
        self.items.push(self.item_ids.number(line.id(item, "item id")?));
        self.values.push(line.rating(rating)?);
        self.times.push(line.time(time)?);
        Ok(())
    }

    fn finish(self, user_features: Features, item_features: Features) -> Result<Parsed> {
        let interactions = Interactions {
            user_ids: self.user_ids.vocabulary(),
            item_ids: self.item_ids.vocabulary(),
            users: self.users.into(),
            items: self.items.into(),
            values: Some(self.values.into()),
            times: Some(self.times.into()),
            user_features,
            item_features,
            ..Interactions::default()
        };
        Ok(Parsed { interactions, candidates: None })
    }
}

/// Reads a side file whose `parse` fills a row's texts and returns its id.
fn side(
    path: &str,
    bytes: &[u8],
    columns: &[(&'static str, Meaning)],
    ids: &Appearance,
    what: &str,
    parse: impl Fn(&Line<'_>, &mut Vec<String>) -> Result<u32>,
) -> Result<Features> {
    let mut side = Side::new(ids.len(), columns.iter().copied());
    let mut row = Vec::new();
    for line in (Text { path, bytes }).lines() {
        row.clear();
        let id = parse(&line, &mut row)?;
        if let Some(number) = ids.get(id)
            && !side.set(number, row.drain(..))
        {
            return Err(line.problem(format_args!("the {what} `{id}` is listed a second time")));
        }
    }
    Ok(side.finish())
}

/// Calls `each` with the named columns of every record of a CSV file.
fn for_each_record<'a, const N: usize>(
    file: Text<'a>,
    names: [&str; N],
    mut each: impl FnMut(Line<'_>, [&[u8]; N]) -> Result<()>,
) -> Result<()> {
    let mut reader = csv::ReaderBuilder::new().from_reader(file.bytes);
    let header = reader.byte_headers().map_err(|e| delimited::csv_problem(file.path, &e))?.clone();
    let mut columns = [0; N];
    for (column, name) in columns.iter_mut().zip(names) {
        *column = text::find_column(file.path, header.iter(), name)?;
    }
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|e| delimited::csv_problem(file.path, &e))? {
        let number = record.position().map_or(0, |p| p.line() as usize);
        let line = Line { path: file.path, number, bytes: record.as_slice() };
        let mut fields = [&[][..]; N];
        for ((field, &column), name) in fields.iter_mut().zip(&columns).zip(names) {
            *field = record.get(column).ok_or_else(|| problem!(Data, "{}:{number}: no column `{name}`", file.path))?;
        }
        each(line, fields)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::readers::mangled::mangled;

    const DATA: &[u8] = b"2\t7\t3\t881250949\n1\t7\t5\t881250950\n2\t9\t1\t881250951\n";
    const USERS: &[u8] = b"1|24|M|technician|85711\n2|53|F|other|94043\n3|9|M|none|0\n";
    const ITEMS: &[u8] = b"7|Mis\xe9rables, Les (1995)|01-Jan-1995||http://x|0|1|0|0|0|0|0|0|1|0|0|0|0|0|0|0|0|0|0\n9|unknown||||1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n";
    const RATINGS_DAT: &[u8] = b"2::7::3::881250949\r\n1::7::5::881250950\r\n2::9::1::881250951\r\n";
    const USERS_DAT: &[u8] = b"1::F::1::10::48067\n2::M::56::16::70072\n";
    const MOVIES_DAT: &[u8] = b"7::Toy: Story (1995)::Animation|Comedy\n8::Unrated (1990)::War\n9::Mis\xe9rables, Les (1998)::Drama\n";
    const RATINGS_CSV: &[u8] = b"userId,movieId,rating,timestamp\n2,7,3.5,881250949\n1,7,5.0,881250950\n";
    const MOVIES_CSV: &[u8] = b"movieId,title,genres\n7,\"American President, The (1995)\",Comedy|Drama\n8,Other,(no genres listed)\n";

    fn text(bytes: &[u8]) -> Text<'_> {
        Text { path: "f", bytes }
    }

    #[test]
    fn the_100k_dialect_is_read_with_its_features() {
        let data = read_100k(text(DATA), text(USERS), text(ITEMS)).expect("valid").interactions;
        assert_eq!((&data.users[..], &data.items[..]), (&[0, 1, 0][..], &[0, 0, 1][..]));
        assert_eq!(data.user_ids.iter().collect::<Vec<_>>(), ["2", "1"]);
        assert_eq!(data.values.as_deref(), Some(&[3., 5., 1.][..]));
        assert_eq!(data.times.as_deref(), Some(&[881250949, 881250950, 881250951][..]));
        let item = |name: &str, row| data.item_features.get(name).expect("feature").text(row);
        assert_eq!(
            (item("title", 0), item("year", 0), item("genres", 0), item("release_date", 0)),
            ("Misérables, Les (1995)".into(), "1995".into(), "Action|Drama".into(), "01-Jan-1995".into())
        );
        assert_eq!((item("title", 1), item("year", 1), item("genres", 1)), ("unknown".into(), "NaN".into(), "unknown".into()));
        let user = |name: &str, row| data.user_features.get(name).expect("feature").text(row);
        assert_eq!(
            (user("age", 0), user("gender", 0), user("occupation", 1), user("zip", 1)),
            ("53".into(), "F".into(), "technician".into(), "85711".into())
        );
    }

    #[test]
    fn the_1m_dialect_is_read_with_its_features() {
        let data = read_1m(text(RATINGS_DAT), text(USERS_DAT), text(MOVIES_DAT)).expect("valid").interactions;
        assert_eq!(data.item_ids.iter().collect::<Vec<_>>(), ["7", "9"]);
        let item = |name: &str, row| data.item_features.get(name).expect("feature").text(row);
        assert_eq!(
            (item("title", 0), item("title", 1), item("genres", 0)),
            ("Toy: Story (1995)".into(), "Misérables, Les (1998)".into(), "Animation|Comedy".into())
        );
        assert_eq!(data.user_features.get("age").expect("age").text(0), "56");
    }

    #[test]
    fn the_10m_form_has_half_stars_and_no_users() {
        let ratings = b"1::122::5::838985046\n1::185::3.5::838983525\n2::122::0.5::868245644\n";
        let movies = "122::Boomerang (1992)::Comedy|Romance\n185::Am\u{e9}lie (2001)::(no genres listed)\n".as_bytes();
        let data = read_10m(text(ratings), text(movies)).expect("valid").interactions;
        assert_eq!(data.values.as_deref(), Some(&[5., 3.5, 0.5][..]));
        assert_eq!((&data.users[..], &data.items[..]), (&[0, 0, 1][..], &[0, 1, 0][..]));
        assert_eq!(data.times.as_deref(), Some(&[838985046, 838983525, 868245644][..]));
        let item = |name: &str, row| data.item_features.get(name).expect("feature").text(row);
        assert_eq!(
            (item("title", 1), item("year", 1), item("genres", 0)),
            ("Am\u{e9}lie (2001)".into(), "2001".into(), "Comedy|Romance".into())
        );
        assert_eq!(item("genres", 1), "");
        assert!(data.user_features.get("age").is_none());
        let error = read_10m(text(b"1::122::5\n"), text(movies)).expect_err("short").to_string();
        assert!(error.contains("f:1: 3 columns, not 4"), "{error}");
    }

    #[test]
    fn the_csv_dialect_is_read_with_its_features() {
        let data = read_csv(text(RATINGS_CSV), text(MOVIES_CSV)).expect("valid").interactions;
        assert_eq!(data.values.as_deref(), Some(&[3.5, 5.][..]));
        assert_eq!(data.item_features.get("title").expect("title").text(0), "American President, The (1995)");
        let error = read_csv(text(b"userId,movieID,rating,timestamp\n1,2,3,4\n"), text(MOVIES_CSV)).expect_err("header").to_string();
        assert!(error.contains("no column `movieId`") && error.contains("did you mean `movieID`"), "{error}");
        let error = read_csv(text(b"userId,movieId,rating,timestamp\n1,2,3\n"), text(MOVIES_CSV)).expect_err("short").to_string();
        assert!(error.contains("f:2: 3 columns, not 4"), "{error}");
    }

    #[test]
    fn years_are_in_the_last_parentheses_that_hold_one() {
        assert_eq!(year("Toy Story (1995)"), "1995");
        assert_eq!(year("Land Before Time III (1995) (V)"), "1995");
        assert_eq!(year("2001 (a space odyssey)"), "");
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (ratings, why) in [
            (&b"1\t2\t3\t4\n1\t2\t3\n"[..], "f:2: 3 columns, not 4: `1\\t2\\t3`"),
            (b"1\t-2\t3\t4\n", "f:1: the item id `-2` is negative"),
            (b"1\t2\tNaN\t4\n", "f:1: the rating `NaN` is not a finite number"),
            (b"1\t2\t3\tx\n", "f:1: the time `x` is not a number"),
        ] {
            let error = read_100k(text(ratings), text(USERS), text(ITEMS)).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
        let error =
            read_100k(text(DATA), text(b"1|24|M|technician|85711\n1|24|M|technician|85711\n"), text(ITEMS)).expect_err("twice").to_string();
        assert!(error.contains("f:2: the user `1` is listed a second time"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(a in mangled(DATA), b in mangled(USERS), c in mangled(ITEMS)) {
            let _ = read_100k(text(&a), text(&b), text(&c));
        }

        #[test]
        fn no_bytes_make_the_1m_dialect_panic(a in mangled(RATINGS_DAT), b in mangled(USERS_DAT), c in mangled(MOVIES_DAT)) {
            let _ = read_1m(text(&a), text(&b), text(&c));
            let _ = read_10m(text(&a), text(&c));
        }

        #[test]
        fn no_bytes_make_the_csv_dialect_panic(a in mangled(RATINGS_CSV), b in mangled(MOVIES_CSV)) {
            let _ = read_csv(text(&a), text(&b));
        }
    }
}
