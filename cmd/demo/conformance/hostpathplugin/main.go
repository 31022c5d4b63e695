package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/alecthomas/kong"
	"golang.org/x/sync/errgroup"
)

type options struct {
	Endpoint      string `help:"The Unix socket; a path or unix:// URL." required:"" placeholder:"SOCKET"`
	ProxyEndpoint string `help:"The TCP address, as tcp://HOST:PORT." required:"" placeholder:"URL"`
	V             int    `help:"Ignored."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var opts options
	kong.Parse(&opts, kong.Name("hostpathplugin"))
	if err := run(ctx, opts); err != nil {
		fmt.Fprintln(os.Stderr, "hostpathplugin:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, opts options) error {
	endpoint := strings.TrimPrefix(opts.Endpoint, "unix://")
	if err := os.Remove(endpoint); err != nil && !errors.Is(err, fs.ErrNotExist) { // of one that was killed
		return err
	}
	local, err := net.ListenUnix("unix", &net.UnixAddr{Name: endpoint, Net: "unix"})
	if err != nil {
		return err
	}
	local.SetUnlinkOnClose(false) // another one may have taken the name
	remote, err := new(net.ListenConfig).Listen(ctx, "tcp", strings.TrimPrefix(opts.ProxyEndpoint, "tcp://"))
	if err != nil {
		return errors.Join(err, local.Close())
	}
	return serve(ctx, local, remote)
}

// serve gives each connection of local one of remote, until ctx ends or a listener fails.
func serve(ctx context.Context, local, remote net.Listener) error {
	g, gctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(gctx, func() {
		_ = local.Close() // Accept returns then
		_ = remote.Close()
	})()
	g.Go(func() error {
		for {
			from, err := local.Accept()
			if err != nil {
				return err
			}
			to, err := remote.Accept()
			if err != nil {
				return errors.Join(err, from.Close())
			}
			g.Go(func() error {
				join(gctx, from, to)
				return nil
			})
		}
	})
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// join copies both ways until one side ends.
func join(ctx context.Context, a, b net.Conn) {
	end := sync.OnceFunc(func() {
		_ = a.Close() // the copies end then
		_ = b.Close()
	})
	defer context.AfterFunc(ctx, end)()
	var wg sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			defer end()
			_, _ = io.Copy(pair[0], pair[1]) // one side went
		})
	}
	wg.Wait()
}
