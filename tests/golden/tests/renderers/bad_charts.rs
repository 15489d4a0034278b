//! Charts that nobody should have to trust.

use anyhow::{Result, ensure};
use hub_core::catalog::spec::Lookup;
use hub_render::program::Limits;

use crate::case::{Case, manifests, programs, within, words};

pub(crate) fn a_chart_that_includes_itself() -> Result<()> {
    let case = Case::template("{{ define \"l\" }}{{ include \"l\" . }}{{ end }}\nx: {{ include \"l\" . }}\n");
    let defect = case.defect(&programs()?)?;
    ensure!(defect.file == "app/templates/a.yaml" && defect.message.contains("nested reference"), "{defect}");
    ensure!(defect.message.len() < 1_000, "{} bytes", defect.message.len());
    Ok(())
}

/// Nothing is kept from one turn to the next, so that only time runs out.
const LOOP: &str = "{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}";

pub(crate) fn a_chart_that_loops() -> Result<()> {
    let programs = within(Limits { secs: 2, ..Limits::default() })?;
    Case::template(LOOP).is_held(&programs, "app", 0, "helm took longer than 2 s and was ended")?;
    // On a machine that is busy, that may be fine.
    Case::template(LOOP).is_tried_again(&programs, true)?;
    let programs = within(Limits { cpu_secs: 1, ..Limits::default() })?;
    Case::template(LOOP).is_held(&programs, "app", 0, "more than 1 s of processor time")
}

pub(crate) fn a_chart_that_eats_memory() -> Result<()> {
    let programs = within(Limits { memory_bytes: 200_000_000, ..Limits::default() })?;
    let case = Case::template(
        "{{ $all := list }}{{ range until 1000 }}{{ $all = append $all (repeat 10000000 \"x\") }}{{ end }}",
    );
    case.is_held(&programs, "app", 0, "helm needed more than 200000000 bytes of memory and was ended")
}

pub(crate) fn a_chart_that_writes_a_gigabyte() -> Result<()> {
    let text = |megabytes: u32| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\ndata:\n{{{{ $x := repeat 1000000 \"x\" }}}}\
             {{{{ range until {megabytes} }}}}  k{{{{ . }}}}: {{{{ $x }}}}\n{{{{ end }}}}"
        )
    };
    // Helm holds all of it in memory before it writes the first byte.
    Case::template(&text(1_000)).is_held(&programs()?, "app", 0, "helm needed more than 1073741824 bytes of memory")?;
    let programs = within(Limits { output_bytes: 2_000_000, ..Limits::default() })?;
    Case::template(&text(3)).is_held(&programs, "app", 0, "helm printed more than 2000000 bytes and was ended")
}

pub(crate) fn a_chart_that_reads_outside_its_folder() -> Result<()> {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: {{ .Files.Get \"../../../../../etc/passwd\" | quote }}\n  \
                b: {{ .Files.Get \"/etc/passwd\" | quote }}\n  c: {{ .Files.Get \"../secret.yaml\" | quote }}\n  \
                d: {{ (.Files.Glob \"../**\").AsConfig | quote }}\n  e: {{ getHostByName \"localhost\" | quote }}\n";
    let mut case = Case::template(text);
    case.files.insert("secret.yaml".into(), b"password: x".as_slice().into());
    let objects = manifests(&case.render(&programs()?).map_err(words)?);
    for key in ["a", "b", "c", "e"] {
        ensure!(objects[0]["data"][key] == "", "{key}: {:#}", objects[0]);
    }
    ensure!(!objects[0].to_string().contains("password"), "{:#}", objects[0]);
    Ok(())
}

fn config(value: &str) -> Case {
    Case::template(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: fixed}}\n---\napiVersion: v1\nkind: Secret\nmetadata: \
         {{name: x}}\nstringData:\n  same: a\n  word: {{{{ {value} | quote }}}}\n"
    ))
}

pub(crate) fn a_chart_that_rolls_dice() -> Result<()> {
    let words = "Secret x: /stringData/word differs between two renderings";
    config("randAlphaNum 12").is_held(&programs()?, "app/templates/a.yaml", 0, words)
}

pub(crate) fn a_chart_that_makes_certificates() -> Result<()> {
    let words = "/stringData/word differs between two renderings";
    config("(genCA \"x\" 365).Cert").is_held(&programs()?, "app/templates/a.yaml", 0, words)
}

pub(crate) fn a_chart_that_asks_for_the_time() -> Result<()> {
    let words = "/stringData/word differs between two renderings";
    config("now | unixEpoch").is_held(&programs()?, "app/templates/a.yaml", 0, words)
}

pub(crate) fn a_chart_that_looks_things_up() -> Result<()> {
    let text = "# lookup here is a comment\n{{/* and lookup here */}}\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: {{ lookup \
                \"v1\" \"Secret\" \"\" \"x\" | toJson | quote }}\n";
    Case::template(text).is_held(&programs()?, "app/templates/a.yaml", 7, "set `lookup: empty`")?;
    let empty = Case::template(text).helm("app", |helm| helm.lookup = Lookup::Empty);
    let objects = manifests(&empty.render(&programs()?).map_err(words)?);
    ensure!(objects[0]["data"]["a"] == "{}", "{:#}", objects[0]);
    Ok(())
}

pub(crate) fn a_chart_without_its_dependency() -> Result<()> {
    let mut case = Case::template("a: b");
    let text = "apiVersion: v2\nname: app\nversion: 0.1.0\ndependencies:\n- name: redis\n  version: 1.x.x\n  repository: https://charts.example.com\n";
    case.files.insert("app/Chart.yaml".into(), text.as_bytes().into());
    case.is_held(&programs()?, "app/Chart.yaml", 5, "dependency redis is not in charts/")
}

pub(crate) fn templates_that_fail_name_file_and_line() -> Result<()> {
    let programs = programs()?;
    for (text, line, words) in [
        ("a: 1\nb: {{ .Values.x.y.z }}\n", 2, "nil pointer"),
        ("a: 1\n\nb: {{ if }}\n", 3, "missing value for if"),
        ("a: {{ fail \"not like this\" }}\n", 1, "not like this"),
        ("a: {{ required \"give me q\" .Values.q }}\n", 1, "give me q"),
        ("a: {{ include \"nope\" . }}\n", 1, "nope"),
        ("a: b: c\n", 0, "YAML parse error"),
        ("apiVersion: v1\nkind: ConfigMap\n", 0, "has no"),
        ("a: b\n", 0, "has no apiVersion and kind"),
    ] {
        let case = Case::template(text);
        // What has no name is for the reading of objects to refuse, not for Helm.
        let words = if text.ends_with("ConfigMap\n") { "name" } else { words };
        case.is_held(&programs, "app/templates/a.yaml", line, words)?;
    }
    Case::template("a: {{ fail \"no\" }}").is_tried_again(&programs, false)?;
    let mut helper = Case::template("a: {{ include \"x\" . }}\n");
    let text = "{{ define \"x\" }}\n\n{{ .Values.a.b.c }}\n{{ end }}\n";
    helper.files.insert("app/templates/_h.tpl".into(), text.as_bytes().into());
    helper.is_held(&programs, "app/templates/_h.tpl", 3, "nil pointer")
}

pub(crate) fn values_that_do_not_fit() -> Result<()> {
    let mut case = Case::template("a: b");
    case.files.insert("app/values.yaml".into(), b"a: 1\nb: [\n".as_slice().into());
    case.is_held(&programs()?, "app/values.yaml", 2, "cannot load values.yaml")?;
    let mut case = Case::template("a: b");
    case.files.insert("app/values.yaml".into(), b"a: text\n".as_slice().into());
    let schema = br#"{"properties": {"a": {"type": "integer"}}}"#;
    case.files.insert("app/values.schema.json".into(), schema.as_slice().into());
    case.is_held(&programs()?, "app/values.schema.json", 0, "got string, want integer")?;
    let missing = Case::template("a: b").helm("app", |helm| helm.values_files = vec!["no.yaml".into()]);
    missing.is_held(&programs()?, "no.yaml", 0, "is not in the source")
}

pub(crate) fn a_chart_for_another_kubernetes() -> Result<()> {
    let mut case = Case::template("a: b");
    let text = "apiVersion: v2\nname: app\nversion: 0.1.0\nkubeVersion: \">=1.99.0\"\n";
    case.files.insert("app/Chart.yaml".into(), text.as_bytes().into());
    case.is_held(&programs()?, "app/Chart.yaml", 0, "chart requires kubeVersion: >=1.99.0")
}

/// Made by tar, as anybody could.
pub(crate) fn a_packed_chart_with_a_link() -> Result<()> {
    let place = tempfile::tempdir()?;
    let redis = place.path().join("redis");
    std::fs::create_dir(&redis)?;
    std::fs::write(redis.join("Chart.yaml"), "apiVersion: v2\nname: redis\nversion: 1.0.0\n")?;
    std::os::unix::fs::symlink("/etc/passwd", redis.join("values.yaml"))?;
    let mut command = std::process::Command::new("tar");
    command.arg("-C").arg(place.path()).arg("-czf").arg(place.path().join("redis.tgz")).arg("redis");
    tests_tools::fleet::run(command)?;
    let mut case = Case::template("a: b");
    case.files.insert("app/charts/redis.tgz".into(), std::fs::read(place.path().join("redis.tgz"))?.into());
    case.is_held(&programs()?, "app/charts/redis.tgz", 0, "links are not followed")
}

pub(crate) fn a_chart_that_is_a_pointer_of_lfs() -> Result<()> {
    let mut case = Case::template("a: b");
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n".as_slice();
    case.files.insert("app/charts/redis.tgz".into(), pointer.into());
    case.is_held(&programs()?, "app/charts/redis.tgz", 1, "Git LFS")?;
    // A template may ask for any file that Helm loads.
    let mut case = Case::template("a: {{ .Files.Get \"logo.png\" }}");
    case.files.insert("app/img/logo.png".into(), pointer.into());
    case.is_held(&programs()?, "app/img/logo.png", 1, "Git LFS")?;
    let mut case = Case::template("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n");
    case.files.insert("app/img/logo.png".into(), pointer.into());
    case.files.insert("app/.helmignore".into(), b"# pictures\nimg/\n".as_slice().into());
    case.render(&programs()?).map_err(words)?;
    Ok(())
}

/// What a schema or a function says of a value goes to everybody who may look.
pub(crate) fn values_are_not_quoted() -> Result<()> {
    let programs = programs()?;
    let of = |template: &str, value: &str, schema: &str| {
        let mut case = Case::template(template);
        case.files.insert("app/values.yaml".into(), format!("password: {value}\n").into_bytes().into());
        if !schema.is_empty() {
            let schema = format!("{{\"properties\": {{\"password\": {schema}}}}}");
            case.files.insert("app/values.schema.json".into(), schema.into_bytes().into());
        }
        case.defect(&programs)
    };
    for (template, value, schema, says) in [
        ("a: b", "hunter2", r#"{"pattern": "^[0-9]+$"}"#, "at '/password': '…' does not match pattern"),
        (
            "a: b",
            "\"hun'ter2 x\"",
            r#"{"anyOf": [{"pattern": "^[0-9]+$"}, {"type": "integer"}]}"#,
            "got string, want integer",
        ),
        ("a: b", "123456", r#"{"maximum": 4}"#, "maximum: got …, want 4"),
        ("a: {{ mustToDate \"2006\" .Values.password }}", "hunter2", "", "cannot parse"),
        ("a: {{ mustRegexMatch .Values.password \"x\" }}", "\"(hunter2\"", "", "error parsing regexp"),
    ] {
        let defect = of(template, value, schema)?;
        ensure!(defect.message.contains(says), "{says}: {defect}");
        let quoted = ["hunter2", "ter2", "123456", "123,456"].iter().any(|part| defect.message.contains(part));
        ensure!(!quoted, "{defect}");
    }
    Ok(())
}
