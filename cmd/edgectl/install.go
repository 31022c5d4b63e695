package main

import (
	"context"

	"github.com/edgekit/edgekit/cmd/internal/kube"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/install"
)

type initCmd struct{}

// Run creates what is missing in the cluster.
func (initCmd) Run(ctx context.Context, cli *cli, out program.Output) error {
	cfg, err := kube.Config(cli.Kubeconfig)
	if err != nil {
		return &program.UsageError{Setting: "kubeconfig", Reason: err.Error()}
	}
	if err := kube.Reach(ctx, cfg); err != nil {
		return err
	}
	if err := install.Ensure(ctx, install.Config{REST: cfg, Namespace: cli.Namespace}); err != nil {
		return err
	}
	_, err = out.Write([]byte("the cluster is ready for cloudcore\n"))
	return err
}

type manifestCmd struct{}

// Run prints the manifest.
func (manifestCmd) Run(cli *cli, out program.Output) error {
	text, err := install.Manifest(cli.Namespace)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}
