package main

import (
	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/meta/kube"
)

// The agent asks the client for more than Objects and Reports have.
var (
	_ edged.BoundPodLister = (*kube.Client)(nil)
	_ edged.Mirrorer       = (*kube.Client)(nil)
	_ edged.NodeReader     = (*kube.Client)(nil)
	_ edged.LastReports    = (*kube.Client)(nil)
)
