//! The output and the operator's wishes come in; width, colours and time zone of the view go out.

use std::fmt;
use std::io::IsTerminal;

use anstyle::Style;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How the view looks.
pub struct Look {
    /// The output is a terminal: headers are repeated, lines are cut to its width.
    pub is_terminal: bool,
    /// Colours are written.
    pub colour: bool,
    /// Zone of the times shown.
    pub zone: TimeZone,
    width: Box<dyn Fn() -> Option<usize> + Send>,
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Look")
            .field("colour", &self.colour)
            .field("width", &self.width())
            .finish_non_exhaustive()
    }
}

impl Look {
    /// The look that fits the standard output; `no_color` is the wish of <https://no-color.org>.
    pub fn of_stdout(no_color: bool) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let width = || {
            let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
            Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
        };
        Self {
            is_terminal,
            colour: is_terminal && !no_color,
            zone: TimeZone::system(),
            width: if is_terminal { Box::new(width) } else { Box::new(|| None) },
        }
    }

    /// A look of fixed width; `None` is as wide as the columns want.
    pub fn fixed(width: Option<usize>, colour: bool) -> Self {
        Self {
            is_terminal: width.is_some(),
            colour,
            zone: TimeZone::UTC,
            width: Box::new(move || width),
        }
    }

    /// Columns of the terminal now; `None` where lines are not cut.
    pub fn width(&self) -> Option<usize> {
        (self.width)()
    }

    /// The text in a style, where colours are written.
    pub(in crate::report) fn paint(&self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// Hours, minutes and seconds in the zone of the view.
    pub(super) fn clock(&self, time: Timestamp) -> String {
        time.to_zoned_datetime(self.zone.clone()).strftime("%H:%M:%S").to_string()
    }
}
