//! Decimal text comes in; an integer of a given scale goes out, with word of what rounding changed. No floats.

/// Longest number that is read, in bytes: a double never needs more than 25, a price far less.
const TEXT_BYTES_MAX: usize = 64;

/// Largest shift by a power of ten; beyond it a value is zero or does not fit.
const SHIFT_MAX: u32 = 38;

/// Why a number was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not of the form `-12.5e-3`.
    #[error("not a decimal number")]
    Syntax,
    /// More digits than are kept.
    #[error("number too large")]
    Range,
    /// Rounding would change the value more than allowed.
    #[error("more digits than can be kept")]
    Inexact,
}

/// `digits * 10^exponent`, with its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    digits: i128,
    exponent: i32,
}

/// A value brought to a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scaled {
    pub(super) value: i128,
    /// Whether nothing was rounded away.
    pub(super) exact: bool,
}

impl Decimal {
    pub(super) fn parse(text: &str) -> Result<Self, DecimalError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(DecimalError::Range);
        }
        let (negative, body) = text.strip_prefix('-').map_or((false, text), |body| (true, body));
        let (mantissa, exponent) = body.split_once(['e', 'E']).unwrap_or((body, "0"));
        let exponent: i32 =
            exponent.parse().map_err(|_bad: std::num::ParseIntError| DecimalError::Syntax)?;
        let (whole, fraction) =
            mantissa.split_once('.').map_or((mantissa, None), |(a, b)| (a, Some(b)));
        let digits_only =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits_only(whole) || !fraction.is_none_or(digits_only) {
            return Err(DecimalError::Syntax);
        }
        let fraction = fraction.unwrap_or("");
        let mut digits = 0_i128;
        for byte in whole.bytes().chain(fraction.bytes()) {
            let digit = i128::from(byte.saturating_sub(b'0'));
            digits = digits
                .checked_mul(10)
                .and_then(|n| n.checked_add(digit))
                .ok_or(DecimalError::Range)?;
        }
        let places = i32::try_from(fraction.len())
            .map_err(|_big: std::num::TryFromIntError| DecimalError::Range)?;
        Ok(Self { negative, digits, exponent: exponent.saturating_sub(places) })
    }

    /// The value times `10^scale`, rounded half to even.
    pub(super) fn scaled(self, scale: i32) -> Result<Scaled, DecimalError> {
        let shift = self.exponent.saturating_add(scale);
        let (magnitude, exact) = if self.digits == 0 {
            (0, true)
        } else if shift >= 0 {
            (
                power(shift.unsigned_abs())
                    .and_then(|by| self.digits.checked_mul(by))
                    .ok_or(DecimalError::Range)?,
                true,
            )
        } else {
            match power(shift.unsigned_abs()) {
                Some(by) => (
                    divide_half_even(self.digits, by).ok_or(DecimalError::Range)?,
                    self.digits.checked_rem(by) == Some(0),
                ),
                None => (0, false),
            }
        };
        Ok(Scaled {
            value: if self.negative { magnitude.saturating_neg() } else { magnitude },
            exact,
        })
    }

    /// The value times `10^scale`; an error where rounding changes it by more than one part in a million.
    pub(super) fn scaled_closely(self, scale: i32) -> Result<i128, DecimalError> {
        let scaled = self.scaled(scale)?;
        if scaled.exact {
            return Ok(scaled.value);
        }
        // Here digits were cut, so `digits` is what the kept value stands for after the cut was shifted back.
        let by = power(self.exponent.saturating_add(scale).unsigned_abs())
            .ok_or(DecimalError::Inexact)?;
        let kept = scaled.value.saturating_abs().checked_mul(by).ok_or(DecimalError::Range)?;
        let lost = self.digits.saturating_sub(kept).saturating_abs();
        let close =
            lost.checked_mul(1_000_000).is_some_and(|millionfold| millionfold <= self.digits);
        if close { Ok(scaled.value) } else { Err(DecimalError::Inexact) }
    }
}

/// `numerator / denominator` rounded half to even; `None` for a denominator below one.
pub(super) fn divide_half_even(numerator: i128, denominator: i128) -> Option<i128> {
    if denominator < 1 {
        return None;
    }
    let floor = numerator.div_euclid(denominator);
    let rest = numerator.rem_euclid(denominator);
    let up = match rest.cmp(&denominator.checked_sub(rest)?) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => floor.rem_euclid(2) == 1,
    };
    floor.checked_add(i128::from(up))
}

fn power(exponent: u32) -> Option<i128> {
    if exponent > SHIFT_MAX { None } else { 10_i128.checked_pow(exponent) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_scale_exactly() {
        const CASES: &[(&str, i32, i128, bool)] = &[
            ("0.0012", 12, 1_200_000_000, true),
            ("-1.5", 1, -15, true),
            ("2", 12, 2_000_000_000_000, true),
            ("1.5e-05", 12, 15_000_000, true),
            ("0.5", 0, 0, false),
            ("1.5", 0, 2, false),
            ("2.5", 0, 2, false),
            ("1e-60", 12, 0, false),
            ("0e99", 12, 0, true),
        ];
        for (text, scale, value, exact) in CASES {
            let scaled = Decimal::parse(text).unwrap().scaled(*scale).unwrap();
            assert_eq!((scaled.value, scaled.exact), (*value, *exact), "{text}");
        }
    }

    #[test]
    fn malformed_numbers_are_refused() {
        for text in ["", "-", ".5", "5.", "1,5", "1e", "e5", "+1", "0x1", "1.2.3", "NaN", " 1"] {
            assert_eq!(Decimal::parse(text), Err(DecimalError::Syntax), "{text}");
        }
        assert_eq!(Decimal::parse(&"9".repeat(65)), Err(DecimalError::Range));
        assert_eq!(Decimal::parse(&"9".repeat(60)), Err(DecimalError::Range));
        assert_eq!(Decimal::parse("1e99").unwrap().scaled(0), Err(DecimalError::Range));
        assert!(Decimal::parse("1e2147483647").unwrap().scaled(i32::MAX).is_err());
    }

    #[test]
    fn rounding_beyond_a_millionth_is_refused() {
        assert_eq!(
            Decimal::parse("0.0833333333333333").unwrap().scaled_closely(12),
            Ok(83_333_333_333)
        );
        assert_eq!(
            Decimal::parse("0.00000000000049").unwrap().scaled_closely(12),
            Err(DecimalError::Inexact)
        );
        assert_eq!(Decimal::parse("1.4").unwrap().scaled_closely(0), Err(DecimalError::Inexact));
    }

    #[test]
    fn halves_go_to_the_even_side() {
        const CASES: &[(i128, i128, i128)] =
            &[(5, 2, 2), (7, 2, 4), (-5, 2, -2), (-7, 2, -4), (10, 4, 2), (11, 4, 3), (1, 3, 0)];
        for (numerator, denominator, expected) in CASES {
            assert_eq!(
                divide_half_even(*numerator, *denominator),
                Some(*expected),
                "{numerator}/{denominator}"
            );
        }
        assert_eq!(divide_half_even(1, 0), None);
        assert_eq!(divide_half_even(1, i128::MAX), Some(0));
    }
}
