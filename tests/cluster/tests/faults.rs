//! A real spoke while its API server is in trouble: killed, slow, full, refusing, throttling. It
//! waits, says what for, and goes on by itself.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests_cluster::proxy::{Judge, Proxy, Seen, Verdict, status};
use tests_cluster::site::{Site, config_map};
use tests_tools::Options;

/// What the proxy does to requests.
type Fault = Box<dyn Fn(&Seen) -> Verdict + Send + Sync>;

/// A spoke behind a proxy.
struct Behind {
    site: Site,
    fault: Arc<Mutex<Arc<Fault>>>,
}

impl Behind {
    fn start(name: &str) -> Result<Self> {
        let mut site = Site::start(Options::full(name))?;
        let none: Fault = Box::new(|_| Verdict::Pass);
        let fault = Arc::new(Mutex::new(Arc::new(none)));
        let shared = fault.clone();
        // The lock is not held while a fault takes its time.
        let judge: Judge = Arc::new(move |seen| {
            let fault = shared.lock().unwrap().clone();
            fault(seen)
        });
        let proxy = Proxy::start(&site.cluster, &site.fleet.dir().join("proxied.json"), judge, Arc::new(|_| {}))?;
        site.join(proxy.kubeconfig())?;
        Ok(Self { site, fault })
    }

    fn with(&self, fault: impl Fn(&Seen) -> Verdict + Send + Sync + 'static) {
        *self.fault.lock().unwrap() = Arc::new(Box::new(fault));
    }

    fn without(&self) {
        self.with(|_| Verdict::Pass);
    }

    /// A bundle of some ConfigMaps.
    fn bundle(&self, name: &str, objects: usize, value: &str) -> Result<()> {
        self.site.bundle(name, &format!("  namespace: {name}\n"))?;
        let text: String = (0..objects).map(|at| config_map(&format!("c{at}"), value)).collect();
        self.site.write(&format!("{name}/all.yaml"), &text)
    }
}

/// One cluster serves all faults of a proxy: each has a bundle of its own.
#[test]
fn slow_throttling_and_dry_run_refusing_servers_are_lived_with() -> Result<()> {
    let behind = Behind::start("faults")?;
    a_slow_server_is_waited_for(&behind)?;
    retry_after_is_honoured(&behind)?;
    a_webhook_that_refuses_dry_runs_is_no_refusal(&behind)?;
    lost_answers_make_nothing_twice(&behind)
}

fn a_slow_server_is_waited_for(behind: &Behind) -> Result<()> {
    behind.with(|_| {
        std::thread::sleep(Duration::from_millis(400));
        Verdict::Pass
    });
    behind.bundle("slow", 20, "1")?;
    behind.site.settle("a slow server")?;
    behind.without();
    Ok(())
}

/// 429 with Retry-After for the first try of each write: none comes again before its time.
fn retry_after_is_honoured(behind: &Behind) -> Result<()> {
    const SECS: u64 = 3;
    let tried: Arc<Mutex<Vec<(String, Instant)>>> = Arc::default();
    let log = tried.clone();
    behind.with(move |seen| {
        if !(seen.is_write() && seen.path.contains("/namespaces/throttled/configmaps/")) {
            return Verdict::Pass;
        }
        let mut log = log.lock().unwrap();
        let is_first = !log.iter().any(|(path, _)| *path == seen.path);
        log.push((seen.path.clone(), Instant::now()));
        if is_first {
            let header = format!("Retry-After: {SECS}\r\n");
            Verdict::Answer(status(429, "TooManyRequests", "the server is busy", &header))
        } else {
            Verdict::Pass
        }
    });
    behind.bundle("throttled", 8, "1")?;
    behind.site.settle("a throttling server")?;
    behind.without();
    let tried = tried.lock().unwrap();
    ensure!(tried.len() == 16, "{tried:?}");
    for (path, first) in &tried[..] {
        let later = tried.iter().filter(|(other, at)| other == path && at > first);
        let waited: Vec<Duration> = later.map(|(_, at)| at.duration_since(*first)).collect();
        ensure!(waited.iter().all(|waited| waited.as_secs() >= SECS), "{path}: {waited:?}");
    }
    Ok(())
}

fn a_webhook_that_refuses_dry_runs_is_no_refusal(behind: &Behind) -> Result<()> {
    behind.bundle("rehearsed", 3, "1")?;
    behind.site.settle("before there is a webhook")?;
    let is_asked = Arc::new(AtomicBool::new(false));
    let asked = is_asked.clone();
    behind.with(move |seen| {
        let refuses = seen.path.contains("dryRun=All") && seen.path.contains("/namespaces/rehearsed/");
        asked.fetch_or(refuses, Ordering::Relaxed);
        match refuses {
            true => {
                let message = "admission webhook \"w.example.com\" does not support dry run";
                Verdict::Answer(status(400, "BadRequest", message, ""))
            }
            false => Verdict::Pass,
        }
    });
    behind.bundle("rehearsed", 3, "2")?;
    behind.site.settle("a webhook that refuses dry-runs")?;
    behind.without();
    ensure!(is_asked.load(Ordering::Relaxed), "nothing was rehearsed");
    ensure!(behind.site.object("configmap", "c2", "rehearsed")?["data"]["key"] == "2");
    Ok(())
}

/// Every third answer to a write never arrives.
fn lost_answers_make_nothing_twice(behind: &Behind) -> Result<()> {
    let mark = behind.site.cluster.audit()?.len();
    let count = Arc::new(Mutex::new(0_usize));
    behind.with(move |seen| {
        let mut count = count.lock().unwrap();
        *count += usize::from(seen.is_write());
        if seen.is_write() && count.is_multiple_of(3) { Verdict::Lose } else { Verdict::Pass }
    });
    behind.bundle("lost", 20, "1")?;
    behind.site.settle("lost answers")?;
    behind.without();
    let audit = behind.site.cluster.audit()?;
    let made = audit.iter().skip(mark).filter(|one| one.namespace == "lost" && one.code == 201 && one.verb == "patch");
    let made: Vec<&str> = made.filter(|one| !one.uri.contains("dryRun")).map(|one| one.name.as_str()).collect();
    ensure!(made.len() == 20, "{made:?}");
    Ok(())
}

/// Whatever the server refuses of a bundle is waited for, and said; nobody else is held up.
#[test]
fn full_refusing_and_killed_servers_are_lived_with() -> Result<()> {
    let mut site = Site::joined(Options::full("refusing"))?;
    a_quota_that_is_used_up_is_waited_for(&site)?;
    a_webhook_whose_service_is_down_is_waited_for(&site)?;
    a_server_that_is_killed_in_the_middle_is_waited_for(&mut site)?;
    a_deleted_namespace_comes_back_with_all_it_held(&site)
}

fn bundle(site: &Site, name: &str, objects: usize) -> Result<()> {
    site.bundle(name, &format!("  namespace: {name}\n"))?;
    let text: String = (0..objects).map(|at| config_map(&format!("c{at}"), "1")).collect();
    site.write(&format!("{name}/all.yaml"), &text)
}

fn a_quota_that_is_used_up_is_waited_for(site: &Site) -> Result<()> {
    site.kubectl(&["create", "namespace", "full"])?;
    site.kubectl(&["create", "quota", "few", "-n", "full", "--hard=count/configmaps=3"])?;
    site.wait_object("it is counted", ("quota", "few", "full"), |found| {
        found.is_some_and(|one| one["status"]["used"]["count/configmaps"] == "1")
    })?;
    bundle(site, "full", 4)?;
    site.fleet.repo.commit("more than the quota allows")?;
    site.wait_explained("main/full", &["exceeded quota"])?;
    ensure!(site.wait_sync("main/full", "Waiting")?["sync"] == "Waiting");
    // What there was room for is there: kube-root-ca.crt is one of the three.
    let names = site.kubectl(&["get", "configmaps", "-n", "full", "-o", "name"])?;
    ensure!(names.lines().count() == 3, "{names}");
    site.kubectl(&["delete", "quota", "few", "-n", "full"])?;
    site.settle("there is room")
}

fn a_webhook_whose_service_is_down_is_waited_for(site: &Site) -> Result<()> {
    let configuration = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: down}
webhooks:
- name: down.example.com
  sideEffects: None
  failurePolicy: Fail
  timeoutSeconds: 1
  admissionReviewVersions: [v1]
  clientConfig: {service: {name: nobody, namespace: default, path: /}}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: refusing}}
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
"#;
    site.cluster.kubectl_text(["create", "-f", "-"], configuration)?;
    bundle(site, "refusing", 2)?;
    site.bundle("beside", "  namespace: beside\n")?;
    site.write("beside/all.yaml", &config_map("c", "1"))?;
    site.fleet.repo.commit("a webhook that is down")?;
    site.wait_explained("main/refusing", &["down.example.com"])?;
    site.wait_sync("main/refusing", "Waiting")?;
    site.wait_sync("main/beside", "Applied")?;
    site.kubectl(&["delete", "validatingwebhookconfiguration", "down"])?;
    site.settle("without the webhook")
}

fn a_server_that_is_killed_in_the_middle_is_waited_for(site: &mut Site) -> Result<()> {
    let before = site.kubectl(&["get", "configmaps", "-n", "refusing", "-o", "jsonpath={.items[*].metadata.uid}"])?;
    let mark = site.cluster.audit()?.len();
    bundle(site, "killed", 60)?;
    let commit = site.fleet.repo.commit("a large change")?;
    tests_tools::fleet::wait_for("the change is under way", || {
        let audit = site.cluster.audit()?;
        Ok(audit
            .iter()
            .skip(mark)
            .any(|one| one.namespace == "killed" && one.code == 201 && one.resource == "configmaps"))
    })?;
    site.cluster.stop_apiserver();
    site.wait_spoke_says("the API server does not answer")?;
    site.cluster.start_apiserver()?;
    let settled = site.fleet.wait_settled(&commit);
    settled.with_context(|| site.fleet.spoke_log(site.name()))?;
    let made = site.kubectl(&["get", "configmaps", "-n", "killed", "-l", "drover.dev/owner", "-o", "name"])?;
    ensure!(made.lines().count() == 60, "{made}");
    let after = site.kubectl(&["get", "configmaps", "-n", "refusing", "-o", "jsonpath={.items[*].metadata.uid}"])?;
    ensure!(before == after, "what was there was made anew");
    Ok(())
}

fn a_deleted_namespace_comes_back_with_all_it_held(site: &Site) -> Result<()> {
    let count = || -> Result<usize> {
        let args = ["get", "configmaps", "-n", "killed", "-l", "drover.dev/owner", "-o", "name", "--ignore-not-found"];
        Ok(site.kubectl(&args)?.lines().count())
    };
    let uid = site.object("namespace", "killed", "")?["metadata"]["uid"].clone();
    site.kubectl(&["delete", "namespace", "killed", "--wait=false"])?;
    tests_tools::fleet::wait_for("the namespace and all in it are back", || {
        let now = site.get("namespace", "killed", "")?;
        Ok(now.is_some_and(|one| one["metadata"]["uid"] != uid) && count()? == 60)
    })
    .with_context(|| format!("{:?} objects\n{}", count(), site.fleet.spoke_log(site.name())))?;
    site.wait_sync("main/killed", "Applied").map(drop)
}
