//! The press on real documents, read back with other people's programs (poppler) and another QR reader.

mod fax;
mod lines;
mod pages;
mod support;
