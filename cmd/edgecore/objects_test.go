package main

import (
	"github.com/edgekit/edgekit/edged"
	metaclient "github.com/edgekit/edgekit/meta/client"
)

// The agent asks the client for more than Objects and Reports have.
var (
	_ edged.BoundPodLister = (*metaclient.Client)(nil)
	_ edged.Mirrorer       = (*metaclient.Client)(nil)
	_ edged.NodeReader     = (*metaclient.Client)(nil)
	_ edged.LastReports    = (*metaclient.Client)(nil)
)
