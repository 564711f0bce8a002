//! Kubernetes quantities as exact numbers, in billionths of the unit (cores, bytes, pieces).

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Billionths in one.
const NANO: i128 = 1_000_000_000;

/// Reads `100m`, `1Gi`, `2.5`, `250000000n`, `1e3`.
///
/// # Errors
/// Says which text is no quantity.
pub fn parse(quantity: &Quantity) -> Result<i128, String> {
    let text = quantity.0.trim();
    let invalid = || format!("{text:?} is not a quantity");
    let split =
        text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let scale: i128 = match suffix {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => NANO,
        "k" => NANO * 1_000,
        "M" => NANO * 1_000_000,
        "G" => NANO * 1_000_000_000,
        "T" => NANO * 1_000_000_000_000,
        "P" => NANO * 1_000_000_000_000_000,
        "E" => NANO * 1_000_000_000_000_000_000,
        "Ki" => NANO << 10,
        "Mi" => NANO << 20,
        "Gi" => NANO << 30,
        "Ti" => NANO << 40,
        "Pi" => NANO << 50,
        "Ei" => NANO << 60,
        exponent => {
            let power: u32 =
                exponent.strip_prefix(['e', 'E']).and_then(|p| p.parse().ok()).ok_or_else(invalid)?;
            10i128.checked_pow(power).and_then(|p| p.checked_mul(NANO)).ok_or_else(invalid)?
        }
    };
    let negative = number.starts_with('-');
    let digits = number.trim_start_matches(['+', '-']);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(invalid());
    }
    let integer =
        |part: &str| if part.is_empty() { Ok(0i128) } else { part.parse::<i128>().map_err(|_| invalid()) };
    let tenths =
        10i128.checked_pow(u32::try_from(fraction.len()).map_err(|_| invalid())?).ok_or_else(invalid)?;
    let scaled = |value: i128| value.checked_mul(scale).ok_or_else(invalid);
    let value = scaled(integer(whole)?)? + scaled(integer(fraction)?)? / tenths;
    Ok(if negative { -value } else { value })
}

/// Cores, written in thousandths: `250m`.
#[must_use]
pub fn millicores(nano: i128) -> Quantity {
    Quantity(format!("{}m", nano.div_euclid(1_000_000)))
}

/// Bytes, written in mebibytes: `12Mi`.
#[must_use]
pub fn mebibytes(nano: i128) -> Quantity {
    Quantity(format!("{}Mi", nano.div_euclid(NANO << 20)))
}

/// The exact amount, with the largest unit that leaves a whole number: `32Gi`, `1500m`, `7`.
#[must_use]
pub fn exact(nano: i128) -> Quantity {
    if nano % NANO != 0 {
        let (unit, size) = [("m", 1_000_000), ("u", 1_000)]
            .into_iter()
            .find(|(_, size)| nano % size == 0)
            .unwrap_or(("n", 1));
        return Quantity(format!("{}{unit}", nano / size));
    }
    let whole = nano / NANO;
    let binary = [("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    // A round decimal stays one: 1000 is no quantity of kibis.
    match binary.into_iter().find(|(_, bits)| whole != 0 && whole % (1i128 << bits) == 0) {
        Some((unit, bits)) => Quantity(format!("{}{unit}", whole >> bits)),
        None => Quantity(whole.to_string()),
    }
}

/// As a float, in whole units: for gauges, where the last digits do not matter.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "a gauge has no more digits")]
pub fn units(nano: i128) -> f64 {
    nano as f64 / NANO as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> i128 {
        parse(&Quantity(text.into())).unwrap()
    }

    #[test]
    fn reads_what_kubernetes_writes() {
        assert_eq!(read("100m"), NANO / 10);
        assert_eq!(read("1Gi"), NANO << 30);
        assert_eq!(read("2.5"), NANO * 5 / 2);
        assert_eq!(read("18500m"), NANO * 37 / 2);
        assert_eq!(read("123n"), 123);
        assert_eq!(read("1e3"), NANO * 1000);
        for text in ["", "m", "1Xi", "1.2.3", "ten"] {
            assert!(parse(&Quantity(text.into())).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,12}") {
            let _ = parse(&Quantity(text));
        }

        #[test]
        fn what_is_written_exactly_is_read_again(nano in -1_000_000_000_000i128..(1 << 90)) {
            prop_assert_eq!(read(&exact(nano).0), nano);
        }

        #[test]
        fn millicores_are_read_again(milli in 0i128..1_000_000_000) {
            prop_assert_eq!(read(&millicores(milli * 1_000_000).0), milli * 1_000_000);
        }
    }
}
