use futures::StreamExt as _;

use super::*;

fn of(name: &str) -> Key {
    let part = str::to_owned;
    Key {
        uid: part("1"),
        namespace: part("health-web"),
        name: part(name),
        centre: part("remote"),
        source_centre: part("production"),
        source: part("files"),
        bucket: part("files"),
    }
}

async fn nothing(_: BTreeSet<String>) -> Result<Report, Refusal> {
    Ok(Report::default())
}

fn asked() -> Asked {
    Asked { generation: Some(1), token: None }
}

async fn until(mut there: impl FnMut() -> bool) {
    while !there() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn how_a_run_ended_is_known_and_failures_in_a_row_are_counted() {
    let all = Arc::new(RunsOfAll::new(Arc::default()));
    let wrong = || Refusal { reason: "Wrong".into(), message: "w".into() };
    for (result, failures) in
        [(Err(wrong()), 1), (Err(wrong()), 2), (Ok(Report::default()), 0), (Err(wrong()), 1)]
    {
        let before = all.look(&of("a")).last.map(|last| last.ended_at);
        all.start(&of("a"), asked(), false, |turn| async move {
            let _turn = turn.wait(nothing).await;
            result
        });
        until(|| all.look(&of("a")).last.map(|last| last.ended_at) != before).await;
        let Runs { current, last, .. } = all.look(&of("a"));
        assert_eq!((current, last.unwrap().failures), (None, failures));
    }
}

#[tokio::test]
async fn so_many_at_once_and_what_is_stopped_makes_room() {
    let all = Arc::new(RunsOfAll::new(Arc::default()));
    let runs = |name: &str| all.look(&of(name)).current.is_some_and(|c| c.started_at.is_some());
    for name in ["a", "b", "c"] {
        all.start(&of(name), asked(), false, |turn| async move {
            let _turn = turn.wait(nothing).await;
            std::future::pending().await
        });
    }
    until(|| runs("a") && runs("b")).await;
    assert!(!runs("c") && all.look(&of("c")).current.is_some());
    all.stop(&of("a"));
    until(|| runs("c")).await;
    assert_eq!(all.look(&of("a")), Runs::default());
    all.keep_only(|key| key.name == "b");
    assert!(runs("b") && all.look(&of("c")).current.is_none());
}

#[tokio::test]
async fn a_run_that_breaks_off_is_a_failure() {
    let all = Arc::new(RunsOfAll::new(Arc::default()));
    all.start(&of("a"), asked(), false, |_| async { panic!("broken") });
    until(|| all.look(&of("a")).last.is_some()).await;
    let last = all.look(&of("a")).last.unwrap();
    assert_eq!(last.result.unwrap_err().reason, "RunFailed");
}

fn event(key: &str, is_gone: bool) -> Event {
    Event { bucket: "files".into(), keys: [key.to_owned()].into(), is_gone }
}

#[tokio::test]
async fn keys_of_events_are_collected_and_looked_at_when_no_run_is_under_way() {
    let all = Arc::new(RunsOfAll::new(Arc::default()));
    all.look(&of("a"));
    assert!(all.hint("production", &[event("k", false)]).is_none(), "nobody acts here yet");
    let mut woken = all.open();
    let other = Event { bucket: "other".into(), ..event("k", false) };
    let heard = all.hint("production", &[event("k", false), event("l", false), other]).unwrap();
    assert_eq!((heard.taken, heard.ignored), (2, 1));
    assert_eq!(all.hint("moon", &[event("k", false)]).unwrap(), Heard { ignored: 1, ..Heard::default() });
    assert!(woken.try_recv().is_err(), "more may come");
    assert_eq!(woken.next().await.unwrap().name, "a");
    assert_eq!(all.look(&of("a")).hints.keys, 2);
    let (done, ends) = tokio::sync::oneshot::channel::<Report>();
    all.start(&of("a"), asked(), true, |turn| async move {
        let _turn = turn.wait(nothing).await;
        assert_eq!(turn.keys.as_ref().unwrap().len(), 2);
        Ok(ends.await.unwrap())
    });
    // What comes meanwhile waits for its end.
    all.hint("production", &[event("m", false)]).unwrap();
    all.clone().wake_later(of("a")).await;
    assert!(woken.try_recv().is_err() && all.look(&of("a")).current.is_some_and(|c| c.is_touch));
    done.send(Report { failed: 1, lag_left: Some(7000), gone: 1, ..Report::default() }).unwrap();
    woken.next().await.unwrap();
    let Runs { current, last, hints } = all.look(&of("a"));
    assert!(current.is_none() && last.is_none(), "it is no run of everything");
    assert_eq!((hints.keys, hints.whole, hints.gone, hints.missing), (1, true, true, Some(7)));
    // A run of everything looks at all of it.
    all.start(&of("a"), asked(), false, |turn| async move {
        let _turn = turn.wait(nothing).await;
        Ok(Report::default())
    });
    until(|| all.look(&of("a")).last.is_some()).await;
    assert_eq!((all.look(&of("a")).hints.keys, all.look(&of("a")).hints.whole), (0, false));
    assert_eq!(all.look(&of("a")).hints.missing, None);
}

#[tokio::test]
async fn what_a_look_that_is_stopped_was_to_look_at_is_not_forgotten() {
    let all = Arc::new(RunsOfAll::new(Arc::default()));
    all.look(&of("a"));
    let _woken = all.open();
    all.hint("production", &[event("k", false)]).unwrap();
    all.start(&of("a"), asked(), true, |_| std::future::pending());
    all.stop(&of("a"));
    assert!(all.look(&of("a")).hints.whole);
}

#[tokio::test]
async fn keys_do_not_wait_until_a_run_of_everything_has_its_turn() {
    let all = Arc::new(RunsOfAll::new(Arc::default()));
    let _woken = all.open();
    for name in ["a", "b"] {
        all.start(&of(name), asked(), false, |turn| async move {
            let _turn = turn.wait(nothing).await;
            std::future::pending().await
        });
    }
    until(|| ["a", "b"].iter().all(|n| all.look(&of(n)).current.is_some_and(|c| c.started_at.is_some())))
        .await;
    let looked_at = Arc::<Mutex<Vec<String>>>::default();
    let looks = looked_at.clone();
    all.start(&of("c"), asked(), false, |turn| async move {
        let _turn = turn
            .wait(|keys| {
                looks.lock().unwrap().extend(keys);
                async { Err(Refusal { reason: "No".into(), message: "n".into() }) }
            })
            .await;
        Ok(Report::default())
    });
    all.hint("production", &[event("k", false)]).unwrap();
    all.clone().wake_later(of("c")).await;
    until(|| *looked_at.lock().unwrap() == ["k"]).await;
    let Runs { current, hints, .. } = all.look(&of("c"));
    assert!(current.is_some_and(|c| c.started_at.is_none()) && hints.whole, "it still waits");
    all.stop(&of("a"));
    until(|| all.look(&of("c")).last.is_some()).await;
    assert_eq!(all.look(&of("c")).hints, domain::Hints::default());
}
