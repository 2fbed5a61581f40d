//! A fax page as a fax machine sees it: 200 dots an inch, black or white.

use crate::support::{QR, ask, fax, poppler, print};
use staffel_paper::{Document, Language};

/// A page of dots; `true` is black.
struct Dots {
    width: usize,
    height: usize,
    black: Vec<bool>,
}

impl Dots {
    /// The first page in 200 dots an inch, one bit each (PBM, `P4`).
    fn of(language: Language) -> Dots {
        let paper = print(Document::FaxPage(fax(language)));
        let file = ask("pdftoppm", &paper, &["-mono", "-r", "200", "-f", "1", "-l", "1"], &[]);
        let mut fields = file.splitn(3, |b| b.is_ascii_whitespace());
        assert_eq!(fields.next(), Some(b"P4".as_slice()));
        let number = |bytes: Option<&[u8]>| -> usize {
            std::str::from_utf8(bytes.unwrap_or_default()).ok().and_then(|n| n.trim().parse().ok()).expect("a number")
        };
        let width = number(fields.next());
        let rest = fields.next().expect("height and dots");
        let end = rest.iter().position(u8::is_ascii_whitespace).expect("the end of the head");
        let (height, bits) = (number(Some(&rest[..end])), &rest[end + 1..]);
        let row = width.div_ceil(8);
        let black = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let black = black.map(|(x, y)| bits[y * row + x / 8] >> (7 - x % 8) & 1 == 1).collect();
        Dots { width, height, black }
    }

    fn at(&self, x: usize, y: usize) -> bool {
        self.black[y * self.width + x]
    }

    fn row(&self, y: usize) -> &[bool] {
        &self.black[y * self.width..(y + 1) * self.width]
    }

    /// What a QR reader sees.
    fn qr(&self) -> Vec<String> {
        let grey = |x: usize, y: usize| if self.at(x, y) { 0 } else { 255 };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(self.width, self.height, grey);
        image.detect_grids().iter().filter_map(|grid| grid.decode().ok()).map(|(_, text)| text).collect()
    }

    /// Groups of rows with anything black in them, as (height in dots, longest black run). A gap of up to three rows is that
    /// between a capital letter and the dots of its umlaut.
    fn bands(&self) -> Vec<(usize, usize)> {
        const UMLAUT: usize = 3;
        let mut bands: Vec<(usize, usize)> = Vec::new();
        let mut white = UMLAUT + 1;
        for y in 0..self.height {
            let longest = longest_run(self.row(y));
            if longest == 0 {
                white += 1;
                continue;
            }
            match bands.last_mut() {
                Some(band) if white <= UMLAUT => *band = (band.0 + white + 1, band.1.max(longest)),
                _ => bands.push((1, longest)),
            }
            white = 0;
        }
        bands
    }
}

fn longest_run(row: &[bool]) -> usize {
    row.split(|black| !black).map(<[bool]>::len).max().unwrap_or(0)
}

#[test]
fn the_qr_code_is_readable_from_the_fax_also_with_half_the_rows() {
    if !poppler("the_qr_code_is_readable_from_the_fax_also_with_half_the_rows") {
        return;
    }
    for language in Language::ALL {
        let page = Dots::of(language);
        assert!((1_640..=1_670).contains(&page.width), "A4 at 200 dots an inch: {} wide", page.width);
        assert_eq!(page.qr(), [QR]);
        // Standard resolution sends every second row only; the machine prints each twice.
        let coarse = (0..page.height).flat_map(|y| page.row(y - y % 2).to_vec()).collect();
        let coarse = Dots { black: coarse, ..page };
        assert_eq!(coarse.qr(), [QR]);
    }
}

#[test]
fn type_and_lines_are_large_enough_for_a_fax() {
    if !poppler("type_and_lines_are_large_enough_for_a_fax") {
        return;
    }
    for language in Language::ALL {
        let page = Dots::of(language);
        let wide = page.width * 3 / 4;
        // Capital letters of 2.5 mm are 20 dots; ITU-T T.4 test charts are read from 2 mm.
        let mut text = 0;
        for (height, longest) in page.bands() {
            if height > 200 {
                continue; // a box with its content
            }
            if longest > wide {
                assert!(height >= 3, "a rule of {height} dots may vanish");
            } else {
                assert!(height >= 20, "a line of type of {height} dots");
                text += 1;
            }
        }
        assert!(text >= 10, "only {text} lines of type were measured");
        let (thin, all) = strokes(&page);
        println!("SHOW fax ({language}): {text} lines of type, {thin} of {all} strokes thinner than 2 dots");
        assert!(thin * 50 < all, "{thin} of {all} strokes are thinner than 2 dots");
    }
}

/// Horizontal black runs: those of one dot, and all.
fn strokes(page: &Dots) -> (usize, usize) {
    let runs = (0..page.height).flat_map(|y| page.row(y).split(|black| !black)).map(<[bool]>::len);
    runs.filter(|run| *run > 0).fold((0, 0), |(thin, all), run| (thin + usize::from(run < 2), all + 1))
}

#[test]
fn nothing_on_a_fax_is_grey() {
    if !poppler("nothing_on_a_fax_is_grey") {
        return;
    }
    let paper = print(Document::FaxPage(fax(Language::De)));
    let file =
        ask("pdftoppm", &paper, &["-gray", "-r", "100", "-aa", "no", "-aaVector", "no", "-f", "1", "-l", "1"], &[]);
    // The head of a PGM is three lines; what follows is one byte a dot.
    let head = file.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(2).map(|(at, _)| at + 1).expect("a head");
    let grey = file[head..].iter().filter(|dot| !matches!(dot, 0 | 255)).count();
    assert_eq!(grey, 0, "dots that are neither black nor white");
}
