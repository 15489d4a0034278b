//! Which renderings are done together: their files lie in memory, and a source may have more than
//! fits.

use std::collections::{BTreeMap, BTreeSet};

use hub_core::release::RenderInput;

/// Renderings that are done together.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Batch {
    pub(super) inputs: Vec<RenderInput>,
    /// The files to read for them.
    pub(super) paths: BTreeSet<String>,
    /// What those take in memory, in bytes.
    pub(super) bytes: u64,
    /// Git's ids of them: equal ones are held once.
    held: BTreeSet<String>,
}

impl Batch {
    /// What the files of an input would take beside those that are there; `bundle_max` and the file
    /// that goes beyond it are enough to see that it has too many.
    fn adds(&self, input: &RenderInput, sizes: &BTreeMap<String, u64>, bundle_max: u64) -> (u64, usize) {
        let (mut adds, mut own, mut ids) = (0, 0, BTreeSet::new());
        for (count, file) in input.files.iter().enumerate() {
            if own > bundle_max {
                return (adds, count);
            }
            let size = sizes.get(&file.path).copied().unwrap_or_default();
            own += size;
            if !self.held.contains(&file.id) && ids.insert(&file.id) {
                adds += size;
            }
        }
        (adds, input.files.len())
    }

    fn take(&mut self, input: RenderInput, files: usize, bytes: u64) {
        for file in input.files.iter().take(files) {
            self.paths.insert(file.path.clone());
            self.held.insert(file.id.clone());
        }
        self.bytes += bytes;
        self.inputs.push(input);
    }
}

/// Divides inputs, in their order, so that the files of each batch take at most `max` bytes. `sizes`
/// are those of files that are read; of an input with more than `bundle_max` bytes no more is taken than
/// shows it to whoever renders it.
pub(super) fn batches(
    inputs: Vec<RenderInput>,
    sizes: &BTreeMap<String, u64>,
    bundle_max: u64,
    max: u64,
) -> Vec<Batch> {
    let (mut batches, mut current) = (Vec::new(), Batch::default());
    for input in inputs {
        let (mut bytes, mut files) = current.adds(&input, sizes, bundle_max);
        if !current.inputs.is_empty() && current.bytes + bytes > max {
            batches.push(std::mem::take(&mut current));
            (bytes, files) = current.adds(&input, sizes, bundle_max);
        }
        current.take(input, files, bytes);
    }
    if !current.inputs.is_empty() {
        batches.push(current);
    }
    batches
}

/// The first of these paths whose files take at most `room` bytes together, and what is left of it.
pub(super) fn first_within(
    paths: BTreeSet<String>,
    sizes: &BTreeMap<String, u64>,
    room: u64,
) -> (BTreeSet<String>, u64) {
    let mut left = room;
    let fits = |path: &String| {
        let size = sizes.get(path).copied().unwrap_or_default();
        let fits = size <= left;
        left -= if fits { size } else { 0 };
        fits
    };
    (paths.into_iter().filter(fits).collect(), left)
}

#[cfg(test)]
mod tests {
    use hub_core::release::InputFile;

    use super::*;

    /// Sizes by path, of files whose ids are their sizes.
    fn sizes(files: &[(&str, u64)]) -> BTreeMap<String, u64> {
        files.iter().map(|&(path, size)| (path.to_owned(), size)).collect()
    }

    fn input(bundle: &str, sizes: &BTreeMap<String, u64>, paths: &[&str]) -> RenderInput {
        let id = |path: &str| sizes.get(path).map_or_else(String::new, u64::to_string);
        let files = paths.iter().map(|&path| InputFile { path: path.to_owned(), id: id(path) }).collect();
        RenderInput { bundle: bundle.to_owned(), files, ..RenderInput::default() }
    }

    fn shown(batches: &[Batch]) -> Vec<String> {
        let one = |batch: &Batch| {
            let bundles: Vec<&str> = batch.inputs.iter().map(|input| &*input.bundle).collect();
            let paths: Vec<&str> = batch.paths.iter().map(|path| &**path).collect();
            format!("{} reads {} ({})", bundles.join(" "), paths.join(" "), batch.bytes)
        };
        batches.iter().map(one).collect()
    }

    #[test]
    fn inputs_are_divided_by_what_their_files_take() {
        let sizes = sizes(&[("a", 40), ("b", 50), ("c", 20), ("base", 30), ("same", 30)]);
        let inputs = vec![
            input("one", &sizes, &["a", "base"]),
            input("two", &sizes, &["base", "same"]),
            input("three", &sizes, &["c", "same"]),
            input("four", &sizes, &["b", "base"]),
            input("none", &sizes, &[]),
        ];
        let expected = ["one two three reads a base c same (90)", "four none reads b base (80)"];
        assert_eq!(shown(&batches(inputs, &sizes, 100, 100)), expected);
        assert!(batches(Vec::new(), &sizes, 100, 100).is_empty());
    }

    #[test]
    fn of_a_bundle_that_is_too_large_so_much_is_read_that_it_shows() {
        let sizes = sizes(&[("a", 40), ("b", 41), ("c", 42), ("d", 43)]);
        let inputs = vec![input("large", &sizes, &["a", "b", "c", "d"]), input("small", &sizes, &["d"])];
        assert_eq!(shown(&batches(inputs, &sizes, 80, 120)), ["large reads a b (81)", "small reads d (43)"]);
    }

    #[test]
    fn what_is_followed_ends_where_there_is_no_room() {
        let sizes = sizes(&[("a", 40), ("b", 70), ("c", 20)]);
        let paths = ["a", "b", "c", "unknown"].map(str::to_owned).into();
        let (found, left) = first_within(paths, &sizes, 100);
        assert_eq!((found, left), (["a", "c", "unknown"].map(str::to_owned).into(), 40));
    }
}
