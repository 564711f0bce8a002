use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn job(on_error: &str) -> Value {
    json!({"job": {"image": "i", "timeout": "1m", "onError": on_error}})
}

fn exec(on_error: &str) -> Value {
    json!({"exec": {"selector": {"matchLabels": {"a": "b"}}, "command": ["c"], "onError": on_error}})
}

fn hooks(of: Value) -> Vec<Hook> {
    serde_json::from_value(of).unwrap()
}

/// A run as the operator makes it: each step begun, then ended as `end` says. Gives the order, and how it ended.
fn run(hooks: &[Hook], end: impl Fn(&str, HookPhase) -> StepState) -> (Vec<String>, Option<String>) {
    let (mut steps, mut seen, mut order) = (Vec::new(), Seen::new(), Vec::new());
    let mut stage = Stage::Taking;
    for _ in 0..100 {
        let walk = walk(hooks, &steps, &seen, stage, at(0));
        steps = walk.steps;
        match walk.next {
            Next::Begin((place, phase)) => {
                let name = &hooks[place].name;
                order.push(format!("{phase:?} {name}"));
                seen.insert((name.clone(), phase), end(name, phase));
            }
            Next::Wait(_) => panic!("nothing runs on"),
            Next::Take => {
                order.push("take".into());
                stage = Stage::Over;
            }
            Next::Done(failed) => return (order, failed),
        }
    }
    panic!("no end: {order:?}");
}

fn good(_: &str, _: HookPhase) -> StepState {
    StepState::Succeeded(String::new())
}

#[test]
fn befores_in_order_afters_in_reverse() {
    let all = hooks(json!([
        {"name": "queue", "before": job("Fail"), "after": job("Fail")},
        {"name": "only-after", "after": exec("Fail")},
        {"name": "database", "before": exec("Fail"), "after": exec("Fail")}]));
    let (order, failed) = run(&all, good);
    let expected =
        ["Before queue", "Before database", "take", "After database", "After only-after", "After queue"];
    assert_eq!((order, failed), (expected.map(str::to_owned).to_vec(), None));
    assert_eq!(run(&[], good), (vec!["take".to_owned()], None));
}

#[test]
fn a_failed_before_takes_nothing_and_undoes_what_was_begun() {
    let of = |on_error: &str| {
        hooks(json!([
            {"name": "one", "before": job("Fail"), "after": job("Fail")},
            {"name": "two", "before": job(on_error), "after": job("Fail")},
            {"name": "three", "before": job("Fail"), "after": job("Fail")}]))
    };
    let second_fails = |name: &str, phase| match (name, phase) {
        ("two", HookPhase::Before) => StepState::Failed("no space".into()),
        _ => StepState::Succeeded(String::new()),
    };
    let (order, failed) = run(&of("Fail"), second_fails);
    assert_eq!(order, ["Before one", "Before two", "After two", "After one"]);
    assert_eq!(failed.as_deref(), Some("spec.hooks[1].before (two): no space"));
    let (order, failed) = run(&of("Continue"), second_fails);
    assert_eq!((order.len(), failed), (7, None));
}

#[test]
fn every_after_runs_also_when_one_fails() {
    let all = hooks(json!([{"name": "one", "after": job("Fail")}, {"name": "two", "after": job("Fail")}]));
    let (order, failed) = run(&all, |name, _| match name {
        "two" => StepState::Failed("stuck".into()),
        _ => StepState::Succeeded(String::new()),
    });
    assert_eq!(order, ["take", "After two", "After one"]);
    assert_eq!(failed.as_deref(), Some("spec.hooks[1].after (two): stuck"));
}

#[test]
fn what_broke_off_with_the_operator() {
    let all = |step: Value| hooks(json!([{"name": "a", "before": step.clone(), "after": step}]));
    let begun = |phase, state| HookProgress {
        name: "a".into(),
        phase,
        state,
        started_at: Time(at(0)),
        message: None,
    };
    let none = Seen::new();
    let before = [begun(HookPhase::Before, HookState::Running)];
    // A command: it has failed, and is undone.
    let after_crash = walk(&all(exec("Fail")), &before, &none, Stage::Taking, at(1));
    assert_eq!(after_crash.next, Next::Begin((0, HookPhase::After)));
    assert_eq!(after_crash.steps[0].state, HookState::Failed);
    // A Job has a name of its own: it is made again, until its time is over.
    assert_eq!(
        walk(&all(job("Fail")), &before, &none, Stage::Taking, at(1)).next,
        Next::Begin((0, HookPhase::Before))
    );
    assert_eq!(
        walk(&all(job("Fail")), &before, &none, Stage::Taking, at(200)).next,
        Next::Begin((0, HookPhase::After))
    );
    // What undoes is run again.
    let after = [begun(HookPhase::Before, HookState::Succeeded), begun(HookPhase::After, HookState::Running)];
    assert_eq!(
        walk(&all(exec("Fail")), &after, &none, Stage::Over, at(9_999)).next,
        Next::Begin((0, HookPhase::After))
    );
}

#[test]
fn the_same_again_changes_nothing() {
    let all = hooks(json!([{"name": "a", "before": job("Fail")}]));
    let first = walk(&all, &[], &Seen::new(), Stage::Taking, at(0));
    let seen = Seen::from([(("a".to_owned(), HookPhase::Before), StepState::Running)]);
    let second = walk(&all, &first.steps, &seen, Stage::Taking, at(30));
    assert_eq!((second.steps, second.next), (first.steps, Next::Wait((0, HookPhase::Before))));
}

#[test]
fn what_the_schema_lets_pass_is_refused_with_its_field() {
    let with = |timeout: &str| {
        let step = json!({"job": {"image": "i", "timeout": timeout}});
        validate(&hooks(json!([{"name": "a", "before": job("Fail")}, {"name": "b", "after": step}])))
    };
    assert_eq!(with("1h"), Ok(()));
    for wrong in ["0s", "2h", "1m1h"] {
        let error = with(wrong).unwrap_err();
        assert!(error.starts_with("spec.hooks[1].after.job.timeout: "), "{error}");
    }
}

proptest! {
    /// Whatever fails: what was begun is undone, once each, and data is taken only when every before let it.
    #[test]
    fn what_was_begun_is_undone(
        shape in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()), 0..6),
        failing in proptest::collection::btree_set(0usize..12, 0..6),
    ) {
        let all: Vec<Hook> = shape.iter().enumerate().map(|(n, (before, after, is_exec, strict))| {
            let on_error = if *strict { "Fail" } else { "Continue" };
            let step = if *is_exec { exec(on_error) } else { job(on_error) };
            let mut hook = json!({"name": format!("h{n}")});
            if *before { hook["before"] = step.clone(); }
            if *after { hook["after"] = step; }
            serde_json::from_value(hook).unwrap()
        }).collect();
        let number = |name: &str| name[1..].parse::<usize>().unwrap();
        let fails = |name: &str, phase: HookPhase| failing.contains(&(2 * number(name) + usize::from(phase == HookPhase::After)));
        let (order, failed) = run(&all, |name, phase| {
            if fails(name, phase) { StepState::Failed("x".into()) } else { StepState::Succeeded(String::new()) }
        });
        for hook in &all {
            let begun = order.contains(&format!("Before {}", hook.name));
            let undone = order.iter().filter(|o| **o == format!("After {}", hook.name)).count();
            if begun && hook.after.is_some() {
                prop_assert_eq!(undone, 1);
            }
            prop_assert!(undone <= 1);
        }
        let strict = |name: &str| shape[number(name)].3;
        let blocked = all.iter().any(|h| h.before.is_some() && strict(&h.name) && fails(&h.name, HookPhase::Before));
        prop_assert_eq!(order.contains(&"take".to_owned()), !blocked);
        if blocked { prop_assert!(failed.is_some()); }
    }
}
