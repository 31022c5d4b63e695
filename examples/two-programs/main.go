package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "two-programs:", err)
		os.Exit(1)
	}
}

// run is one of the two programs.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("say which program: cloud or edge")
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	switch args[0] {
	case "cloud":
		c := cloud{out: out, log: log}
		flags.StringVar(&c.listen, "listen", "127.0.0.1:10443", "where nodes connect, TCP and UDP")
		flags.StringVar(&c.dir, "dir", "", "where the authority is kept")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return c.run(ctx)
	case "edge":
		e := edge{out: out, log: log}
		flags.StringVar(&e.cloud, "cloud", "127.0.0.1:10443", "address of the cloud")
		flags.StringVar(&e.node, "node", "", "name of this node")
		flags.StringVar(&e.dir, "dir", "", "where this node's certificate is kept")
		flags.StringVar(&e.token, "token", "", "token of the cloud; needed once")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return e.run(ctx)
	}
	return fmt.Errorf("there is no program %q: say cloud or edge", args[0])
}
