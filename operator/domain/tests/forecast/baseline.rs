//! What `predict_linear` of Prometheus does: least squares over the window, and the line extended from today.

use tripod_domain::forecast::{HORIZON_DAYS, WINDOW_DAYS};

use crate::series::{number, units};

/// Today's value, and the change a day.
pub struct Line {
    intercept: f64,
    slope: f64,
}

impl Line {
    pub fn fit(known: &[(i64, i128)], today: i64) -> Self {
        let window = known.iter().filter(|(day, _)| *day > today - WINDOW_DAYS && *day <= today);
        let points: Vec<(f64, f64)> = window.map(|(day, y)| (number(day - today), units(*y))).collect();
        let count: f64 = points.iter().map(|_| 1.0).sum();
        let x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        let covariance: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
        let variance: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
        let slope = covariance / variance;
        Self { intercept: y - slope * x, slope }
    }

    pub fn at(&self, ahead: f64) -> f64 {
        self.intercept + self.slope * ahead
    }

    /// The first day on which the line is at the budget.
    pub fn reaches(&self, budget: i128) -> Option<u32> {
        (0..=HORIZON_DAYS).find(|ahead| self.at(f64::from(*ahead)) >= units(budget))
    }
}
