//! Networks: the Gateway API, Knative, Istio.

use super::super::by_hand;
use super::super::rule::{Good, Parts, Rule};
use super::{ANY, READY, Row, bad, by, good, silent};

const ACCEPTED: Good = good("Accepted").unless(&["Pending", "Waiting"]);
const RESOLVED: Good = good("ResolvedRefs").if_there();
const PROGRAMMED: Good = good("Programmed").mild().unless(&["Invalid"]).if_there();

const LISTENERS: Parts = Parts {
    list: "/status/listeners",
    called: "listener",
    name: &["/name"],
    bad: &[bad("Conflicted")],
    good: &[good("Accepted").unless(&["Pending"]).if_there(), RESOLVED, PROGRAMMED],
    is_needed: false,
};

pub(super) const GATEWAY: &[Row] = &[
    by("gateway.networking.k8s.io", &["GatewayClass"], &Rule { good: &[ACCEPTED], ..Rule::NONE }),
    by(
        "gateway.networking.k8s.io",
        &["Gateway", "ListenerSet"],
        &Rule { good: &[ACCEPTED, RESOLVED, PROGRAMMED], parts: Some(LISTENERS), ..Rule::NONE },
    ),
    by(
        "gateway.networking.x-k8s.io",
        &["XListenerSet"],
        &Rule { good: &[ACCEPTED, RESOLVED, PROGRAMMED], parts: Some(LISTENERS), ..Rule::NONE },
    ),
    by(
        "gateway.networking.k8s.io",
        &["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"],
        &Rule {
            parts: Some(Parts {
                list: "/status/parents",
                called: "parent",
                name: &["/parentRef/namespace", "/parentRef/name", "/parentRef/sectionName"],
                bad: &[],
                good: &[ACCEPTED, RESOLVED, PROGRAMMED, good("Reconciled").if_there()],
                is_needed: true,
            }),
            ..Rule::NONE
        },
    ),
    by(
        "gateway.networking.k8s.io",
        &["BackendTLSPolicy", "BackendLBPolicy"],
        &Rule {
            parts: Some(Parts {
                list: "/status/ancestors",
                called: "ancestor",
                name: &["/ancestorRef/namespace", "/ancestorRef/name", "/ancestorRef/sectionName"],
                bad: &[],
                good: &[ACCEPTED, RESOLVED],
                is_needed: true,
            }),
            ..Rule::NONE
        },
    ),
    silent("gateway.networking.k8s.io", &["ReferenceGrant"]),
];

pub(super) const KNATIVE: &[Row] = &[
    by("serving.knative.dev", ANY, &READY),
    by("eventing.knative.dev", ANY, &READY),
    by("messaging.knative.dev", ANY, &READY),
    by("flows.knative.dev", ANY, &READY),
    by("sources.knative.dev", ANY, &READY),
    by("operator.knative.dev", ANY, &READY),
];

/// Istio writes a status only where it was told to, and Healthy is what nobody complains about.
const ISTIO_RULE: Rule = Rule {
    may_stay_silent: true,
    good: &[good("Accepted").if_there(), good("Reconciled").mild().if_there()],
    by_hand: Some(by_hand::istio),
    ..Rule::NONE
};

pub(super) const ISTIO: &[Row] = &[
    by("networking.istio.io", ANY, &ISTIO_RULE),
    by("security.istio.io", ANY, &ISTIO_RULE),
    by("telemetry.istio.io", ANY, &ISTIO_RULE),
    by("extensions.istio.io", ANY, &ISTIO_RULE),
    by("sailoperator.io", &["Istio", "IstioRevision", "IstioCNI", "ZTunnel"], &READY),
];
