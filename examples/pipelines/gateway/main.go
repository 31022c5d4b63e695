// Command gateway runs pipelines without Kubernetes: an MQTT broker, and the Pipelines of a file, in one program.
//
//	cd examples/pipelines && go run ./gateway gateway/pipeline.yaml
//	mosquitto_pub -p 1884 -q 1 -t plant/boiler/temp -m '{"device":"boiler","value":91}'
//	mosquitto_sub -p 1884 -t 'alarms/#'
//	cat .gateway/files/hot.jsonl
//
// What waits, windows that are open and the ids of what came are in .gateway, and survive a kill.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/examples/pipelines/internal/library"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gateway PIPELINES.yaml")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	text, err := os.ReadFile(os.Args[1])
	if err == nil {
		err = run(ctx, text, ".gateway", broker.DefaultAddress, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		stop()
		os.Exit(1)
	}
}

// run runs the broker and the pipelines until ctx ends.
func run(ctx context.Context, text []byte, dir, address string, log *slog.Logger) error {
	pipelines, err1 := pipeline.ParseYAML(text)
	b, err2 := broker.New(broker.Config{Address: address, Logger: log})
	err3 := os.MkdirAll(dir+"/files", 0o700)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return b.Run(ctx) })
	group.Go(func() error {
		return library.Run(ctx, library.Config{Broker: address, Dir: dir, Pipelines: pipelines, Logger: log})
	})
	return group.Wait()
}
