use super::tell;

fn ring(capacity: u64, written: u64, bytes: &[u8]) -> Vec<u8> {
    let mut memory = b"PINIONLG".to_vec();
    memory.extend(capacity.to_be_bytes());
    memory.extend(written.to_be_bytes());
    memory.extend(bytes);
    memory
}

fn epitaph(vector: u64, text: &str) -> Vec<u8> {
    let mut memory = vec![0; 0x2c0];
    memory[..8].copy_from_slice(b"EPITAPH1");
    memory[0x08..0x10].copy_from_slice(&4u64.to_be_bytes());
    memory[0x140..0x148].copy_from_slice(&0x2002_86c4_u64.to_be_bytes());
    memory[0x170..0x178].copy_from_slice(&vector.to_be_bytes());
    memory[0x1c0..0x1c0 + text.len()].copy_from_slice(text.as_bytes());
    memory
}

#[test]
fn a_log_is_told_oldest_line_first() {
    // Ten bytes written into eight: the first two are gone.
    let text = tell(&ring(8, 10, b"\nyaa\nbb\n"), None).unwrap();
    assert!(
        text.contains("10 bytes written, 2 no longer held"),
        "{text}"
    );
    assert!(text.ends_with("  | bb\n  | \n  | y\n"), "{text}");
    let text = tell(&ring(16, 6, b"one\ntw\0\0\0\0\0\0\0\0\0\0"), None).unwrap();
    assert!(text.ends_with("  | one\n  | tw\n"), "{text}");
}

#[test]
fn an_epitaph_is_told_with_and_without_registers() {
    let text = tell(&epitaph(0x200, "machine check"), None).unwrap();
    assert!(text.contains("  machine check\n  thread 0x4"), "{text}");
    assert!(
        text.contains("interrupt 0x200\n  nip   00000000200286c4"),
        "{text}"
    );
    let text = tell(&epitaph(0, "panic: no"), None).unwrap();
    assert!(
        text.contains("panic: no") && text.contains("no registers"),
        "{text}"
    );
}

#[test]
fn both_are_found_wherever_they_lie() {
    let mut memory = vec![0; 0x40];
    memory.extend(epitaph(0, "first"));
    memory.extend(ring(8, 3, b"log\0\0\0\0\0"));
    let text = tell(&memory, None).unwrap();
    assert!(text.starts_with("epitaph at offset 0x40\n"), "{text}");
    assert!(text.contains("log at offset 0x300\n"), "{text}");
    assert!(text.ends_with("  | log\n"), "{text}");
}

#[test]
fn what_is_damaged_is_said() {
    assert_eq!(tell(&[0; 64], None), None);
    assert_eq!(tell(b"EPI", None), None);
    assert!(tell(b"EPITAPH1", None).unwrap().contains("cut off"));
    assert!(tell(b"PINIONLG", None).unwrap().contains("cut off"));
    assert!(tell(&ring(8, 3, b"log"), None).unwrap().contains("cut off"));
    assert!(
        tell(&ring(u64::MAX, 3, b"log"), None)
            .unwrap()
            .contains("not a log")
    );
    assert!(
        tell(&ring(0, 3, b"log"), None)
            .unwrap()
            .contains("not a log")
    );
}
