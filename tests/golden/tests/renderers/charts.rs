//! Charts from a repository over HTTP: fetched once, kept by digest, and never other bytes than those pinned.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use hub_core::release::lock::Origin;
use hub_render::Charts;
use proto_model::Digest;
use tests_tools::{Program, tools};

use crate::case::programs;

/// Serves a folder until the test's process ends.
fn serve(folder: PathBuf) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever went away needs no answer.
            let _ = answer(stream, &folder);
        }
    });
    Ok(url)
}

fn answer(mut stream: TcpStream, folder: &Path) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let asked = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let name = asked.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    match std::fs::read(folder.join(name)) {
        Ok(bytes) => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len())?;
            stream.write_all(&bytes)
        }
        Err(_) => write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}

fn helm(args: &[&str]) -> Result<()> {
    let status =
        Command::new(tools::program(Program::Helm)?).args(args).stdout(std::process::Stdio::null()).status()?;
    ensure!(status.success(), "helm {args:?}");
    Ok(())
}

/// A repository with one version of one chart.
fn repository(folder: &Path) -> Result<Origin> {
    let text = folder.to_str().context("a path that is no text")?;
    let chart = folder.join("web");
    std::fs::create_dir(&chart)?;
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: web\nversion: 1.2.3\n")?;
    helm(&["package", &chart.to_string_lossy(), "-d", text])?;
    let repo = serve(folder.to_owned())?;
    helm(&["repo", "index", text, "--url", &repo])?;
    Ok(Origin { repo: Some(repo), oci: None, chart: "web".into(), version: "1.2.3".into() })
}

pub(crate) fn a_chart_of_a_repository_is_fetched_once() -> Result<()> {
    let (place, kept) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let origin = repository(place.path())?;
    let (programs, charts) = (programs()?, Charts::in_folder(kept.path().join("charts")));
    let archive = std::fs::read(place.path().join("web-1.2.3.tgz"))?;
    ensure!(programs.pull(&origin, None).map_err(anyhow::Error::msg)? == archive, "other bytes");
    let digest = Digest::of(&archive);
    ensure!(*charts.get(&programs, &origin, None, &digest).map_err(anyhow::Error::msg)? == *archive, "other bytes");
    // Kept, so the repository may be gone.
    std::fs::remove_file(place.path().join("index.yaml"))?;
    ensure!(charts.get(&programs, &origin, None, &digest).is_ok(), "it was kept");
    let gone = charts.get(&programs, &origin, None, &Digest::of(b"other")).err().context("it is gone")?;
    ensure!(gone.contains("cannot be fetched") && gone.contains("web 1.2.3"), "{gone}");
    Ok(())
}

pub(crate) fn a_chart_with_other_bytes_than_pinned() -> Result<()> {
    let place = tempfile::tempdir()?;
    let origin = repository(place.path())?;
    let programs = programs()?;
    let error = Charts::default().get(&programs, &origin, None, &Digest::of(b"other")).err().context("it was taken")?;
    ensure!(error.contains("has other bytes than drover.lock pins") && error.contains("--update"), "{error}");
    let missing = Origin { version: "9.9.9".into(), ..origin };
    let error = programs.pull(&missing, None).err().context("there is no such version")?;
    ensure!(error.contains("9.9.9"), "{error}");
    Ok(())
}
