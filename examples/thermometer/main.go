package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "thermometer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("thermometer", flag.ContinueOnError)
	broker := flags.String("broker", "", "run as a mapper at this MQTT broker, for example tcp://127.0.0.1:1884")
	node := flags.String("node", "", "name of the edge node whose devices to drive (with -broker)")
	username := flags.String("username", "", "user name at the broker; the password is read from MQTT_PASSWORD")
	verbose := flags.Bool("v", false, "log more")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: see -help", flags.Arg(0))
	}
	if *broker == "" {
		if *node != "" {
			return fmt.Errorf("-node %s needs -broker", *node)
		}
		return runStandalone(ctx, os.Stdout)
	}
	if *node == "" {
		return fmt.Errorf("-broker %s needs -node, the name of the edge node", *broker)
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	return mapper(ctx, log, *broker, *node, *username, os.Getenv("MQTT_PASSWORD"))
}
