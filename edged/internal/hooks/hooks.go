package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/probe"
	"github.com/edgekit/edgekit/edged/runtime"
)

// maxText bounds what is kept, and shown, of a hook's answer.
const maxText = 4096

// Executor runs commands in containers; see runtime.Containers.
type Executor interface {
	ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (runtime.ExecResult, error)
}

// Target is the container that a hook is for.
type Target struct {
	Executor    Executor
	ContainerID string
	PodIP       string
	Ports       []corev1.ContainerPort // by which httpGet names its port
	// Fallback is called when the server of an https hook spoke HTTP, and the hook was made
	// again in HTTP. nil ignores it.
	Fallback func(message string)
}

// Run runs a hook: exec, httpGet or sleep (KEP-3960). A timeout of zero means none.
func Run(ctx context.Context, t Target, h *corev1.LifecycleHandler, timeout time.Duration) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	switch {
	case h.Exec != nil:
		res, err := t.Executor.ExecSync(ctx, t.ContainerID, h.Exec.Command, timeout)
		if err != nil {
			return err
		}
		if res.ExitCode != 0 {
			out := append(res.Stdout, res.Stderr...)
			return fmt.Errorf("command %q exited with %d: %s, message: %q", h.Exec.Command, res.ExitCode, res.Stderr, out[:min(len(out), maxText)])
		}
	case h.HTTPGet != nil && podspec.IsUnsupportedProtocol(h.HTTPGet):
		return fmt.Errorf("httpGet.protocol %s of a hook is not supported on this node", *h.HTTPGet.Protocol)
	case h.HTTPGet != nil:
		return t.get(ctx, h.HTTPGet)
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

// get makes the request of a hook. One that asks for https of a server that speaks HTTP is
// made again in HTTP, without a user's Authorization, as by a kubelet: hooks were once
// made so whatever their scheme.
func (t Target) get(ctx context.Context, action *corev1.HTTPGetAction) error {
	target := probe.Target{IP: t.PodIP, Ports: t.Ports}
	req, err := target.Request(ctx, action)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "kube-lifecycle/1.37")
	client := probe.Client(0)
	resp, err := client.Do(req)
	if errors.Is(err, http.ErrSchemeMismatch) {
		again := req.Clone(ctx)
		again.URL.Scheme = "http"
		again.Header.Del("Authorization")
		if resp, err = client.Do(again); err == nil && t.Fallback != nil {
			t.Fallback(fmt.Sprintf("request to HTTPS lifecycle hook %s got HTTP response, retry with HTTP succeeded", req.URL.Host))
		}
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxText)); err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("HTTP lifecycle hook failed with statuscode: %d", resp.StatusCode)
	}
	return nil
}
