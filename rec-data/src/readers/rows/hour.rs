//! Hours written YYMMDDHH, as Avazu's, and what the calendar says of a time.

use crate::Vocabulary;

const DAY: i64 = 86_400;

/// Seconds since 1970 at the start of the hour, as if it were one of UTC; `None` where it is no hour of the years 2000 to 2099.
pub(super) fn seconds(field: &[u8]) -> Option<i64> {
    if field.len() != 8 || !field.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let two = |at: usize| i64::from(field[at] - b'0') * 10 + i64::from(field[at + 1] - b'0');
    let (year, month, day, hour) = (2000 + two(0), two(2), two(4), two(6));
    let leap = i64::from(year % 4 == 0);
    let days = [31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if !(1..=12).contains(&month) || !(1..=days[month as usize - 1]).contains(&day) || hour > 23 {
        return None;
    }
    // From 1970 to 2000 there are 10,957 days; of the years before this one in the century each fourth, from 2000 on, is a leap year.
    let since_2000 = year - 2000;
    let days = 10_957 + 365 * since_2000 + (since_2000 + 3) / 4 + days[..month as usize - 1].iter().sum::<i64>() + day - 1;
    Some(days * DAY + hour * 3600)
}

/// The hour of the day, the day of the week (0 is Sunday), and whether it is Saturday or Sunday.
pub(super) fn calendar(time: i64) -> [u32; 3] {
    let hour = time.rem_euclid(DAY) / 3600;
    // The first of January 1970 was a Thursday.
    let weekday = (time.div_euclid(DAY) + 4).rem_euclid(7);
    [hour as u32, weekday as u32, u32::from(weekday == 0 || weekday == 6)]
}

/// The names of what [`calendar`] says, and its categories.
pub(super) fn features() -> [(&'static str, Vocabulary); 3] {
    [("hour", (0..24).map(|hour| format!("{hour:02}")).collect()), ("weekday", Vocabulary::numbers(7)), ("weekend", Vocabulary::numbers(2))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_those_of_pythons_calendar() {
        // datetime(2000 + yy, mm, dd, hh, tzinfo=timezone.utc).timestamp(), and strftime("%w") of it.
        for (text, time, weekday) in [
            ("14102100", 1_413_849_600, 2),
            ("14102523", 1_414_278_000, 6),
            ("00010100", 946_684_800, 6),
            ("00022912", 951_825_600, 2),
            ("01030100", 983_404_800, 4),
            ("16123123", 1_483_225_200, 6),
            ("99123100", 4_102_358_400, 4),
        ] {
            assert_eq!(seconds(text.as_bytes()), Some(time), "{text}");
            let [hour, day, weekend] = calendar(time);
            assert_eq!((format!("{hour:02}"), day, weekend), (text[6..].into(), weekday, u32::from(weekday % 6 == 0)), "{text}");
        }
        for wrong in ["", "1410210", "141021000", "14132100", "14102124", "15022900", "14 02100", "14100000"] {
            assert_eq!(seconds(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
