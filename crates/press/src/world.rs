//! What a template may read: the embedded templates, the embedded fonts and one document's data. No clock, no file, no
//! package.

use typst::{
    Library, LibraryExt as _, WorldExt as _,
    diag::{FileError, FileResult, SourceDiagnostic},
    foundations::{Bytes, Datetime, Duration},
    syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot},
    text::{Font, FontBook},
    utils::LazyHash,
};

const TEMPLATES: [(&str, &str); 5] = [
    ("common.typ", include_str!("../templates/common.typ")),
    ("letter.typ", include_str!("../templates/letter.typ")),
    ("fax.typ", include_str!("../templates/fax.typ")),
    ("call-list.typ", include_str!("../templates/call-list.typ")),
    ("report.typ", include_str!("../templates/report.typ")),
];

/// Of typst's own fonts, the families that the templates name.
const FAMILIES: [&str; 2] = ["Libertinus Serif", "DejaVu Sans Mono"];

/// Fonts, templates and the typesetting library.
pub(crate) struct Shared {
    library: LazyHash<Library>,
    book: LazyHash<FontBook>,
    fonts: Vec<Font>,
    templates: Vec<Source>,
    data: FileId,
}

fn id(name: &str) -> Result<FileId, String> {
    let path = VirtualPath::new(format!("/{name}")).map_err(|e| format!("name the file {name}: {e:?}"))?;
    Ok(RootedPath::new(VirtualRoot::Project, path).intern())
}

impl Shared {
    pub(crate) fn load() -> Result<Self, String> {
        let own = typst_assets::fonts().flat_map(|data| Font::iter(Bytes::new(data)));
        let sans = [dejavu::sans::regular(), dejavu::sans::bold()];
        let sans = sans.into_iter().flat_map(|data| Font::iter(Bytes::new(data)));
        let fonts: Vec<Font> = own.filter(|font| FAMILIES.contains(&font.info().family.as_str())).chain(sans).collect();
        let templates = TEMPLATES.iter().map(|(name, text)| Ok(Source::new(id(name)?, (*text).into())));
        Ok(Shared {
            library: LazyHash::new(Library::default()),
            book: LazyHash::new(FontBook::from_fonts(&fonts)),
            fonts,
            templates: templates.collect::<Result<_, String>>()?,
            data: id("data.json")?,
        })
    }

    /// The first character that no font can show. A box on paper in place of a letter of somebody's name is refused.
    pub(crate) fn without_glyph(&self, text: &str) -> Option<char> {
        let shown = |c: char| self.fonts.iter().any(|font| font.info().coverage.contains(c.into()));
        text.chars().find(|c| !c.is_ascii() && !c.is_whitespace() && !shown(*c))
    }
}

/// One document's view.
pub(crate) struct World<'a> {
    shared: &'a Shared,
    main: FileId,
    data: Bytes,
}

impl<'a> World<'a> {
    /// `None` if there is no such template.
    pub(crate) fn new(shared: &'a Shared, template: &str, data: Vec<u8>) -> Option<Self> {
        let at = TEMPLATES.iter().position(|(name, _)| *name == template)?;
        Some(World { shared, main: shared.templates.get(at)?.id(), data: Bytes::new(data) })
    }

    /// Where in the templates an error lies, as `letter.typ:12: `; nothing if it lies elsewhere.
    pub(crate) fn place(&self, error: &SourceDiagnostic) -> String {
        let at = || {
            let source = typst::World::source(self, error.span.id()?).ok()?;
            let line = source.lines().byte_to_line(self.range(error.span)?.start)?;
            Some(format!("{}:{}: ", source.id().get().vpath().get_without_slash(), line + 1))
        };
        at().unwrap_or_default()
    }

    fn missing(id: FileId) -> FileError {
        FileError::NotFound(id.get().vpath().get_without_slash().into())
    }
}

impl typst::World for World<'_> {
    fn library(&self) -> &LazyHash<Library> {
        &self.shared.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        &self.shared.book
    }

    fn main(&self) -> FileId {
        self.main
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        let found = self.shared.templates.iter().find(|source| source.id() == id);
        found.cloned().ok_or_else(|| Self::missing(id))
    }

    fn file(&self, id: FileId) -> FileResult<Bytes> {
        if id == self.shared.data { Ok(self.data.clone()) } else { Err(Self::missing(id)) }
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.shared.fonts.get(index).cloned()
    }

    fn today(&self, _: Option<Duration>) -> Option<Datetime> {
        None
    }
}
