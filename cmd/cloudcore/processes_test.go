package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/cmd/internal/kube"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/hub/hubbench/processtest"
)

func TestMain(m *testing.M) {
	if processtest.Role() == "cloudcore" {
		os.Exit(processtest.Serve(&child{}))
	}
	os.Exit(m.Run())
}

// child is a cloudcore in a process of its own, which a test can kill.
type child struct {
	processtest.Profiler
	server *server
	stop   context.CancelFunc
	ended  chan error
}

// ChildConfig is how a child is to run.
type ChildConfig struct {
	Listen string
	Args   []string // of cloudcore
}

// ChildState is where a child can be reached.
type ChildState struct {
	Address, Metrics string
	ID               string // in the records of who holds a node
}

// Start runs main's program, with a listener of its own, and returns when it is ready.
func (c *child) Start(cfg ChildConfig, out *ChildState) error {
	ctx, stop := context.WithCancel(context.Background()) // the process is the scope
	c.stop, c.ended = stop, make(chan error, 1)
	assembled := make(chan struct{})
	cli := &cli{}
	p := program.Program{Name: "cloudcore", CLI: cli, ConfigFile: "/nonexistent/cloudcore.yaml", Command: func(command any) program.Runner {
		r, ok := command.(*runCmd)
		if !ok {
			return nil
		}
		return func(ctx context.Context, _ program.Output) error {
			setGCPercent()
			api, err := kube.Config(r.Kubeconfig)
			if err != nil {
				return err
			}
			l, err := net.Listen("tcp", cfg.Listen)
			if err != nil {
				return err
			}
			defer l.Close()
			log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
			if c.server, err = r.assemble(ctx, api, l, log); err != nil {
				return err
			}
			out.Address, out.Metrics, out.ID = l.Addr().String(), r.MetricsListen, c.server.id
			close(assembled)
			return c.server.run(ctx)
		}
	}}
	go func() {
		if code := p.Run(ctx, cfg.Args); code != 0 {
			c.ended <- fmt.Errorf("exit %d", code)
		}
		close(c.ended)
	}()
	select {
	case <-assembled:
	case err := <-c.ended:
		return fmt.Errorf("cloudcore has ended: %w", err)
	}
	<-c.server.controller.Ready()
	return nil
}

// Stop does what SIGTERM does, and returns when cloudcore has ended.
func (c *child) Stop(_ struct{}, _ *struct{}) error {
	c.stop()
	return <-c.ended
}

// Nodes lists the nodes that have a session.
func (c *child) Nodes(_ struct{}, out *[]string) error {
	for _, info := range c.server.hub.Nodes() {
		*out = append(*out, info.Node)
	}
	return nil
}

// Collect collects garbage and gives memory back, as cloudcore does after a burst.
func (c *child) Collect(_ struct{}, _ *struct{}) error {
	debug.FreeOSMemory()
	return nil
}

// startChild starts a cloudcore in a process of its own.
func startChild(t testing.TB, listen string, args ...string) (*processtest.Process, ChildState) {
	t.Helper()
	p := processtest.Start(t, processtest.Config{Role: "cloudcore"})
	var s ChildState
	p.Call("Start", ChildConfig{Listen: listen, Args: args}, &s)
	return p, s
}

// balancer is a TCP load balancer in front of cloudcores. A connection goes to a random one of
// those that answer.
type balancer struct {
	listener net.Listener

	mu       sync.Mutex
	backends []string
}

func (b *balancer) set(backends ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.backends = backends
}

// startBalancer runs until the test ends.
func startBalancer(t testing.TB) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{listener: l}
	var g errgroup.Group
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	g.Go(func() error { return b.run(ctx, &g) })
	t.Cleanup(func() {
		cancel()
		_ = l.Close() // run ends with it
		_ = g.Wait()
	})
	return b
}

func (b *balancer) run(ctx context.Context, g *errgroup.Group) error {
	for {
		conn, err := b.listener.Accept()
		if err != nil {
			return nil
		}
		g.Go(func() error {
			b.forward(ctx, conn)
			return nil
		})
	}
}

func (b *balancer) forward(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	b.mu.Lock()
	backends := make([]string, len(b.backends))
	for i, j := range rand.Perm(len(backends)) {
		backends[i] = b.backends[j]
	}
	b.mu.Unlock()
	var d net.Dialer
	for _, address := range backends {
		up, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			continue
		}
		defer up.Close()
		defer context.AfterFunc(ctx, func() { conn.Close(); up.Close() })()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(up, conn) // ends with either connection
			up.Close()
		}()
		_, _ = io.Copy(conn, up)
		conn.Close()
		<-done
		return
	}
}

// readMetrics reads the sums of metrics by name from a text of Prometheus. sum returns which sum a
// line counts for; "" leaves it out.
func sumMetrics(text string, sum func(name, labels string) string) map[string]float64 {
	out := make(map[string]float64)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if i := strings.LastIndex(strings.TrimSpace(line), " "); i > 0 {
			series, value = strings.TrimSpace(line)[:i], strings.TrimSpace(line)[i+1:]
		}
		name, labels, _ := strings.Cut(series, "{")
		to := sum(name, labels)
		if !ok || to == "" {
			continue
		}
		var v float64
		if _, err := fmt.Sscan(value, &v); err == nil {
			out[to] += v
		}
	}
	return out
}
