package tour

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// cluster brings up the development cluster and builds edgekit.
func (t *Tour) cluster(ctx context.Context) (string, error) {
	changed, err := t.site.Up(ctx)
	if err != nil {
		return "", err
	}
	if err := t.site.Images(ctx); err != nil { // a newer web server for a cluster that was up
		return "", err
	}
	if err := t.site.Build(ctx); err != nil {
		return "", err
	}
	out, err := t.site.Kube().Run(ctx, "", "version")
	if err != nil {
		return "", err
	}
	version := "unknown"
	for line := range strings.Lines(out) {
		if v, ok := strings.CutPrefix(line, "Server Version: "); ok {
			version = strings.TrimSpace(v)
		}
	}
	seen := "Kubernetes " + version + " answers; containerd runs in a network of its own"
	if !changed {
		seen += " (both were up already)"
	}
	return seen, nil
}

// cloud starts cloudcore.
func (t *Tour) cloud(ctx context.Context) (string, error) {
	if err := t.site.StartCloud(ctx); err != nil {
		return "", err
	}
	for _, crd := range []string{"devices", "devicemodels", "devicestatuses"} {
		if _, err := t.site.Kube().Run(ctx, "", "get", "crd", crd+".devices.kubeedge.io"); err != nil {
			return "", err
		}
	}
	return "cloudcore listens on " + t.site.CloudAddress() + ", the only address that the edge node can reach", nil
}

// join makes the edge node: token, identity, agent.
func (t *Tour) join(ctx context.Context) (string, error) {
	running, err := t.site.Running(ctx, "edgecore")
	if err != nil {
		return "", err
	}
	if !running {
		if !t.site.Joined(Node) {
			token, err := t.site.Token(ctx, Node)
			if err != nil {
				return "", err
			}
			if err := t.site.Join(ctx, Node, token); err != nil {
				return "", err
			}
		}
		if _, err := t.site.StartEdge(Node); err != nil {
			return "", err
		}
	}
	n, err := t.site.WaitNode(ctx, Node, corev1.ConditionTrue, time.Minute)
	if err != nil {
		return "", err
	}
	if _, ok := n.Labels[edgeRole]; !ok {
		return "", fmt.Errorf("node %s lacks the label %s", Node, edgeRole)
	}
	info := n.Status.NodeInfo
	return fmt.Sprintf("node %s is Ready: %s, %s, %s", Node, info.KubeletVersion, info.ContainerRuntimeVersion, n.Status.Capacity.Memory()), nil
}

const edgeRole = "node-role.kubernetes.io/edge"
