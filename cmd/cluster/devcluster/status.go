package devcluster

import (
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// Status writes a table of the cluster's programs to w and reports whether
// all that Up starts are alive.
func (c *Cluster) Status(w io.Writer) (up bool, err error) {
	if err := c.Attach(); err != nil {
		return false, err
	}
	all, err := c.table.List()
	if err != nil {
		return false, fmt.Errorf("devcluster: %w", err)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "PROGRAM\tSTATE\tPID\tAGE\tLOG")
	for _, r := range all {
		condition, age := "gone", "-"
		if r.Alive() {
			condition, age = "running", time.Since(r.Started).Round(time.Second).String()
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\n", r.Name, condition, r.ProcessID(), age, c.table.LogFile(r.Name))
	}
	if err := t.Flush(); err != nil {
		return false, fmt.Errorf("devcluster: %w", err)
	}
	return c.allAlive(), nil
}

// Env returns the environment for working with the cluster, as "KEY=value".
func (c *Cluster) Env() ([]string, error) {
	if err := c.Attach(); err != nil {
		return nil, err
	}
	n := c.Network()
	return []string{
		"KUBECONFIG=" + c.Kubeconfig(),
		"EDGEKIT_BIN=" + filepath.Dir(c.Kubectl()),
		"CONTAINERD_ADDRESS=" + c.containerdSocket(),
		"CONTAINERD_NAMESPACE=k8s.io",
		"CONTAINER_RUNTIME_ENDPOINT=" + c.RuntimeEndpoint(),
		"EDGEKIT_NETNS=" + n.File,
		"EDGEKIT_HOST_ADDRESS=" + n.Host().String(),
		"EDGEKIT_NODE_ADDRESS=" + n.Node().String(),
	}, nil
}
