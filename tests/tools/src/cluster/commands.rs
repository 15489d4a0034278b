//! The command lines of the programs of a cluster.

use std::process::Command;

use super::files::Files;
use crate::tools::{Program, Tools};

/// A program with the work directory as its own, and none of the user's settings in its environment.
pub(super) fn base(tools: &Tools, files: &Files, program: Program) -> Command {
    let mut command = Command::new(tools.program(program));
    command.current_dir(files.dir()).env_clear().env("HOME", files.dir());
    for kept in ["PATH", "TMPDIR"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
}

pub(super) fn etcd(tools: &Tools, files: &Files, port: u16) -> Command {
    let mut command = base(tools, files, Program::Etcd);
    let url = format!("http://127.0.0.1:{port}");
    command.arg("--data-dir").arg(files.path("etcd"));
    command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
    // It has no peers; the system chooses a port that nobody uses.
    command.args(["--listen-peer-urls", "http://127.0.0.1:0"]);
    // A cluster of a test does not outlive a power failure.
    command.args(["--unsafe-no-fsync", "--log-level", "warn"]);
    command
}

pub(super) fn apiserver(tools: &Tools, files: &Files, port: u16, etcd_port: u16) -> Command {
    let mut command = base(tools, files, Program::KubeApiserver);
    command.args(["--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1"]);
    command.args(["--secure-port", &port.to_string()]);
    command.args(["--etcd-servers", &format!("http://127.0.0.1:{etcd_port}")]);
    command.arg("--cert-dir").arg(files.dir());
    command.arg("--token-auth-file").arg(files.path("tokens.csv"));
    command.args(["--authorization-mode", "RBAC", "--allow-privileged=true"]);
    command.args(["--service-account-issuer", "https://kubernetes.default.svc"]);
    command.arg("--service-account-key-file").arg(files.path("sa.pub"));
    command.arg("--service-account-signing-key-file").arg(files.path("sa.key"));
    command.args(["--service-cluster-ip-range", "10.0.0.0/24", "--endpoint-reconciler-type", "none"]);
    // Pods are accepted without waiting for the controller that makes service accounts, which a bare cluster lacks.
    command.args(["--disable-admission-plugins", "ServiceAccount"]);
    command.arg("--audit-policy-file").arg(files.path("audit-policy.yaml"));
    // Written before each answer, so that a test that has its answer finds the entry; never rotated.
    command.arg("--audit-log-path").arg(files.audit_log()).args(["--audit-log-mode", "blocking"]);
    command.args(["--audit-log-maxsize", "65536"]);
    command
}

pub(super) fn controller_manager(tools: &Tools, files: &Files) -> Command {
    let mut command = base(tools, files, Program::KubeControllerManager);
    command.arg("--kubeconfig").arg(files.kubeconfig("controller-manager"));
    command.arg("--service-account-private-key-file").arg(files.path("sa.key"));
    command.arg("--root-ca-file").arg(files.ca());
    command.args(["--leader-elect=false", "--secure-port", "0"]);
    command.args(["--kube-api-qps", "200", "--kube-api-burst", "400"]);
    command
}

pub(super) fn scheduler(tools: &Tools, files: &Files) -> Command {
    let mut command = base(tools, files, Program::KubeScheduler);
    command.arg("--kubeconfig").arg(files.kubeconfig("scheduler"));
    command.args(["--leader-elect=false", "--secure-port", "0"]);
    command
}

pub(super) fn kwok(tools: &Tools, files: &Files) -> Command {
    let mut command = base(tools, files, Program::Kwok);
    command.arg("--kubeconfig").arg(files.kubeconfig("kwok"));
    command.arg("--config").arg(tools.stages()).arg("--manage-all-nodes=true");
    // Without leases, nodes turn NotReady after a while, and what runs on them unavailable.
    command.args(["--node-lease-duration-seconds", "40"]);
    command
}

pub(super) fn kubectl(tools: &Tools, files: &Files) -> Command {
    let mut command = base(tools, files, Program::Kubectl);
    command.env("KUBECACHEDIR", files.path("kubectl-cache")).env("KUBERC", "off");
    command.arg("--kubeconfig").arg(files.kubeconfig("admin"));
    command
}
