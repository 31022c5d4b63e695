package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// hasClaim checks that the container which names the claim has what the driver gives.
func (c *clusterTest) hasClaim(ctx context.Context) (string, error) {
	var f struct{ Claims []string }
	if err := c.facts(ctx, "claim-user", secondNode, &f); err != nil {
		return "", err
	}
	if !slices.Equal(f.Claims, []string{"claim_camera_one=true"}) {
		return "", fmt.Errorf("the container has %q", f.Claims)
	}
	return "registers, publishes ResourceSlices and prepares the claim of a pod", nil
}

// preparedOffline has the claim prepared anew without the link: the driver starts again and remembers
// nothing, its CDI files are gone as after a boot, edgecore starts again, and the pod needs a new
// sandbox. The driver reads the claim through the node's own API.
func (c *clusterTest) preparedOffline() look {
	begun := false
	return func(ctx context.Context) (string, error) {
		if !begun {
			begun = true
			if err := c.bootClaims(ctx); err != nil {
				return "", err
			}
		}
		if _, err := c.hasClaim(ctx); err != nil {
			return "", err
		}
		if files, err := claimFiles(); err != nil || len(files) == 0 {
			return "", errors.Join(err, errors.New("the driver has prepared nothing"))
		}
		return "starts again, reads the claim through the node's own API and prepares it for a new sandbox", nil
	}
}

// claimFiles are the CDI files of the driver.
func claimFiles() ([]string, error) {
	return filepath.Glob("/var/run/cdi/test-driver.cdi.k8s.io-*.json")
}

// removeClaimFiles removes what the driver leaves on the machine when the cluster goes.
func (c *clusterTest) removeClaimFiles() {
	files, err := claimFiles()
	for _, name := range files {
		err = errors.Join(err, os.Remove(name))
	}
	if err != nil {
		c.t.Error(err)
	}
}

// bootClaims leaves the second node with the driver, edgecore and the claim's pod as after a boot.
func (c *clusterTest) bootClaims(ctx context.Context) error {
	files, err := claimFiles()
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("the driver has no CDI file while the pod runs")
	}
	for _, name := range files {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	if err := c.second.StopEdge(ctx); err != nil {
		return err
	}
	for _, app := range []string{"dra-driver", "claim-user"} {
		pod, err := c.podOn(ctx, app, secondNode)
		if err != nil {
			return err
		}
		if err := c.killPod(ctx, pod); err != nil {
			return err
		}
	}
	c.startEdge(c.second, secondNode)
	return nil
}

// killPod kills all processes of a pod on the second node, its sandbox too.
func (c *clusterTest) killPod(ctx context.Context, pod *corev1.Pod) error {
	tasks, err := c.second.RunningTasks(ctx)
	if err != nil {
		return err
	}
	killed := 0
	for _, pid := range tasks {
		cgroup, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
		if err != nil || !strings.Contains(string(cgroup), string(pod.UID)) {
			continue // it ended just now, or is another pod's
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
		killed++
	}
	if killed < 2 {
		return fmt.Errorf("%d processes of pod %s ran, want its sandbox and its container", killed, pod.Name)
	}
	return nil
}
