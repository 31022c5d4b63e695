package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"   // the parts of Benthos register themselves
	_ "github.com/redpanda-data/benthos/v4/public/components/pure" // so do those
	"github.com/redpanda-data/benthos/v4/public/service"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: benthos STREAM.yaml")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	config, err := os.ReadFile(os.Args[1])
	if err == nil {
		err = run(ctx, string(config), os.LookupEnv, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "benthos:", err)
		stop()
		os.Exit(1)
	}
}

// run runs a stream until ctx ends.
func run(ctx context.Context, config string, env func(string) (string, bool), log *slog.Logger) error {
	all := service.NewEnvironment()
	if err := registerMQTT(all); err != nil {
		return err
	}
	b := all.NewStreamBuilder()
	b.SetLogger(log)
	b.SetEnvVarLookupFunc(env)
	if err := b.SetYAML(config); err != nil {
		return err
	}
	stream, err := b.Build()
	if err != nil {
		return err
	}
	return stream.Run(ctx)
}
