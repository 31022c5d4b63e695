package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/internal/nodejoin"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/cri"
)

func (m resetMachine) withDefaults(cli *cli) resetMachine {
	if m.connect == nil {
		m.connect = connectSystemd
	}
	if m.runtime == nil {
		m.runtime = func(ctx context.Context, endpoint string) (resetRuntime, error) {
			c, err := cri.New(cri.Config{Socket: endpoint})
			if err != nil {
				return nil, err
			}
			if err := c.Check(ctx); err != nil {
				c.Close()
				return nil, err
			}
			return c, nil
		}
	}
	if m.revoke == nil && cli.hasKubeconfig() {
		m.revoke = func(ctx context.Context, node string) error {
			store, err := cli.identity(ctx)
			if err != nil {
				return err
			}
			_, err = store.RevokeNode(ctx, node, "")
			if errors.Is(err, nodeidentity.ErrNotClaimed) {
				return nil // its name is free already
			}
			return err
		}
	}
	return m
}

// hasKubeconfig reports whether an API server is named.
func (c *cli) hasKubeconfig() bool {
	if c.Kubeconfig != "" || os.Getenv("KUBECONFIG") != "" {
		return true
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(home, ".kube", "config"))
	return err == nil
}

// revokeIdentity revokes the certificate in the data folder; nil if nobody can.
func (m resetMachine) revokeIdentity(dataDir string) func(context.Context) error {
	s, err := nodejoin.Load(dataDir)
	if err != nil || m.revoke == nil {
		return nil
	}
	return func(ctx context.Context) error { return m.revoke(ctx, s.Credentials.Node) }
}

// podCgroups are the cgroups of pods.
type podCgroups struct {
	groups *cgroup.Groups
	mount  string
}

// newPodCgroups finds the groups that a driver makes.
func newPodCgroups(driver string) *podCgroups {
	return &podCgroups{groups: cgroup.New(cgroup.Config{Driver: driver}), mount: "/sys/fs/cgroup"}
}

// classes are those of pods, each with groups of its own.
func classes() []corev1.PodQOSClass {
	return []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort}
}

// has reports whether a pod has a group of the class.
func (c *podCgroups) has(class corev1.PodQOSClass, uid string) bool {
	if uid == "" {
		return false
	}
	path := c.groups.Parent(class, uid)
	for _, pattern := range []string{c.mount, c.mount + "/*"} { // version 2 has one hierarchy, version 1 several
		tops, _ := filepath.Glob(pattern) // these patterns are good
		for _, top := range tops {
			if info, err := os.Stat(filepath.Join(top, path)); err == nil && info.IsDir() {
				return true
			}
		}
	}
	return false
}

// Find lists the groups of a pod.
func (c *podCgroups) Find(uid string) []string {
	var found []string
	for _, class := range classes() {
		if c.has(class, uid) {
			found = append(found, c.groups.Parent(class, uid))
		}
	}
	return found
}

// Remove removes the groups of a pod, and waits for its processes to end.
func (c *podCgroups) Remove(ctx context.Context, uid string) error {
	for _, class := range classes() {
		for try := 1; c.has(class, uid); try++ {
			err := c.groups.TearDown(class, uid)
			if err == nil {
				break
			}
			if !errors.Is(err, cgroup.ErrBusy) || try == busyTries {
				return err
			}
			select {
			case <-time.After(busyPause):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}
