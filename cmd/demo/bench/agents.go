package main

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/cmd/cluster/process"
	"github.com/edgekit/edgekit/cmd/demo/site"
)

// agent is a program that makes this machine a node.
type agent struct {
	name    string
	node    func(start int) string                       // the node's name
	prepare func(ctx context.Context, node string) error // not measured
	start   func(ctx context.Context, node string) (process.Record, error)
	stop    func(ctx context.Context) error
	program func() string // its file; known after start
}

func edgecore(s *site.Site) agent {
	return agent{
		name: "edgecore", node: func(start int) string { return fmt.Sprintf("edgecore-%d", start) },
		prepare: func(ctx context.Context, node string) error {
			if s.Joined(node) {
				return nil
			}
			token, err := s.Token(ctx, node)
			if err != nil {
				return err
			}
			return s.Join(ctx, node, token)
		},
		start:   func(_ context.Context, node string) (process.Record, error) { return s.StartEdge(node) },
		stop:    s.StopEdge,
		program: func() string { return s.Program("edgecore") },
	}
}

// kubelet is the stock kubelet.
func kubelet(s *site.Site, api *site.APIProxy) agent {
	return agent{
		name: "kubelet", node: func(int) string { return s.KubeletNode() },
		prepare: func(ctx context.Context, _ string) error { return s.BuildExtra(ctx, "kubelet") },
		start:   func(context.Context, string) (process.Record, error) { return s.StartKubelet(api) },
		stop:    s.StopKubelet,
		program: func() string { return s.Built("kubelet") },
	}
}
