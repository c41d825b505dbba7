//! The content of a page: letters and their positions.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use hayro_syntax::content::TypedIter;
use hayro_syntax::content::ops::TypedInstruction;
use hayro_syntax::object::{Array, Dict, Name, Object, ObjectIdentifier, Stream};
use hayro_syntax::page::{Page, Resources, Rotation};

use super::font::Font;
use super::matrix::Matrix;
use super::text_string::text_string;

/// Limit of nested forms. No program nests them so deep.
const MAX_FORM_DEPTH: usize = 16;
/// Limit of saved graphics states. Deeper ones are counted and not stored.
const MAX_STATE_DEPTH: usize = 1024;
/// Largest number of letters on a page. A page of a dictionary has twenty thousand.
const MAX_GLYPHS: usize = 1 << 20;
/// Largest number of forms that a page draws.
const MAX_FORMS: usize = 20_000;

/// The letters of a page in drawing order.
#[derive(Default)]
pub(super) struct Glyphs {
    pub(super) text: String,
    pub(super) glyphs: Vec<Glyph>,
}

/// A letter, or the letters of a ligature.
pub(super) struct Glyph {
    /// Range of the letter in the text of the page.
    pub(super) text: Range<usize>,
    /// Start on the base line.
    pub(super) start: (f64, f64),
    /// Start of the next letter.
    pub(super) end: (f64, f64),
    /// Font size on the page.
    pub(super) size: f64,
    pub(super) is_bold: bool,
    /// Whether the file marks it as an artifact, such as a header or footer.
    pub(super) is_artifact: bool,
}

/// Interprets the content of pages.
pub(super) struct Interpreter {
    /// Fonts by the position of their dictionary in the file.
    fonts: HashMap<usize, Option<Rc<Font>>>,
    out: Glyphs,
    /// Forms that are being drawn, the outermost first.
    forms: Vec<ObjectIdentifier>,
    forms_left: usize,
    marked: Vec<Marked>,
}

/// A level of marked content.
struct Marked {
    is_artifact: bool,
    /// Text that replaces everything drawn inside, and the index of the first glyph inside.
    replaced: Option<(String, usize)>,
}

#[derive(Clone)]
struct State {
    /// Matrix from user space to the page.
    ctm: Matrix,
    font: Option<Rc<Font>>,
    size: f64,
    character_spacing: f64,
    word_spacing: f64,
    /// Horizontal scaling.
    scale: f64,
    leading: f64,
    rise: f64,
}

impl Interpreter {
    pub(super) fn new() -> Self {
        Self {
            fonts: HashMap::new(),
            out: Glyphs::default(),
            forms: Vec::new(),
            forms_left: 0,
            marked: Vec::new(),
        }
    }

    /// The letters of a page, rotated upright.
    pub(super) fn page(&mut self, page: &Page<'_>) -> Glyphs {
        self.forms_left = MAX_FORMS;
        self.marked.clear();
        let turn = match page.rotation() {
            Rotation::None => Matrix::IDENTITY,
            Rotation::Horizontal => Matrix([0.0, -1.0, 1.0, 0.0, 0.0, 0.0]),
            Rotation::Flipped => Matrix([-1.0, 0.0, 0.0, -1.0, 0.0, 0.0]),
            Rotation::FlippedHorizontal => Matrix([0.0, 1.0, -1.0, 0.0, 0.0, 0.0]),
        };
        let state = State {
            ctm: turn,
            font: None,
            size: 0.0,
            character_spacing: 0.0,
            word_spacing: 0.0,
            scale: 1.0,
            leading: 0.0,
            rise: 0.0,
        };
        self.run(page.typed_operations(), page.resources(), state);
        self.forms.clear();
        std::mem::take(&mut self.out)
    }

    fn run(&mut self, mut operations: TypedIter<'_>, resources: &Resources<'_>, start: State) {
        let mut state = start;
        let mut saved = Vec::new();
        let mut too_deep = 0_usize;
        let mut text = Matrix::IDENTITY;
        let mut line = Matrix::IDENTITY;
        while let Some(operation) = operations.next() {
            if self.out.glyphs.len() >= MAX_GLYPHS {
                return;
            }
            use TypedInstruction as Op;
            match operation {
                Op::SaveState(_) if saved.len() < MAX_STATE_DEPTH => saved.push(state.clone()),
                Op::SaveState(_) => too_deep += 1,
                Op::RestoreState(_) if too_deep > 0 => too_deep -= 1,
                Op::RestoreState(_) => state = saved.pop().unwrap_or(state),
                Op::Transform(it) => {
                    let numbers = [it.0, it.1, it.2, it.3, it.4, it.5];
                    state.ctm = Matrix(numbers.map(|it| it.as_f64())).then(state.ctm);
                }
                Op::CharacterSpacing(it) => state.character_spacing = it.0.as_f64(),
                Op::WordSpacing(it) => state.word_spacing = it.0.as_f64(),
                Op::HorizontalScaling(it) => state.scale = it.0.as_f64() / 100.0,
                Op::TextLeading(it) => state.leading = it.0.as_f64(),
                Op::TextRise(it) => state.rise = it.0.as_f64(),
                Op::TextFont(it) => {
                    state.font = self.font(resources.get_font(it.0));
                    state.size = it.1.as_f64();
                }
                Op::SetGraphicsState(it) => {
                    let dict = resources.get_ext_g_state(it.0);
                    if let Some(font) = dict.and_then(|dict| dict.get::<Array<'_>>(b"Font")) {
                        let mut parts = font.iter::<Object<'_>>();
                        let (font, size) = (parts.next(), parts.next());
                        state.font = self.font(font.and_then(Object::into_dict));
                        state.size = size.and_then(Object::into_f32).unwrap_or(0.0).into();
                    }
                }
                Op::BeginText(_) => (text, line) = (Matrix::IDENTITY, Matrix::IDENTITY),
                Op::NextLine(it) => {
                    line = Matrix::translation(it.0.as_f64(), it.1.as_f64()).then(line);
                    text = line;
                }
                Op::NextLineAndSetLeading(it) => {
                    state.leading = -it.1.as_f64();
                    line = Matrix::translation(it.0.as_f64(), it.1.as_f64()).then(line);
                    text = line;
                }
                Op::SetTextMatrix(it) => {
                    let numbers = [it.0, it.1, it.2, it.3, it.4, it.5];
                    line = Matrix(numbers.map(|it| it.as_f64()));
                    text = line;
                }
                Op::NextLineUsingLeading(_) => {
                    line = Matrix::translation(0.0, -state.leading).then(line);
                    text = line;
                }
                Op::ShowText(it) => self.show(it.0.as_bytes(), &state, &mut text),
                Op::NextLineAndShowText(it) => {
                    line = Matrix::translation(0.0, -state.leading).then(line);
                    text = line;
                    self.show(it.0.as_bytes(), &state, &mut text);
                }
                Op::ShowTextWithParameters(it) => {
                    state.word_spacing = it.0.as_f64();
                    state.character_spacing = it.1.as_f64();
                    line = Matrix::translation(0.0, -state.leading).then(line);
                    text = line;
                    self.show(it.2.as_bytes(), &state, &mut text);
                }
                Op::ShowTexts(it) => {
                    for part in it.0.iter::<Object<'_>>() {
                        match part {
                            Object::String(part) => self.show(part.as_bytes(), &state, &mut text),
                            Object::Number(number) => {
                                let by = -number.as_f64() / 1000.0 * state.size;
                                let is_vertical =
                                    state.font.as_ref().is_some_and(|font| font.is_vertical());
                                let (x, y) =
                                    if is_vertical { (0.0, by) } else { (by * state.scale, 0.0) };
                                text = Matrix::translation(x, y).then(text);
                            }
                            _ => {}
                        }
                    }
                }
                Op::XObject(it) => self.form(resources.get_x_object(it.0), resources, &state),
                Op::BeginMarkedContent(it) => self.begin_marked(it.0, None),
                Op::BeginMarkedContentWithProperties(it) => {
                    let properties = match it.1 {
                        Object::Dict(dict) => dict.get::<hayro_syntax::object::String<'_>>(ACTUAL),
                        Object::Name(name) => resources
                            .properties
                            .get::<Dict<'_>>(name)
                            .and_then(|dict| dict.get::<hayro_syntax::object::String<'_>>(ACTUAL)),
                        _ => None,
                    };
                    let text = properties.map(|text| text_string(text.as_bytes()));
                    self.begin_marked(it.0, text);
                }
                Op::EndMarkedContent(_) => self.end_marked(),
                _ => {}
            }
        }
    }

    fn font(&mut self, dict: Option<Dict<'_>>) -> Option<Rc<Font>> {
        let dict = dict?;
        let place = dict.data().as_ptr() as usize;
        let font = self.fonts.entry(place).or_insert_with(|| Font::new(&dict).map(Rc::new));
        font.clone()
    }

    fn form(&mut self, form: Option<Stream<'_>>, resources: &Resources<'_>, state: &State) {
        let Some(form) = form else { return };
        let dict = form.dict();
        if dict.get::<Name<'_>>(b"Subtype").is_none_or(|it| it.as_ref() != b"Form") {
            return;
        }
        // Skips a form that draws itself, which would never end.
        let is_known = self.forms.contains(&form.obj_id());
        if is_known || self.forms.len() >= MAX_FORM_DEPTH || self.forms_left == 0 {
            return;
        }
        self.forms_left -= 1;
        let Ok(data) = form.decoded_data() else { return };
        let mut state = state.clone();
        if let Some(matrix) = dict.get::<[f64; 6]>(b"Matrix") {
            state.ctm = Matrix(matrix).then(state.ctm);
        }
        let own = dict.get::<Dict<'_>>(b"Resources").map(Resources::new);
        self.forms.push(form.obj_id());
        self.run(TypedIter::new(&data), own.as_ref().unwrap_or(resources), state);
        self.forms.pop();
    }

    fn show(&mut self, bytes: &[u8], state: &State, text: &mut Matrix) {
        let Some(font) = &state.font else { return };
        let is_artifact = self.marked.iter().any(|marked| marked.is_artifact);
        let unit = Matrix([state.size * state.scale, 0.0, 0.0, state.size, 0.0, state.rise]);
        for code in font.codes(bytes) {
            if self.out.glyphs.len() >= MAX_GLYPHS {
                return;
            }
            let place = unit.then(*text).then(state.ctm);
            let mut advance = code.width * state.size + state.character_spacing;
            // Word spacing applies only to single-byte spaces.
            if code.is_space {
                advance += state.word_spacing;
            }
            let (x, y) =
                if font.is_vertical() { (0.0, -advance) } else { (advance * state.scale, 0.0) };
            let from = self.out.text.len();
            self.out.text.push_str(&code.text);
            let [_, _, c, d, ..] = place.0;
            let width = if font.is_vertical() { 0.0 } else { code.width };
            let glyph = Glyph {
                text: from..self.out.text.len(),
                start: place.apply(0.0, 0.0),
                end: place.apply(width, 0.0),
                size: c.hypot(d) * font.height(),
                is_bold: font.is_bold(),
                is_artifact,
            };
            let numbers = [glyph.start.0, glyph.start.1, glyph.end.0, glyph.end.1, glyph.size];
            if numbers.iter().all(|number| number.is_finite()) {
                self.out.glyphs.push(glyph);
            }
            *text = Matrix::translation(x, y).then(*text);
        }
    }

    fn begin_marked(&mut self, tag: &Name<'_>, text: Option<String>) {
        if self.marked.len() < MAX_STATE_DEPTH {
            self.marked.push(Marked {
                is_artifact: tag.as_ref() == b"Artifact",
                replaced: text.map(|text| (text, self.out.glyphs.len())),
            });
        }
    }

    fn end_marked(&mut self) {
        let Some((text, first)) = self.marked.pop().and_then(|marked| marked.replaced) else {
            return;
        };
        let Some(within) = self.out.glyphs.get_mut(first..).filter(|it| !it.is_empty()) else {
            return;
        };
        let from = self.out.text.len();
        self.out.text.push_str(&text);
        for glyph in &mut *within {
            glyph.text = from..from;
        }
        within[0].text = from..self.out.text.len();
    }
}

const ACTUAL: &[u8] = b"ActualText";
