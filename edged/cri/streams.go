package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

var _ runtime.Streams = (*Client)(nil)

// ExecURL asks the runtime's streaming server for a command's session.
func (c *Client) ExecURL(ctx context.Context, id string, cmd []string, s runtime.Streaming) (string, error) {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	r, err := c.run.Exec(ctx, &runtimeapi.ExecRequest{
		ContainerId: id, Cmd: cmd, Tty: s.TTY, Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr && !s.TTY,
	})
	if err != nil {
		return "", failed("exec", err)
	}
	return r.Url, nil
}

// AttachURL asks the runtime's streaming server for a session with a
// container's first process.
func (c *Client) AttachURL(ctx context.Context, id string, s runtime.Streaming) (string, error) {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	r, err := c.run.Attach(ctx, &runtimeapi.AttachRequest{
		ContainerId: id, Tty: s.TTY, Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr && !s.TTY,
	})
	if err != nil {
		return "", failed("attach", err)
	}
	return r.Url, nil
}

// PortForwardURL asks the runtime's streaming server for connections to ports
// of a sandbox.
func (c *Client) PortForwardURL(ctx context.Context, sandboxID string, ports []int32) (string, error) {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	r, err := c.run.PortForward(ctx, &runtimeapi.PortForwardRequest{PodSandboxId: sandboxID, Port: ports})
	if err != nil {
		return "", failed("port forward", err)
	}
	return r.Url, nil
}
