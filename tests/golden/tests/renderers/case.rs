//! What the tests render: files of the checkout or of the test itself, as a hub would have them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use hub_core::catalog::Defect;
use hub_core::release::{Chart, Helm, How, InputFile, RenderInput};
use hub_render::program::Limits;
use hub_render::{Options, Programs, Rendered, Unrendered};
use serde_json::Value as Json;
use tests_tools::{Program, tools};

pub(crate) const RELEASE: &str = "rel";
pub(crate) const NAMESPACE: &str = "shop";
pub(crate) const KUBE_VERSION: &str = "1.33";

/// Files by path, and how they are rendered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    pub(crate) files: BTreeMap<String, Arc<[u8]>>,
    pub(crate) input: RenderInput,
}

/// The folder of a case that lies in the checkout.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("renderers").join(name)
}

impl Case {
    /// Files of the test itself.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), Arc::from(text.as_bytes()))).collect();
        Self { files, input: RenderInput { bundle: "main/case".into(), ..RenderInput::default() } }
    }

    /// A folder below `renderers/`.
    pub(crate) fn read(name: &str) -> Result<Self> {
        let mut case = Self::of(&[]);
        case.add(&folder(name), "")?;
        Ok(case)
    }

    fn add(&mut self, folder: &Path, below: &str) -> Result<()> {
        for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().context("a name is no UTF-8")?;
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            if entry.file_type()?.is_dir() {
                self.add(&entry.path(), &path)?;
            } else {
                self.files.insert(path, Arc::from(std::fs::read(entry.path())?));
            }
        }
        Ok(())
    }

    /// Renders the chart in a folder.
    pub(crate) fn helm(mut self, chart: &str, change: impl FnOnce(&mut Helm)) -> Self {
        let mut helm = Helm {
            chart: Chart::Folder(chart.into()),
            release: RELEASE.into(),
            kube_version: KUBE_VERSION.into(),
            ..Helm::default()
        };
        change(&mut helm);
        self.input.how = How::Helm(Box::new(helm));
        self.input.settings.namespace = Some(NAMESPACE.into());
        self
    }

    /// A chart of one template, and what a Chart.yaml needs.
    pub(crate) fn template(text: &str) -> Self {
        Self::of(&[("app/Chart.yaml", "apiVersion: v2\nname: app\nversion: 0.1.0\n"), ("app/templates/a.yaml", text)])
            .helm("app", |_| {})
    }

    /// Builds the kustomization in a folder.
    pub(crate) fn kustomize(mut self, root: &str) -> Self {
        self.input.how = How::Kustomize { root: root.into() };
        self
    }

    /// Renders it as the hub does.
    pub(crate) fn render(&self, programs: &Programs) -> Result<Rendered, Vec<Defect>> {
        self.rendered(programs).map_err(|unrendered| unrendered.defects)
    }

    /// The same, with whether what is wrong may be otherwise in a minute.
    pub(crate) fn rendered(&self, programs: &Programs) -> Result<Rendered, Unrendered> {
        programs.render(&self.listed(), |path| self.files.get(path).cloned(), &|| true)
    }

    /// That it is held, and whether it is tried again.
    pub(crate) fn is_tried_again(&self, programs: &Programs, again: bool) -> Result<()> {
        let passes = self.rendered(programs).err().context("it was rendered")?;
        ensure!(passes.passes == again, "{passes:?}");
        Ok(())
    }

    /// The input with all files in it.
    pub(crate) fn listed(&self) -> RenderInput {
        let list = self.files.keys().map(|path| InputFile { path: path.clone(), id: "0".into() });
        RenderInput { files: list.collect(), ..self.input.clone() }
    }

    /// The first defect of a rendering that must not be.
    pub(crate) fn defect(&self, programs: &Programs) -> Result<Defect> {
        match self.render(programs) {
            Ok(rendered) => bail!("{} objects were rendered", rendered.objects.len()),
            Err(defects) => defects.into_iter().next().context("there is no defect"),
        }
    }

    /// That the first defect is at a place and says something.
    pub(crate) fn is_held(&self, programs: &Programs, file: &str, line: u32, words: &str) -> Result<()> {
        let defect = self.defect(programs)?;
        let right = defect.file == file && defect.line == line && defect.message.contains(words);
        ensure!(right && !defect.note, "not {file}:{line} {words:?}: {defect}");
        ensure!(defect.bundle.as_deref() == Some("main/case"), "it holds {:?}", defect.bundle);
        ensure!(
            !defect.message.contains("/tmp/") && !defect.message.contains("work-"),
            "names our own folder: {defect}"
        );
        Ok(())
    }
}

/// The objects of a rendering.
pub(crate) fn manifests(rendered: &Rendered) -> Vec<Json> {
    rendered.objects.iter().map(proto_model::Object::manifest).collect()
}

/// All defects in one text.
pub(crate) fn words(defects: Vec<Defect>) -> anyhow::Error {
    let all: Vec<String> = defects.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("{}", all.join("\n"))
}

/// The pinned programs, with the product's own limits.
pub(crate) fn programs() -> Result<Programs> {
    within(Limits::default())
}

/// The pinned programs, with other limits.
pub(crate) fn within(limits: Limits) -> Result<Programs> {
    let (helm, kustomize) = (tools::program(Program::Helm)?, tools::program(Program::Kustomize)?);
    Ok(Programs::new(Options { helm: Some(helm), kustomize: Some(kustomize), scratch: None, limits }))
}
