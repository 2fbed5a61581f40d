//! Embeds scripts and styles. Those of others come from npm packages, which `./dev` puts into `target/npm` as the lock file
//! says; nothing is fetched here, and nothing at run time. Without them the console works without scripts.

use std::{
    collections::hash_map::DefaultHasher,
    fmt::Write as _,
    hash::{Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

const OURS: [(&str, &str); 3] = [("console.css", CSS), ("console.js", JAVASCRIPT), ("icon.svg", "image/svg+xml")];
const OTHERS: [(&str, &str, &str); 4] = [
    ("htmx.js", "htmx.org/dist/htmx.min.js", JAVASCRIPT),
    ("sse.js", "htmx.org/dist/ext/hx-sse.min.js", JAVASCRIPT),
    ("uplot.js", "uplot/dist/uPlot.iife.min.js", JAVASCRIPT),
    ("uplot.css", "uplot/dist/uPlot.min.css", CSS),
];

fn main() {
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where this is"));
    let packages = here.join("../../target/npm/node_modules");
    let mut list = String::from("static ASSETS: &[Asset] = &[\n");
    for (name, kind) in OURS {
        embed(&mut list, name, &here.join("ui").join(name), kind).expect("our own files are there");
    }
    let others: Vec<_> = OTHERS.iter().map(|(name, path, kind)| (name, packages.join(path), kind)).collect();
    if others.iter().all(|(_, path, _)| path.is_file()) {
        for (name, path, kind) in others {
            embed(&mut list, name, &path, kind).expect("it was there a moment ago");
        }
    } else {
        println!("cargo::rerun-if-changed={}", packages.display());
        println!(
            "cargo::warning=the console is built without scripts: run `./dev build` (needs npm) for pages that refresh"
        );
    }
    list.push_str("];\n");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where to write"));
    std::fs::write(out.join("assets.rs"), list).expect("the folder for output is writable");
}

fn embed(list: &mut String, name: &str, path: &Path, kind: &str) -> std::io::Result<()> {
    println!("cargo::rerun-if-changed={}", path.display());
    let content = std::fs::read(path)?;
    // A name for caches, no protection: whoever can change the content can change the page.
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    let (stem, end) = name.split_once('.').unwrap_or((name, ""));
    let file = format!("{stem}-{:016x}.{end}", hasher.finish());
    let path = path.canonicalize()?;
    let _ = writeln!(
        list,
        "    Asset {{ name: {name:?}, file: {file:?}, kind: {kind:?}, bytes: include_bytes!({:?}) }},",
        path.display().to_string()
    );
    Ok(())
}
