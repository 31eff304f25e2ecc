//! Figures for people.

pub fn money(usd: f64) -> String {
    match usd {
        usd if usd.abs() < 0.005 => "$0".to_owned(),
        usd if usd.abs() < 100.0 => format!("${usd:.2}"),
        usd => format!("${}", grouped(usd.round())),
    }
}

/// Of one unit.
pub fn price(usd: f64) -> String {
    format!("{usd}")
}

/// With thousands apart.
pub fn figure(amount: f64) -> String {
    match amount {
        amount if amount >= 100.0 => grouped(amount.round()),
        amount if amount >= 10.0 || (amount - amount.round()).abs() < 1e-9 => {
            format!("{}", (amount * 10.0).round() / 10.0)
        }
        amount => format!("{}", (amount * 1000.0).round() / 1000.0),
    }
}

fn grouped(amount: f64) -> String {
    let digits = format!("{:.0}", amount.abs());
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if amount < 0.0 { format!("-{out}") } else { out }
}

/// `4,000/s`, `30/min`.
pub fn per_second(rate: f64) -> String {
    match rate {
        rate if rate >= 100.0 => format!("{}/s", grouped(two_digits(rate))),
        rate if rate >= 1.0 => format!("{}/s", two_digits(rate)),
        rate if rate * 60.0 >= 1.0 => format!("{}/min", two_digits(rate * 60.0)),
        rate => format!("{}/h", two_digits(rate * 3600.0)),
    }
}

fn two_digits(amount: f64) -> f64 {
    if amount <= 0.0 {
        return 0.0;
    }
    let scale = 10f64.powf(amount.log10().floor() - 2.0);
    let rounded = (amount / scale).round() * scale;
    (rounded * 1000.0).round() / 1000.0
}

/// `250 ms`, `35 s`, `10 min`, `2 h`.
pub fn seconds(s: f64) -> String {
    match s {
        s if s <= 0.0 => "0 s".to_owned(),
        s if s < 0.01 => format!("{} ms", (s * 1e4).round() / 10.0),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 180.0 => format!("{} s", (s * 10.0).round() / 10.0),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

pub fn size(bytes: f64) -> String {
    match bytes {
        bytes if bytes < 1e3 => format!("{bytes:.0} B"),
        bytes if bytes < 1e6 => format!("{:.1} kB", bytes / 1e3),
        bytes if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.1} GB", bytes / 1e9),
    }
}

pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
