//! How many charts a second the hub renders, against bare runs of the same Helm, as many at once.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use tests_tools::process;
use tests_tools::tools::{self, Program};

use crate::lone::Lone;
use crate::show;
use crate::stats::Times;

/// Bundles that are a chart each.
const CHARTS: usize = 100;

/// Measures, and prints what it found.
///
/// # Errors
/// The hub or Helm fails.
pub(crate) fn run(rounds: usize) -> Result<()> {
    let helm = tools::program(Program::Helm)?;
    let path = helm.to_str().context("Helm lies at a path that is no text")?;
    let (hub, _) = Lone::start(&declarations(), &["--helm", path])?;
    let (mut rendered, mut bare) = (Times::default(), Times::default());
    for round in 0..=rounds {
        // Templates of every chart change, so that nothing rendered before is of use.
        let charts: Vec<_> = (0..CHARTS).flat_map(|number| chart(number, &format!("round-{round}"))).collect();
        let took = hub.commit(&charts)?.read;
        let alone = helm_alone(&helm, hub.repository())?;
        // The first round warms up.
        if round > 0 {
            rendered.push(took);
            bare.push(alone);
        }
    }
    let rate = |times: &Times| format!("{:.1} a second", CHARTS as f64 * 1000.0 / times.median());
    show(&[
        ("charts", CHARTS.to_string()),
        ("hub: seen -> read and rendered", rendered.to_string()),
        ("bare helm template, as many at once as cores", bare.to_string()),
        ("renderings of the hub, each checked by a second", rate(&rendered)),
        ("bare runs", rate(&bare)),
        ("ratio of the medians", format!("{:.2}", rendered.median() / bare.median())),
    ]);
    Ok(())
}

/// Renders every chart of the repository with Helm alone.
fn helm_alone(helm: &Path, repository: &Path) -> Result<Duration> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (next, start) = (AtomicUsize::new(0), Instant::now());
    thread::scope(|scope| {
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= CHARTS {
                    return Ok(());
                }
                let mut command = Command::new(helm);
                command.args(["template", "--namespace", "shop", &name(number)]);
                command.arg(repository.join(name(number)).join("chart"));
                let output = process::output(command)?;
                let text = String::from_utf8_lossy(&output.stderr);
                ensure!(output.status.success(), "helm template ended with {}: {text}", output.status);
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a run of Helm panicked"))?)
    })?;
    Ok(start.elapsed())
}

fn name(number: usize) -> String {
    format!("chart-{number:03}")
}

fn declarations() -> Vec<(String, String)> {
    let cluster = "apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {name: one}\n";
    let mut files = vec![("drover.yaml".to_owned(), cluster.to_owned())];
    for number in 0..CHARTS {
        let name = name(number);
        let declaration = format!(
            "apiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {{name: {name}}}\n\
             spec: {{namespace: shop, render: {{helm: {{chart: ./chart}}}}, targets: [{{name: all, selector: {{}}}}]}}\n"
        );
        files.push((format!("{name}/drover.yaml"), declaration));
        files.extend(chart(number, "first"));
    }
    files
}

/// A chart of the usual shape: helpers, a Deployment, a Service and a ConfigMap.
fn chart(number: usize, value: &str) -> Vec<(String, String)> {
    let name = name(number);
    let meta = format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n");
    let config = format!("{CONFIG}  round: \"{value}\"\n");
    [
        ("Chart.yaml", meta.as_str()),
        ("values.yaml", VALUES),
        ("templates/_helpers.tpl", HELPERS),
        ("templates/deployment.yaml", DEPLOYMENT),
        ("templates/service.yaml", SERVICE),
        ("templates/config.yaml", &config),
    ]
    .map(|(file, text)| (format!("{name}/chart/{file}"), text.to_owned()))
    .into()
}

const VALUES: &str = "replicas: 2\nimage: {repository: registry.example.com/shop, tag: v1}\nport: 8080\n\
                      settings: {mode: fast, region: eu, level: info}\n";
const HELPERS: &str = "{{- define \"labels\" -}}\napp.kubernetes.io/name: {{ .Chart.Name }}\n\
                       app.kubernetes.io/instance: {{ .Release.Name }}\n{{- end }}\n";
const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  labels: {{- include \"labels\" . | nindent 4 }}
spec:
  replicas: {{ .Values.replicas }}
  selector:
    matchLabels: {{- include \"labels\" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include \"labels\" . | nindent 8 }}
    spec:
      containers:
      - name: app
        image: \"{{ .Values.image.repository }}:{{ .Values.image.tag }}\"
        ports: [{containerPort: {{ .Values.port }}}]
        envFrom: [{configMapRef: {name: {{ .Release.Name }}}}]
";
const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: {{ .Release.Name }}
  labels: {{- include \"labels\" . | nindent 4 }}
spec:
  selector: {{- include \"labels\" . | nindent 4 }}
  ports: [{port: {{ .Values.port }}}]
";
const CONFIG: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
  labels: {{- include \"labels\" . | nindent 4 }}
data:
{{- range $key, $value := .Values.settings }}
  {{ $key }}: {{ $value | quote }}
{{- end }}
";
