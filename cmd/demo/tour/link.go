package tour

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/demo/site"
)

// cut pulls the cable, restarts edgecore, and changes the device's desired
// value in the cloud meanwhile. The app and the twin must not notice.
func (t *Tour) cut(ctx context.Context) (string, error) {
	net := t.site.Network()
	if err := net.Cut(ctx); err != nil {
		return "", err
	}
	if _, err := t.site.Fetch(ctx, site.FromHost, t.pod.Status.PodIP, "/"); err == nil {
		return "", errors.New("the cable is cut and the pod still answers over it")
	}
	if err := t.desire(ctx, "25"); err != nil {
		return "", err
	}
	if err := t.site.StopEdge(ctx); err != nil {
		return "", err
	}
	if _, err := t.fetch(ctx, site.FromNode, "/"); err != nil {
		return "", fmt.Errorf("with edgecore stopped: %w", err)
	}
	restarted := time.Now()
	if _, err := t.site.StartEdge(Node); err != nil {
		return "", err
	}
	var twins map[string]site.Twin
	err := eventually(ctx, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if twins, err = t.site.Twins(ctx, Namespace, Device); err != nil {
			return err
		}
		return onDuty(twins, restarted)
	})
	if err != nil {
		return "", err
	}
	page, err := t.fetch(ctx, site.FromNode, "/")
	if err != nil {
		return "", err
	}
	if err := t.sameContainer(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("offline and after a restart of edgecore: %s\n      same container; the twin answers over MQTT, target %s, temperature %s; meanwhile the cloud wants 25",
		firstLine(page), twins["target"].Actual.Value, twins["temperature"].Actual.Value), nil
}

// onDuty checks that the twin remembers its values and that the mapper has
// reported since the moment given.
func onDuty(twins map[string]site.Twin, since time.Time) error {
	target, temperature := twins["target"], twins["temperature"]
	switch {
	case target.Expected == nil || !sameNumber(target.Expected.Value, "21"):
		return fmt.Errorf("the twin does not remember that 21 is wanted: %+v", target.Expected)
	case target.Actual == nil || !sameNumber(target.Actual.Value, "21"):
		return fmt.Errorf("the twin does not remember that 21 is the case: %+v", target.Actual)
	case temperature.Actual == nil || temperature.Actual.Metadata.Timestamp < since.UnixMilli():
		return errors.New("the mapper has not reported a temperature since edgecore came back")
	}
	return nil
}

// sameContainer checks with the runtime that the app's container still is the
// one that was started first.
func (t *Tour) sameContainer(ctx context.Context) error {
	running, err := t.site.RunningContainers(ctx)
	if err != nil {
		return err
	}
	if id := t.containerID(); !slices.Contains(running, id) {
		return fmt.Errorf("container %s of pod %s no longer runs", id, t.pod.Name)
	}
	return nil
}

// mend plugs the cable in and waits until both sides tell the same.
func (t *Tour) mend(ctx context.Context) (string, error) {
	mended := time.Now()
	if err := t.site.Network().Mend(ctx); err != nil {
		return "", err
	}
	if _, err := t.waitReported(ctx, "target", "25"); err != nil {
		return "", err
	}
	arrived := round(mended)
	if _, err := t.site.WaitNode(ctx, Node, corev1.ConditionTrue, time.Minute); err != nil {
		return "", err
	}
	if err := t.sameContainer(ctx); err != nil {
		return "", err
	}
	before, restarts := t.containerID(), t.restarts()
	pod, err := t.site.WaitPod(ctx, Namespace, App, time.Minute)
	if err != nil {
		return "", err
	}
	t.pod = pod
	if t.containerID() != before || t.restarts() != restarts {
		return "", fmt.Errorf("the pod's container was %s with %d restarts and is %s with %d", before, restarts, t.containerID(), t.restarts())
	}
	page, err := t.fetch(ctx, site.FromHost, "/")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("target 25 was applied and reported %s after the link came back; the node is Ready\n      the pod was not restarted: %s", arrived, firstLine(page)), nil
}
