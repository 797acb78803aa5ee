//! A part of each week as YAML says it, and a time, come in; whether the time is inside, and when that changes, goes out.

use jiff::SignedDuration;
use jiff::Timestamp;
use jiff::civil::Time;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::tz::TimeZoneDatabase;

use crate::policy::document;
use crate::policy::problem::Notes;
use crate::policy::problem::advice;

/// Days with the words that documents carry, in the order of the week.
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];
/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// Days searched for the next change: a week, and one more where a window reaches into the next day.
const SEARCHED_DAYS: i64 = 8;

/// Turns of the clock looked at: no zone has more in the searched days.
const TURNS: usize = 2;

/// A compiled part of each week.
#[derive(Clone, Debug)]
pub(super) struct Window {
    zone: TimeZone,
    /// Days on which it begins, by the order of `DAYS`.
    days: [bool; 7],
    /// Minute of the day at which it begins.
    from: u16,
    /// Minute at which it ends; of the next day where it is not after `from`.
    to: u16,
}

impl Window {
    /// Compiles a window; what is wrong with it is noted.
    pub(super) fn new(raw: &document::Window, notes: &mut Notes<'_>) -> Option<Self> {
        let database = TimeZoneDatabase::bundled();
        let zone = database.get(&raw.zone.value).ok();
        if zone.is_none() {
            let known: Vec<_> = database.available().map(|name| name.as_str().to_owned()).collect();
            let near = advice(&raw.zone.value, known.iter().map(String::as_str));
            notes.error(&raw.zone, format!("unknown time zone `{}`; {near}", raw.zone.value));
        }
        let mut days = [raw.days.is_none(); 7];
        if let Some(empty) = raw.days.as_ref().filter(|days| days.value.is_empty()) {
            notes.error(empty, "an empty list names no day: leave `days` out for every day");
        }
        for text in raw.days.iter().flat_map(|days| &days.value) {
            if let Err(message) = add_days(&text.value, &mut days) {
                notes.error(text, message);
            }
        }
        let mut minute = |text: &Option<document::At<String>>, left_out: u16| match text {
            None => left_out,
            Some(text) => minute_of_day(&text.value).unwrap_or_else(|| {
                notes.error(text, format!("`{}` is no time of day, as 08:00", text.value));
                0
            }),
        };
        let (from, to) = (minute(&raw.from, 0), minute(&raw.to, DAY));
        Some(Self { zone: zone?, days, from, to })
    }

    /// Whether the time is inside.
    pub(super) fn contains(&self, now: Timestamp) -> bool {
        let local = now.to_zoned_datetime(self.zone.clone());
        let minute = minutes(local.time());
        let begins = |day: Weekday| {
            let at = usize::try_from(day.to_monday_zero_offset()).unwrap_or_default();
            self.days.get(at).copied().unwrap_or_default()
        };
        let today = local.weekday();
        if self.from < self.to {
            return begins(today) && (self.from..self.to).contains(&minute);
        }
        (begins(today) && minute >= self.from) || (begins(today.previous()) && minute < self.to)
    }

    /// The first time after `now` at which that may change.
    pub(super) fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let inside = self.contains(now);
        let local = now.to_zoned_datetime(self.zone.clone());
        let mut edges: Vec<Timestamp> = (0..=SEARCHED_DAYS)
            .filter_map(|days| {
                local.date().checked_add(SignedDuration::from_hours(days.saturating_mul(24))).ok()
            })
            .flat_map(|date| [self.from, self.to, 0].map(|minute| (date, minute)))
            .filter_map(|(date, minute)| {
                let edge = date.at(hour(minute)?, minute_of_hour(minute)?, 0, 0);
                // An hour that the clock is turned back over comes twice.
                let edge = self.zone.to_ambiguous_timestamp(edge);
                Some([edge.earlier().ok()?, edge.later().ok()?])
            })
            .flatten()
            // Where the clock is turned, it may leave the window, or be inside of it again.
            .chain(self.zone.following(now).take(TURNS).map(|turn| turn.timestamp()))
            .filter(|edge| *edge > now)
            .collect();
        edges.sort_unstable();
        edges.into_iter().find(|edge| self.contains(*edge) != inside)
    }
}

fn add_days(text: &str, days: &mut [bool; 7]) -> Result<(), String> {
    let place = |name: &str| {
        DAYS.iter().position(|(word, _)| *word == name).ok_or_else(|| {
            format!("unknown day `{name}`; {}", advice(name, DAYS.iter().map(|(word, _)| *word)))
        })
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (mut at, last) = (place(first)?, place(last)?);
    loop {
        if let Some(day) = days.get_mut(at) {
            *day = true;
        }
        if at == last {
            return Ok(());
        }
        at = at.saturating_add(1).checked_rem(DAYS.len()).unwrap_or_default();
    }
}

fn minute_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then(|| hours.saturating_mul(60).saturating_add(minutes))
}

fn minutes(time: Time) -> u16 {
    let (hour, minute) = (u16::try_from(time.hour()), u16::try_from(time.minute()));
    hour.unwrap_or_default().saturating_mul(60).saturating_add(minute.unwrap_or_default())
}

fn hour(minute: u16) -> Option<i8> {
    i8::try_from(minute.checked_rem(DAY)?.checked_div(60)?).ok()
}

fn minute_of_hour(minute: u16) -> Option<i8> {
    i8::try_from(minute.checked_rem(60)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::document::At;

    fn window(days: &[&str], from: Option<&str>, to: Option<&str>) -> Window {
        let at = |text: &str| At { value: text.to_owned(), line: 1, column: 1 };
        let raw = document::Window {
            zone: at("Europe/Berlin"),
            days: (!days.is_empty()).then(|| At {
                value: days.iter().map(|day| at(day)).collect(),
                line: 1,
                column: 1,
            }),
            from: from.map(at),
            to: to.map(at),
        };
        let mut found = Vec::new();
        let window = Window::new(&raw, &mut Notes::new("t", &mut found));
        assert_eq!(found, []);
        window.unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn window_follows_the_clock_of_its_zone() {
        const CASES: &[(&str, bool)] = &[
            ("2026-01-05T06:59:59Z", false),
            ("2026-01-05T07:00:00Z", true),
            ("2026-01-05T16:59:59Z", true),
            ("2026-01-05T17:00:00Z", false),
            ("2026-01-04T10:00:00Z", false),
            ("2026-07-06T06:00:00Z", true),
            ("2026-07-06T16:00:00Z", false),
        ];
        let office = window(&["mon-fri"], Some("08:00"), Some("18:00"));
        for (time, inside) in CASES {
            assert_eq!(office.contains(at(time)), *inside, "{time}");
        }
        assert_eq!(
            office.next_change(at("2026-01-02T17:00:00Z")),
            Some(at("2026-01-05T07:00:00Z"))
        );
        assert_eq!(
            office.next_change(at("2026-01-05T07:00:00Z")),
            Some(at("2026-01-05T17:00:00Z"))
        );
    }

    #[test]
    fn hour_that_comes_twice_has_edges_twice() {
        let night = window(&[], Some("22:00"), Some("02:30"));
        let mut time = at("2026-10-24T19:00:00Z");
        for (change, inside) in [
            ("2026-10-24T20:00:00Z", true),
            ("2026-10-25T00:30:00Z", false),
            ("2026-10-25T01:00:00Z", true),
            ("2026-10-25T01:30:00Z", false),
            ("2026-10-25T21:00:00Z", true),
        ] {
            assert_eq!(night.next_change(time), Some(at(change)), "after {time}");
            time = at(change);
            assert_eq!(night.contains(time), inside, "{change}");
        }
    }

    #[test]
    fn window_over_midnight_belongs_to_the_day_it_begins_on() {
        let night = window(&["fri"], Some("22:00"), Some("06:00"));
        assert!(night.contains(at("2026-01-02T21:30:00Z")));
        assert!(night.contains(at("2026-01-03T04:30:00Z")));
        assert!(!night.contains(at("2026-01-03T21:30:00Z")));
        let weekend = window(&["sat-sun"], None, None);
        assert!(weekend.contains(at("2026-01-03T12:00:00Z")));
        assert_eq!(
            weekend.next_change(at("2026-01-03T12:00:00Z")),
            Some(at("2026-01-04T23:00:00Z"))
        );
        let wrapped = window(&["sat-mon"], None, None);
        assert!(
            wrapped.contains(at("2026-01-05T12:00:00Z"))
                && !wrapped.contains(at("2026-01-06T12:00:00Z"))
        );
    }
}
