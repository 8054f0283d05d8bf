//! Which threads a partition gets.

use pinion::partition::cores::{Core, NoCores, Thread, User, Want, place};

/// Cores of `threads` each, the first thread of the first being the boot thread;
/// PIRs are core * 4 + thread.
fn machine(cores: u64, threads: u64) -> Vec<Core> {
    let core = |core| Core {
        chip: Some((core / 2) as u32),
        threads: (0..threads)
            .map(|thread| Thread {
                pir: core * 4 + thread,
                vcpus: 0,
                is_boot: core == 0 && thread == 0,
            })
            .collect(),
        users: vec![],
    };
    (0..cores).map(core).collect()
}

fn want(vcpus: usize) -> Want {
    Want {
        vcpus,
        shares: false,
        crowds: false,
        chip: Some(0),
    }
}

/// Gives a partition what `place` says.
fn take(cores: &mut [Core], name: &str, want: &Want) -> Result<Vec<u64>, NoCores> {
    let placed = place(cores, want)?;
    for core in cores {
        let mut is_used = false;
        for thread in &mut core.threads {
            let here = placed.threads.iter().filter(|&&pir| pir == thread.pir);
            let count = here.count();
            thread.vcpus += count;
            is_used |= count > 0;
        }
        if is_used {
            core.users.push(User {
                name: name.into(),
                shares: want.shares,
            });
        }
    }
    Ok(placed.threads)
}

#[test]
fn siblings_go_to_one_partition_and_idle_ones_stay_idle() {
    let mut cores = machine(4, 4);
    assert_eq!(take(&mut cores, "a", &want(2)), Ok(vec![4, 5]));
    // Threads 6 and 7 are not b's: its five take a core and one of the next.
    assert_eq!(take(&mut cores, "b", &want(5)), Ok(vec![8, 9, 10, 11, 12]));
    // The boot thread's core is the last one, and the boot thread its last.
    assert_eq!(take(&mut cores, "c", &want(1)), Ok(vec![1]));
    let none = NoCores { wanted: 1, free: 0 };
    assert_eq!(take(&mut cores, "d", &want(1)), Err(none));
}

#[test]
fn the_memorys_chip_comes_first() {
    let far = Want {
        chip: Some(1),
        ..want(1)
    };
    assert_eq!(place(&machine(4, 4), &far).unwrap().threads, [8]);
}

#[test]
fn a_core_is_shared_only_if_all_say_so() {
    let mut cores = machine(2, 1);
    let shares = Want {
        shares: true,
        ..want(1)
    };
    assert_eq!(take(&mut cores, "own", &want(1)), Ok(vec![4]));
    assert_eq!(take(&mut cores, "first", &shares), Ok(vec![0]));
    let placed = place(&cores, &shares).unwrap();
    assert_eq!(placed.threads, [0]);
    assert_eq!(placed.neighbours, ["first"]);
    let none = NoCores { wanted: 1, free: 0 };
    assert_eq!(place(&cores, &want(1)), Err(none));
    assert!(none.to_string().starts_with("cpus: 1 wanted"));
}

#[test]
fn those_that_share_are_spread() {
    let mut cores = machine(2, 2);
    let three = Want {
        shares: true,
        ..want(3)
    };
    assert_eq!(take(&mut cores, "a", &three), Ok(vec![4, 5, 1]));
    assert_eq!(take(&mut cores, "b", &three), Ok(vec![0, 4, 5]));
}

#[test]
fn threads_are_crowded_only_where_that_is_allowed() {
    let cores = machine(1, 1);
    let few = NoCores { wanted: 2, free: 1 };
    assert_eq!(place(&cores, &want(2)), Err(few));
    let crowds = Want {
        crowds: true,
        ..want(2)
    };
    assert_eq!(place(&cores, &crowds).unwrap().threads, [0, 0]);
    let nowhere = place(&[], &crowds);
    assert_eq!(nowhere, Err(NoCores { wanted: 2, free: 0 }));
}
