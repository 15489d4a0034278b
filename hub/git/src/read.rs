//! A commit's tree as a value.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use gix::ObjectId;
use gix::objs::tree::EntryKind;
use hub_core::catalog::Defect;
use hub_core::snapshot::{File, GIT_MODULES, Mode, Modules, Snapshot, is_declaration, path_of};
use proto_model::limits;

use crate::error::ReadError;
use crate::history::{damaged, on_mirror, parse};

/// A snapshot, and what of the tree could not go into it.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The tree.
    pub snapshot: Snapshot,
    /// Paths that are no text or no path, and files that are too large; at most
    /// [`limits::DEFECTS_MAX`] of them.
    pub defects: Vec<Defect>,
}

/// Reads the tree of a commit below the folder `path` (empty for all of it): every path with its
/// Git id and mode, and the content of the files that `want` names. `want` sees the path relative
/// to the folder, with `/`, and the entry without content. A declaration that is larger than
/// [`limits::DECLARATION_BYTES_MAX`], or with which they come to more than
/// [`limits::DECLARATIONS_BYTES_MAX`], has no content afterwards: whoever parses it says so.
///
/// `dir` is the directory of a [`crate::Source`], or of any repository of this machine, with or
/// without a work tree.
///
/// # Errors
/// Where the commit is not in the mirror or damaged, or has more than [`limits::TREE_PATHS_MAX`]
/// paths.
pub async fn read(
    dir: &Path,
    commit: &str,
    path: &str,
    want: impl Fn(&str, &File) -> bool + Send + 'static,
) -> Result<Tree, ReadError> {
    let (commit, path) = (commit.to_owned(), path.to_owned());
    on_mirror(dir.to_owned(), move |repository| {
        let id = parse(&commit)?;
        let missing = |_| ReadError::NoCommit { commit: commit.clone() };
        let size = repository.find_header(id).map_err(missing)?.size();
        within(size, limits::TREE_BYTES_MAX).map_err(|why| unfit(&commit, &format!("it {why}")))?;
        let found = repository.find_commit(id).map_err(missing)?;
        let root = found.tree_id().map_err(|error| damaged(&commit, &error))?.detach();
        let mut reader = Reader { repository, commit: &commit, path: &path, tree: Tree::default(), trees: 0 };
        let folder = reader.folder(root)?;
        reader.walk(folder)?;
        reader.contents(&want)?;
        reader.modules(root)?;
        reader.tree.snapshot.commit.clone_from(&commit);
        Ok(reader.tree)
    })
    .await
}

/// Reads into a snapshot the content of the files that `paths` names, by the ids that it holds: the
/// tree is not walked again. What is no file, is not in the snapshot, or has its content is left as
/// it is. Gives the files that are too large, at most [`limits::DEFECTS_MAX`] of them.
///
/// # Errors
/// Where an object is not in the mirror or damaged; the snapshot is then as it was.
pub async fn fill(
    dir: &Path,
    snapshot: &mut Snapshot,
    paths: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<Vec<Defect>, ReadError> {
    let wanted: Vec<(String, File)> = paths
        .into_iter()
        .filter_map(|path| Some((path.as_ref().to_owned(), snapshot.files.get(path.as_ref())?.clone())))
        .filter(|(_, file)| file.bytes.is_none())
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let commit = snapshot.commit.clone();
    let (filled, defects) = on_mirror(dir.to_owned(), move |repository| {
        let (mut filled, mut defects) = (Vec::with_capacity(wanted.len()), Vec::new());
        let mut blobs = Blobs::new(repository, &commit);
        for (path, mut file) in wanted {
            match blobs.read(&path, &mut file)? {
                None => filled.push((path, file)),
                Some(defect) if defects.len() < limits::DEFECTS_MAX => defects.push(defect),
                Some(_) => {}
            }
        }
        Ok((filled, defects))
    })
    .await?;
    snapshot.files.extend(filled);
    Ok(defects)
}

/// The sizes in bytes of the files of a snapshot that `paths` names, without reading them; of what
/// is no file, or not in the snapshot, there is none.
///
/// # Errors
/// Where an object is not in the mirror or damaged.
pub async fn sizes(
    dir: &Path,
    snapshot: &Snapshot,
    paths: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<BTreeMap<String, u64>, ReadError> {
    let of = |path: &str| snapshot.files.get(path).filter(|file| has_content(file)).map(|file| file.id.clone());
    let paths = paths.into_iter().filter_map(|path| Some((path.as_ref().to_owned(), of(path.as_ref())?)));
    let wanted: BTreeMap<String, String> = paths.collect();
    let commit = snapshot.commit.clone();
    on_mirror(dir.to_owned(), move |repository| {
        let blobs = Blobs::new(repository, &commit);
        wanted.into_iter().map(|(path, id)| Ok((path, blobs.size(parse(&id)?)?))).collect()
    })
    .await
}

fn has_content(file: &File) -> bool {
    !matches!(file.mode, Mode::Submodule | Mode::Unnamed)
}

/// Contents, each read once, under however many paths it stands.
struct Blobs<'a> {
    repository: &'a gix::Repository,
    commit: &'a str,
    read: HashMap<ObjectId, Arc<[u8]>>,
}

impl<'a> Blobs<'a> {
    fn new(repository: &'a gix::Repository, commit: &'a str) -> Self {
        Self { repository, commit, read: HashMap::new() }
    }

    fn size(&self, id: ObjectId) -> Result<u64, ReadError> {
        self.repository.find_header(id).map(|header| header.size()).map_err(|error| damaged(self.commit, &error))
    }

    /// Reads one file; a defect where it is too large.
    fn read(&mut self, path: &str, file: &mut File) -> Result<Option<Defect>, ReadError> {
        if !has_content(file) {
            return Ok(None);
        }
        let id = parse(&file.id)?;
        if let Some(known) = self.read.get(&id) {
            file.bytes = Some(Arc::clone(known));
            return Ok(None);
        }
        let defect = |message| Defect { file: path.to_owned(), line: 0, message, bundle: None, note: false };
        if let Err(why) = within(self.size(id)?, limits::FILE_BYTES_MAX) {
            return Ok(Some(defect(format!("the file {why}: split it"))));
        }
        let mut blob = match self.repository.find_blob(id) {
            Ok(blob) => blob,
            Err(error) if error.is_resource_exhausted() => {
                let why = "the file is stored as a difference of one that is too large to unpack: add it anew";
                return Ok(Some(defect(why.to_owned())));
            }
            Err(error) => return Err(damaged(self.commit, &error)),
        };
        let bytes: Arc<[u8]> = Arc::from(blob.take_data());
        self.read.insert(id, Arc::clone(&bytes));
        file.bytes = Some(bytes);
        Ok(None)
    }
}

/// Why something is not read.
fn within(size: u64, max: usize) -> Result<(), String> {
    if size > max as u64 { Err(format!("has {size} bytes, and at most {max} are read")) } else { Ok(()) }
}

fn unfit(commit: &str, why: &str) -> ReadError {
    ReadError::TooLarge { commit: commit.to_owned(), why: why.to_owned() }
}

struct Reader<'a> {
    repository: &'a gix::Repository,
    commit: &'a str,
    path: &'a str,
    tree: Tree,
    /// Trees seen so far: a tree may name one tree many times, level upon level.
    trees: usize,
}

impl<'a> Reader<'a> {
    fn folder(&self, mut tree: ObjectId) -> Result<ObjectId, ReadError> {
        let missing = || ReadError::NoFolder { commit: self.commit.to_owned(), path: self.path.to_owned() };
        for name in self.path.split('/').filter(|name| !name.is_empty() && *name != ".") {
            let found = self.tree(tree)?;
            let entry = found.find_entry(name).ok_or_else(missing)?;
            if entry.kind() != EntryKind::Tree {
                return Err(missing());
            }
            tree = entry.object_id();
        }
        Ok(tree)
    }

    fn walk(&mut self, root: ObjectId) -> Result<(), ReadError> {
        let mut pending = vec![(String::new(), root)];
        while let Some((prefix, id)) = pending.pop() {
            self.trees += 1;
            if self.trees > limits::TREE_PATHS_MAX {
                return Err(self.too_many());
            }
            let tree = self.tree(id)?;
            for entry in tree.iter() {
                let entry = entry.map_err(|error| damaged(self.commit, &error))?;
                let (path, is_name) = path_of(&prefix, entry.filename());
                let mode = match entry.kind() {
                    _ if !is_name => Mode::Unnamed,
                    EntryKind::Tree => {
                        pending.push((format!("{path}/"), entry.object_id()));
                        continue;
                    }
                    EntryKind::Blob => Mode::Regular,
                    EntryKind::BlobExecutable => Mode::Executable,
                    EntryKind::Link => Mode::Symlink,
                    EntryKind::Commit => Mode::Submodule,
                };
                let file = File { id: entry.oid().to_string(), mode, bytes: None };
                self.tree.snapshot.files.insert(path, file);
                if self.tree.snapshot.files.len() > limits::TREE_PATHS_MAX {
                    return Err(self.too_many());
                }
            }
        }
        Ok(())
    }

    /// Looks at a tree, where it is one that a folder could have.
    fn tree(&self, id: ObjectId) -> Result<gix::Tree<'a>, ReadError> {
        let size = self.repository.find_header(id).map_err(|error| damaged(self.commit, &error))?.size();
        within(size, limits::TREE_BYTES_MAX).map_err(|why| unfit(self.commit, &format!("one of its folders {why}")))?;
        self.repository.find_tree(id).map_err(|error| damaged(self.commit, &error))
    }

    fn contents(&mut self, want: &impl Fn(&str, &File) -> bool) -> Result<(), ReadError> {
        let mut blobs = Blobs::new(self.repository, self.commit);
        let mut room = limits::DECLARATIONS_BYTES_MAX as u64;
        for (path, file) in &mut self.tree.snapshot.files {
            if !has_content(file) || !want(path, file) {
                continue;
            }
            if is_declaration(path) {
                let size = blobs.size(parse(&file.id)?)?;
                if size > limits::DECLARATION_BYTES_MAX as u64 || size > room {
                    continue;
                }
                // Each path counts: each is parsed.
                room -= size;
            }
            if let Some(defect) = blobs.read(path, file)?
                && self.tree.defects.len() < limits::DEFECTS_MAX
            {
                self.tree.defects.push(defect);
            }
        }
        Ok(())
    }

    /// Where submodules are named, if there are any.
    fn modules(&mut self, root: ObjectId) -> Result<(), ReadError> {
        if !self.tree.snapshot.files.values().any(|file| file.mode == Mode::Submodule) {
            return Ok(());
        }
        let found = self.tree(root)?;
        let Some(entry) = found.find_entry(GIT_MODULES).filter(|entry| entry.mode().is_blob()) else {
            return Ok(());
        };
        let id = entry.object_id();
        let size = self.repository.find_header(id).map_err(|error| damaged(self.commit, &error))?.size();
        // One that is too large names nothing.
        if size <= limits::FILE_BYTES_MAX as u64 {
            let blob = self.repository.find_blob(id).map_err(|error| damaged(self.commit, &error))?;
            self.tree.snapshot.modules = Modules::read(&blob.data, self.path);
        }
        Ok(())
    }

    fn too_many(&self) -> ReadError {
        let (commit, path) = (self.commit.to_owned(), self.path.to_owned());
        ReadError::TooManyPaths { commit, path, max: limits::TREE_PATHS_MAX }
    }
}
