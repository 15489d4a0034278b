//! The shape of a file of Rust: it says what it is for, and neither it nor a function in it is too long.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Longest file, in lines.
pub const FILE_LINES_MAX: usize = 500;
/// Longest function, in lines, its signature included.
pub const FUNCTION_LINES_MAX: usize = 70;

/// Complaints about one file.
#[must_use]
pub fn complaints(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if !text.starts_with("//!") {
        complaints.push(format!("{path}: does not begin with `//!` and what it is for"));
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        complaints.push(format!("{path}: {lines} lines, more than {FILE_LINES_MAX}"));
    }
    match syn::parse_file(text) {
        Ok(file) => {
            let mut functions = Functions { path, complaints };
            functions.visit_file(&file);
            functions.complaints
        }
        Err(error) => {
            complaints.push(format!("{path}:{}: {error}", error.span().start().line));
            complaints
        }
    }
}

struct Functions<'a> {
    path: &'a str,
    complaints: Vec<String>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (first, last) = (signature.span().start().line, block.span().end().line);
        let lines = last + 1 - first;
        if lines > FUNCTION_LINES_MAX {
            let Self { path, complaints } = self;
            complaints
                .push(format!("{path}:{first}: {} has {lines} lines, more than {FUNCTION_LINES_MAX}", signature.ident));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.measure(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_nameless_files_are_found() {
        let short = "//! Doc.\nimpl X {\n    fn f() {\n    }\n}\n";
        assert_eq!(complaints("a.rs", short), Vec::<String>::new());
        let body = "    let _ = 1;\n".repeat(FUNCTION_LINES_MAX);
        let long = format!("//! Doc.\nimpl X {{\nfn f() {{\n{body}}}\n}}\n");
        assert_eq!(complaints("a.rs", &long), ["a.rs:3: f has 72 lines, more than 70"]);
        assert_eq!(complaints("a.rs", "fn f() {}\n").len(), 1);
        assert_eq!(complaints("a.rs", &format!("//! Doc.\n{}", "\n".repeat(FILE_LINES_MAX))).len(), 1);
    }
}
