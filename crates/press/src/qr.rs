//! The QR code as runs of dark modules, for a path in the template.

use qrcode::{Color, EcLevel, types::QrError};
use serde::Serialize;

/// Light modules around the code, without which readers don't find it (ISO/IEC 18004 asks for four).
const QUIET: usize = 4;

/// A QR code with its quiet zone.
#[derive(Serialize)]
pub(crate) struct QrCode {
    /// Modules a side.
    size: usize,
    /// Dark runs: (column, row, width).
    runs: Vec<(usize, usize, usize)>,
}

impl QrCode {
    /// Level Q survives a quarter of damage: folds, smudges and a bad fax line.
    pub(crate) fn of(text: &str) -> Result<QrCode, String> {
        let code = qrcode::QrCode::with_error_correction_level(text, EcLevel::Q)
            .map_err(|e: QrError| format!("{} characters: {e}", text.chars().count()))?;
        let width = code.width();
        let colours = code.to_colors();
        let mut runs: Vec<(usize, usize, usize)> = Vec::new();
        for (at, colour) in colours.iter().enumerate() {
            let (x, y) = (at % width + QUIET, at / width + QUIET);
            if *colour == Color::Light {
                continue;
            }
            match runs.last_mut() {
                Some((from, row, length)) if *row == y && *from + *length == x => *length += 1,
                _ => runs.push((x, y, 1)),
            }
        }
        Ok(QrCode { size: width + 2 * QUIET, runs })
    }
}
