package site

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/cluster/process"
)

// Broker is edgecore's MQTT broker, seen from inside the node's network.
const Broker = "127.0.0.1:1884"

// Join gives the node its identity, unless it has one.
func (s *Site) Join(ctx context.Context, node, token string) error {
	if err := os.MkdirAll(filepath.Dir(s.DataDir(node)), 0o700); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	_, err := s.RunOnNode(ctx, "edgecore", "join", "--cloud", s.CloudAddress(), "--token", token, "--node", node, "--data-dir", s.DataDir(node))
	return err
}

// StartEdge starts edgecore for a node that has joined, with further arguments
// if there are any. It does not wait.
func (s *Site) StartEdge(node string, more ...string) (process.Record, error) {
	r, err := s.Start(process.Spec{Name: "edgecore", Path: s.Program("edgecore"), NetNS: s.Network().File, Args: append(s.EdgeArgs(node), more...)})
	if err != nil {
		return r, fmt.Errorf("site: %w", err)
	}
	return r, nil
}

// EdgeArgs is edgecore's command line. Everything that it and its pods leave
// is in the cluster's folder and cgroup, for Down to find.
func (s *Site) EdgeArgs(node string) []string {
	return []string{
		"--data-dir", s.DataDir(node), "--runtime-endpoint", s.RuntimeEndpoint(), "--mqtt-listen", "tcp://:1884", // edgecore's default; the copy of a node needs another one
		"--cgroup-root", s.CgroupRoot(), "--pod-log-dir", filepath.Join(s.Dir(), "pod-logs"),
		"--container-log-links", filepath.Join(s.Dir(), "container-logs"),
		"--image-gc-high-threshold-percent", "100", // images are imported here and cannot be pulled again, however full the disk
		"--static-pod-dir", s.StaticPods(),
		"--eviction-hard", "", // the machine of a developer may be full; so does the peer, see kubeletConfig
	}
}

// StaticPods is the folder of the node's static pods. It may not exist.
func (s *Site) StaticPods() string { return filepath.Join(s.Dir(), "static-pods") }

// StopEdge asks edgecore to end.
func (s *Site) StopEdge(ctx context.Context) error {
	if err := s.Processes().Stop(ctx, "edgecore", 20*time.Second); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	return nil
}

// KillEdge ends edgecore as a power cut would.
func (s *Site) KillEdge(ctx context.Context) error {
	if err := s.Processes().Kill(ctx, "edgecore"); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	return nil
}

// StartMapper starts the thermometer mapper beside edgecore, unless it runs.
func (s *Site) StartMapper(ctx context.Context, node string) error {
	if running, err := s.Running(ctx, "thermometer"); err != nil || running {
		return err
	}
	if _, err := s.Start(process.Spec{Name: "thermometer", Path: s.Program("thermometer"), NetNS: s.Network().File,
		Args: []string{"-broker", "tcp://" + Broker, "-node", node}}); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	return nil
}

// WaitNode waits until the node's condition Ready is as wanted while edgecore
// runs.
func (s *Site) WaitNode(ctx context.Context, node string, want corev1.ConditionStatus, atMost time.Duration) (*corev1.Node, error) {
	var n corev1.Node
	err := s.WaitReady(ctx, "edgecore", atMost, func(ctx context.Context) error {
		n = corev1.Node{}
		if err := s.Kube().Get(ctx, &n, "node", node); err != nil {
			return err
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == want {
				return nil
			}
		}
		return fmt.Errorf("node %s does not have condition Ready %s", node, want)
	})
	return &n, err
}

// WaitPod waits until one pod with the label app=name is Ready and gives it.
func (s *Site) WaitPod(ctx context.Context, namespace, name string, atMost time.Duration) (*corev1.Pod, error) {
	var ready corev1.Pod
	err := s.WaitReady(ctx, "edgecore", atMost, func(ctx context.Context) error {
		var pods corev1.PodList
		if err := s.Kube().Get(ctx, &pods, "pods", "-n", namespace, "-l", "app="+name); err != nil {
			return err
		}
		for _, p := range pods.Items {
			if podReady(&p) && p.DeletionTimestamp == nil {
				ready = p
				return nil
			}
		}
		return fmt.Errorf("no pod of %s/%s is Ready: %s", namespace, name, describe(pods.Items))
	})
	return &ready, err
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && p.Status.PodIP != ""
		}
	}
	return false
}

// describe says in a line why pods are not ready.
func describe(pods []corev1.Pod) string {
	if len(pods) == 0 {
		return "there is none"
	}
	text := ""
	for _, p := range pods {
		text += fmt.Sprintf("%s is %s", p.Name, p.Status.Phase)
		for _, c := range p.Status.Conditions {
			if c.Status != corev1.ConditionTrue && c.Message != "" {
				text += ", " + c.Message
			}
		}
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Waiting != nil {
				text += ", " + c.State.Waiting.Reason + " " + c.State.Waiting.Message
			}
		}
		text += "; "
	}
	return text
}

// Joined reports whether the node has an identity already.
func (s *Site) Joined(node string) bool {
	entries, err := os.ReadDir(s.DataDir(node))
	return err == nil && len(entries) > 0
}
