package main

import (
	"context"

	"github.com/edgekit/edgekit/cmd/internal/kube"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/install"
)

type initCmd struct {
	Twins bool `help:"Create the API of live values (kubectl get twins) too. Use it only with a cloudcore that has --twins-listen: an API that does not answer keeps namespaces from being deleted."`
}

// Run creates what is missing in the cluster.
func (i *initCmd) Run(ctx context.Context, cli *cli, out program.Output) error {
	cfg, err := cli.restConfig()
	if err != nil {
		return err
	}
	if err := kube.Reach(ctx, cfg); err != nil {
		return err
	}
	if err := install.Ensure(ctx, install.Config{REST: cfg, Namespace: cli.Namespace, Twins: i.Twins}); err != nil {
		return err
	}
	_, err = out.Write([]byte("the cluster is ready for cloudcore\n"))
	return err
}

type manifestCmd struct {
	Impersonation string `help:"How cloudcore will act as nodes: constrained takes Kubernetes 1.36 or later; legacy adds, for older ones, rights that amount to an administrator's." enum:"constrained,legacy" default:"constrained"`
	DevicePolicy  bool   `help:"Add the admission policy that keeps the Devices of a namespace to the nodes in its annotation edgekit.io/device-nodes. A namespace without the annotation may then have Devices at no node."`
	Twins         bool   `help:"Add the API of live values (kubectl get twins), for a cloudcore with --twins-listen."`
	AutonomyLabel bool   `help:"Add the admission policy by which pods with KubeEdge's label app-offline.kubeedge.io=autonomy are never evicted because their node is away. It takes Kubernetes 1.36 or later. Nodes with autonomy, which is the default, need it not."`
}

// Run prints the manifest.
func (m *manifestCmd) Run(cli *cli, out program.Output) error {
	text, err := install.Manifest(cli.Namespace)
	if err == nil && m.Impersonation == "legacy" {
		var more []byte
		more, err = install.LegacyManifest(cli.Namespace)
		text = append(text, more...)
	}
	if err == nil && m.Twins {
		var more []byte
		more, err = install.TwinsManifest(cli.Namespace)
		text = append(text, more...)
	}
	if err != nil {
		return err
	}
	if m.DevicePolicy {
		text = append(append(text, "---\n"...), devices.Policy()...)
	}
	if m.AutonomyLabel {
		text = append(text, install.AutonomyManifest()...)
	}
	_, err = out.Write(text)
	return err
}
