package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/cmd/internal/kube"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/simulate"
)

// simulateCmd runs light nodes against a real cloudcore.
type simulateCmd struct {
	Server []string `help:"host:port of cloudcore, or of the load balancer in front of several. More than one: each node takes a random one, and another one when that does not answer." placeholder:"HOST:PORT"`
	Nodes  int      `help:"How many nodes." default:"100"`
	Pods   int      `help:"How many pods each node has. They are created in --in, and bound to the node." default:"1"`
	Twins  int      `help:"How many properties the one device of each node has. 0 means no devices." default:"0"`

	ReportInterval time.Duration `help:"Time between two reports of a device." default:"30s"`
	NodeInterval   time.Duration `help:"Time between two reports of a node's status. 0 means only when it changes, as edgecore does." default:"0s"`
	Ramp           time.Duration `help:"The nodes begin to connect spread over this time." default:"10s"`
	PodDelay       time.Duration `help:"Time from a pod's arrival at its node until it is Running and Ready." default:"1s"`
	Duration       time.Duration `help:"How long it runs. 0 means until it is interrupted." default:"0s"`
	Every          time.Duration `help:"Time between two lines of progress." default:"5s"`

	Transport string `help:"How nodes connect: ws or quic." enum:"ws,quic" default:"ws"`
	Identity  string `help:"How nodes get their certificates. ca: signed here with the cluster's authority, which takes the right to read Secrets. token: with a join token each, at cloudcore, which bounds how many join in a second." enum:"ca,token" default:"ca"`
	Name      string `help:"Name of the simulation: names of nodes begin with it, and all that is created has the label edgekit.io/simulation with it." default:"sim"`
	In        string `help:"Namespace of the pods and devices. It is created if it is missing." default:"edgekit-simulation" placeholder:"NAMESPACE"`

	Cleanup     bool `help:"When it ends, delete the nodes, pods, devices and name claims of the simulation."`
	CleanupOnly bool `help:"Run no nodes: only delete what an earlier simulation of this name has left."`
}

// Help is more about the command.
func (s *simulateCmd) Help() string {
	return `Light nodes are real to cloudcore and to the API server: each has its own certificate, a TLS link, a
Node, pods that become Running and Ready, and a device that reports. No container runs. Do not
simulate in a cluster that people use: Nodes and pods are real objects there, and pods of
DaemonSets are sent to the nodes too.

    edgectl simulate --server cloud.example:10000 --nodes 1000 --pods 10 --cleanup
    edgectl simulate --server cloud.example:10000 --nodes 20000 --transport quic --ramp 2m
    edgectl simulate --cleanup-only

At the end it prints how long things took at p50 and p99. Each node takes a file descriptor with
ws, and about 100 KiB of memory.`
}

// Run simulates until the time is over or it is interrupted.
func (s *simulateCmd) Run(ctx context.Context, cli *cli, out program.Output) error {
	rest, err := kube.Config(cli.Kubeconfig)
	if err != nil {
		return &program.UsageError{Setting: "kubeconfig", Reason: err.Error()}
	}
	cfg := simulate.Config{
		REST: rest, Servers: s.Server, Name: s.Name, Namespace: s.In, System: cli.Namespace,
		Nodes: s.Nodes, Pods: s.Pods, Twins: s.Twins, Transport: s.Transport, Identity: s.Identity,
		Ramp: s.Ramp, PodDelay: s.PodDelay, ReportInterval: s.ReportInterval, NodeInterval: s.NodeInterval,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if s.CleanupOnly {
		return s.cleanup(ctx, cfg, out)
	}
	if len(s.Server) == 0 {
		return &program.UsageError{Setting: "server", Reason: "is required: the host:port of cloudcore"}
	}
	if s.Every < time.Second || s.Duration < 0 {
		return &program.UsageError{Setting: "every", Reason: "must be 1s or more, and --duration not negative"}
	}
	fleet, err := simulate.New(cfg)
	if err != nil {
		return &program.UsageError{Setting: "simulate", Reason: err.Error()}
	}
	if err := s.run(ctx, fleet, out); err != nil {
		return err
	}
	if s.Cleanup {
		return s.cleanup(context.WithoutCancel(ctx), cfg, out)
	}
	return nil
}

// run runs the fleet, with a line of progress now and then, and prints the summary.
func (s *simulateCmd) run(ctx context.Context, fleet *simulate.Fleet, out program.Output) error {
	if s.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.Duration)
		defer cancel()
	}
	g, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	g.Go(func() error {
		defer stop()
		return fleet.Run(ctx)
	})
	g.Go(func() error {
		ticker := time.NewTicker(s.Every)
		defer ticker.Stop()
		for begun := time.Now(); ; {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
				fmt.Fprintf(os.Stderr, "%s %s\n", time.Since(begun).Round(time.Second), fleet.Stats().Progress())
			}
		}
	})
	err := g.Wait()
	stats := fleet.Stats()
	if _, failed := fmt.Fprint(program.Plain(out), stats.Summary()); failed != nil {
		return errors.Join(err, failed)
	}
	if err == nil && stats.Failures > 0 {
		err = fmt.Errorf("%d nodes or pods failed", stats.Failures)
	}
	return err
}

// cleanup deletes what the simulation has made.
func (s *simulateCmd) cleanup(ctx context.Context, cfg simulate.Config, out program.Output) error {
	if err := simulate.Cleanup(ctx, cfg); err != nil {
		return fmt.Errorf("%w: run 'edgectl simulate --cleanup-only --name %s' again", err, s.Name)
	}
	_, err := fmt.Fprintf(out, "simulation %s is removed\n", s.Name)
	return err
}
