package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/edgekit/edgekit/cmd/demo/site"
)

type options struct {
	Peer   string        `help:"Measure this agent as well: kubelet." env:"PEER" enum:",kubelet" default:""`
	Starts int           `help:"Starts of the agent." default:"5"`
	Idle   time.Duration `help:"Time from Ready to the reading of memory." default:"60s"`
	Pods   []int         `help:"Pods to create, round after round; 0 measures neither them nor memory." default:"20,50,100" placeholder:"N,..."`
	Rest   time.Duration `help:"Time over which CPU is measured with the pods of the last round at rest." default:"60s"`
	Copies int           `help:"Rounds of kubectl cp, there and back." default:"0"`
	Gap    time.Duration `help:"Time between two pods." default:"300ms"`
	Keep   bool          `help:"Leave the cluster up at the end."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var opts options
	kong.Parse(&opts, kong.Name("bench"), kong.Description("Measures the node's agent."))
	if err := run(ctx, opts); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, opts options) (err error) {
	s, err := site.InCache("bench", os.Stdout)
	if err != nil {
		return err
	}
	if !opts.Keep {
		defer func() {
			// Also after an interrupt nothing may stay behind.
			if downErr := s.Remove(context.WithoutCancel(ctx)); err == nil {
				err = downErr
			}
		}()
	}
	if _, err := s.Up(ctx); err != nil {
		return err
	}
	if err := s.Build(ctx); err != nil {
		return err
	}
	if err := s.StartCloud(ctx); err != nil {
		return err
	}
	client, err := s.Clientset()
	if err != nil {
		return err
	}
	b := bench{opts: opts, client: client, kubectl: s.Kube()}
	ours, err := b.measure(ctx, edgecore(s))
	if err != nil {
		return err
	}
	var peer results
	if opts.Peer != "" {
		api, err := s.ProxyAPI()
		if err != nil {
			return err
		}
		defer api.Close()
		if peer, err = b.measure(ctx, kubelet(s, api)); err != nil {
			return err
		}
	}
	report(os.Stdout, ours, peer)
	return nil
}
