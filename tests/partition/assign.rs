//! Groups for devices: whole or not at all, and each refusal with its reason.

use pinion::partition::assign::{AssignError, Member, Offer, assign};
use pinion::partition::manifest::DeviceName;

fn member(text: &str, kind: u16) -> Member {
    Member {
        id: text.parse().unwrap(),
        vendor: 0x1b36,
        device: kind,
    }
}

fn offer(key: u32, members: &[Member]) -> Offer<u32> {
    Offer {
        key,
        members: members.to_vec(),
        refused: None,
        owner: None,
    }
}

/// Two drives, a device of two functions, one that somebody has, one that nobody
/// can have.
fn offers() -> Vec<Offer<u32>> {
    vec![
        offer(1, &[member("0000:01:00.0", 0x10)]),
        offer(
            2,
            &[member("0001:01:00.0", 0x11), member("0001:01:00.1", 0x11)],
        ),
        Offer {
            owner: Some("web".into()),
            ..offer(3, &[member("0002:01:00.0", 0x10)])
        },
        Offer {
            refused: Some("it cannot be reset alone".into()),
            ..offer(4, &[member("0003:01:00.0", 0x12)])
        },
        offer(5, &[member("0004:01:00.0", 0x10)]),
    ]
}

fn named(names: &[&str]) -> Result<Vec<u32>, String> {
    let names: Vec<DeviceName> = names.iter().map(|name| name.parse().unwrap()).collect();
    assign(&offers(), &names).map_err(|error| error.to_string())
}

#[test]
fn by_address_and_by_kind() {
    assert_eq!(named(&[]), Ok(vec![]));
    assert_eq!(named(&["0004:01:00.0"]), Ok(vec![5]));
    // The first that is free, and then the next: what somebody has is passed.
    assert_eq!(named(&["1b36:0010"]), Ok(vec![1]));
    assert_eq!(named(&["1b36:0010", "1b36:0010"]), Ok(vec![1, 5]));
    // An address is not taken away by a kind that is named before it.
    assert_eq!(named(&["1b36:0010", "0000:01:00.0"]), Ok(vec![1, 5]));
}

#[test]
fn a_group_is_had_as_a_whole_or_not_at_all() {
    let error = "0001:01:00.0: it can be had only together with 0001:01:00.1";
    assert_eq!(named(&["0001:01:00.0"]), Err(error.into()));
    assert_eq!(named(&["0000:01:00.0", "0001:01:00.0"]), Err(error.into()));
    let error = "1b36:0011: it can be had only together with 0001:01:00.1";
    assert_eq!(named(&["1b36:0011"]), Err(error.into()));
    for both in [
        ["0001:01:00.1", "0001:01:00.0"],
        ["1b36:0011", "1b36:0011"],
        ["1b36:0011", "0001:01:00.0"],
    ] {
        assert_eq!(named(&both), Ok(vec![2]), "{both:?}");
    }
}

#[test]
fn each_refusal_has_its_reason() {
    let refused = |names: &[&str]| named(names).unwrap_err();
    assert_eq!(
        refused(&["0009:01:00.0"]),
        "0009:01:00.0: there is no such device"
    );
    assert_eq!(
        refused(&["8086:0001"]),
        "8086:0001: there is no such device"
    );
    assert_eq!(refused(&["0002:01:00.0"]), "0002:01:00.0: \"web\" has it");
    assert_eq!(
        refused(&["0003:01:00.0"]),
        "0003:01:00.0: it cannot be assigned: it cannot be reset alone"
    );
    assert_eq!(
        refused(&["1b36:0012"]),
        "1b36:0012: it cannot be assigned: it cannot be reset alone"
    );
    let twice = "0000:01:00.0: it is named more often than it is there";
    assert_eq!(refused(&["0000:01:00.0", "0000:01:00.0"]), twice);
    assert_eq!(
        refused(&["1b36:0010", "1b36:0010", "1b36:0010"]),
        "1b36:0010: it is named more often than it is there"
    );
}

#[test]
fn a_refusal_names_eight_members_and_counts_the_rest() {
    let members: Vec<Member> = (0..12)
        .map(|at| member(&format!("0000:01:{:02x}.0", at), 0x10))
        .collect();
    let error = assign(&[offer(1, &members)], &["0000:01:00.0".parse().unwrap()]).unwrap_err();
    let AssignError::Apart { others, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(others.len(), 11);
    let text = error.to_string();
    assert!(text.ends_with("0000:01:08.0 and 3 more"), "{text}");
}
