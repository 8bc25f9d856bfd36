//! JSON that is safe inside a page and on a terminal, and still says the same.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use crate::escape::is_control;

/// Rewrites JSON on its way: all characters that control a terminal or the direction of a line become `\uXXXX`, and
/// in a page `<` too, so that `</script>` and `<!--` cannot appear. Outside strings JSON has none of them, so the
/// meaning stays.
pub(crate) struct EscapedJson<'output> {
    output: &'output mut dyn Write,
    place: JsonPlace,
}

/// Where the JSON goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonPlace {
    File,
    Page,
}

impl<'output> EscapedJson<'output> {
    pub(crate) fn new(place: JsonPlace, output: &'output mut dyn Write) -> Self {
        Self { output, place }
    }

    /// The line feeds of pretty printing stay; in strings the serializer has escaped them already.
    fn needs_escape(&self, character: char) -> bool {
        match character {
            '<' => self.place == JsonPlace::Page,
            '\n' => false,
            _ => is_control(character),
        }
    }
}

impl Write for EscapedJson<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        // Numbers and structure, nearly all of a page.
        if buffer
            .iter()
            .all(|&byte| (b' '..=b'~').contains(&byte) && byte != b'<')
        {
            self.output.write_all(buffer)?;
            return Ok(buffer.len());
        }
        // The serializer writes whole string fragments, never a part of a character.
        let text =
            std::str::from_utf8(buffer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let mut done = 0;
        for (position, character) in text.char_indices() {
            if !self.needs_escape(character) {
                continue;
            }
            self.output.write_all(&buffer[done..position])?;
            let mut escaped = String::new();
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(escaped, "\\u{unit:04x}").expect("a string takes every write");
            }
            self.output.write_all(escaped.as_bytes())?;
            done = position + character.len_utf8();
        }
        self.output.write_all(&buffer[done..])?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_the_same_and_the_text_is_harmless() {
        for value in ["</script><!--", "\u{202e}\u{9b}\u{7f}\n\t\0", "plain 🙂", ""] {
            for place in [JsonPlace::File, JsonPlace::Page] {
                let mut output = Vec::new();
                serde_json::to_writer_pretty(EscapedJson::new(place, &mut output), &[value]).unwrap();
                let text = String::from_utf8(output).unwrap();
                assert!(
                    !text
                        .chars()
                        .any(|character| is_control(character) && character != '\n')
                );
                assert_eq!(
                    text.contains('<'),
                    value.contains('<') && place == JsonPlace::File
                );
                assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), [value]);
            }
        }
    }
}
