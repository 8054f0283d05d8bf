//! The life cycle against a model that knows what a partition has, not how its
//! states are called.

use pinion::partition::life::{Life, LifeError, NotStopping, State, Then, Verb};
use proptest::prelude::*;

/// What there is of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Model {
    has_memory: bool,
    memory_is_zero: bool,
    vcpus_run: bool,
    vcpus_on_threads: bool,
    devices_are_hot: bool,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Asked(Verb),
    Settled { quiet: bool },
}

impl Model {
    /// What a state stands for.
    fn of(state: State) -> Self {
        let has = Self {
            has_memory: true,
            ..Self::default()
        };
        match state {
            State::Absent => Self::default(),
            State::Stopped => Self {
                memory_is_zero: true,
                ..has
            },
            State::Running => Self {
                vcpus_run: true,
                vcpus_on_threads: true,
                devices_are_hot: true,
                ..has
            },
            State::Paused | State::Stopping(_) => Self {
                vcpus_on_threads: true,
                devices_are_hot: true,
                ..has
            },
            State::Crashed => has,
            State::Stuck(_) => Self {
                devices_are_hot: true,
                ..has
            },
        }
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let verb = prop::sample::select(Verb::ALL.to_vec()).prop_map(Event::Asked);
    let settled = any::<bool>().prop_map(|quiet| Event::Settled { quiet });
    prop::collection::vec(prop_oneof![3 => verb, 2 => settled], 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_is_asked_nothing_is_given_away_that_may_be_in_use(events in events()) {
        let life = Life::new();
        for event in events {
            let before = life.state();
            let now = Model::of(before);
            match event {
                Event::Asked(verb) => match life.apply(verb) {
                    Ok(after) => {
                        prop_assert_eq!(life.state(), after);
                        let then = Model::of(after);
                        // Memory comes by define only, and no verb takes it: only
                        // the end of stopping does.
                        prop_assert_eq!(then.has_memory && !now.has_memory, verb == Verb::Define);
                        prop_assert!(then.has_memory || !now.has_memory);
                        // vCPUs come to their threads in zeroed memory, with quiet
                        // devices.
                        if then.vcpus_run && !now.vcpus_on_threads {
                            prop_assert!(now.memory_is_zero && !now.devices_are_hot);
                            prop_assert_eq!(verb, Verb::Start);
                        }
                        // Nothing that is hot becomes quiet by a word.
                        prop_assert!(then.devices_are_hot || !now.devices_are_hot);
                        prop_assert!(then.vcpus_on_threads || !now.vcpus_on_threads);
                    }
                    Err(error) => {
                        prop_assert_eq!(error, LifeError { state: before, verb });
                        prop_assert_eq!(life.state(), before);
                    }
                },
                Event::Settled { quiet } => {
                    let State::Stopping(then) = before else {
                        for then in [Then::Stopped, Then::Starts, Then::Crashed, Then::Absent] {
                            prop_assert_eq!(life.settle(then, quiet), Err(NotStopping(before)));
                        }
                        prop_assert_eq!(life.state(), before);
                        continue;
                    };
                    // For another end it is refused: what was done for that one
                    // may have left something out.
                    for other in [Then::Stopped, Then::Starts, Then::Crashed, Then::Absent] {
                        if other != then {
                            prop_assert_eq!(life.settle(other, quiet), Err(NotStopping(before)));
                        }
                    }
                    let after = life.settle(then, quiet).unwrap();
                    prop_assert_eq!(life.state(), after);
                    prop_assert_eq!(after == State::Stuck(then), !quiet);
                    if !quiet {
                        prop_assert!(Model::of(after).has_memory);
                    } else {
                        prop_assert!(!Model::of(after).devices_are_hot);
                        prop_assert_eq!(!Model::of(after).has_memory, then == Then::Absent);
                    }
                }
            }
            // Destroy is possible at last, whatever happened.
            let end = life.state();
            if !matches!(end, State::Absent | State::Stopping(_)) {
                prop_assert_eq!(end.after(Verb::Destroy), Ok(State::Stopping(Then::Absent)));
            }
        }
    }
}

#[test]
fn the_whole_table() {
    use State::{Absent, Crashed, Paused, Running, Stopped, Stopping, Stuck};
    let (stop, again, crash, gone) = (
        Some(Stopping(Then::Stopped)),
        Some(Stopping(Then::Starts)),
        Some(Stopping(Then::Crashed)),
        Some(Stopping(Then::Absent)),
    );
    // In the order of Verb::ALL: define, start, pause, resume, stop, restart,
    // crash, destroy.
    let table = [
        (
            Absent,
            [Some(Stopped), None, None, None, None, None, None, None],
        ),
        (
            Stopped,
            [None, Some(Running), None, None, None, None, None, gone],
        ),
        (
            Running,
            [None, None, Some(Paused), None, stop, again, crash, gone],
        ),
        (
            Paused,
            [None, None, None, Some(Running), stop, again, crash, gone],
        ),
        (Crashed, [None, None, None, None, stop, again, None, gone]),
        (Stopping(Then::Starts), [None; 8]),
        (Stopping(Then::Absent), [None; 8]),
        (
            Stuck(Then::Crashed),
            [None, None, None, None, stop, again, None, gone],
        ),
        (
            Stuck(Then::Absent),
            [None, None, None, None, stop, again, None, gone],
        ),
    ];
    for (state, row) in table {
        for (verb, expected) in Verb::ALL.into_iter().zip(row) {
            let found = state.after(verb);
            assert_eq!(found.ok(), expected, "{verb} when {state}");
            if let Err(error) = found {
                assert_eq!(error, LifeError { state, verb });
            }
        }
    }
}

#[test]
fn a_refusal_names_state_and_verb() {
    let life = Life::new();
    let error = life.apply(Verb::Start).unwrap_err();
    assert_eq!(
        error.to_string(),
        "start is not possible: the partition is absent"
    );
    life.apply(Verb::Define).unwrap();
    life.apply(Verb::Start).unwrap();
    life.apply(Verb::Restart).unwrap();
    let error = life.apply(Verb::Pause).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pause is not possible: the partition is stopping to start again"
    );
}

#[test]
fn of_many_threads_that_end_it_one_is_first() {
    for _ in 0..200 {
        let life = Life::new();
        life.apply(Verb::Define).unwrap();
        life.apply(Verb::Start).unwrap();
        let won: usize = std::thread::scope(|scope| {
            let verbs = [Verb::Stop, Verb::Restart, Verb::Crash, Verb::Destroy];
            let threads: Vec<_> = verbs
                .into_iter()
                .map(|verb| {
                    let life = &life;
                    scope.spawn(move || usize::from(life.apply(verb).is_ok()))
                })
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).sum()
        });
        assert_eq!(won, 1, "{}", life.state());
    }
}
