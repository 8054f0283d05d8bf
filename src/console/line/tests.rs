use super::history::KEPT;
use super::*;

/// A terminal that does as it is told, for one row.
#[derive(Default)]
struct Screen {
    row: String,
    lines: Vec<String>,
    bells: usize,
}

const WORDS: [&str; 4] = ["help", "memory", "machine", "mercy"];

fn type_into(editor: &mut LineEditor, bytes: &[u8]) -> Screen {
    let mut screen = Screen::default();
    for &byte in bytes {
        match editor.take(byte) {
            Typed::Nothing | Typed::Clear => {}
            Typed::Echo(character) => screen.row.push(character),
            Typed::Bell => screen.bells += 1,
            Typed::Redraw => screen.row = editor.so_far().into(),
            Typed::Complete => {
                editor.complete(WORDS.iter().copied());
                screen.row = editor.so_far().into();
            }
            Typed::Line(line) => {
                screen.lines.push(line.to_string());
                screen.row.clear();
            }
            Typed::Abandoned => screen.row.clear(),
        }
        assert_eq!(screen.row, editor.so_far(), "shown and meant differ");
        assert!(editor.cursor_from_end() <= editor.so_far().len());
    }
    screen
}

fn typed(bytes: &[u8]) -> Vec<String> {
    type_into(&mut LineEditor::default(), bytes).lines
}

#[test]
fn corrections_and_junk_leave_a_clean_line() {
    assert_eq!(typed(b"hekp\x7f\x7flp\r"), ["help"]);
    assert_eq!(typed(b"wrong\x15right\r"), ["right"]);
    assert_eq!(typed(b"gone\x03kept\r"), ["kept"]);
    assert_eq!(typed(b"\xff\x00ok\r"), ["ok"]);
    assert_eq!(typed(b"a b  c\x17\x17x\r"), ["a x"]);
}

#[test]
fn a_return_with_a_newline_is_one_end() {
    assert_eq!(typed(b"one\r\ntwo\n\n"), ["one", "two", ""]);
}

#[test]
fn the_cursor_moves_and_edits_happen_at_it() {
    assert_eq!(typed(b"ac\x1b[Db\r"), ["abc"]);
    assert_eq!(typed(b"bc\x01a\x05d\r"), ["abcd"]);
    assert_eq!(typed(b"abXc\x1b[D\x7f\r"), ["abc"]);
    assert_eq!(typed(b"abXc\x1b[D\x1b[D\x1b[3~\r"), ["abc"]);
    assert_eq!(typed(b"xyz\x1b[H\x1b[C\x0b\r"), ["x"]);
    assert_eq!(typed(b"xyz\x1b[1;5D\x15\r"), ["z"]);
    assert_eq!(typed(b"abc\x1bOH\x1bOFd\r"), ["abcd"]);
}

#[test]
fn keys_that_do_nothing_ring() {
    let screen = type_into(
        &mut LineEditor::default(),
        b"\x1b[D\x1b[C\x7f\x1b[A\x1b[B\x1b[5~\x1bq",
    );
    assert_eq!((screen.bells, screen.row.as_str()), (7, ""));
}

#[test]
fn history_goes_back_and_comes_again() {
    let up = b"\x1b[A";
    assert_eq!(typed(b"one\rtwo\r\x1b[A\x1b[A\r"), ["one", "two", "one"]);
    assert_eq!(typed(b"one\rdraft\x1b[A\x1b[B\r"), ["one", "draft"]);
    assert_eq!(typed(b"one\r \rone\rtwo\r\x10\x10\x0e\r")[4], "two");
    let mut editor = LineEditor::default();
    for number in 0..KEPT + 3 {
        type_into(&mut editor, format!("{number}\r").as_bytes());
    }
    let screen = type_into(&mut editor, &up.repeat(KEPT + 1));
    assert_eq!((screen.row.as_str(), screen.bells), ("3", 1));
}

#[test]
fn completion_goes_as_far_as_words_agree() {
    assert_eq!(typed(b"h\t\r"), ["help "]);
    assert_eq!(typed(b"me\t\r"), ["me"]);
    assert_eq!(typed(b"mem\tx\r"), ["memory x"]);
    assert_eq!(typed(b"z\thelp m\t\r"), ["zhelp m"]);
    let mut editor = LineEditor::default();
    type_into(&mut editor, b"m");
    let Completion::Several(words) = editor.complete(WORDS.iter().copied()) else {
        panic!("m is ambiguous");
    };
    assert_eq!(words.as_slice(), ["memory", "machine", "mercy"]);
}

#[test]
fn a_line_has_an_end() {
    let mut editor = LineEditor::default();
    let screen = type_into(&mut editor, &[b'x'; MAX_LINE + 5]);
    assert_eq!((screen.bells, screen.row.len()), (5, MAX_LINE));
    assert_eq!(type_into(&mut editor, b"\x01y\t").bells, 1);
}

proptest::proptest! {
    #[test]
    fn any_bytes_keep_screen_and_line_alike(bytes: Vec<u8>) {
        type_into(&mut LineEditor::default(), &bytes);
    }
}
