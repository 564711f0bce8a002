use super::*;
use crate::forecast::Forecast;
use proptest::prelude::*;
use serde_json::{Value, json as value};

const UNIT: i128 = 1_000_000_000;
const MIB: i128 = UNIT << 20;
const LANGUAGES: [Language; 2] = [Language::English, Language::Chinese];

fn policy() -> Policy {
    Policy {
        source: Line::new("a provincial monthly report", "某省月报"),
        dated: jiff::civil::date(2026, 1, 31),
        thresholds: [
            (Resource::Cpu, Thresholds { high_above: 5_000, low_below: 3_000 }),
            (Resource::Memory, Thresholds { high_above: 7_000, low_below: 4_000 }),
        ]
        .into(),
        least_coverage: 8_000,
    }
}

fn cpu() -> Usage {
    Usage {
        budget: Some(64 * UNIT),
        committed: Some(40 * UNIT),
        granted: Some(32 * UNIT),
        requested: Some(24 * UNIT + UNIT / 2),
        used_average: Some(7_123_456_789),
        used_p95: Some(12 * UNIT + UNIT / 4),
        used_peak: Some(20 * UNIT),
        coverage: Some(9_876),
        forecast: Some(Forecast::InDays { likely: 45, earliest: 30, latest: Some(70) }),
    }
}

fn system(name: &str, place: Place) -> System {
    System {
        display_name: name.to_owned(),
        namespace: Some("dept-water-gauges".to_owned()),
        security_level: Some(3),
        zone: Some(Zone::Extranet),
        place,
        verdict: Some(Line::new("reasonable", "合理")),
        recovery_level: Some(4),
        last_drill: LastDrill::On(Drill {
            date: jiff::civil::date(2026, 1, 12),
            passed: true,
            rpo_seconds: Some(317),
            rto_seconds: None,
        }),
        forecast: Some(Forecast::Never),
    }
}

/// Of memory only the budget is known, of storage and GPU nothing.
fn card() -> Scorecard {
    Scorecard {
        department: "water".to_owned(),
        display_name: "Water Bureau".to_owned(),
        month: Month { year: 2026, month: 1 },
        generated_at: "2026-02-01T00:00:00Z".parse().unwrap(),
        resources: [
            (Resource::Cpu, cpu()),
            (Resource::Memory, Usage { budget: Some(1536 * MIB), ..Usage::default() }),
        ]
        .into(),
        policy: policy(),
        deliveries: Some(Deliveries { within_a_day: 2, buckets: [2, 1, 0, 0, 0] }),
        overdue: Some(Vec::new()),
        systems: Some(vec![system("River gauges", Place::OnCloud), system("Mail", Place::OffCloud)]),
        hardware: Hardware { domestic: Some(5), other: None },
    }
}

#[test]
fn percentages_are_rounded_half_up() {
    let cases = [
        (0, 1, "0.00%"),
        (1, 1, "100.00%"),
        (1, 3, "33.33%"),
        (2, 3, "66.67%"),
        (1, 20_000, "0.01%"),
        (1, 20_001, "0.00%"),
        (3, 20_000, "0.02%"),
        (5, 2, "250.00%"),
        (-1, 8, "-12.50%"),
        (-1, 20_000, "0.00%"),
        (-1, 10_000, "-0.01%"),
    ];
    for (part, whole, text) in cases {
        assert_eq!(percent(part, whole).unwrap().to_string(), text, "{part}/{whole}");
    }
    for (part, whole) in [(1, 0), (1, -1), (i128::MAX, 1), (1, i128::MAX)] {
        assert_eq!(percent(part, whole), None, "{part}/{whole}");
    }
}

#[test]
fn a_class_needs_thresholds_a_rate_and_coverage() {
    let used =
        |average: Option<i128>, coverage: Option<u32>| Usage { used_average: average, coverage, ..cpu() };
    let class = |usage: &Usage| policy().class(Resource::Cpu, usage);
    let full = Some(10_000);
    // 32 cores are granted: half of them is not above half.
    assert_eq!(class(&used(Some(16 * UNIT), full)), Some(Class::Normal));
    assert_eq!(class(&used(Some(16 * UNIT + UNIT / 100), full)), Some(Class::High));
    assert_eq!(class(&used(Some(UNIT * 96 / 10), full)), Some(Class::Normal));
    assert_eq!(class(&used(Some(UNIT * 95 / 10), full)), Some(Class::Low));
    assert_eq!(class(&used(Some(0), Some(8_000))), Some(Class::Low));
    assert_eq!(class(&used(Some(0), Some(7_999))), None, "too little was measured");
    assert_eq!(class(&used(Some(0), None)), None);
    assert_eq!(class(&used(None, full)), None);
    assert_eq!(class(&Usage { granted: Some(0), ..used(Some(0), full) }), None);
    assert_eq!(policy().class(Resource::Gpu, &used(Some(0), full)), None);
}

#[test]
fn deliveries_are_sorted_by_the_days_that_have_begun() {
    const DAY: u64 = 24 * 3600;
    let days = [0, DAY, DAY + 1, 3 * DAY, 3 * DAY + 1, 10 * DAY, 30 * DAY, 60 * DAY, 60 * DAY + 1];
    let all = Deliveries::sort(days);
    assert_eq!(all, Deliveries { within_a_day: 2, buckets: [4, 2, 1, 1, 1] });
    assert_eq!(all.within_a_day_rate(), Some(Rate::Is(Percent(2_222))));
    assert_eq!(Deliveries::default().within_a_day_rate(), Some(Rate::OfNothing));
}

#[test]
fn the_whole_in_markdown() {
    assert_eq!(markdown(&card().document(), Language::English), include_str!("scorecard/golden_en.md"));
    assert_eq!(markdown(&card().document(), Language::Chinese), include_str!("scorecard/golden_zh.md"));
}

/// A table that has everything.
fn small(name: &str) -> Document {
    Document {
        title: Line::new("Card", "考核表"),
        about: vec![(Column::new("name", "Name", "名称"), Cell::name(name))],
        tables: vec![Table {
            key: "all",
            title: Line::new("All", "全部"),
            columns: vec![
                Column::new("name", "Name", "名称"),
                Column::new("used", "Used", "用量"),
                Column::new("class", "Class", "等级"),
            ],
            rows: Some(vec![
                vec![Cell::name(name), Cell::Figure("12Gi".to_owned()), Cell::term("high", "high", "高")],
                vec![Cell::name("b"), Cell::Unknown, Cell::Nothing],
            ]),
            total: Some(vec![Cell::text("Total", "合计"), Cell::Count(3), Cell::Blank]),
        }],
        notes: vec![Line::new("a note", "说明")],
    }
}

#[test]
fn a_page_in_html() {
    let page = html(&small("<b>\"a\" & 'b'</b>"), Language::Chinese);
    let (_, body) = page.split_once("<body>").unwrap();
    let name = "&lt;b&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/b&gt;";
    assert_eq!(
        body,
        format!(
            "\n<h1>考核表</h1>\n<ul>\n<li>名称: {name}</li>\n</ul>\n<h2>全部</h2>\n<table>\n\
             <thead><tr><th scope=\"col\">名称</th><th scope=\"col\">用量</th><th scope=\"col\">等级</th></tr></thead>\n\
             <tbody>\n\
             <tr><td>{name}</td><td class=\"n\">12Gi</td><td>高</td></tr>\n\
             <tr><td>b</td><td class=\"u\">未知</td><td>不适用</td></tr>\n\
             </tbody>\n\
             <tfoot><tr><td>合计</td><td class=\"n\">3</td><td></td></tr></tfoot>\n\
             </table>\n<ul>\n<li>说明</li>\n</ul>\n</body>\n</html>\n"
        )
    );
    assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"zh-CN\">"));
}

#[test]
fn a_page_in_json() {
    assert_eq!(
        json(&small("甲")),
        value!({
            "title": {"en": "Card", "zh": "考核表"},
            "name": "甲",
            "tables": {"all": {
                "rows": [
                    {"name": "甲", "used": "12Gi", "class": "high"},
                    {"name": "b", "used": null, "class": "n/a"},
                ],
                "total": {"name": {"en": "Total", "zh": "合计"}, "used": 3},
            }},
            "notes": [{"en": "a note", "zh": "说明"}],
        })
    );
}

#[test]
fn no_name_breaks_out_of_its_place() {
    let name = "a|b\n| c | `d` *e* <script>alert(1)</script> [x](http://y) \\| \u{202e}f&amp;";
    for language in LANGUAGES {
        let text = markdown(&small(name), language);
        let row = text.lines().find(|line| line.contains("12Gi")).unwrap();
        let ends = row.replace("\\\\", "").replace("\\|", "");
        assert_eq!(ends.matches('|').count(), 4, "{row}");
        for markup in ["<script", " `d`", " *e*", "[x](", "http://", "\u{202e}"] {
            assert!(!text.contains(markup), "{markup} in {text}");
        }
        assert!(text.contains("f&amp;amp;"));
        let page = html(&small(name), language);
        assert!(!page.contains("<script") && !page.contains('\u{202e}'));
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("f&amp;amp;"));
    }
    let hostile = Scorecard {
        display_name: "<img src=x onerror=alert(1)>".to_owned(),
        systems: Some(vec![system("</td><script>", Place::Exempt { reason: "\"><b>".to_owned() })]),
        overdue: Some(vec![Overdue {
            request: "<i>".to_owned(),
            phase: "</table>".to_owned(),
            since: "2026-01-02T03:04:05Z".parse().unwrap(),
        }]),
        ..card()
    };
    let page = html(&hostile.document(), Language::English);
    for markup in ["<img", "<script", "<b>", "<i>", "</table></td>"] {
        assert!(!page.contains(markup), "{markup}");
    }
}

/// The row of a resource, without its name.
fn row_of(document: &Document, resource: usize) -> Vec<Cell> {
    document.tables[0].rows.as_ref().unwrap()[resource][1..].to_vec()
}

#[test]
fn what_is_unknown_is_no_zero() {
    let nothing = Scorecard {
        resources: BTreeMap::new(),
        deliveries: None,
        overdue: None,
        systems: None,
        hardware: Hardware::default(),
        ..card()
    };
    let document = nothing.document();
    for resource in 0..4 {
        let cells = row_of(&document, resource);
        let class = if resource < 2 { Cell::Unknown } else { Cell::Nothing };
        assert_eq!(
            cells.iter().filter(|cell| **cell == Cell::Unknown).count(),
            11 + usize::from(resource < 2)
        );
        assert_eq!(cells[10], class);
    }
    let object = json(&document);
    for table in ["deliveries", "overdue", "systems"] {
        assert_eq!(object["tables"][table]["rows"], Value::Null, "{table}");
        assert_eq!(object["tables"][table].get("total"), None, "{table}");
    }
    assert_eq!(object["tables"]["hardware"]["rows"][0]["domestic"], Value::Null);
    // An empty list is known: nothing is in it.
    let known = Scorecard { overdue: Some(Vec::new()), systems: Some(Vec::new()), ..nothing };
    let object = json(&known.document());
    assert_eq!(object["tables"]["overdue"]["rows"], value!([]));
    assert_eq!(object["tables"]["systems"]["total"]["place"], value!("n/a"));
}

#[test]
fn a_real_zero_is_a_zero() {
    let usage = Usage { granted: Some(0), budget: Some(UNIT), used_average: Some(0), ..cpu() };
    let card = Scorecard { resources: [(Resource::Cpu, usage)].into(), ..card() };
    let cells = row_of(&card.document(), 0);
    assert_eq!((&cells[2], &cells[8]), (&Cell::Figure("0".to_owned()), &Cell::Figure("0.00%".to_owned())));
    assert_eq!((&cells[9], &cells[10]), (&Cell::Nothing, &Cell::Nothing));
}

#[test]
fn systems_are_counted_by_where_they_run() {
    let exempt = Place::Exempt { reason: "classified".to_owned() };
    let total = |systems: Vec<System>| {
        let card = Scorecard { systems: Some(systems), ..card() };
        json(&card.document())["tables"]["systems"]["total"].clone()
    };
    let some = vec![system("a", Place::OnCloud), system("b", Place::OffCloud), system("c", exempt)];
    let expected = value!({
        "system": {"en": "Total: 3", "zh": "合计：3"},
        "place": "50.00%",
        "drillResult": {"en": "passed: 3", "zh": "通过：3"},
    });
    assert_eq!(total(some.clone()), expected);
    let mut more = some;
    more.push(System { last_drill: LastDrill::Unknown, ..system("d", Place::Unknown) });
    let total = total(more);
    assert_eq!((&total["place"], &total["drillResult"]), (&Value::Null, &Value::Null));
}

#[test]
fn departments_side_by_side_sum_up_what_is_known() {
    let other = Scorecard { display_name: "Parks".to_owned(), ..card() };
    let month = Month { year: 2026, month: 1 };
    let at = "2026-02-01T00:00:00Z".parse().unwrap();
    let object = json(&overview(month, at, &[card(), other]));
    let cpu = &object["tables"]["cpu"];
    assert_eq!(cpu["rows"][1]["department"], value!("Parks"));
    assert_eq!(cpu["rows"][1]["utilisationRate"], value!("22.26%"));
    assert_eq!(
        cpu["total"],
        value!({
            "department": {"en": "Total", "zh": "合计"},
            "budget": "128", "committed": "80", "granted": "64", "requested": "49",
            "usedAverage": "14246913578n", "allocationRate": "50.00%", "utilisationRate": "22.26%",
        })
    );
    let memory = &object["tables"]["memory"]["total"];
    assert_eq!((&memory["budget"], &memory["granted"]), (&value!("3Gi"), &Value::Null));
    let service = &object["tables"]["service"]["total"];
    assert_eq!((&service["systems"], &service["onCloudRate"]), (&value!(4), &value!("50.00%")));
    assert_eq!((&service["delivered"], &service["within24hRate"]), (&value!(6), &value!("66.67%")));
    assert_eq!((&service["overdue"], &service["domesticRate"]), (&value!(0), &Value::Null));
    assert_eq!(object["notes"].as_array().unwrap().len(), 1);
    assert_eq!(object["departments"], value!(2));
}

#[test]
fn every_row_has_as_many_cells_as_there_are_columns() {
    let cards = [card()];
    for document in [card().document(), overview(cards[0].month, cards[0].generated_at, &cards)] {
        for table in &document.tables {
            for cells in table.rows.iter().flatten().chain(&table.total) {
                assert_eq!(cells.len(), table.columns.len(), "{}", table.key);
            }
        }
    }
}

/// What the figures of the first row are in each format, in order.
fn figures(document: &Document) -> [Vec<String>; 3] {
    let cells = row_of(document, 0);
    let figure = |cell: &Cell| if let Cell::Figure(figure) = cell { Some(figure.clone()) } else { None };
    let markdown = markdown(document, Language::English);
    let row = markdown.lines().find(|line| line.starts_with("| CPU (cores)")).unwrap();
    let row: Vec<String> = row.split(" | ").map(str::to_owned).collect();
    let page = html(document, Language::Chinese);
    let line = page.lines().find(|line| line.contains("CPU（核）")).unwrap();
    let right = line.split("<td class=\"n\">").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned());
    let written: Value = serde_json::from_str(&json(document).to_string()).unwrap();
    let object = &written["tables"]["resources"]["rows"][0];
    let keys = document.tables[0].columns[1..].iter().zip(&cells).filter(|(_, cell)| figure(cell).is_some());
    let keyed = keys.map(|(column, _)| object[column.key].as_str().unwrap().to_owned());
    let placed = cells.iter().zip(&row[1..]).filter(|(cell, _)| figure(cell).is_some());
    [placed.map(|(_, text)| text.clone()).collect(), right.collect(), keyed.collect()]
}

proptest! {
    #[test]
    fn every_format_has_the_same_digits(
        budget in proptest::option::of(0i128..(1 << 80)),
        granted in proptest::option::of(0i128..(1 << 80)),
        used in proptest::option::of(0i128..(1 << 80)),
        coverage in proptest::option::of(0u32..=10_000),
    ) {
        let usage = Usage { budget, granted, used_average: used, coverage, ..Usage::default() };
        let card = Scorecard { resources: [(Resource::Cpu, usage)].into(), ..card() };
        let [markdown, html, json] = figures(&card.document());
        prop_assert_eq!(&markdown, &html);
        prop_assert_eq!(&markdown, &json);
        if let Some(budget) = budget {
            prop_assert_eq!(&markdown[0], &quantity::exact(budget).0);
        }
    }

    #[test]
    fn a_percentage_is_within_half_a_hundredth(part in 0i128..(1 << 90), whole in 1i128..(1 << 90)) {
        let Percent(points) = percent(part, whole).unwrap();
        let twice = 2 * (part * 10_000 - points * whole);
        prop_assert!(-whole <= twice && twice < whole, "{points}");
    }

    #[test]
    fn no_text_leaves_its_cell(name in any::<String>()) {
        let text = markdown(&small(&name), Language::English);
        let row = text.lines().rfind(|line| line.contains("12Gi")).unwrap();
        let ends = row.replace("\\\\", "").replace("\\|", "");
        prop_assert_eq!(ends.matches('|').count(), 4);
        let page = html(&small(&name), Language::English);
        prop_assert_eq!(page.matches('<').count(), html(&small("a"), Language::English).matches('<').count());
        let parsed: Value = serde_json::from_str(&json(&small(&name)).to_string()).unwrap();
        prop_assert_eq!(parsed["name"].as_str(), Some(name.as_str()));
    }
}
