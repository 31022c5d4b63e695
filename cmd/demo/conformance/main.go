package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/demo/site"
)

type options struct {
	Focus   string        `help:"The specs to run, a regular expression (default: those that need streams)." placeholder:"REGEX"`
	Labels  string        `help:"A ginkgo filter of labels in place of the focus, for specs of features: they are not left out then." placeholder:"FILTER"`
	Procs   int           `help:"Specs at a time, 2 or more." default:"8"`
	Timeout time.Duration `help:"Limit for the specs." default:"60m"`
	Keep    bool          `help:"Leave the cluster up at the end."`
}

const node = "edge-1"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var opts options
	kong.Parse(&opts, kong.Name("conformance"), kong.Description("Runs Kubernetes' own tests against an edge node."))
	opts.Procs = max(opts.Procs, 2) // ginkgo's log of a single process is another
	if opts.Focus == "" && opts.Labels == "" {
		opts.Focus = streamFocus
	}
	if err := run(ctx, opts); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, opts options) (err error) {
	s, err := site.InCache("conformance", os.Stdout)
	if err != nil {
		return err
	}
	// What a run that was killed has left would be in the way of this one.
	if err := s.Remove(ctx); err != nil {
		return err
	}
	if !opts.Keep {
		defer func() {
			// Also after an interrupt nothing may stay behind.
			err = errors.Join(err, s.Remove(context.WithoutCancel(ctx)))
		}()
	}
	results := s.Dir() + "-results"
	if err := os.MkdirAll(results, 0o700); err != nil {
		return err
	}
	if err := start(ctx, s); err != nil {
		return err
	}
	ran, err := suite{site: s, opts: opts, results: results}.run(ctx)
	if err != nil {
		return err
	}
	if !report(os.Stdout, ran) {
		return fmt.Errorf("not all specs passed; the log is %s", filepath.Join(results, "log.txt"))
	}
	return nil
}

// start makes the scene: a cluster, an edge node with the images that the specs
// use, and Services on it.
func start(ctx context.Context, s *site.Site) error {
	if _, err := s.Up(ctx); err != nil {
		return err
	}
	if err := buildProxy(ctx, s); err != nil {
		return err
	}
	if err := s.BuildExtra(ctx, "ginkgo", "agnhost", "nnp", "e2e.test"); err != nil {
		return err
	}
	if err := s.Build(ctx); err != nil {
		return err
	}
	if err := importImages(ctx, s); err != nil {
		return err
	}
	if err := s.StartCloud(ctx); err != nil {
		return err
	}
	token, err := s.Token(ctx, node)
	if err != nil {
		return err
	}
	if err := s.Join(ctx, node, token); err != nil {
		return err
	}
	if _, err := s.StartEdge(node, append(s.ServiceArgs(), "--plugin-registry-dir", "/var/lib/kubelet/plugins_registry")...); err != nil { // where drivers of the specs register
		return err
	}
	if _, err := s.WaitNode(ctx, node, corev1.ConditionTrue, time.Minute); err != nil {
		return err
	}
	if err := s.StartServices(ctx, node); err != nil {
		return err
	}
	fmt.Println("  the node is Ready, Services and DNS work on it")
	return nil
}
