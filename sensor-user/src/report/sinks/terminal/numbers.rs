//! Counts, amounts and times come in; texts that fit a width go out, rounded rather than cut.

use unicode_width::UnicodeWidthStr;

/// Digits behind the point of an amount, where there is room.
const DECIMALS: u32 = 6;
/// Exponent of a pico-dollar.
const PICO: u32 = 12;
/// Nanoseconds in ten milliseconds.
const NS_PER_CENTI: u64 = 10_000_000;
/// Units of shortened counts.
const UNITS: [&str; 4] = ["k", "M", "G", "T"];

/// `1,234,567`, or `1.23M` where that does not fit.
pub(super) fn count(number: u64, width: usize) -> String {
    let whole = grouped(number);
    if whole.width() <= width {
        return whole;
    }
    let (mut value, mut unit) = (u128::from(number).saturating_mul(100), "");
    for next in UNITS {
        if value < 100_000 {
            break;
        }
        value = value.saturating_add(500).checked_div(1000).unwrap_or_default();
        unit = next;
    }
    let (whole, rest) =
        (value.checked_div(100).unwrap_or_default(), value.checked_rem(100).unwrap_or_default());
    let (tenths, text) =
        (rest.checked_div(10).unwrap_or_default(), format!("{whole}.{rest:02}{unit}"));
    if text.width() <= width { text } else { format!("{whole}.{tenths}{unit}") }
}

/// `$0.000342`, with fewer digits behind the point where that does not fit; what is not zero is never shown as zero.
pub(in crate::report) fn dollars(picodollars: i128, width: usize) -> String {
    if picodollars == 0 {
        return "$0".to_owned();
    }
    let mut text = String::new();
    for decimals in (0..=DECIMALS).rev() {
        text = rounded(picodollars, decimals);
        if text.width() <= width {
            break;
        }
    }
    text
}

fn rounded(picodollars: i128, decimals: u32) -> String {
    let power = |exponent: u32| 10_u128.checked_pow(exponent).unwrap_or(u128::MAX);
    let unit = power(PICO.saturating_sub(decimals));
    let half = unit.checked_div(2).unwrap_or_default();
    let units =
        picodollars.unsigned_abs().saturating_add(half).checked_div(unit).unwrap_or_default();
    let sign = if picodollars < 0 { "-" } else { "" };
    let scale = power(decimals);
    let whole = units.max(1).checked_div(scale).unwrap_or_default();
    let rest = units.max(1).checked_rem(scale).unwrap_or_default();
    let whole = grouped(u64::try_from(whole).unwrap_or(u64::MAX));
    let point = if decimals == 0 {
        String::new()
    } else {
        format!(".{rest:0>width$}", width = decimals as usize)
    };
    let less = if units == 0 { "<" } else { "" };
    format!("{less}{sign}${whole}{point}")
}

/// `0.41s`, `12.3s`, `2m05s`.
pub(super) fn seconds(nanos: u64) -> String {
    let centis = nanos.checked_div(NS_PER_CENTI).unwrap_or_default();
    let (whole, rest) =
        (centis.checked_div(100).unwrap_or_default(), centis.checked_rem(100).unwrap_or_default());
    match whole {
        0..10 => format!("{whole}.{rest:02}s"),
        10..100 => format!("{whole}.{}s", rest.checked_div(10).unwrap_or_default()),
        _ => {
            let (minutes, left) = (whole.checked_div(60), whole.checked_rem(60));
            format!("{}m{:02}s", minutes.unwrap_or_default(), left.unwrap_or_default())
        }
    }
}

/// Digits in groups of three.
pub(in crate::report) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        let left = digits.len().saturating_sub(at);
        if at > 0 && left.is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amount_is_rounded_to_its_width_but_never_to_zero() {
        const CASES: &[(i128, usize, &str)] = &[
            (0, 12, "$0"),
            (1, 12, "<$0.000001"),
            (499_999, 12, "<$0.000001"),
            (500_000, 12, "$0.000001"),
            (291_000_000, 12, "$0.000291"),
            (291_000_000, 7, "$0.0003"),
            (291_000_000, 6, "<$0.01"),
            (1_234_567_890_123_456, 12, "$1,234.56789"),
            (1_234_567_890_123_456, 6, "$1,235"),
            (-1_500_000_000_000, 12, "-$1.500000"),
        ];
        for (picodollars, width, text) in CASES {
            assert_eq!(dollars(*picodollars, *width), *text);
        }
    }

    #[test]
    fn count_is_shortened_rather_than_cut() {
        const CASES: &[(u64, usize, &str)] = &[
            (0, 5, "0"),
            (999, 5, "999"),
            (1_204, 5, "1,204"),
            (12_044, 5, "12.0k"),
            (1_205_355, 9, "1,205,355"),
            (1_205_355, 7, "1.21M"),
            (999_999_999, 7, "1.00G"),
            (u64::MAX, 12, "18446744.07T"),
        ];
        for (number, width, text) in CASES {
            assert_eq!(count(*number, *width), *text);
        }
    }

    #[test]
    fn time_fits_six_columns() {
        const CASES: &[(u64, &str)] = &[
            (0, "0.00s"),
            (412_000_000, "0.41s"),
            (18_452_000_000, "18.4s"),
            (133_000_000_000, "2m13s"),
        ];
        for (nanos, text) in CASES {
            assert_eq!(seconds(*nanos), *text);
        }
    }
}
