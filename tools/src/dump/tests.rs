use super::{tell, trace};

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

/// A trace whose thread noted `written` operations, laid out as the image does.
fn a_trace(written: u64) -> Vec<u8> {
    let kept = 2u64;
    let mut memory = trace::MAGIC.to_vec();
    for word in [kept, 8, written, 1000, 512_000_000, 0, 0] {
        memory.extend(word.to_be_bytes());
    }
    for slot in 0..kept {
        let lap = written.saturating_sub(slot + 1) / kept + 1;
        let bus = 0x10_0000 + (slot << 12);
        let words = [
            512_001_000 << 12,
            bus,
            0x2000_0000,
            5 << 32,
            7 << 32,
            16 << 12,
        ];
        for word in words {
            memory.extend((word | lap).to_be_bytes());
        }
        memory.extend((100 << 12 | lap).to_be_bytes());
        memory.extend([0; 8]);
    }
    let counts = memory.len();
    memory.resize(counts + 16 * 32 * 8 + 16 * 8, 0);
    // Map, 64 to 127 ticks.
    memory[counts + 6 * 8 + 7] = 9;
    memory
}

#[test]
fn a_trace_is_told_with_what_operations_cost() {
    let text = tell(&a_trace(3), None).unwrap();
    assert!(
        text.contains("thread 0x8, 3 noted, 1 no longer held"),
        "{text}"
    );
    let line = |bus: &str| {
        format!(
            "  [    1.000000] 0008 map            5        7           {bus}      16     100 to 20000000\n"
        )
    };
    let both = line("101000") + &line("100000");
    assert!(text.contains(&both), "{text}");
    assert!(
        text.contains("  map               9        0       128       128       128\n"),
        "{text}"
    );
}

#[test]
fn a_half_written_operation_is_said() {
    let mut memory = a_trace(2);
    memory[64 + 15] ^= 1;
    let text = tell(&memory, None).unwrap();
    assert!(text.contains("number 0 is half written\n"), "{text}");
    assert!(tell(&memory[..100], None).unwrap().contains("cut off"));
    memory[8] = 0xff;
    assert!(tell(&memory, None).unwrap().contains("not a trace"));
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
