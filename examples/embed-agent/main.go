package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/cri"
	"github.com/edgekit/edgekit/edged/standalone"
)

func main() {
	pods := flag.String("pods", "/etc/edgekit/pods", "folder of the pods' manifests, an absolute path")
	socket := flag.String("runtime", cri.DefaultSocket, "socket of the container runtime")
	name := flag.String("node", "gate-7", "name of this node")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *name, *pods, *socket); err != nil {
		fmt.Fprintln(os.Stderr, "embed-agent:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name, pods, socket string) error {
	runtime, err := cri.New(cri.Config{Socket: socket})
	if err != nil {
		return err
	}
	defer runtime.Close()
	if err := runtime.Check(ctx); err != nil {
		return err // names the socket, and what to do
	}
	log := slog.Default()
	node := standalone.New(log) // nothing above this node; events go to the log
	agent, err := edged.New(edged.Config{
		NodeName: name, Runtime: runtime, Objects: node, Reports: node, StaticPodDir: pods, Logger: log,
	})
	if err != nil {
		return err
	}
	return agent.Run(ctx) // until a signal comes
}
