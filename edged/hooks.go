package edged

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/probe"
)

// hook runs a lifecycle handler of a container. A timeout of zero means none.
func (r *run) hook(ctx context.Context, id string, ports []corev1.ContainerPort, h *corev1.LifecycleHandler, timeout time.Duration) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	switch {
	case h.Exec != nil:
		res, err := r.w.a.cfg.Runtime.ExecSync(ctx, id, h.Exec.Command, timeout)
		if err != nil {
			return err
		}
		if res.ExitCode != 0 {
			out := append(res.Stdout, res.Stderr...)
			return fmt.Errorf("command %q exited with %d: %s, message: %q", h.Exec.Command, res.ExitCode, res.Stderr, out[:min(len(out), maxMessage)])
		}
	case h.HTTPGet != nil && foreignProtocol(h.HTTPGet):
		return fmt.Errorf("httpGet.protocol %s of a hook is not supported on this node", *h.HTTPGet.Protocol)
	case h.HTTPGet != nil:
		target := probe.Target{IP: r.pod.Status.PodIP, Ports: ports}
		req, err := target.Request(ctx, h.HTTPGet)
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "kube-lifecycle/1.37")
		resp, err := probe.Client(0).Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxMessage)); err != nil {
			return err
		}
		if resp.StatusCode < 200 || resp.StatusCode >= 400 {
			return fmt.Errorf("HTTP lifecycle hook failed with statuscode: %d", resp.StatusCode)
		}
	case h.Sleep != nil:
		select {
		case <-time.After(time.Duration(h.Sleep.Seconds) * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	default:
		return errors.New("invalid handler: a hook is one of exec, httpGet and sleep")
	}
	return nil
}

// preStop runs the hook that a running container was created with. A hook that
// fails does not keep the container from being stopped. The annotations are edged's
// own, made of a pod that was bounded when it came; only root on this machine can
// give a container others.
func (r *run) preStop(ctx context.Context, c Container, grace time.Duration) {
	text := c.Annotations[annotationPreStop]
	if text == "" {
		return
	}
	var h corev1.LifecycleHandler
	var ports []corev1.ContainerPort
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		r.w.a.log.Warn("a container carries a damaged hook", "container", c.ID, "err", err)
		return
	}
	if p := c.Annotations[annotationPorts]; p != "" {
		if err := json.Unmarshal([]byte(p), &ports); err != nil {
			r.w.a.log.Warn("a container carries damaged ports", "container", c.ID, "err", err)
		}
	}
	if err := r.hook(ctx, c.ID, ports, &h, grace); err != nil && ctx.Err() == nil && r.pod.Name != "" {
		r.w.a.events.container(r.pod, c.Name, corev1.EventTypeWarning, "FailedPreStopHook", fmt.Sprintf("PreStopHook failed: %v", err))
	}
}
