//! Numbers as decimal text, so that header and argument are compared exactly.
//!
//! 9007199254740993 and 9007199254740992 are one and the same `f64`, and two different arguments.

/// Longest integer that is written out for a header: beyond it the number is mirrored as it stands.
const INTEGER_DIGITS_MAX: i64 = 40;

/// A decimal number in lowest terms: digits without zeros at either end, times a power of ten. Numbers are compared
/// as text, because two large integers can be one and the same `f64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Reads a number in the grammar of JSON.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || (whole.len() > 1 && whole.starts_with('0')) {
            return None;
        }
        let all = format!("{whole}{fraction}");
        let significant = all.trim_end_matches('0');
        let dropped = i64::try_from(all.len() - significant.len()).ok()?;
        let fraction = i64::try_from(fraction.len()).ok()?;
        let digits = significant.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self {
                negative: false,
                digits,
                exponent: 0,
            });
        }
        let exponent = exponent.checked_sub(fraction)?.checked_add(dropped)?;
        Some(Self {
            negative,
            digits,
            exponent,
        })
    }

    /// The plain form of an integer; `None` for fractions and for what would be very long.
    pub(super) fn integer(&self) -> Option<String> {
        if self.digits.is_empty() {
            return Some("0".to_owned());
        }
        if !(0..=INTEGER_DIGITS_MAX).contains(&self.exponent) {
            return None;
        }
        let sign = if self.negative { "-" } else { "" };
        let zeros = "0".repeat(usize::try_from(self.exponent).ok()?);
        Some(format!("{sign}{}{zeros}", self.digits))
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.strip_prefix('+').unwrap_or(text).parse().ok()
}
