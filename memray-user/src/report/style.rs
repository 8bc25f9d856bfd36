//! Color on terminals: a few attributes, or none at all.

/// Whether escape sequences may be written; the caller knows the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    #[default]
    Never,
    Always,
}

/// What a piece of text is, for its color.
#[derive(Clone, Copy, Debug)]
pub enum Style {
    Heading,
    Warning,
    /// All is well.
    Good,
    /// It is not.
    Bad,
    Faint,
    /// A share of the whole in percent: the larger, the hotter.
    Share(f64),
}

impl Color {
    /// `text` with the sequences of `style` around it.
    pub fn paint(self, style: Style, text: &str) -> String {
        match self {
            Self::Never => text.to_owned(),
            Self::Always => format!("\x1b[{}m{text}\x1b[0m", style.attributes()),
        }
    }
}

impl Style {
    fn attributes(self) -> &'static str {
        match self {
            Self::Heading => "1",
            Self::Warning => "1;33",
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Faint => "2",
            Self::Share(percent) if percent >= 50.0 => "1;31",
            Self::Share(percent) if percent >= 20.0 => "31",
            Self::Share(percent) if percent >= 5.0 => "33",
            Self::Share(percent) if percent >= 1.0 => "32",
            Self::Share(_) => "2;32",
        }
    }
}
