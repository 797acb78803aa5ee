//! Dates, times of day and calendars of the price rows come in; whether a row applies at an instant goes out.

/// Seconds of a day.
const DAY: i64 = 86_400;

/// A day, counted from 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Day(i64);

impl TryFrom<String> for Day {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is not a date like 2026-10-30"))
    }
}

impl Day {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let date: jiff::civil::Date = text.parse().ok()?;
        let days = date.since(jiff::civil::date(1970, 1, 1)).ok()?.get_days();
        Some(Self(i64::from(days)))
    }

    pub(super) fn of(unix_seconds: i64) -> Self {
        Self(unix_seconds.div_euclid(DAY))
    }

    fn is_weekend(self) -> bool {
        // 1970-01-01 was a Thursday; Saturday and Sunday are days 5 and 6 of a week that begins on Monday.
        self.0.saturating_add(3).rem_euclid(7) >= 5
    }
}

/// Days from one date to another; the last is not included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: Option<Day>,
    pub(super) to: Option<Day>,
}

impl Validity {
    pub(super) fn holds(self, unix_seconds: i64) -> bool {
        let day = Day::of(unix_seconds);
        self.from.is_none_or(|from| from <= day) && self.to.is_none_or(|to| day < to)
    }
}

/// Two times of day in UTC; may go past midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    start: i64,
    end: i64,
}

impl Window {
    /// Reads `01:00-04:00`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (start, end) = text.split_once('-')?;
        let seconds = |text: &str| {
            let time: jiff::civil::Time = text.parse().ok()?;
            Some(
                i64::from(time.hour())
                    .saturating_mul(3600)
                    .saturating_add(i64::from(time.minute()).saturating_mul(60)),
            )
        };
        Some(Self { start: seconds(start)?, end: seconds(end)? })
    }

    /// Whether the instant lies in the window; the start is included, the end is not.
    pub(super) fn holds(self, unix_seconds: i64) -> bool {
        let now = unix_seconds.rem_euclid(DAY);
        if self.end < self.start {
            now >= self.start || now < self.end
        } else {
            now >= self.start && now < self.end
        }
    }
}

/// On which days the hourly rows of a provider apply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calendar<'a> {
    pub(super) weekdays_only: bool,
    pub(super) holidays: &'a [Day],
    /// The first day for which holidays are not known.
    pub(super) holidays_end: Option<Day>,
}

/// What a calendar says of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeakDay {
    Yes,
    No,
    /// A working day as far as the calendar goes; it may be a holiday.
    Perhaps,
}

impl Calendar<'_> {
    pub(super) fn peak(&self, unix_seconds: i64) -> PeakDay {
        let day = Day::of(unix_seconds);
        if (self.weekdays_only && day.is_weekend()) || self.holidays.contains(&day) {
            PeakDay::No
        } else if self.holidays_end.is_some_and(|end| end <= day) {
            PeakDay::Perhaps
        } else {
            PeakDay::Yes
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: &str, seconds: i64) -> i64 {
        Day::parse(day).unwrap().0.saturating_mul(DAY).saturating_add(seconds)
    }

    #[test]
    fn weekends_are_saturday_and_sunday() {
        const CASES: &[(&str, bool)] = &[
            ("1970-01-01", false),
            ("2026-11-20", false),
            ("2026-11-21", true),
            ("2026-11-22", true),
            ("2026-11-23", false),
        ];
        for (day, expected) in CASES {
            assert_eq!(Day::parse(day).unwrap().is_weekend(), *expected, "{day}");
        }
    }

    #[test]
    fn validity_ends_before_its_last_day() {
        let validity = Validity { from: Day::parse("2026-12-01"), to: Day::parse("2026-12-03") };
        assert!(!validity.holds(at("2026-12-01", -1)));
        assert!(validity.holds(at("2026-12-01", 0)));
        assert!(validity.holds(at("2026-12-03", -1)));
        assert!(!validity.holds(at("2026-12-03", 0)));
    }

    #[test]
    fn windows_include_their_start_and_may_pass_midnight() {
        let morning = Window::parse("01:00-04:00").unwrap();
        assert!(
            !morning.holds(3599)
                && morning.holds(3600)
                && morning.holds(14_399)
                && !morning.holds(14_400)
        );
        let night = Window::parse("16:30-00:30").unwrap();
        assert!(
            night.holds(86_399) && night.holds(0) && !night.holds(1800) && !night.holds(59_399)
        );
        for bad in ["", "1", "01:00", "25:00-26:00", "01:00-x"] {
            assert_eq!(Window::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn calendar_knows_weekends_holidays_and_its_end() {
        const CASES: &[(&str, PeakDay)] = &[
            ("2026-08-22", PeakDay::No),
            ("2026-10-01", PeakDay::No),
            ("2026-10-08", PeakDay::Yes),
            ("2026-10-10", PeakDay::No),
            ("2027-01-04", PeakDay::Perhaps),
            ("2027-01-02", PeakDay::No),
        ];
        let calendar = Calendar {
            weekdays_only: true,
            holidays: &[Day::parse("2026-10-01").unwrap()],
            holidays_end: Day::parse("2027-01-01"),
        };
        for (day, expected) in CASES {
            assert_eq!(calendar.peak(at(day, 0)), *expected, "{day}");
        }
    }
}
