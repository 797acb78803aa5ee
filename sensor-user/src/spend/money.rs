//! Amounts in pico-dollars come in; exact decimal dollars go out, and back.

use std::fmt::Write;

use crate::spend::decimal::Decimal;
use crate::spend::decimal::DecimalError;

/// Digits after the point in dollars: a pico-dollar is 10^-12 US dollars.
const SCALE: i32 = 12;

/// Pico-dollars in a dollar.
const PER_DOLLAR: u128 = 1_000_000_000_000;

/// Writes an amount of pico-dollars as dollars, without trailing zeros (`0.0012`, `-1.5`, `0`).
pub fn format_usd(picodollars: i128) -> String {
    let magnitude = picodollars.unsigned_abs();
    let sign = if picodollars < 0 { "-" } else { "" };
    let whole = magnitude.checked_div(PER_DOLLAR).unwrap_or_default();
    let fraction = magnitude.checked_rem(PER_DOLLAR).unwrap_or_default();
    let mut text = format!("{sign}{whole}");
    if fraction != 0 && write!(text, ".{fraction:012}").is_ok() {
        text.truncate(text.trim_end_matches('0').len());
    }
    text
}

/// Reads dollars as pico-dollars; an error where that is not exact.
pub fn parse_usd(text: &str) -> Result<i64, DecimalError> {
    let scaled = Decimal::parse(text)?.scaled(SCALE)?;
    if !scaled.exact {
        return Err(DecimalError::Inexact);
    }
    to_amount(scaled.value)
}

/// Reads dollars (a JSON number, exponent allowed) as pico-dollars, rounded half to even.
pub fn round_usd(text: &str) -> Result<i64, DecimalError> {
    to_amount(Decimal::parse(text)?.scaled(SCALE)?.value)
}

fn to_amount(value: i128) -> Result<i64, DecimalError> {
    i64::try_from(value).map_err(|_big: std::num::TryFromIntError| DecimalError::Range)
}

/// A sum of amounts; wide enough for any number of calls, and checked all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Total(i128);

impl Total {
    /// The sum with one more amount; `None` where it does not fit.
    #[must_use]
    pub fn checked_add(self, picodollars: i64) -> Option<Self> {
        self.0.checked_add(i128::from(picodollars)).map(Self)
    }

    /// The sum in pico-dollars.
    pub fn picodollars(self) -> i128 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_written_and_read_exactly() {
        const CASES: &[(i64, &str)] = &[
            (0, "0"),
            (1, "0.000000000001"),
            (1_200_000_000, "0.0012"),
            (-1_500_000_000_000, "-1.5"),
            (12_000_000_000_000, "12"),
            (i64::MAX, "9223372.036854775807"),
            (i64::MIN, "-9223372.036854775808"),
        ];
        for (picodollars, text) in CASES {
            assert_eq!(format_usd(i128::from(*picodollars)), *text);
            assert_eq!(parse_usd(text), Ok(*picodollars));
        }
    }

    #[test]
    fn parse_refuses_what_it_cannot_keep() {
        assert_eq!(parse_usd("0.0000000000001"), Err(DecimalError::Inexact));
        assert_eq!(parse_usd("9223372.036854775808"), Err(DecimalError::Range));
        assert_eq!(parse_usd("free"), Err(DecimalError::Syntax));
        assert_eq!(round_usd("1.5e-13"), Ok(0));
        assert_eq!(round_usd("2.25e-05"), Ok(22_500_000));
    }

    #[test]
    fn totals_go_beyond_one_amount() {
        let total = Total::default()
            .checked_add(i64::MAX)
            .and_then(|sum| sum.checked_add(i64::MAX))
            .unwrap();
        assert_eq!(total.picodollars(), 18_446_744_073_709_551_614);
        assert_eq!(format_usd(total.picodollars()), "18446744.073709551614");
        assert_eq!(Total(i128::MAX).checked_add(1), None);
    }
}
