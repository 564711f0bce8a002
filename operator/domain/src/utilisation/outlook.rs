//! When a department's budget will be committed in full, from the daily reports of its home.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tripod_crds::UtilisationReport;
use tripod_crds::department::{BudgetForecast, Outlook};
use tripod_crds::utilisation_report::Period;

use super::Measured;
use crate::forecast::{Forecast, forecast};
use crate::ledger::Amounts;
use crate::quantity;

const DAY: i64 = 24 * 60 * 60;

/// By resource of the budget. Nothing before the first whole day.
#[must_use]
pub fn forecasts(
    days: &[UtilisationReport],
    budget: &Amounts,
    now: Timestamp,
) -> BTreeMap<String, BudgetForecast> {
    let days: Vec<&UtilisationReport> = days.iter().filter(|d| d.spec.period == Period::Day).collect();
    if days.is_empty() {
        return BTreeMap::new();
    }
    let number = |moment: Timestamp| moment.as_second().div_euclid(DAY);
    let one = |measured: Measured| {
        let resource = measured.bounded_by(budget)?;
        let granted = |day: &&UtilisationReport| {
            let figures = day.status.as_ref()?.resources.get(measured.name())?;
            Some((number(day.spec.to.0), quantity::parse(figures.granted.as_ref()?).ok()?))
        };
        let series: Vec<(i64, i128)> = days.iter().filter_map(granted).collect();
        Some((resource.clone(), shown(forecast(&series, budget[resource], number(now)))))
    };
    Measured::ALL.into_iter().filter_map(one).collect()
}

fn shown(forecast: Forecast) -> BudgetForecast {
    let only =
        |outlook| BudgetForecast { outlook, likely_days: None, earliest_days: None, latest_days: None };
    match forecast {
        Forecast::Exhausted => only(Outlook::Exhausted),
        Forecast::Never => only(Outlook::Sufficient),
        Forecast::TooLittle { .. } => only(Outlook::TooLittleData),
        Forecast::InDays { likely, earliest, latest } => BudgetForecast {
            outlook: Outlook::Exhausting,
            likely_days: Some(likely.into()),
            earliest_days: Some(earliest.into()),
            latest_days: latest.map(Into::into),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::utilisation::book::Book;
    use crate::utilisation::report::{Standing, of_day};

    fn days(granted: impl Fn(i64) -> i128, count: i64) -> Vec<UtilisationReport> {
        let zone = crate::utilisation::slot::zone("+08:00");
        (0..count)
            .map(|day| {
                let at = |n: i64| Timestamp::from_second(1_800_000_000 + n * DAY).unwrap();
                let (mut book, readings) = (Book::default(), [(Measured::Cpu, Ok(1))].into());
                for n in [day, day + 1] {
                    book.record("dept-a", at(0), &readings, at(n), 3600, &zone);
                }
                let standing = Standing {
                    granted: [("requests.cpu".to_owned(), granted(day))].into(),
                    ..Standing::default()
                };
                let over = book.over().next().unwrap().1.clone();
                of_day("dept-a", &over, &standing)
            })
            .collect()
    }

    #[test]
    fn what_was_granted_day_by_day_says_when_it_is_all() {
        let budget: Amounts = [("requests.cpu".to_owned(), 100), ("requests.memory".to_owned(), 1)].into();
        let now = Timestamp::from_second(1_800_000_000 + 40 * DAY).unwrap();
        let growing = &forecasts(&days(i128::from, 40), &budget, now)["requests.cpu"];
        assert_eq!(growing.outlook, Outlook::Exhausting);
        assert!((55..=65).contains(&growing.likely_days.unwrap()), "{growing:?}");
        let flat = &forecasts(&days(|_| 50, 40), &budget, now)["requests.cpu"];
        assert_eq!(flat.outlook, Outlook::Sufficient);
        let short = &forecasts(&days(i128::from, 5), &budget, now)["requests.cpu"];
        assert_eq!(short.outlook, Outlook::TooLittleData);
        assert!(forecasts(&[], &budget, now).is_empty());
    }
}
