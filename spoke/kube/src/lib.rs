//! spoke-kube
