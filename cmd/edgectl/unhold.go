package main

import (
	"context"
	"io"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// unholdCmd releases pods that wait for somebody at the site.
type unholdCmd struct {
	Pod  unholdPodCmd  `cmd:"" help:"Release one pod."`
	Node unholdNodeCmd `cmd:"" help:"Release all pods of this node that wait."`
}

type unholdPodCmd struct {
	localFlags
	Name string `arg:"" help:"Name of the pod."`
}

// Run releases the pod.
func (u *unholdPodCmd) Run(ctx context.Context, out program.Output) error {
	return u.unhold(ctx, out, "/api/v1/pods/unhold-upgrade", u.Space+"/"+u.Name)
}

type unholdNodeCmd struct{ localFlags }

// Run releases the node's pods.
func (u *unholdNodeCmd) Run(ctx context.Context, out program.Output) error {
	return u.unhold(ctx, out, "/api/v1/nodes/unhold-upgrade", "")
}

func (f *localFlags) unhold(ctx context.Context, out io.Writer, path, body string) error {
	answer, err := f.post(ctx, "api.sock", path, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	_, err = io.Copy(out, answer)
	return err
}
